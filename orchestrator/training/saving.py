"""What is saved of an epoch, and when it must be there.

WORKER (the leader). Milestones and the best weights come before the resume point, so that where
the newest resume point is, so is all that belongs to it. The best weights before it go after it:
a process that is killed in between goes on from the epoch before, whose best they still are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.config.errors import CheckpointError
from orchestrator.config.object_store import Store
from orchestrator.config.storage import MARKER
from orchestrator.training import lineage_store
from orchestrator.training.checkpoint import (
    CheckpointState,
    epoch_folder,
    keep_only,
    read_state,
    save_for_resume,
    save_weights,
)
from orchestrator.training.checkpoint_writer import CheckpointWriter
from orchestrator.training.early_stop import stop_epoch
from orchestrator.training.epochs import Metrics, Training
from orchestrator.training.group_counts import Encoded, keep
from orchestrator.training.lineage_store import BEST, LAST, MILESTONES
from orchestrator.training.snapshot import Snapshot, take_snapshot


@dataclass(frozen=True)
class Keeping:
    """Which weights of a lineage are kept.

    Attributes:
        folder: where its checkpoints lie.
        milestones: epochs whose weights are kept.
        ends: (epochs, patience): weights are also kept where patience ends such a trial.
        keep_best: whether the weights of the best epoch so far are kept.
        store: the object store that takes them from there; None where they stay.
        handed_out: epochs up to which scores are recorded: milestones that they belong to stay as
            they are, should an epoch be trained once more.
    """

    folder: Path
    milestones: frozenset[int]
    ends: tuple[tuple[int, int], ...]
    keep_best: bool
    store: Store | None = None
    handed_out: int = 0

    def is_kept(self, lineage: str, epoch: int) -> bool:
        """Whether the weights of a recorded epoch are there, and no others may replace them.

        Of an object store the marker is asked for, which comes last.
        """
        folder = epoch_folder(self.folder / MILESTONES, epoch)
        if epoch > self.handed_out:
            return False
        if self.store is not None:
            return self.store.has(str(folder.relative_to(self.folder) / MARKER))
        try:
            return read_state(folder).lineage == lineage
        except CheckpointError:
            return False

    def is_milestone(self, history: Sequence[Metrics]) -> bool:
        """Whether a trial may end with the newest epoch, and its weights be named."""
        return len(history) in self.milestones or self._ends_early(history)

    def is_best(self, history: Sequence[Metrics]) -> bool:
        """Whether the newest epoch is the best, and that matters."""
        scores = [metrics["val_macro_f1"] for metrics in history]
        return self.keep_best and scores.index(max(scores)) == len(scores) - 1

    def _ends_early(self, history: Sequence[Metrics]) -> bool:
        scores = [metrics["val_macro_f1"] for metrics in history]
        return any(
            stop_epoch(scores, patience) == len(scores) <= epochs for epochs, patience in self.ends
        )


def save_epoch(
    keeping: Keeping,
    training: Training,
    state: CheckpointState,
    groups: Encoded | None,
    writer: CheckpointWriter,
) -> None:
    """Save the newest epoch; waits only for the epoch before, or where weights will be named.

    Args:
        keeping: which weights are kept.
        training: after the epoch.
        state: what its checkpoint says.
        groups: confusion counts of each validation video, kept where a trial may end.
        writer: of this worker.

    Raises:
        StorageError, TrainingError: the epoch before, or this one, could not be written.
    """
    writer.wait()
    snapshot = take_snapshot(training)
    writer.start(lambda: _write_kept(keeping, snapshot, state, groups), keeping.folder)
    if keeping.is_milestone(state.history):
        writer.wait()


def _write_kept(
    keeping: Keeping, snapshot: Snapshot, state: CheckpointState, groups: Encoded | None
) -> None:
    """Write to where it is kept: a folder, or an object store by way of one."""
    ends_here = keeping.is_milestone(state.history)
    ends_here = ends_here and not keeping.is_kept(state.lineage, state.epoch)
    if keeping.store is None:
        _write(keeping, snapshot, state, groups, ends_here=ends_here)
        return
    with tempfile.TemporaryDirectory(prefix="fer-epoch-") as scratch:
        here = Path(scratch) / "epoch"
        _write(replace(keeping, folder=here), snapshot, state, groups, ends_here=ends_here)
        lineage_store.move(here, keeping.store)


def _write(
    keeping: Keeping,
    snapshot: Snapshot,
    state: CheckpointState,
    groups: Encoded | None,
    *,
    ends_here: bool,
) -> None:
    if ends_here:
        save_weights(keeping.folder / MILESTONES, snapshot, state)
        if groups is not None:
            keep(keeping.folder, state.epoch, groups)
    if not keeping.is_best(state.history):
        save_for_resume(keeping.folder / LAST, snapshot, state)
        return
    best = save_weights(keeping.folder / BEST, snapshot, state)
    save_for_resume(keeping.folder / LAST, snapshot, state)
    keep_only(best)


def leave_only_best(keeping: Keeping, lineage: str, history: Sequence[Metrics]) -> None:
    """Remove what a killed process left beside the best weights of the epochs gone on from.

    A later epoch's are among it: that epoch is trained again, and may then score otherwise. If the
    best of these epochs is not there itself, what is there stays: it is better than none.

    Args:
        keeping: which weights are kept.
        lineage: key of what is trained.
        history: of the epochs that the resume point has, at least one.
    """
    if not keeping.keep_best:
        return
    scores = [metrics["val_macro_f1"] for metrics in history]
    best = epoch_folder(keeping.folder / BEST, scores.index(max(scores)) + 1)
    if keeping.store is not None:
        lineage_store.fetch(keeping.store / BEST / best.name, best)
    try:
        state = read_state(best)
    except CheckpointError:
        return
    if state.lineage != lineage:
        return
    keep_only(best)
    if keeping.store is not None:
        lineage_store.keep_only(keeping.store / BEST, best.name)
