import math

import pytest

from orchestrator.config.errors import OrchestratorError
from orchestrator.results.study_fold import StudyFold, epoch_point, fold
from orchestrator.results.study_view import f1_by_class
from tests.unit.fake_study import begin, end, epoch, head, mixed, scored, trial, unbegun


def test_a_ledger_without_records_is_an_empty_study():
    view = fold([])
    assert view.trials == () == view.places
    assert view.winner is None
    assert (view.epochs_trained, view.epochs_planned, view.epochs_left) == (0, 0, 0)


def test_states_follow_from_epochs_and_ends():
    view = fold(mixed())
    assert [row.state for row in view.trials] == ["finished", "running", "failed", "queued"]
    assert [row.epoch for row in view.trials] == [2, 1, 1, 0]
    assert view.trials[2].error.startswith("loss is nan")
    assert view.trials[0].checkpoint == "lineages/0/epoch-0002"
    assert view.trials[3].last is None


def test_a_trial_runs_from_when_a_slot_begins_it_until_another_command_has_slots_of_its_own():
    study = StudyFold()
    for record in (head(), trial(0, "a"), trial(1, "b"), begin("a")):
        study.add(record)
    assert [row.state for row in study.view().trials] == ["running", "queued"]
    study.add(unbegun("a"))
    assert [row.state for row in study.view().trials] == ["queued", "queued"]
    study.add(begin("a"))
    study.add(head())
    assert [row.state for row in study.view().trials] == ["queued", "queued"]
    study.add(begin("b"))
    study.add(epoch("b", 1, 0.1))
    study.add(head())
    assert [row.state for row in study.view().trials] == ["queued", "running"]


def test_trials_of_one_lineage_read_their_figures_at_their_own_last_epoch():
    records = [head(), trial(0, "a", 1), trial(1, "a", 3)]
    records += [epoch("a", k, 0.1 * k) for k in (1, 2, 3)] + [end(0, 1), end(1, 3)]
    view = fold(records)
    assert view.trials[0].val_macro_f1 == pytest.approx(0.1)
    assert view.trials[1].val_macro_f1 == pytest.approx(0.3)
    assert [len(row.curve) for row in view.trials] == [1, 3]
    assert [row.shared for row in view.trials] == [True, False]
    assert [row.seconds for row in view.trials] == [5.5, 16.5]
    assert (view.epochs_trained, view.epochs_planned, view.epochs_needed_unshared) == (3, 3, 4)


def test_epochs_left_counts_a_lineage_once_and_nothing_for_ended_trials():
    records = [head(), trial(0, "a", 2), trial(1, "a", 5), trial(2, "b", 7), epoch("a", 1, 0.2)]
    assert fold(records).epochs_left == 4 + 7
    assert fold([*records, end(2, 0, "failed", "out of memory")]).epochs_left == 4


def test_a_later_record_of_the_same_key_wins():
    records = scored([0.5])
    view = fold([*records, epoch("lineage0", 2, 0.7), end(0, 2, "failed", "later")])
    assert view.epochs_trained == 2
    assert view.trials[0].val_macro_f1 == 0.7
    assert view.trials[0].state == "failed"


def test_a_trial_declared_anew_moves_to_its_new_lineage():
    view = fold([trial(0, "a"), trial(1, "a"), epoch("a", 1, 0.1), trial(0, "b")])
    assert [row.lineage for row in view.trials] == ["b", "a"]
    assert [row.shared for row in view.trials] == [False, False]
    assert [row.epoch for row in view.trials] == [0, 1]


def test_a_failed_trial_that_is_announced_again_is_open_until_it_ends_again():
    failed = {**end(0), "state": "failed", "error": "slot: lost"}
    again = [head(), trial(0, "a"), epoch("a", 1, 0.1), failed, trial(0, "a")]
    assert fold(again).trials[0].state == "running"
    assert fold([*again, epoch("a", 2, 0.4), end(0)]).trials[0].state == "finished"


