"""The command `leaderboard`: show the leaderboard of a study, finished or not, from its ledger.

Imports neither torch nor ray, so it answers at once, also while the study runs. DRIVER.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.config.command_line import parse, run
from orchestrator.config.commands import LeaderboardConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.home import Home, open_home
from orchestrator.dashboard.page import write_page
from orchestrator.results.effects_report import effect_lines, write_effects
from orchestrator.results.leaderboard_tables import csv_table, json_document, markdown, text_table
from orchestrator.results.main_effects import effects_of
from orchestrator.results.study_fold import fold
from orchestrator.tuning.ledger import LEDGER, fetch_ledger, read_records

COMMAND = "python -m orchestrator.leaderboard"
DESCRIPTION = "Shows the leaderboard of a study, finished or not, from its ledger."
EXAMPLES = (
    f"{COMMAND} study=runs/quickstart-1a2b3c4d",
    f"{COMMAND} study=runs/paper-1a2b3c4d format=csv > paper.csv",
    f"{COMMAND} study=runs/paper-1a2b3c4d format=html",
    f"{COMMAND} study=runs/factorial-1a2b3c4d format=effects",
    f"{COMMAND} study=s3://bucket/runs/paper-1a2b3c4d",
)
RENDER = {"table": text_table, "markdown": markdown, "csv": csv_table, "json": json_document}


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(
        LeaderboardConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES
    )
    with open_home(config.study) as study:
        return _show(config, study if study.store else Home(Path(config.study)))


def _show(config: LeaderboardConfig, study: Home) -> int:
    fetch_ledger(study)
    ledger = study.local / LEDGER
    if not ledger.is_file():
        raise ConfigError(
            f"study: must be the folder of a study, with a {LEDGER}; got {config.study!r}. "
            "`ablate` prints it in its plan"
        )
    if config.format == "html":
        print(*_kept(study, [write_page(study.local)]))
        return 0
    view = fold(read_records(ledger))
    if config.format == "effects":
        effects = effects_of(view)
        written = write_effects(effects, view, study.local)
        print(*effect_lines(effects), *_kept(study, written), sep="\n")
        return 0
    print(RENDER[config.format](view))
    return 0


def _kept(study: Home, files: Sequence[Path]) -> tuple[str, ...]:
    """Lets files that lie in the study's folder be kept there; returns where they are."""
    study.send(*(str(file.relative_to(study.local)) for file in files))
    return study.named([str(file) for file in files])


if __name__ == "__main__":
    sys.exit(run(main))
