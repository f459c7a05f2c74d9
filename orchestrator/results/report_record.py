"""What the figures depend on: data, seeds, environment, the exact commands. PURE."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.config.storage import RUN_CONFIG
from orchestrator.results import paper_tables as paper
from orchestrator.results.html_page import Cell, Row
from orchestrator.results.report_blocks import Block, Commands, Paragraph, Section, Table
from orchestrator.results.report_cells import NONE, Linker, part
from orchestrator.results.report_sources import JsonSource, RunSource, Sources


def banner(sources: Sources) -> str:
    """Says on top which data are not the paper's; "" where all that was trained on are."""
    strange = [
        f"{one.manifest.name} (read by the adapter {one.manifest.source.adapter})"
        for one in sources.trained_on
        if one.manifest.source.adapter != paper.ADAPTER
    ]
    unknown = _without_manifest(sources)
    if not strange and not unknown:
        return ""
    said = [f"not read from Aff-Wild2: {', '.join(strange)}"] if strange else []
    said += (
        [f"of unknown origin, as their manifest is gone: {', '.join(unknown)}"] if unknown else []
    )
    drawn = any(one.manifest.source.adapter == "synthetic" for one in sources.trained_on)
    faces = (
        " Drawn faces show that the pipeline works and say nothing about real ones."
        if drawn
        else ""
    )
    return (
        f"These data are not the paper's. Data sets trained on are {'; '.join(said)}. Figures of "
        f"the paper stand beside ours to show where each belongs, not to be compared.{faces}"
    )


def _without_manifest(sources: Sources) -> list[str]:
    """Names of sets that studies and runs were trained on and that were not found."""
    wanted = {study.fingerprint: study.view.dataset for study in sources.studies}
    for run in sources.runs:
        wanted[str(run.dataset.get("fingerprint", ""))] = str(run.dataset.get("name", "?"))
    return sorted({name for key, name in wanted.items() if key and sources.dataset(key) is None})


def data_section(sources: Sources, link: Linker) -> Section:
    """The sets: where from, how many rows."""
    rows: list[Row] = []
    for one in sources.datasets:
        manifest = one.manifest
        rows.append(
            [
                link.cell(manifest.name, one.file),
                manifest.source.adapter,
                link.cell(f"{manifest.rows.kept:,}", one.file),
                link.cell(f"{manifest.rows.bad + manifest.rows.left_out:,}", one.file),
                f"{manifest.image_shape[0]} px",
                manifest.fingerprint[:16],
            ]
        )
    head = ["data set", "adapter", "rows kept", "quarantined", "images", "fingerprint"]
    lead = Paragraph(
        f"The paper has {paper.IMAGES:,} images of six classes from Aff-Wild2 and "
        f"{paper.PRODUCTION_IMAGES:,} of production.",
        "soft",
    )
    blocks: list[Block] = [lead]
    if rows:
        blocks.append(Table("Data sets of this report", head, rows))
    return Section("Data", blocks)


def seeds_section(sources: Sources, link: Linker) -> Section:
    """Which seeds, and how many a configuration has."""
    rows: list[Row] = []
    for study in sources.studies:
        seeds = sorted({row.seed for row in study.view.trials})
        listed = link.cell(", ".join(map(str, seeds)) or NONE, study.file)
        rows.append([f"study {study.view.name}", listed, f"{len(seeds)}"])
    for run in sources.runs:
        file = run.folder / RUN_CONFIG
        rows.append(
            [f"run {run.folder.name}", link.cell(str(run.experiment.get("seed", NONE)), file), "1"]
        )
    lead = Paragraph(
        "An interval of one training resamples the rows it is measured on: it says how sure the "
        "figure of these weights is, and nothing of what another seed would have given."
    )
    return Section("Seeds", [lead, Table("Seeds", ["training", "seeds", "number"], rows)])


def environment_section(sources: Sources, link: Linker) -> Section:
    """Versions and code of each command."""
    found = [
        *((study.file, study.record.get("environment")) for study in sources.studies),
        *((run.folder / "environment.json", run.environment) for run in sources.runs),
        *((one.file, one.content.get("environment")) for one in sources.evaluations),
        *((one.file, one.content.get("environment")) for one in sources.diagnoses),
        *((one.file, one.content.get("environment")) for one in sources.adaptations),
    ]
    rows: list[Row] = [
        [
            link.cell(f"{file.parent.parent.name}/{file.parent.name}", file),
            str(said.get("commit") or NONE),
            str(said.get("python") or NONE),
            str(part(said, "packages", "ray") or NONE),
            str(part(said, "packages", "torch") or NONE),
            f"{said.get('system', NONE)}, {said.get('cpus', NONE)} CPUs",
        ]
        for file, said in found
        if isinstance(said, Mapping) and said
    ]
    head = ["made by", "commit", "Python", "Ray", "torch", "system"]
    note = Paragraph("A commit with a plus sign had files that differ from it.", "soft")
    return Section("Environment", [Table("What computed the figures", head, rows), note])


def commands_section(sources: Sources, link: Linker) -> Section:
    """The exact commands: of the steps of `reproduce` in their order, then what was typed."""
    blocks: list[Block] = []
    steps = sorted(sources.steps, key=lambda one: str(one.content.get("started", "")))
    if steps:
        rows: list[Row] = [
            [
                link.cell(str(one.content.get("step", one.file.stem)), one.file),
                str(one.content.get("exit_status", NONE)),
                _seconds(one.content.get("seconds")),
            ]
            for one in steps
        ]
        blocks.append(Table("Steps of reproduce", ["step", "exit status", "seconds"], rows))
        blocks.append(Commands([_command(one) for one in steps]))
    known = {_command(one) for one in steps}
    others = [line for line in dict.fromkeys(_commands(sources)) if line and line not in known]
    if others and steps:
        blocks.append(Paragraph("Commands typed beside these steps:"))
    if others:
        blocks.append(Commands([link.shown(line) for line in others]))
    if not blocks:
        blocks.append(Paragraph("No command was recorded.", "soft"))
    return Section("The exact commands", blocks)


def _seconds(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else NONE


def _command(source: JsonSource) -> str:
    return str(source.content.get("command") or "")


def _commands(sources: Sources) -> Iterator[str]:
    """What each record tells of its own making; a run that no step trained is its config."""
    for study in sources.studies:
        yield str(study.record.get("command") or "")
    for run in sources.runs:
        if any(_trained(step, run) for step in sources.steps):
            continue
        config = run.folder / RUN_CONFIG
        words = [f"out={run.folder.parent}", f"name={run.folder.name}"]
        yield shlex.join(["python", "-m", "orchestrator.train", "--config", str(config), *words])
    for kind in (sources.evaluations, sources.diagnoses, sources.adaptations):
        for one in kind:
            yield _command(one)


def _trained(step: JsonSource, run: RunSource) -> bool:
    """Whether the run is that of a step, which lies beside the folder of the steps' records."""
    beside = run.folder.parent == step.file.parent.parent
    return beside and f"name={run.folder.name}" in _command(step).split()


def unread_section(sources: Sources, link: Linker) -> Section | None:
    """What lay there and could not be read; None where all could."""
    if not sources.unreadable:
        return None
    rows: list[Row] = [
        [link.cell(f"{file.parent.name}/{file.name}", file), Cell(link.shown(reason), "wraps")]
        for file, reason in sources.unreadable
    ]
    return Section("Not read", [Table("Files that this report is without", ["file", "why"], rows)])