def test_folding_record_by_record_gives_the_same_as_folding_at_once():
    records = mixed()
    study = StudyFold()
    for k, record in enumerate(records, start=1):
        study.add(record)
        assert study.view() == fold(records[:k])


def test_rows_that_did_not_change_stay_the_same_objects():
    study = StudyFold()
    for record in mixed():
        study.add(record)
    before = study.view().trials
    study.add(epoch("lineage1", 2, 0.95))
    after = study.view().trials
    assert [a is b for a, b in zip(before, after, strict=True)] == [True, False, True, True]


def test_ranking_is_by_score_and_only_of_finished_trials():
    view = fold(mixed())  # the running and the failed trial have the higher scores
    assert [(p.row.trial, p.rank) for p in view.places] == [(0, 1), (1, None), (2, None), (3, None)]
    assert [p.label for p in view.places] == ["1", "-", "-", "-"]


def test_equal_scores_share_a_rank_and_the_next_rank_is_skipped():
    view = fold(scored([0.5, 0.9, 0.9, 0.1]))
    assert [(p.row.trial, p.label) for p in view.places] == [
        (1, "1="),
        (2, "1="),
        (0, "3"),
        (3, "4"),
    ]
    assert view.winner is not None
    assert view.winner.trial == 1


def test_trials_whose_interval_holds_the_winners_score_are_marked():
    view = fold(scored([0.60, 0.585, 0.57]))
    assert [p.label for p in view.places] == ["1", "2~", "3"]


def test_a_trial_without_an_interval_is_never_called_indistinguishable():
    records = scored([0.6, 0.599])
    del records[-2]["metrics"]["val_macro_f1_low"]
    view = fold(records)
    assert view.trials[1].interval is None
    assert [p.close for p in view.places] == [False, False]


@pytest.mark.parametrize("score", [None, math.nan, math.inf, "0.9", True])
def test_a_score_that_is_no_finite_number_is_not_measured_and_not_ranked(score):
    records = scored([0.4, 0.5])
    records[-2]["metrics"]["val_macro_f1"] = score
    view = fold(records)
    assert view.trials[1].val_macro_f1 is None
    assert [(p.row.trial, p.rank) for p in view.places] == [(0, 1), (1, None)]


def test_a_finished_trial_whose_last_epoch_is_lost_is_not_ranked():
    view = fold([head(), trial(0, "a", 3), epoch("a", 1, 0.9), end(0, 3)])
    assert view.trials[0].last is None
    assert view.winner is None


def test_records_of_unknown_kind_are_passed_over():
    assert fold([head(), {"record": "from a later version"}, {}]).name == "quickstart-1a2b3c4d"


def test_another_ledger_version_is_refused():
    with pytest.raises(OrchestratorError, match=r"ledger\.version: .*got 2"):
        fold([{**head(), "version": 2}])


@pytest.mark.parametrize(
    "record",
    [
        {"record": "trial", "trial": 0},
        {"record": "epoch", "lineage": "a", "epoch": "first", "metrics": {}},
        {"record": "end", "trial": 0, "state": "vanished", "epoch": 1},
    ],
)
def test_a_record_that_lacks_what_its_kind_has_is_refused_and_shown(record):
    with pytest.raises(OrchestratorError, match=f"kind '{record['record']}'"):
        fold([record])


def test_f1_by_class_equals_its_definition():
    # class 0: TP 8, FP 2, FN 2; class 2: TP 10, FP 3, FN 0; class 3 does not occur at all
    confusion = ((8, 1, 1, 0), (2, 6, 2, 0), (0, 0, 10, 0), (0, 0, 0, 0))
    f1 = f1_by_class(confusion)
    assert f1[0] == pytest.approx(16 / 20)
    assert f1[1] == pytest.approx(12 / 17)
    assert f1[2] == pytest.approx(20 / 23)
    assert f1[3] is None


@pytest.mark.parametrize("confusion", [None, [[1, 2]], "none"])
def test_what_is_no_square_matrix_is_no_confusion(confusion):
    assert epoch_point(1, {"val_confusion": confusion}).confusion == ()
