"""A command as a process of its own, forked with its imports done."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Imported for the fork server, which forks a driver in milliseconds instead of seconds.
import orchestrator.results.plots
import orchestrator.slots
import orchestrator.tuning.tune_run  # noqa: F401
from orchestrator import ablate, prepare
from orchestrator.config.command_line import run

COMMANDS = {"ablate": ablate.main, "prepare": prepare.main}


def drive(command: str, argv: list[str], log: str) -> None:
    """Runs a command with its output in a file; ends the process with its exit status."""
    with Path(log).open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(run(COMMANDS[command], argv))
