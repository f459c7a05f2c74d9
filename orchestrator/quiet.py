"""Which library messages a user need not read, each with the reason. DRIVER.

Warnings are acted on or silenced here by name; nothing is silenced wholesale. All of it still
goes to Ray's own log files.
"""

from __future__ import annotations

import logging

LEVELS = {
    # A line for every data set that is read, with its execution plan.
    "ray.data._internal.execution.streaming_executor": logging.WARNING,
    # Its guess of how a file was encoded.
    "ray.data._internal.datasource.parquet_datasource": logging.WARNING,
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

MESSAGES = {
    # Advises to turn off what we want on; that it is *disabled* is still said.
    "ray._private.authentication.authentication_token_setup": "Token authentication is enabled",
    # What .rayignore leaves at home, Ray leaves there as well.
    "ray._private.worker": "Directory '.",
    # Said where the tasks of one read end as the next begins; a cluster without a free CPU is
    # refused before, in our words.
    "ray.data.dataset": "Warning: The Ray cluster currently does not have any available CPUs",
}
"""Logger -> how the messages begin that are dropped."""


def quiet_libraries() -> None:
    """Set the levels; call it after the libraries are imported, as they set their own."""
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)


def quiet_start() -> None:
    """Drop what Ray says as it starts or is joined that is no news; call it before."""
    for name, beginning in MESSAGES.items():
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Dropped) for known in logger.filters):
            logger.addFilter(_Dropped(beginning))


class _Dropped(logging.Filter):
    """Lets all messages pass but those that begin so."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self._beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self._beginning)
