"""Which checkpoint a folder means: itself, the best of a run, or the winner of a study.

DRIVER. Imports neither torch nor ray; looks at names only, and reads a study's ledger. Whether
the checkpoint is whole and unchanged is found out when it is opened (`inference/stored_model`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.errors import ConfigError
from orchestrator.config.storage import MARKER
from orchestrator.results.leaderboard_cells import values_text, varied_paths
from orchestrator.results.printable import one_line
from orchestrator.results.study_fold import fold
from orchestrator.results.study_view import TrialRow
from orchestrator.tuning.ledger import LEDGER, read_records

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
LEVELS = 4
"""A study's checkpoint lies that deep: lineages/<key>/milestones/epoch-0012."""


@dataclass(frozen=True)
class Choice:
    """The checkpoint that was taken.

    Attributes:
        folder: of the checkpoint.
        words: what it is, to be shown.
        home: folder of its run or study; the folder above it where it has none.
        label: tells it from the checkpoint that `home` itself means; "" for that one.
    """

    folder: Path
    words: str
    home: Path
    label: str = ""


def choose(place: str) -> Choice:
    """The checkpoint that a folder means.

    Raises:
        ConfigError: there is none.
        LedgerError: the study's ledger is damaged.
    """
    try:
        folder = Path(place).expanduser().absolute()
        kind = next((kind for kind, sign in _SIGNS.items() if (folder / sign).exists()), None)
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a zero byte
        kind = None
    if kind is not None:
        return kind(folder)
    raise ConfigError(
        f"checkpoint: must be a checkpoint (a folder with {MARKER}), a run folder of `train` or a "
        f"study folder of `ablate`; got {place!r}. The commands print it as they end"
    )


def _itself(folder: Path) -> Choice:
    above = list(folder.parents)[:LEVELS]
    home = next((path for path in above if _is_home(path)), folder.parent)
    parts = [part for part in folder.relative_to(home).parts if part != CHECKPOINTS]
    words = f"the checkpoint named, {one_line('/'.join(parts))}"
    return Choice(folder, words, home, "-".join(parts))


def _is_home(folder: Path) -> bool:
    return (folder / LEDGER).is_file() or (folder / CONFIG).is_file()


def _of_run(folder: Path) -> Choice:
    """The best epoch; the last one where a run was stopped before it wrote any as best."""
    for kind in ("best", "last"):
        whole = sorted(path.parent for path in (folder / CHECKPOINTS / kind).glob(f"*/{MARKER}"))
        if whole:
            return Choice(whole[-1], f"the {kind} of run {one_line(folder.name)}", folder)
    raise ConfigError(
        f"checkpoint: the run must have a finished epoch; {folder} has none. Train it first"
    )


def _winner(folder: Path) -> Choice:
    records = list(read_records(folder / LEDGER))
    view = fold(records)
    place = view.leading
    if place is None:
        raise ConfigError(
            f"checkpoint: the study must have a finished trial; {folder} has none. Let it finish, "
            "or name a checkpoint below its lineages"
        )
    row = place.row
    values = values_text(row, varied_paths(view))
    words = f"the winner of study {one_line(view.name)}: trial {row.trial}"
    if len(place.rows) > 1:
        words += f", seed {row.seed}, the median of its {len(place.rows)} seeds"
    checkpoint = _checkpoint_of(row, folder, _num_workers(records))
    return Choice(checkpoint, f"{words} ({values})" if values else words, folder)


def _num_workers(records: Iterable[Mapping[str, Any]]) -> int:
    """Of the newest command's slots."""
    heads = [record for record in records if record["record"] == "study"]
    resources = heads[-1].get("resources") if heads else None
    workers = resources.get("workers") if isinstance(resources, Mapping) else None
    return workers if isinstance(workers, int) else 1


def _checkpoint_of(row: TrialRow, study: Path, workers: int) -> Path:
    """The ledger is input: what it names must lie in the study's own folder."""
    folder = study / row.checkpoint
    inside = folder.resolve().is_relative_to(study.resolve())
    if not row.checkpoint or not inside or not (folder / MARKER).is_file():
        from orchestrator.lost_weights import making_lines  # with Optuna: a second, only here

        making = making_lines(row, study, workers)
        raise ConfigError(
            f"checkpoint: the winner, trial {row.trial}, must have its checkpoint in {study}; got "
            f"{one_line(row.checkpoint, 80) or 'none'!r}. Its weights were not kept (it was "
            "answered from a longer training, or they were removed); name another checkpoint, or "
            + (f"make them:\n  {making}" if making else "train it alone with `train`")
        )
    return folder


_SIGNS = {_itself: MARKER, _winner: LEDGER, _of_run: CHECKPOINTS}
"""What lies in each kind of folder."""
