"""Optuna's storage of a study: what the ledger says, as it grows, and anew where it is behind."""

import optuna
import pytest
from fake_study import end, epoch, fold, head, mixed, trial
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from orchestrator.config.home import Home
from orchestrator.results.journal_file import LOCK, JournalFile, covering
from orchestrator.results.optuna_journal import JOURNAL, OptunaJournal

NAME = "quickstart-1a2b3c4d"
AXES = {
    "optimizer.lr": FloatDistribution(0.05, 1.0),
    "epochs": IntDistribution(1, 9),
}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def load(path) -> optuna.Study:
    """As a user would, from another process."""
    backend = JournalFileBackend(str(path))
    return optuna.load_study(study_name=NAME, storage=optuna.storages.JournalStorage(backend))


def journal(path, directions=("maximize",), axes=AXES) -> JournalFile:
    return JournalFile(path, axes, directions)


def facts(path) -> list:
    return [
        (trial.state, trial.params, trial.intermediate_values, trial.values, trial.user_attrs)
        for trial in load(path).get_trials(deepcopy=False)
    ]


STOPPED = [*mixed(), trial(4, "lineage4"), epoch("lineage4", 1, 0.2), end(4, 1, "stopped")]


def test_each_trial_has_its_values_its_curve_and_its_real_state(tmp_path):
    journal(tmp_path / JOURNAL).update(fold(STOPPED))
    study = load(tmp_path / JOURNAL)
    assert [trial.state.name for trial in study.trials] == [
        "COMPLETE",
        "RUNNING",
        "FAIL",
        "WAITING",
        "PRUNED",
    ]
    done, _, failed, _, pruned = study.trials
    assert done.params == {"optimizer.lr": 0.1, "epochs": 2}
    assert (done.value, done.intermediate_values) == (0.6, {1: 0.3, 2: 0.6})
    assert done.user_attrs["interval"] == pytest.approx([0.58, 0.62])
    assert (done.user_attrs["lineage"], done.user_attrs["epochs"]) == ("lineage0", 2)
    assert failed.user_attrs["error"].startswith("loss is nan")
    assert (pruned.value, pruned.last_step) == (0.2, 1)
    assert study.best_trial.number == 0


@pytest.mark.parametrize("known", range(1, len(STOPPED)))
def test_written_record_by_record_or_taken_up_later_it_says_the_same(known, tmp_path):
    whole, live, later = (tmp_path / name for name in ("whole", "live", "later"))
    journal(whole).update(fold(STOPPED))
    journal(later).update(fold(STOPPED[:known]))
    journal(later).update(fold(STOPPED))
    growing = journal(live)
    for number in range(known, len(STOPPED) + 1):
        growing.update(fold(STOPPED[:number]))
    assert facts(live) == facts(later) == facts(whole)


def test_a_file_that_goes_with_the_study_is_added_to_and_not_written_anew(tmp_path):
    path = tmp_path / JOURNAL
    journal(path).update(fold(STOPPED[:8]))
    before = path.read_bytes()
    journal(path).update(fold(STOPPED))
    assert path.read_bytes().startswith(before)


@pytest.mark.parametrize(
    "content", [b"", b"no journal\n", b'{"op_code":0', b'{"op_code":99,"worker_id":"x"}\n']
)
def test_a_file_that_is_damaged_or_cut_short_is_written_anew(content, tmp_path):
    path = tmp_path / JOURNAL
    path.write_bytes(content)
    (tmp_path / (JOURNAL + LOCK)).symlink_to(path)  # left by a driver that was killed
    journal(path).update(fold(STOPPED))
    assert len(facts(path)) == 5
    assert [file.name for file in tmp_path.iterdir()] == [JOURNAL]


def test_a_trial_that_is_open_again_after_it_had_failed_is_so_in_the_file_too(tmp_path):
    path, growing = tmp_path / JOURNAL, journal(tmp_path / JOURNAL)
    growing.update(fold(STOPPED))
    growing.update(fold([*STOPPED, trial(2, "lineage2")]))
    assert load(path).trials[2].state == TrialState.RUNNING
    growing.update(fold([*STOPPED, trial(2, "lineage2"), epoch("lineage2", 2, 0.7), end(2)]))
    assert load(path).trials[2].state == TrialState.COMPLETE
    assert load(path).best_trial.number == 2


def test_two_objectives_are_macro_f1_and_seconds(tmp_path):
    journal(tmp_path / JOURNAL, ["maximize", "minimize"]).update(fold(STOPPED))
    study = load(tmp_path / JOURNAL)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.trials[0].values == [0.6, 11.0]
    assert [trial.number for trial in study.best_trials] == [0]


def test_optunas_own_analyses_and_pictures_open_it(tmp_path):
    records = [head()]
    for k in range(10):
        name = ["adam", "sgd"][k % 2]
        records.append(trial(k, f"l{k}", 1, {"optimizer.lr": k / 10 + 0.1, "optimizer.name": name}))
        records += [epoch(f"l{k}", 1, k / 20), end(k, 1)]
    names = {"optimizer.name": CategoricalDistribution(["adam", "sgd"])}
    journal(tmp_path / JOURNAL, axes=AXES | names).update(fold(records))
    study = load(tmp_path / JOURNAL)
    shares = optuna.importance.get_param_importances(study)
    assert {"optimizer.lr", "optimizer.name"} <= set(shares)
    for draw in ("plot_optimization_history", "plot_slice", "plot_intermediate_values"):
        assert getattr(optuna.visualization, draw)(study).data


def test_ranges_are_widened_for_old_trials_that_lie_outside():
    old = [{"optimizer.lr": 0.01, "epochs": 12}, {"optimizer.lr": 0.5}]
    assert covering(AXES, old) == {
        "optimizer.lr": FloatDistribution(0.01, 1.0),
        "epochs": IntDistribution(1, 12),
    }
    assert covering(AXES, [{"epochs": 3}]) == AXES


def test_the_thread_writes_the_newest_state_and_says_how_to_look_at_it(tmp_path):
    said = []
    with OptunaJournal(tmp_path, said.append) as shown:
        shown.begin(AXES, ["maximize"], [])
        for number in range(1, len(STOPPED) + 1):
            shown.show(fold(STOPPED[:number]))
    journal(tmp_path / "whole").update(fold(STOPPED))
    assert facts(tmp_path / JOURNAL) == facts(tmp_path / "whole")
    assert said == []
    assert "optuna-dashboard" in shown.closing_lines(Home(shown.path.parent))[0]


def test_a_file_that_cannot_be_written_is_said_once_and_ends_nothing(tmp_path):
    said = []
    (tmp_path / JOURNAL).mkdir()
    with OptunaJournal(tmp_path, said.append) as shown:
        shown.begin(AXES, ["maximize"], [])
        for number in range(1, len(STOPPED) + 1):
            shown.show(fold(STOPPED[:number]))
    assert len(said) == 1
    assert said[0].startswith("optuna: must be able to write")
    assert shown.closing_lines(Home(shown.path.parent)) == ()
