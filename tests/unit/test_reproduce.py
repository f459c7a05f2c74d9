"""`reproduce`: steps that any user could type, run once, in order, and never called done when not."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file

from models import build
from orchestrator import reproduce
from orchestrator.config.command_line import parse
from orchestrator.config.command_line import run as command
from orchestrator.config.commands import PrepareConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.reproduction import ReproduceConfig
from orchestrator.config.storage import MARKER
from orchestrator.reproduction_steps import OTHERS, Step, steps
from orchestrator.training.checkpoint import MODEL, epoch_folder
from orchestrator.training.saving import LAST
from orchestrator.tuning.ledger import LEDGER
from tests.unit.fake_study import end, epoch, head, trial

FULL = {"preset": "full", "source": "raw", "production": "faces"}
ELSEWHERE = {"address": "10.0.0.1:6379", "workers": 4}


@pytest.mark.parametrize("given", [{}, FULL, {**FULL, **ELSEWHERE}], ids=["quick", "full", "far"])
def test_every_step_is_a_command_that_takes_its_words(given, monkeypatch):
    """Each `main` is run up to where its words have been judged."""

    class Judged(Exception):
        pass

    for step in steps(ReproduceConfig(**given)):
        module = importlib.import_module(f"orchestrator.{step.command}")
        parse = module.parse

        def judge(*words, parse=parse, **more):
            parse(*words, **more)
            raise Judged

        monkeypatch.setattr(module, "parse", judge)
        with pytest.raises(Judged):
            module.main(step.words)
        monkeypatch.setattr(module, "parse", parse)


@pytest.mark.parametrize("given", [{}, FULL])
def test_what_a_step_needs_comes_before_it(given):
    seen = set()
    for step in steps(ReproduceConfig(**given)):
        assert seen.issuperset(step.needs), step.name
        assert step.name not in seen
        seen.add(step.name)
    wanted = {"train-main-group", "train-baseline-group", "ablate-paper-group", "diagnose", "adapt"}
    assert seen > wanted | {"ablate-factorial-group", "evaluate-production", "report"}


def test_the_full_study_has_both_protocols_and_the_weights_that_were_given():
    config = ReproduceConfig(**FULL, weights="vgg_face.pth")
    by_name = {step.name: step for step in steps(config)}
    for model, protocol in (("main", "random"), ("baseline", "random"), ("main", "group")):
        words = by_name[f"train-{model}-{protocol}"].words
        assert f"data.protocol={protocol}" in words
        weights = "vgg_face.pth" if model == "main" else "imagenet"
        assert f"model.weights={weights}" in words
    assert "data.protocol=random" in by_name["ablate-paper-random"].words


def test_the_small_trainings_begin_with_weights_that_were_trained_on_other_people(tmp_path):
    """From random ones the plateau decides which split looks better: see benchmarks/LOG.md."""
    listed = steps(ReproduceConfig(out=str(tmp_path)))
    by_name = {step.name: step for step in listed}
    weights = by_name["train-weights"]
    (epochs,) = [int(w.partition("=")[2]) for w in weights.words if w.startswith("epochs=")]
    last = epoch_folder(tmp_path / OTHERS / "main" / "checkpoints" / LAST, epochs)
    wanted = f"model.weights={last / MODEL}"
    begun = [s for s in listed if s.command in ("train", "ablate") and s is not weights]
    assert len(begun) == 5
    assert all(wanted in step.words and weights.name in step.needs for step in begun)
    assert f"out={tmp_path / OTHERS / 'faces'}" in by_name["prepare-others"].words
    last.mkdir(parents=True)
    small = {"image_size": 48, "num_classes": 6, "width": 0.125}
    trained, _ = build("main", **small)
    save_file(trained.state_dict(), last / MODEL)
    for name, loaded in (("main", 16), ("baseline", 13)):
        _, report = build(name, **small, weights=str(last / MODEL))
        assert sum(row.action == "loaded" for row in report.rows) == loaded


def test_the_small_study_diagnoses_each_kind_of_shift_by_itself_and_both():
    diagnosed, drawn = [], []
    for step in steps(ReproduceConfig()):
        words = dict(word.split("=") for word in step.words if word.count("=") == 1)
        if step.command == "diagnose":
            diagnosed.append(words["production"])
        if step.command == "prepare" and "options.domain" in words:
            drawn.append((words["out"], words["options.domain"]))
    assert {domain for _, domain in drawn} == {"production", "label_shift", "covariate_shift"}
    assert diagnosed == [place for place, _ in drawn]
    full = [s.name for s in steps(ReproduceConfig(**FULL)) if s.command == "diagnose"]
    assert full == ["diagnose"]


def test_the_full_study_without_its_paths_is_refused():
    with pytest.raises(ConfigError, match="production: must be given with preset=full"):
        reproduce.main(["preset=full", "source=x"])


def test_options_of_the_productions_adapter_reach_it_as_they_were_given():
    pattern = r"[^/]+/(s\d+)_"
    given = {"group_pattern": pattern, "number": 3, "flag": True, "text": "10"}
    config = ReproduceConfig(**FULL, production_options=given)
    by_name = {step.name: step for step in steps(config)}
    words = by_name["prepare-production"].words
    prepared = parse(PrepareConfig, words, command="", description="", examples=())
    assert prepared.options == given
    assert prepared.drop == ("neutral", "other")
    typed = f'production_options.group_pattern="{pattern}"'.replace("\\", "\\\\")
    assert parse(
        ReproduceConfig, [typed], command="", description="", examples=()
    ).production_options == {"group_pattern": pattern}


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_first_weights_that_are_not_there_are_refused_before_the_first_step(
    tmp_path, monkeypatch, more
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(reproduce, "_reproduce", lambda *_: pytest.fail("a step would be run"))
    given = ["preset=full", "source=x", "production=y", f"out={tmp_path / 'out'}", *more]
    with pytest.raises(ConfigError) as refused:
        reproduce.main([*given, "baseline_weights=gone.pth"])
    vggface, gone = refused.value.problems
    assert vggface.startswith("weights: no library ships VGGFace; got vggface without its file.")
    assert vggface.endswith("or URL as weights")
    assert gone.startswith("baseline_weights: no such file; got gone.pth")
    assert not (tmp_path / "out").exists()


def test_a_plan_needs_no_torch():
    code = (
        "import sys; from orchestrator.reproduce import main\n"
        "given = ['preset=full', 'source=x', 'production=y', 'weights=random', '--dry-run']\n"
        "assert main(given) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "prepare-production" in done.stdout


closed: list[int] = []
"""How many steps had been run when a process was closed."""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Four steps that note their name in `ran` and end as `ends` says."""
    ends: dict[str, int] = {}
    ran: list[str] = []
    closed.clear()

    class Process:
        interrupted = False

        def __init__(self, *_):
            pass

        def run(self, module, words, *, with_ray):
            assert (module, with_ray) == ("orchestrator.x", False)
            ran.append(words[-1])
            Process.interrupted = words[-1] == ends.get("interrupted in")
            return ends.get(words[-1], 0)

        def close(self):
            closed.append(len(ran))

    listed = (
        Step("a", "x", ("a",)),
        Step("b", "x", ("b",), ("a",)),
        Step("c", "x", ("c",)),
        Step("report", "x", ("report",)),
    )
    monkeypatch.setattr(reproduce, "steps", lambda _: listed)
    monkeypatch.setattr(reproduce, "StepProcess", Process)
    given = [f"out={tmp_path}"]
    return given, ends, ran


