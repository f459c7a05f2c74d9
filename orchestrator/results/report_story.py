"""The report of a study, from what was found: the order in which a reader asks. DRIVER."""

from __future__ import annotations

from orchestrator.results import paper_tables as paper
from orchestrator.results.report_blocks import Findings, Report, Section
from orchestrator.results.report_cells import Linker
from orchestrator.results.report_figures import figure_sections
from orchestrator.results.report_production import adaptation_section, diagnosis_section
from orchestrator.results.report_protocols import (
    effects_section,
    gap_section,
    leaks_section,
    weaknesses,
)
from orchestrator.results.report_record import (
    banner,
    commands_section,
    data_section,
    environment_section,
    seeds_section,
    unread_section,
)
from orchestrator.results.report_sources import Sources
from orchestrator.results.report_tables import (
    ablation_section,
    production_section,
    trained_section,
)


def report_of(sources: Sources, title: str, link: Linker) -> Report:
    """Draws the pictures into the report's folder and puts everything in order."""
    sections = [
        _in_short(sources),
        trained_section(sources, link),
        ablation_section(sources, link),
        effects_section(sources, link),
        gap_section(sources, link),
        leaks_section(sources, link),
        production_section(sources, link),
        diagnosis_section(sources, link),
        adaptation_section(sources, link),
        *figure_sections(sources, link),
        data_section(sources, link),
        seeds_section(sources, link),
        environment_section(sources, link),
        commands_section(sources, link),
        unread_section(sources, link),
    ]
    return Report(title, banner(sources), [section for section in sections if section])


def _in_short(sources: Sources) -> Section:
    """The known weaknesses of the paper, each from data."""
    items = [
        *weaknesses(sources).items,
        (paper.ablation_verdict(), True),
        (paper.production_verdict(), True),
    ]
    items += [
        (f"{one.file.parent.name}: {one.content.get('statement', '')}", False)
        for one in sources.diagnoses
    ]
    return Section("In short", [Findings(items)])
