"""Which library messages a user need not read, each with the reason. DRIVER.

Warnings are acted on or silenced here by name; nothing is silenced wholesale. All of it still
goes to Ray's own log files.
"""

from __future__ import annotations

import logging

LEVELS = {
    # A line for every data set that is read, with its execution plan.
    "ray.data._internal.execution.streaming_executor": logging.WARNING,
    # Says that progress bars are off, which is what we asked for.
    "ray.data._internal.progress": logging.ERROR,
    # The trace of an error that is raised to us as well: we say it, or it traces back.
    "ray.data.exceptions": logging.CRITICAL,
    "ray.data._internal.execution.streaming_executor_state": logging.CRITICAL,
    # Misses result.json of each leg: the ledger is the record, Tune's own files are off.
    "ray.tune.analysis.experiment_analysis": logging.ERROR,
    # After Ctrl-C it advises Tuner.restore; here the same command goes on from the ledger.
    "ray.tune.tune": logging.ERROR,
}


def quiet_libraries() -> None:
    """Set the levels; call it after the libraries are imported, as they set their own."""
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
