"""`ablate`, `train` and `leaderboard` with their folders in an object store; no Ray, nothing trained."""

from contextlib import nullcontext
from types import SimpleNamespace

import fake_study
import pytest
import yaml
from prepared_set import write_set

from orchestrator import ablate, leaderboard, run_folder, study_job, warm_training
from orchestrator.cluster import Cluster
from orchestrator.config.command_line import INTERRUPTED, run
from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import Data, Experiment, Resources
from orchestrator.config.folder import folder
from orchestrator.config.home import Home, held, open_home
from orchestrator.config.object_store import Store
from orchestrator.config.storage import MARKER
from orchestrator.config.validate import validate
from orchestrator.embedded import find_dataset
from orchestrator.results.phase_table import Stopwatch
from orchestrator.tuning.capacity import SlotCapacity, this_machine
from orchestrator.tuning.slot import leg_config

SPACE = {
    "question": "Which rate?",
    "kind": "rows",
    "base": {"model.name": "main", "model.width": 0.125, "batch_size": 8, "epochs": 1},
    "rows": [{"optimizer.lr": lr} for lr in (0.01, 0.02, 0.03)],
}


@pytest.fixture
def runs(faulty_s3, tmp_path) -> Store:
    return Store(folder(f"s3://faulty/{tmp_path.name}/runs"))


@pytest.fixture
def command(runs, tmp_path, monkeypatch):
    """Runs `ablate` with a slot that leaves weights of nothing and stops after so many trials."""
    data = write_set(tmp_path / "data", rows=240, image_px=32)
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    cluster = Cluster(started=True, address="", dashboard_url="", logs="")
    monkeypatch.setattr(ablate, "connect", lambda *_, **__: nullcontext(cluster))
    monkeypatch.setattr(ablate, "serving", lambda *_, **__: nullcontext(ablate.Tab(None)))
    monkeypatch.setattr(ablate, "shown_in_ray", lambda *_: nullcontext())
    monkeypatch.setattr(ablate, "nodes", lambda: [this_machine()])
    monkeypatch.setattr(
        ablate, "write_all", lambda view, place: (place / "leaderboard.txt").touch()
    )

    def run_it(*more: str, stopped_after: int) -> int:
        def trained(job, study, _capacity, _ray_logs) -> Stopwatch:
            for _ in range(stopped_after):
                leg = study.next_leg()
                lineage = Store(folder(leg_config(leg, study.home.kept, 0)["folder"]))
                (lineage / "milestones/epoch-0001").put(MARKER, b"{}")
                (lineage / "last/epoch-0001").put(MARKER, b"{}")
                (lineage / "validation").put("epoch-0001.json", b'{"clusters": 1}')
                score = 0.1 * (
                    1 + len([r for r in study._state.trials if not study._state.is_open(r)])
                )
                metrics = fake_study.epoch(leg.lineage, 1, score)["metrics"]
                study.record_epoch(leg.lineage, {"epoch": 1, **metrics}, "slot")
                study.end_leg(leg.lineage)
            watch = Stopwatch()
            watch.lap("ingest")
            return watch

        monkeypatch.setattr(study_job, "_train", trained)
        places = [f"space={tmp_path / 'space.yaml'}", f"data.path={data}", f"out={runs}"]
        return run(ablate.main, [*places, "study=s", "open_page=false", *more])

    return run_it