def recorded(given):
    folder = Path(given[0].partition("=")[2]) / "steps"
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


def test_all_is_run_once_and_the_record_says_how_it_ended(study, capsys):
    given, _, ran = study
    assert reproduce.main(given) == 0
    assert ran == ["a", "b", "c", "report"]
    record = recorded(given)["b"]
    assert record["done"] is True
    assert record["exit_status"] == 0
    assert record["command"] == "python -m orchestrator.x b"
    assert "all 4 steps are done" in capsys.readouterr().out
    ran.clear()
    assert reproduce.main(given) == 0
    assert ran == []
    assert capsys.readouterr().out.count("done before") == 4


def test_small_steps_share_a_process_and_others_have_their_own(study):
    given, _, _ = study
    assert reproduce.main(given) == 0
    assert closed == [4]
    closed.clear()
    full = ["preset=full", "source=a", "production=b"]
    assert reproduce.main([f"{given[0]}/full", *full]) == 0
    assert closed == [5, 6, 7, 8, 8]


def test_a_failed_step_stops_only_what_needs_it(study, capsys):
    given, ends, ran = study
    ends["a"] = 1
    assert reproduce.main(given) == 1
    assert ran == ["a", "c", "report"]
    said = capsys.readouterr().out
    assert "not done     a: exit status 1" in said
    assert "not done     b: needs a" in said
    assert recorded(given)["a"]["done"] is False
    ran.clear()
    ends.clear()
    assert reproduce.main(given) == 0
    assert ran == ["a", "b", "report"]  # c was done; the report tells of what is new


def test_a_study_that_lost_a_trial_stops_nothing_that_needs_only_its_winner(
    study, monkeypatch, capsys
):
    given, ends, ran = study
    first, *others = reproduce.steps(None)
    monkeypatch.setattr(reproduce, "steps", lambda _: (replace(first, study="won"), *others))
    monkeypatch.setattr(reproduce, "_has_winner", lambda folder: folder == Path("won"))
    ends["a"] = 1
    assert reproduce.main(given) == 1
    assert ran == ["a", "b", "c", "report"]
    said = capsys.readouterr().out
    assert (
        "not all done a: exit status 1: trials failed; what needs only its winner went on" in said
    )
    assert "not done " not in said
    done = {name: record["done"] for name, record in recorded(given).items()}
    assert done == {"a": False, "b": True, "c": True, "report": True}
    ran.clear()
    ends.clear()
    assert reproduce.main(given) == 0
    assert ran == ["a", "b", "report"], "the study may have another winner now"


