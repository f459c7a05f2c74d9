"""`report`: each figure is of the weights, the split and the trainings that it stands beside."""

import json
from collections import Counter

import pytest

from orchestrator.adapt import IDENTITY
from orchestrator.config.reproduction import ReproduceConfig
from orchestrator.reproduction_steps import steps
from orchestrator.results.html_page import Cell
from orchestrator.results.report_cells import Linker
from orchestrator.results.report_figures import MAX_OF_A_KIND, figure_sections
from orchestrator.results.report_protocols import find_gaps
from orchestrator.results.report_sources import find_sources
from orchestrator.results.report_tables import ablation_section, own_evaluation
from tests.unit import fake_study
from tests.unit.prepared_set import CLASSES
from tests.unit.test_report import evaluation, ledger, run


def study(root, name, protocol, ends, *, experiment=None):
    """A study of one configuration: for each seed of `ends` its state, last epoch and score."""
    folder = root / name
    folder.mkdir(parents=True)
    head = fake_study.head(name, CLASSES)
    head["dataset"].update(protocol=protocol, fingerprint="f" * 64)
    records = [head if experiment is None else {**head, "experiment": experiment}]
    values = {"optimizer.name": "adam", "optimizer.lr": 0.001}
    for k, (seed, (state, at, score)) in enumerate(ends.items()):
        trial = fake_study.trial(k, f"lineage{k}", 20, values)
        records.append({**trial, "seed": seed, "configuration": 0})
        records += [fake_study.epoch(f"lineage{k}", at, score), fake_study.end(k, at, state)]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return folder


def shown_on_test(source, root):
    """The macro-F1 that stands in the column of the test split; None where none does."""
    sources = find_sources([root])
    found = own_evaluation(getattr(sources, source)[0], sources)
    return found and found.content["macro_f1"]


def gaps(root):
    return [(round(gap.value, 3), gap.words) for gap in find_gaps(find_sources([root]))]


def test_the_test_figure_of_a_run_is_of_its_own_split_protocol(tmp_path):
    home = run(tmp_path, "main-group", 0.6)
    evaluation(home, "faces-random-test", 0.93, data={"protocol": "random"})
    assert shown_on_test("runs", tmp_path) is None
    evaluation(home, "faces-group-test", 0.59)
    assert shown_on_test("runs", tmp_path) == 0.59


def test_the_test_figure_of_a_run_is_of_its_best_epoch(tmp_path):
    home = run(tmp_path, "main-group", 0.6)
    evaluation(home, "last-epoch-0002-faces-group-test", 0.11, checkpoint={"epoch": 2})
    assert shown_on_test("runs", tmp_path) is None
    evaluation(home, "faces-group-test", 0.59)
    assert shown_on_test("runs", tmp_path) == 0.59


def test_of_several_test_figures_the_newest_stands(tmp_path):
    home = run(tmp_path, "main-group", 0.6)
    evaluation(home, "a", 0.58, time="2026-01-02T00:00:00+00:00")
    evaluation(home, "b", 0.57, time="2026-01-01T00:00:00+00:00")
    assert shown_on_test("runs", tmp_path) == 0.58


def test_the_test_figure_of_a_study_is_of_its_winner_wherever_the_study_lies(tmp_path):
    home = ledger(tmp_path, "paper-group", (0.3, 0.5, 0.6))
    other = {"folder": "/elsewhere/paper-group/lineages/1/epoch-0015", "epoch": 15}
    evaluation(home, "lineages-1-epoch-0015-faces-group-test", 0.12, checkpoint=other)
    assert shown_on_test("studies", tmp_path) is None
    winner = {"folder": "/elsewhere/paper-group/lineages/2/epoch-0020", "epoch": 20}
    evaluation(home, "faces-group-test", 0.58, checkpoint=winner)
    assert shown_on_test("studies", tmp_path) == 0.58


def test_a_stopped_trial_has_no_gap_to_a_finished_one(tmp_path):
    study(tmp_path, "a", "group", {0: ("stopped", 3, 0.2)})
    study(tmp_path, "b", "random", {0: ("finished", 20, 0.9)})
    assert gaps(tmp_path) == []


