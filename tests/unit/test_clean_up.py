"""Clean-up: less on the disk, and never a leaderboard that points at what is gone."""

import itertools
import tempfile
from contextlib import suppress
from pathlib import Path

import fake_study
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.clean_up import clean_up
from orchestrator.results.study_fold import fold

KEEPS = ("all", "best", "winner")
TRIALS = st.lists(
    st.tuples(
        st.sampled_from("abc"),  # lineage
        st.integers(1, 4),  # epochs
        st.sampled_from([None, 0.1, 0.5, 0.5, 0.9]),  # score
        st.sampled_from(["finished", "finished", "finished", "failed", "running"]),
    ),
    min_size=1,
    max_size=8,
)


def study_of(trials, folder: Path) -> list[dict]:
    """The records of a study and its files."""
    records = [fake_study.head()]
    for number, (lineage, epochs, score, state) in enumerate(trials):
        records.append(fake_study.trial(number, lineage, epochs))
        records.append(fake_study.epoch(lineage, epochs, score))
        for name in (f"milestones/epoch-{epochs:04d}", "last/epoch-0001", "last/epoch-0002"):
            write(folder / "lineages" / lineage / name)
        if state != "running":
            end = fake_study.end(number, epochs, state)
            if state == "finished":
                end["checkpoint"] = f"lineages/{lineage}/milestones/epoch-{epochs:04d}"
            records.append(end)
    write(folder / "leaderboard")
    return records


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"weights")


def pointed_at(records) -> set[str]:
    return {row.checkpoint for row in fold(records).trials if row.checkpoint}


@settings(max_examples=60, deadline=None)
@given(TRIALS, st.lists(st.sampled_from(KEEPS), min_size=1, max_size=3), st.integers(0, 40))
def test_whatever_the_leaderboard_points_at_is_there(trials, keeps, killed_after):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = study_of(trials, folder)
        steps = itertools.count()

        def append(record) -> None:
            records.append(record)
            if next(steps) == killed_after:
                raise KeyboardInterrupt

        for keep in keeps:  # also again, and after a kill
            with suppress(KeyboardInterrupt):
                clean_up(fold(records), folder, keep, append)
            for checkpoint in pointed_at(records):
                assert (folder / checkpoint / "model.safetensors").is_file()
            assert (folder / "leaderboard" / "model.safetensors").is_file()


FINISHED = [
    ("a", 1, 0.5, "finished"),
    ("a", 3, 0.9, "finished"),
    ("b", 2, 0.6, "finished"),
    ("b", 4, 0.2, "finished"),
]


@pytest.mark.parametrize(
    ("keep", "weights", "resume_points"),
    [
        ("all", {"a/1", "a/3", "b/2", "b/4"}, {"a/1", "a/2", "b/1", "b/2"}),
        ("best", {"a/3", "b/2"}, {"a/2", "b/2"}),
        ("winner", {"a/3"}, set()),
    ],
)
def test_what_each_policy_keeps(keep, weights, resume_points, tmp_path):
    records = study_of(FINISHED, tmp_path)
    freed = clean_up(fold(records), tmp_path, keep, records.append)
    assert held(tmp_path, "milestones") == weights
    assert held(tmp_path, "last") == resume_points
    assert freed == 7 * (8 - len(weights) - len(resume_points))
    assert [place.rank for place in fold(records).places] == [1, 2, 3, 4], "results stay"
    assert clean_up(fold(records), tmp_path, keep, records.append) == 0


def held(folder: Path, kind: str) -> set[str]:
    found = folder.glob(f"lineages/*/{kind}/epoch-*")
    return {f"{path.parent.parent.name}/{int(path.name[6:])}" for path in found}


@pytest.mark.parametrize("keep", KEEPS)
def test_nothing_is_removed_from_a_study_that_is_not_complete(keep, tmp_path):
    records = study_of([*FINISHED, ("a", 4, 0.1, "running")], tmp_path)
    assert clean_up(fold(records), tmp_path, keep, records.append) == 0
    assert len(held(tmp_path, "last")) == 4


def test_a_lineage_with_a_failed_trial_keeps_what_it_could_go_on_from(tmp_path):
    records = study_of([*FINISHED, ("b", 3, 0.1, "failed")], tmp_path)
    clean_up(fold(records), tmp_path, "winner", records.append)
    assert held(tmp_path, "last") == {"b/1", "b/2"}
