"""`python -m orchestrator`: lists the commands, each with the first line of what it does."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

COMMANDS = (
    "prepare",
    "train",
    "ablate",
    "leaderboard",
    "evaluate",
    "diagnose",
    "adapt",
    "predict",
    "export",
    "report",
    "reproduce",
    "doctor",
)
"""In the order in which a study uses them."""


def main() -> int:
    """Prints the list; no command is imported for it."""
    print("Ray-distributed experiments for facial expression recognition. Commands:\n")
    for command in COMMANDS:
        print(f"  python -m orchestrator.{command:12} {_summary(command)}")
    print("\nEach explains its fields, defaults and bounds with --help.")
    print("First time here: python -m orchestrator.ablate needs nothing, not even data.")
    return 0


def _summary(command: str) -> str:
    source = (Path(__file__).parent / f"{command}.py").read_text()
    first_line = (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
    return first_line.removeprefix(f"The command `{command}`: ")


if __name__ == "__main__":
    sys.exit(main())
