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
from orchestrator.dashboard.page import write_page
from orchestrator.results.effects_report import effect_lines, write_effects
from orchestrator.results.leaderboard_tables import csv_table, json_document, markdown, text_table
from orchestrator.results.main_effects import effects_of
from orchestrator.results.study_fold import fold
from orchestrator.tuning.ledger import LEDGER, read_records

COMMAND = "python -m orchestrator.leaderboard"
DESCRIPTION = "Shows the leaderboard of a study, finished or not, from its ledger."
EXAMPLES = (
    f"{COMMAND} study=runs/quickstart-1a2b3c4d",
    f"{COMMAND} study=runs/paper-1a2b3c4d format=csv > paper.csv",
    f"{COMMAND} study=runs/paper-1a2b3c4d format=html",
    f"{COMMAND} study=runs/factorial-1a2b3c4d format=effects",
)
RENDER = {"table": text_table, "markdown": markdown, "csv": csv_table, "json": json_document}


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    config = parse(
        LeaderboardConfig, argv, command=COMMAND, description=DESCRIPTION, examples=EXAMPLES
    )
    ledger = Path(config.study) / LEDGER
    if not ledger.is_file():
        raise ConfigError(
            f"study: must be the folder of a study, with a {LEDGER}; got {config.study!r}. "
            "`ablate` prints it in its plan"
        )
    if config.format == "html":
        print(write_page(ledger.parent))
        return 0
    view = fold(read_records(ledger))
    if config.format == "effects":
        effects = effects_of(view)
        print(*effect_lines(effects), *write_effects(effects, view, ledger.parent), sep="\n")
        return 0
    print(RENDER[config.format](view))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
