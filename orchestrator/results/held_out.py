"""Whether rows may be called held-out: what the run has seen of them. PURE.

A row of the training split was learned by heart, a row of the validation split decided which
epoch is best, and a frame whose video is in either split is a near copy of what was learned or
chosen by: only where none of this is so does a score say what to expect of new faces. Of another
data set only the names of groups can be compared, and of first weights that came from a file
nothing is known of what they had seen: both are said.
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
        group_in_validation: the same for its validation split.
        first_weights: the file or address that the run's first weights came from, "" where they
            were random or those of a published name.
        same_set: whether the set is the one that the run was trained on.
    """

    num_rows: int
    in_train: int
    in_validation: int
    group_in_train: int
    group_in_validation: int
    first_weights: str
    same_set: bool

    @property
    def held_out(self) -> bool:
        """Whether the run has seen nothing of the rows."""
        seen = self.in_train or self.in_validation
        return not (seen or self.group_in_train or self.group_in_validation)

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
        if self.group_in_validation:
            return (
                f"NOT held-out: {self._share(self.group_in_validation)} are of a video or subject "
                "whose name is in the validation split, by which the epoch was chosen"
            )
        if self.first_weights:
            return (
                f"held-out of this run, but its first weights came from {self.first_weights}: what "
                "they had seen is not known here"
            )
        if not self.same_set:
            return (
                "held-out as far as names of groups tell: none was in the training or validation "
                "split of the run; rows of another set cannot be compared"
            )
        return "held-out: no row and no group was in the training or validation split of the run"

    @property
    def reference_statement(self) -> str:
        """One line on rows of the validation split that another set is compared with."""
        if self.group_in_train:
            return (
                f"the reference is NOT held-out: {self._share(self.group_in_train)} are of a video "
                "or subject whose name is in the training split too. It looks better than new "
                "faces would, and what is new to the model looks shifted beside it"
            )
        words = "the reference is the validation split, by which the epoch was chosen"
        if self.first_weights:
            return (
                f"{words}; no group of it was trained on by this run, but what the first weights "
                f"from {self.first_weights} had seen is not known here"
            )
        return f"{words}; no group of it was trained on"

    def _share(self, rows: int) -> str:
        return f"{rows:,} of {self.num_rows:,} rows"


def first_weights(weights: str) -> str:
    """The name of the file or address that weights come from; "" for a published name."""
    is_file = "://" in weights or weights.endswith((".safetensors", ".pt", ".pth", ".h5"))
    return weights.rstrip("/").rpartition("/")[2] if is_file else ""


def exposure(
    groups: np.ndarray,
    row_ids: np.ndarray,
    run: SplitIndex,
    *,
    same_set: bool,
    first_weights: str = "",
) -> Exposure:
    """Compare the rows measured with what the run was trained on.

    Args:
        groups: of the rows measured, shape (N,).
        row_ids: of them, shape (N,).
        run: splits of the run's own data set under the run's protocol.
        same_set: whether the rows are rows of that set.
        first_weights: the file that the run's first weights came from, if any.
    """
    splits = run.splits[row_ids] if same_set else np.empty(0, np.str_)
    return Exposure(
        num_rows=len(row_ids),
        in_train=int((splits == "train").sum()),
        in_validation=int((splits == "validation").sum()),
        group_in_train=_num_of_split(groups, run, "train"),
        group_in_validation=_num_of_split(groups, run, "validation"),
        first_weights=first_weights,
        same_set=same_set,
    )


def _num_of_split(groups: np.ndarray, run: SplitIndex, split: str) -> int:
    """Rows whose group is in a split of the run; a row without a group has none."""
    names = np.unique(run.groups[run.splits == split])
    return int(np.isin(groups, names[names != ""]).sum())