def test_a_study_goes_on_from_the_store_and_ends_with_its_results_there(
    command, runs, tmp_path, capsys
):
    assert command(stopped_after=1) == INTERRUPTED
    told = capsys.readouterr().out
    assert f"study       {runs}/s\n" in told
    assert "not complete: 2 of 3 trials are still to be trained" in told
    assert len([name for name in runs.files() if name.startswith("s/ledger/")]) > 3
    assert command("keep=winner", stopped_after=2) == 0
    told = capsys.readouterr().out
    assert "resuming: 1 epochs and 1 of 3 trials are done" in told
    assert f"checkpoint  {runs}/s/lineages/" in told
    assert f"tensorboard --logdir {runs}/s/tensorboard  (pip install tensorboard boto3)" in told
    assert f"optuna-dashboard optuna.journal, a copy of {runs}/s/optuna.journal  (" in told
    names = set(runs.files())
    assert {"s/leaderboard.txt", "s/leaderboard.html", "s/optuna.journal", "s/effects.csv"} <= names
    assert any(name.startswith("s/tensorboard/trial-0000/") for name in names)
    weights = [name for name in names if name.endswith(MARKER)]
    assert len(weights) == 1
    assert "/milestones/" in weights[0]
    assert not [name for name in names if ".drivers" in name]
    assert not list(tmp_path.glob("**/ledger.jsonl"))
    assert run(leaderboard.main, [f"study={runs}/s"]) == 0
    assert "0.300" in capsys.readouterr().out


def test_a_leaderboard_of_no_study_is_refused(runs, capsys):
    assert run(leaderboard.main, [f"study={runs}/none"]) == 2
    assert "study: must be the folder of a study" in capsys.readouterr().err


def test_a_store_that_fails_ends_the_study_with_one_line_and_the_same_command_goes_on(
    command, runs, faulty_s3, impatient, capsys
):
    faulty_s3.fail(
        lambda method, path: method in ("PUT", "POST") and "/s/lineages/" not in path,
        status=503,
        code="SlowDown",
    )
    assert command(stopped_after=3) == 1
    assert capsys.readouterr().err.count("\n") == 1
    faulty_s3.mend()
    assert command(stopped_after=3) == 0


def test_the_drawn_faces_lie_beside_the_runs(runs, faulty_s3):
    assert find_dataset("embedded", str(runs)) is None
    assert ("GET", "/faulty?list-type=2") not in faulty_s3.asked
    assert any("embedded/manifest.json" in path for _, path in faulty_s3.asked)


def test_a_run_keeps_its_facts_and_metrics_and_refuses_another_experiment(runs, tmp_path, capsys):
    def written(home: Home, **values) -> None:
        run_folder.write_facts(home, validate(Experiment, ("a test", values)))

    with open_home(str(runs)) as here, held(here / "run", "name", print) as home:
        written(home, seed=1)
        run_folder.write_metrics(home, [{"epoch": 1, "val_macro_f1": 0.5}])
        (home.local / "learning_curve.png").write_bytes(b"a picture")
        assert run_folder.send_results(home) == ()
    assert set((runs / "run").files()) == {
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "learning_curve.png",
    }
    with open_home(str(runs)) as there, held(there / "run", "name", print) as home:
        written(home, seed=1, epochs=30)
        with pytest.raises(ConfigError, match=rf"holds another|{runs}"):
            written(home, seed=2)
    assert capsys.readouterr().out == ""


def test_a_run_gives_its_workers_its_address(runs, monkeypatch):
    tasks = []

    class Run:
        def __init__(self, *_: object) -> None:
            """Takes anything."""

        def take(self, task, known_epoch) -> None:
            tasks.append(task)
            raise KeyboardInterrupt

        def abandon(self) -> None:
            """There are no workers."""

        stop = abandon

    from orchestrator import slots
    from orchestrator.training import steady_run

    monkeypatch.setattr(warm_training, "_watched", lambda *_: nullcontext())
    monkeypatch.setattr(
        slots, "ready_slots", lambda *about: (SimpleNamespace(storage=about[4].local), {})
    )
    monkeypatch.setattr(steady_run, "SteadyRun", Run)
    with open_home(str(runs)) as here, held(here / "run", "name", print) as home:
        dataset = SimpleNamespace(fingerprint="f")
        with (
            pytest.raises(KeyboardInterrupt),
            warm_training.warm_training(
                dataset, Data(), Resources(), SlotCapacity(1, 1, 1, 0), home
            ) as warm,
        ):
            warm.train(Experiment(), home)
    assert tasks[0].folder == f"{runs}/run/checkpoints"
