"""Whether rows may be called held-out: what the run has seen of them. PURE.

A row of the training split was learned by heart, a row of the validation split decided which
epoch is best, and a frame whose video is in the training split is a near copy of what was
learned: only where none of this is so does a score say what to expect of new faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.ingest.dataset import SplitIndex


@dataclass(frozen=True)
class Exposure:
    """How many of the rows measured the run has seen, and how.

    Attributes:
        num_rows: rows measured.
        in_train: rows of the run's training split; 0 for another data set, whose rows cannot be
            told by their numbers.
        in_validation: rows of its validation split.
        group_in_train: rows whose group (a video, a subject, or the pixels of a row without
            either) is in the run's training split by its name.
        same_set: whether the set is the one that the run was trained on.
    """

    num_rows: int
    in_train: int
    in_validation: int
    group_in_train: int
    same_set: bool

    @property
    def held_out(self) -> bool:
        """Whether the run has seen nothing of the rows."""
        return not (self.in_train or self.in_validation or self.group_in_train)

    @property
    def statement(self) -> str:
        """One line that goes before every figure."""
        if self.in_train:
            return (
                f"NOT held-out: {self._share(self.in_train)} were in the training split of this "
                "run. The figures below say how well it learned them by heart"
            )
        if self.in_validation:
            return (
                f"NOT held-out: {self._share(self.in_validation)} were in the validation split, by "
                "which the epoch was chosen. The figures below flatter"
            )
        if self.group_in_train:
            return (
                f"NOT held-out: {self._share(self.group_in_train)} are of a video or subject whose "
                "name is in the training split too. The figures below flatter"
            )
        what = "group" if self.same_set else "name of a group"
        return f"held-out: no row and no {what} was in the training or validation split of the run"

    def _share(self, rows: int) -> str:
        return f"{rows:,} of {self.num_rows:,} rows"


def exposure(
    groups: np.ndarray, row_ids: np.ndarray, run: SplitIndex, *, same_set: bool
) -> Exposure:
    """Compare the rows measured with what the run was trained on.

    Args:
        groups: of the rows measured, shape (N,).
        row_ids: of them, shape (N,).
        run: splits of the run's own data set under the run's protocol.
        same_set: whether the rows are rows of that set.
    """
    splits = run.splits[row_ids] if same_set else np.empty(0, np.str_)
    trained = np.unique(run.groups[run.splits == "train"])
    seen = np.isin(groups, trained[trained != ""])
    return Exposure(
        num_rows=len(row_ids),
        in_train=int((splits == "train").sum()),
        in_validation=int((splits == "validation").sum()),
        group_in_train=int(seen.sum()),
        same_set=same_set,
    )
