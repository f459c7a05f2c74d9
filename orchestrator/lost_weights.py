"""The command that makes the weights of a trial whose own were not kept.

DRIVER; imports neither torch nor ray. A trial that was answered from the epochs of a longer one
has a score and no weights: those were kept only where trials were known to end. What is left of
its lineage is past its epoch or has no optimizer, so that only a training from the start makes
them: to the bit on the processors and with the workers of the study.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Experiment
from orchestrator.config.storage import MARKER, as_typed
from orchestrator.config.validate import to_dict, validate
from orchestrator.results.study_view import TrialRow
from orchestrator.tuning.lineages import is_bound_to_horizon
from orchestrator.tuning.study import LINEAGES

COMMAND = "python -m orchestrator.train"
AGAIN = "retrained"
"""Folder of a study for such trainings."""
OPTIMIZER = "optimizer."
"""All fields of it are given: the defaults depend on its name."""


def making_lines(row: TrialRow, study: Path, workers: int) -> str:
    """How to make a trial's weights and what to name then; "" where its lineage has nothing left.

    Args:
        row: the trial.
        study: its folder.
        workers: of the study's slots: sums of gradients depend on how many there are.
    """
    experiment = _experiment(row, study)
    if experiment is None:
        return ""
    name = f"trial-{row.trial:04d}"
    words = [*words_of(experiment), f"resources.workers={workers}"]
    words += [f"out={as_typed(study)}/{AGAIN}", f"name={name}"]
    made = f"{as_typed(study)}/{AGAIN}/{name}/checkpoints/last/epoch-{row.epoch:04d}"
    return f"{shlex.join([*COMMAND.split(), *words])}\n  and then name {made}"


def words_of(experiment: Experiment) -> list[str]:
    """An experiment as words of a command line: what differs from the defaults."""
    defaults = dict(_leaves(to_dict(Experiment())))
    return [
        f"{path}={value if isinstance(value, str) else json.dumps(value)}"
        for path, value in _leaves(to_dict(experiment))
        if path.startswith(OPTIMIZER) or defaults.get(path) != value
    ]


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield above + key, value


def _experiment(row: TrialRow, study: Path) -> Experiment | None:
    """What a trial is to be trained with, by what a checkpoint of its lineage says of itself."""
    lineages = (study / LINEAGES).resolve()
    lineage = (lineages / row.lineage).resolve()
    if lineage.parent != lineages:  # the ledger is input
        return None
    for marker in sorted(lineage.glob(f"*/epoch-*/{MARKER}")):
        try:
            said = json.loads(marker.read_text())
            precision = said["history"][0].get("precision", said["experiment"]["precision"])
            experiment = validate(Experiment, (str(marker), said["experiment"]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ConfigError):
            continue
        ends = {} if is_bound_to_horizon(experiment) else {"epochs": row.epoch, "early_stop": 0}
        return experiment.model_copy(update={"precision": precision, **ends})
    return None
