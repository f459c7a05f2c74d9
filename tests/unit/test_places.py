"""Configurations with several seeds: the mean ranks, the median stands for all, nothing is hidden."""

import csv
import io
import json
from pathlib import Path

import pytest

from orchestrator.checkpoint_choice import choose
from orchestrator.dashboard.slot_activity import SlotActivity
from orchestrator.dashboard.snapshot import head_document
from orchestrator.results.leaderboard_tables import csv_table, json_document, text_table
from orchestrator.results.live import closing_lines
from orchestrator.results.study_fold import fold
from orchestrator.tuning.ledger import Ledger
from tests.unit import fake_study
from tests.unit.made_up_counts import study


def seeded(scores: list[list[float | None]], *, ended: bool = True) -> list[dict]:
    """Configuration c with seed s scores[c][s]; None = that trial has failed."""
    records, number = [fake_study.head()], 0
    for configuration, of_seeds in enumerate(scores):
        for seed, score in enumerate(of_seeds):
            lineage = f"c{configuration}s{seed}"
            values = {"optimizer.lr": 0.1 * (configuration + 1)}
            about = {"configuration": configuration, "seed": seed}
            records.append(fake_study.trial(number, lineage, values=values) | about)
            if score is None:
                records.append(fake_study.end(number, 0, "failed", "loss: must be finite"))
            else:
                records += [fake_study.epoch(lineage, 2, score), fake_study.end(number)]
            number += 1
    return records


def test_configurations_are_ranked_by_their_mean_and_not_by_their_best_seed():
    view = fold(seeded([[0.9, 0.1, 0.2], [0.5, 0.5, 0.6]]))
    assert [place.row.configuration for place in view.places] == [1, 0]
    assert view.places[0].score == pytest.approx(1.6 / 3)
    assert view.places[1].spread == pytest.approx(0.4359, abs=1e-4)


@pytest.mark.parametrize(
    ("scores", "represents"), [([0.9, 0.1, 0.2], 2), ([0.9, 0.1, 0.2, 0.3], 2), ([0.4, 0.3], 1)]
)
def test_the_seed_with_the_median_score_stands_for_its_configuration_never_the_best(
    scores, represents
):
    view = fold(seeded([scores]))
    assert view.winner.seed == represents
    words = "\n".join(closing_lines(view, Path("s"), ""))
    assert f"weights are those of seed {represents}, the median of them" in words
    assert f"lineages/{represents}/epoch-0002" in words


def test_a_configuration_is_not_ranked_while_a_seed_is_missing_or_has_failed():
    records = seeded([[0.5, 0.4], [0.9, None], [0.8]])
    records.append(fake_study.trial(9, "late") | {"configuration": 2, "seed": 1})
    view = fold(records)
    assert [(p.row.configuration, p.label, p.state) for p in view.places] == [
        (0, "1", "finished"),
        (2, "-", "running"),
        (1, "-", "failed"),
    ]
    text = text_table(view, per_class=True)
    assert "1/2, 1 failed" in text
    assert "1/2" in text
    assert "seed 0 0.900 (2), seed 1 failed (3)" in text
    assert "seed 1 queued (9)" in text


def test_every_seed_has_its_row_in_csv_and_json():
    view = fold(seeded([[0.5, 0.4], [0.9, None]]))
    rows = list(csv.DictReader(io.StringIO(csv_table(view))))
    assert [(row["configuration"], row["seed"], row["state"]) for row in rows] == [
        ("0", "0", "finished"),
        ("0", "1", "finished"),
        ("1", "0", "finished"),
        ("1", "1", "failed"),
    ]
    assert [row["represents"] for row in rows] == ["False", "True", "False", "True"]
    assert {float(row["mean_macro_f1"]) for row in rows[:2]} == {0.45}
    document = json.loads(json_document(view))
    assert len(document["trials"]) == 4
    first = document["configurations"][0]
    assert (first["rank"], first["seeds"], first["trials"]) == (1, [0, 1], [0, 1])
    assert first["represented_by"] == document["winner"] == 1


def test_a_study_of_one_seed_says_nothing_of_seeds():
    text = text_table(fold(fake_study.scored([0.5, 0.4])), per_class=True)
    assert "seed" not in text


def test_counts_of_the_same_videos_decide_what_is_a_tie_and_the_text_says_how():
    configurations = study([1.0, 0.95, -1.0])
    records = seeded([[score for score, _ in of.values()] for of in configurations])
    ends = iter([record for record in records if record["record"] == "end"])
    for of_seeds in configurations:
        for _, groups in of_seeds.values():
            next(ends)["val_groups"] = groups
    view = fold(records)
    assert [place.label for place in view.places] == ["1", "2~", "3"]
    text = text_table(view)
    assert "~ not distinguishable from the winner: the interval of its difference" in text
    assert "all pairs hold at once in 95 % of studies" in text
    low, high = view.places[0].interval
    assert low < view.places[0].score < high
    behind = json.loads(json_document(view))["configurations"][2]
    assert behind["behind_low"] > 0


def test_counts_that_cannot_be_read_are_as_good_as_none():
    records = seeded([[0.5], [0.49]])
    records[-1]["val_groups"] = {"clusters": 10**9, "classes": 3, "counts": "x"}
    assert fold(records).trials[1].groups is None


def test_evaluate_says_that_the_winners_weights_are_the_medians(tmp_path):
    with Ledger(tmp_path) as ledger:
        for record in seeded([[0.9, 0.1, 0.2]]):
            ledger.append(record)
    weights = tmp_path / "lineages/2/epoch-0002"
    weights.mkdir(parents=True)
    (weights / "state.json").touch()
    choice = choose(str(tmp_path))
    assert choice.folder == weights
    assert "trial 2, seed 2, the median of its 3 seeds" in choice.words


def test_the_page_shows_each_seed_beside_the_mean_of_its_configuration():
    head = head_document(fold(seeded([[0.9, 0.1, 0.2]])), SlotActivity())
    assert head["seeds"]
    assert [entry[:2] for entry in head["order"]] == [[2, "1"], [0, "1"], [1, "1"]]
    assert {entry[2] for entry in head["order"]} == {"0.400"}
