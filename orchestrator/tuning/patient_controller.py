"""Lets slots write their last checkpoint before Ray Tune ends them. DRIVER.

When a study ends, by itself or by Ctrl-C, its slots are told to end, and wait until the newest
checkpoint is where it belongs. Tune kills what has not ended after 10 s (2.60, no setting for it):
hundreds of megabytes on their way to a slow storage are then lost, and with them an epoch that the
ledger has. A second Ctrl-C still ends all at once; after an error Tune keeps to its 10 s.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ray.tune import tune
from ray.tune.execution.tune_controller import TuneController

from orchestrator.training.warm_run import WRITE_TIMEOUT_S

MARGIN_S = 30.0
"""For the slot's own end, after its wait."""


@contextmanager
def patient_controller() -> Iterator[None]:
    """Studies that begin in this context wait, as long as Tune has this name for its controller."""
    usual = getattr(tune, "TuneController", None)
    if usual is None:
        yield
        return
    tune.TuneController = _PatientController
    try:
        yield
    finally:
        tune.TuneController = usual


class _PatientController(TuneController):
    def _cleanup_stopping_actors(self, force_all: bool = False) -> None:
        is_well = sys.exc_info()[0] is None  # else slots may be in the middle of an epoch
        if force_all and is_well:
            self._actor_force_cleanup_timeout = round(WRITE_TIMEOUT_S + MARGIN_S)
        super()._cleanup_stopping_actors(force_all=force_all)
