"""Clean-up: less on the disk, and never a leaderboard that points at what is gone."""

import itertools
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import fake_study
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_study import Driver, World, space
from test_study import records as ledger_records

from orchestrator.clean_up import clean_up
from orchestrator.config.home import Home
from orchestrator.results.live import closing_lines
from orchestrator.results.study_fold import fold
from orchestrator.training.group_counts import encode
from orchestrator.tuning.ledger import LEDGER, Ledger, read_records

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
                clean_up(fold(records), Home(folder), keep, append)
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
    freed = clean_up(fold(records), Home(tmp_path), keep, records.append)
    assert held(tmp_path, "milestones") == weights
    assert held(tmp_path, "last") == resume_points
    assert freed == 7 * (8 - len(weights) - len(resume_points))
    assert [place.rank for place in fold(records).places] == [1, 2, 3, 4], "results stay"
    assert clean_up(fold(records), Home(tmp_path), keep, records.append) == 0


def held(folder: Path, kind: str) -> set[str]:
    found = folder.glob(f"lineages/*/{kind}/epoch-*")
    return {f"{path.parent.parent.name}/{int(path.name[6:])}" for path in found}


@pytest.mark.parametrize("keep", KEEPS)
def test_nothing_is_removed_from_a_study_that_is_not_complete(keep, tmp_path):
    records = study_of([*FINISHED, ("a", 4, 0.1, "running")], tmp_path)
    assert clean_up(fold(records), Home(tmp_path), keep, records.append) == 0
    assert len(held(tmp_path, "last")) == 4


def test_a_lineage_with_a_failed_trial_keeps_what_it_could_go_on_from(tmp_path):
    records = study_of([*FINISHED, ("b", 3, 0.1, "failed")], tmp_path)
    clean_up(fold(records), Home(tmp_path), "winner", records.append)
    assert held(tmp_path, "last") == {"b/1", "b/2"}


def of_seeds(scores: list[list[float | None]], folder: Path, failed: str = "failed") -> list[dict]:
    """Configuration c with seed s has scores[c][s] and a lineage of its own; None = it failed."""
    records = [fake_study.head()]
    cells = [(c, s, score) for c, seeds in enumerate(scores) for s, score in enumerate(seeds)]
    for number, (configuration, seed, score) in enumerate(cells):
        lineage = f"{configuration}{seed}"
        about = {"configuration": configuration, "seed": seed}
        records += [
            fake_study.trial(number, lineage) | about,
            fake_study.epoch(lineage, 1, 0.1),
            fake_study.epoch(lineage, 2, score),
        ]
        end = fake_study.end(number, 2, failed if score is None else "finished")
        has_weights = score is not None
        end["checkpoint"] = f"lineages/{lineage}/milestones/epoch-0002" if has_weights else ""
        records.append(end)
        for name in (["milestones/epoch-0002"] if has_weights else []) + ["last/epoch-0001"]:
            write(folder / "lineages" / lineage / name)
    return records


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("best", {f"{c}{s}/2" for c in range(3) for s in range(3)}),
        ("winner", {"10/2", "11/2", "12/2"}),
    ],
)
def test_each_seed_keeps_its_weights_and_not_the_median_alone(keep, kept, tmp_path):
    records = of_seeds([[0.1, 0.2, 0.3], [0.6, 0.7, 0.8], [0.4, 0.4, 0.5]], tmp_path)
    clean_up(fold(records), Home(tmp_path), keep, records.append)
    assert held(tmp_path, "milestones") == kept
    assert fold(records).winner.checkpoint == "lineages/11/milestones/epoch-0002"


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_seeds_of_a_configuration_that_may_be_ranked_yet_keep_all(state, tmp_path):
    records = of_seeds([[0.9, None, 0.9], [0.5, 0.5, 0.5], [0.4, 0.4, 0.4]], tmp_path, state)
    clean_up(fold(records), Home(tmp_path), "winner", records.append)
    assert held(tmp_path, "milestones") == {"00/2", "02/2", "10/2", "11/2", "12/2"}
    assert {name[:2] for name in held(tmp_path, "last")} == {"00", "01", "02"}


@pytest.mark.parametrize("keep", KEEPS)
def test_nothing_is_removed_where_nothing_is_ranked(keep, tmp_path):
    records = of_seeds([[0.9, None], [None, 0.5]], tmp_path)
    before = list(records)
    assert clean_up(fold(records), Home(tmp_path), keep, records.append) == 0
    assert records == before
    assert len(held(tmp_path, "last")) == 4
    words = closing_lines(fold(records), tmp_path, "")[0]
    assert "no configuration finished with all of its seeds" in words


def test_ties_and_intervals_are_the_same_without_the_weights(tmp_path):
    records = study_of(FINISHED, tmp_path)
    counts = encode(np.tile(np.eye(3, dtype=int)[None] * 5 + 1, (6, 1, 1)))
    for record in records:
        if record["record"] == "end":
            record["val_groups"] = counts
    before = fold(records)
    clean_up(before, Home(tmp_path), "winner", records.append)
    after = fold(records)
    assert [row.checkpoint != "" for row in after.trials] == [False, True, False, False]
    assert [replace(row, checkpoint="") for row in after.trials] == [
        replace(row, checkpoint="") for row in before.trials
    ]
    assert [place.behind for place in after.places] == [place.behind for place in before.places]
    assert after.places[1].behind is not None


def test_a_removal_of_what_never_ended_says_nothing():
    records = [fake_study.head(), fake_study.trial(0, "a")]
    before = fold(records)
    removals = [{"record": "weights_removed", "trial": number} for number in (0, 7)]
    assert fold([*records, *removals]) == before


@pytest.mark.parametrize("kind", ["nsga2", "cmaes", "tpe"])
def test_a_study_that_was_cleaned_up_goes_on_with_the_trials_that_it_would_have_had(
    kind, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    axes = {name: {"low": 0.01, "high": 0.9} for name in ("optimizer.lr", "model.dropout")}
    content = {"kind": kind, "axes": axes}
    for name in ("calm", "cleaned"):
        world = World()
        Driver(space({**content, "trials": 12}), tmp_path / name, world, num_slots=1).run()
        if name == "cleaned":
            remove_weights(tmp_path / name)
        Driver(space({**content, "trials": 20}), tmp_path / name, world, num_slots=1).run()
    proposed = {
        name: [record["values"] for record in ledger_records(tmp_path / name, "trial")]
        for name in ("calm", "cleaned")
    }
    assert len(ledger_records(tmp_path / "cleaned", "weights_removed")) == 11
    assert proposed["cleaned"] == proposed["calm"]
    assert len(proposed["calm"]) == 20


def remove_weights(study: Path) -> None:
    """As `clean_up` tells the ledger; the fake slots write no weights."""
    view = fold(read_records(study / LEDGER))
    pointing = replace(
        view, trials=tuple(replace(r, checkpoint=f"w{r.trial}") for r in view.trials)
    )
    with Ledger(study) as ledger:
        clean_up(pointing, Home(study), "winner", ledger.append)