def test_wrong_input_leaves_no_winner(study, monkeypatch):
    given, ends, ran = study
    first, *others = reproduce.steps(None)
    monkeypatch.setattr(reproduce, "steps", lambda _: (replace(first, study="won"), *others))
    monkeypatch.setattr(reproduce, "_has_winner", lambda folder: True)
    ends["a"] = 2
    assert reproduce.main(given) == 1
    assert ran == ["a", "c", "report"]


def ledger(folder, records):
    """A study's folder; the weights of every finished trial are there."""
    place = folder / "lineages" / "won"
    place.mkdir(parents=True)
    (place / MARKER).write_text("{}")
    placed = [r | {"checkpoint": "lineages/won"} if r["record"] == "end" else r for r in records]
    (folder / LEDGER).write_text("".join(json.dumps(record) + "\n" for record in placed))
    return folder


def test_a_study_has_a_winner_once_all_its_trials_ended_and_one_finished(tmp_path):
    one, two = (trial(0, "a"), epoch("a", 1, 0.5), end(0, 1)), trial(1, "b")
    failed = end(1, 0, "failed", "not finite")
    assert reproduce._has_winner(ledger(tmp_path / "some", [head(), *one, two, failed]))
    assert not reproduce._has_winner(ledger(tmp_path / "open", [head(), *one, two]))
    assert not reproduce._has_winner(ledger(tmp_path / "none", [head(), two, failed]))
    assert not reproduce._has_winner(tmp_path / "nothing")


def test_a_study_says_where_its_winner_is_and_only_a_study_does():
    for step in steps(ReproduceConfig()):
        assert bool(step.study) == (step.command == "ablate")
        if step.study:
            out, study = Path(step.study).parent, Path(step.study).name
            assert {f"out={out}", f"study={study}"} <= set(step.words)


def test_what_stands_on_a_step_that_was_run_anew_is_run_anew(study):
    given, _, ran = study
    assert reproduce.main(given) == 0
    (Path(given[0].partition("=")[2]) / "steps" / "a.json").unlink()
    ran.clear()
    assert reproduce.main(given) == 0
    assert ran == ["a", "b", "report"]


@pytest.mark.parametrize("kind", ["leaves", "study"])
def test_a_step_whose_folder_is_gone_is_run_anew(study, monkeypatch, tmp_path, kind):
    given, _, ran = study
    first, *others = reproduce.steps(None)
    (tmp_path / "made").mkdir()
    listed = (replace(first, **{kind: str(tmp_path / "made")}), *others)
    monkeypatch.setattr(reproduce, "steps", lambda _: listed)
    assert reproduce.main(given) == 0
    ran.clear()
    assert reproduce.main(given) == 0
    assert ran == []
    (tmp_path / "made").rmdir()
    assert reproduce.main(given) == 0
    assert ran == ["a", "b", "report"]


@pytest.mark.parametrize("given", [{}, FULL])
def test_what_is_prepared_or_trained_says_which_folder_it_leaves(given):
    for step in steps(ReproduceConfig(**given)):
        words = dict(word.split("=", 1) for word in step.words if "=" in word)
        if step.command == "prepare":
            assert step.leaves == words["out"]
        elif step.command == "train":
            assert step.leaves == f"{words['out']}/{words['name']}"
        else:
            assert step.leaves == ""


def test_another_command_for_a_step_is_not_done(study, monkeypatch):
    given, _, ran = study
    assert reproduce.main(given) == 0
    ran.clear()
    monkeypatch.setattr(reproduce, "_shown", lambda step: f"other {step.name}")
    assert reproduce.main(given) == 0
    assert ran == ["a", "b", "c", "report"]


def test_an_interrupted_step_ends_it_and_is_not_done(study, capsys):
    given, ends, ran = study
    ends["b"] = 130
    assert command(reproduce.main, given) == 130
    assert ran == ["a", "b"]
    assert recorded(given)["b"]["done"] is False


def test_a_step_that_ended_well_in_spite_of_ctrl_c_is_done_and_no_other_begins(study):
    given, ends, ran = study
    ends["interrupted in"] = "b"
    assert command(reproduce.main, given) == 130
    assert ran == ["a", "b"]
    assert recorded(given)["b"]["done"] is True


def test_what_stands_on_a_step_is_not_done_from_when_that_is_run_anew(study, monkeypatch):
    """Neither after an interruption nor when the next run finds the first step done."""
    given, ends, _ = study
    *others, report = reproduce.steps(None)
    listed = (*others, Step("d", "x", ("d",), ("b",)), report)
    monkeypatch.setattr(reproduce, "steps", lambda _: listed)
    assert reproduce.main(given) == 0
    (Path(given[0].partition("=")[2]) / "steps" / "a.json").unlink()
    ends["a"] = 130
    assert command(reproduce.main, given) == 130
    done = {name: record["done"] for name, record in recorded(given).items()}
    assert done == {"a": False, "b": False, "c": True, "d": False, "report": False}


def test_a_dry_run_prints_the_commands_and_runs_nothing(study, capsys, tmp_path):
    given, _, ran = study
    assert reproduce.main([*given, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["# a", "python -m orchestrator.x a"]
    assert ran == []
    assert not (tmp_path / "steps").exists()