def test_trials_that_finished_at_different_epochs_have_no_gap(tmp_path):
    study(tmp_path, "a", "group", {0: ("finished", 12, 0.4), 1: ("finished", 20, 0.5)})
    study(tmp_path, "b", "random", {0: ("finished", 20, 0.9), 1: ("finished", 20, 0.7)})
    (found,) = gaps(tmp_path)
    assert found[0] == 0.2


def test_a_gap_is_between_trials_of_one_seed_and_names_it(tmp_path):
    study(tmp_path, "a", "group", {0: ("finished", 20, 0.5), 1: ("finished", 20, 0.4)})
    study(tmp_path, "b", "random", {1: ("finished", 20, 0.7), 0: ("finished", 20, 0.6)})
    found = gaps(tmp_path)
    assert [value for value, _ in found] == [0.1, 0.3]
    assert ["seed 0" in found[0][1], "seed 1" in found[1][1]] == [True, True]


def test_a_run_that_trained_fewer_epochs_has_no_gap_to_one_that_is_done(tmp_path):
    run(tmp_path, "main-group", 0.6)
    flattered = run(tmp_path, "main-random", 0.8, "random")
    assert gaps(tmp_path) == [(0.2, "main, 2 epochs")]
    metrics = flattered / "metrics.jsonl"
    metrics.write_text(metrics.read_text().splitlines()[0] + "\n")
    assert gaps(tmp_path) == []


def test_no_figure_of_the_full_study_is_left_out():
    listed = steps(ReproduceConfig(preset="full", source="x", production="y"))
    count = Counter(step.command for step in listed)
    assert count["train"] + count["ablate"] <= MAX_OF_A_KIND
    assert count["evaluate"] <= MAX_OF_A_KIND


@pytest.mark.parametrize(
    ("difference", "num_gaps"),
    [
        ({"data": {"protocol": "random", "path": "moved"}}, 1),
        ({"data": {"protocol": "random"}, "gradient_clip": 0.0}, 1),  # its default
        ({"data": {"protocol": "random"}, "gradient_clip": 1.0}, 0),
        ({"data": {"protocol": "random"}, "model": {"name": "baseline"}}, 0),
        ({"data": {"protocol": "random", "train_per_class": 9}}, 0),
        ({"data": "of another version"}, 0),
    ],
)
def test_studies_are_compared_that_differ_in_the_protocol_alone(tmp_path, difference, num_gaps):
    ends = {0: ("finished", 20, 0.5)}
    alike = {"model": {"name": "main"}}
    study(tmp_path, "a", "group", ends, experiment={**alike, "data": {"protocol": "group"}})
    study(tmp_path, "b", "random", ends, experiment={**alike, **difference})
    assert len(gaps(tmp_path)) == num_gaps


def test_table_4_shows_the_means_over_the_seeds_of_a_configuration(tmp_path):
    ends = {seed: ("finished", 20, score) for seed, score in enumerate((0.9, 0.5, 0.4))}
    study(tmp_path, "a", "group", ends)
    table = ablation_section(find_sources([tmp_path]), Linker(tmp_path)).blocks[1]
    (row,) = table.rows
    texts = [cell.text if isinstance(cell, Cell) else cell for cell in row]
    assert texts[0].endswith("3 seeds")
    assert texts[3].startswith("0.600")
    assert "means over seeds" in table.caption


def test_the_trainings_of_an_unfinished_adaptation_are_not_runs_of_the_study(tmp_path):
    home = run(tmp_path, "main-group", 0.6)
    adaptation = home / "adaptations" / "production"
    run(adaptation / "runs", "more_data", 0.9)
    (adaptation / IDENTITY).write_text("{}")
    assert [one.folder.name for one in find_sources([tmp_path]).runs] == ["main-group"]


def test_runs_of_one_name_in_two_places_have_a_picture_each(tmp_path):
    for place, score in (("a", 0.6), ("b", 0.4)):
        run(tmp_path / place, "main", score)
    out = tmp_path / "report"
    out.mkdir()
    figures = figure_sections(find_sources([tmp_path]), Linker(out))[0].blocks
    assert [figure.name for figure in figures] == ["figure-1-main.png", "figure-1-main-2.png"]
    assert figures[0].png == (out / "figure-1-main.png").read_bytes() != figures[1].png
