"""Which of the best weights stay, whatever a killed process left."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orchestrator.training import checkpoint
from orchestrator.training.checkpoint import CheckpointState
from orchestrator.training.saving import BEST, Keeping, _write_kept, leave_only_best
from orchestrator.training.snapshot import Snapshot

SCORES = (0.2, 0.5, 0.5, 0.1)
HISTORY = [{"epoch": n, "val_macro_f1": score} for n, score in enumerate(SCORES, start=1)]


def keeping(folder: Path, keep_best: bool = True) -> Keeping:
    return Keeping(folder, milestones=frozenset(), ends=(), keep_best=keep_best)


def save_best(folder: Path, *epochs: int, lineage: str = "own") -> None:
    snapshot = Snapshot({"weight": torch.zeros(2)}, {}, {})
    for epoch in epochs:
        state = CheckpointState(epoch, lineage, (), {}, {})
        checkpoint.save_weights(folder / BEST, snapshot, state)


def left(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("epoch-")) for path in (folder / BEST).iterdir())


def test_the_first_of_the_best_epochs_stays_and_neither_older_nor_later_ones_do(tmp_path):
    save_best(tmp_path, 1, 2, 5)
    leave_only_best(keeping(tmp_path), "own", HISTORY)
    assert left(tmp_path) == [2]


def test_where_the_best_itself_is_lost_what_is_left_stays(tmp_path):
    save_best(tmp_path, 1, 5)
    leave_only_best(keeping(tmp_path), "own", HISTORY)
    assert left(tmp_path) == [1, 5]


@pytest.mark.parametrize("about", ["damaged", "of another lineage"])
def test_weights_that_are_damaged_or_foreign_push_nothing_out(about, tmp_path):
    save_best(tmp_path, 5)
    save_best(tmp_path, 2, lineage="own" if about == "damaged" else "another")
    if about == "damaged":
        (tmp_path / BEST / "epoch-0002" / checkpoint.MODEL).write_bytes(b"half")
    leave_only_best(keeping(tmp_path), "own", HISTORY)
    assert left(tmp_path) == [2, 5]


def test_nothing_is_removed_where_no_best_is_kept(tmp_path):
    save_best(tmp_path, 2, 5)
    leave_only_best(keeping(tmp_path, keep_best=False), "own", HISTORY)
    assert left(tmp_path) == [2, 5]


@pytest.mark.parametrize(
    ("handed_out", "found", "stays"),
    [(2, "whole", True), (1, "whole", False), (2, "damaged", False), (2, "of another", False)],
)
def test_weights_of_a_recorded_epoch_are_not_replaced_by_those_of_another_try(
    handed_out, found, stays, tmp_path
):
    """Its score is in the ledger, and on a GPU another try need not have the same."""
    keeping = Keeping(tmp_path, frozenset({2}), (), keep_best=False, handed_out=handed_out)
    tries = [Snapshot({"weight": torch.full((2,), float(n))}, {}, {}) for n in (1, 2)]
    state = CheckpointState(2, "own", tuple(HISTORY[:2]), {}, {})
    before = replace(state, lineage="another") if found == "of another" else state
    _write_kept(keeping, tries[0], before, None)
    milestone = tmp_path / "milestones" / "epoch-0002"
    if found == "damaged":
        (milestone / checkpoint.MODEL).write_bytes(b"half")
    _write_kept(keeping, tries[1], state, None)
    kept = checkpoint.read_state(milestone)
    assert kept.lineage == "own"
    weight = load_file(milestone / checkpoint.MODEL)["weight"]
    assert weight.tolist() == ([1.0, 1.0] if stays else [2.0, 2.0])
    assert (tmp_path / "last" / "epoch-0002").is_dir(), "to go on from"


@pytest.mark.parametrize(("handed_out", "is_kept"), [(2, True), (1, False)])
def test_in_a_store_the_marker_says_that_weights_are_there(handed_out, is_kept, tmp_path):
    class Bucket:
        def has(self, name):
            return name == "milestones/epoch-0002/state.json"

    keeping = Keeping(tmp_path, frozenset({2}), (), False, store=Bucket(), handed_out=handed_out)
    assert keeping.is_kept("own", 2) == is_kept
    assert not keeping.is_kept("own", 1)
