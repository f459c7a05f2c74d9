"""Wrong input to the commands: one clear message, status 2, before Ray is started."""

import numpy as np
import pytest
from prepared_set import write_set

from orchestrator import ablate, leaderboard, train
from orchestrator.config.command_line import run
from orchestrator.tuning.ledger import LEDGER, Ledger

WRONG_INPUT = 2


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    """Fails the test where a command goes so far as to start Ray; the machine is a small one."""

    def connect(*_, **__):
        pytest.fail("Ray would have been started")

    for command in (ablate, train):
        monkeypatch.setattr(command, "connect", connect)
    monkeypatch.setattr("ray.init", connect)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_set(tmp_path_factory.mktemp("data") / "faces", image_px=32))


@pytest.fixture
def refusal(capsys, tmp_path):
    """Runs a command that must refuse its input; returns the message."""

    def refused(command, *argv) -> str:
        where = [] if command is leaderboard else [f"out={tmp_path / 'runs'}", "address=local"]
        assert run(command.main, [*where, *argv]) == WRONG_INPUT
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert "Traceback" not in said.err
        assert not (tmp_path / "runs").exists(), "nothing is written for a command that is refused"
        return said.err.removeprefix("error: ")

    return refused


BOTH = pytest.mark.parametrize("command", [ablate, train], ids=["ablate", "train"])


@BOTH
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bach_size=3"], "bach_size: unknown key. Did you mean 'batch_size'?"),
        (["optimizer.lrr=3"], "optimizer.lrr: unknown key. Did you mean 'lr'?"),
        (["batch_size=many"], "batch_size: must be a whole number; got 'many'"),
        (["optimizer.lr=nan"], "optimizer.lr: must be a finite number"),
        (["optimizer.lr=-1"], "optimizer.lr: must be > 0; got -1"),
        (["optimizer.name=addam"], "optimizer.name: must be one of"),
        (["data.protocol=grupo"], "data.protocol: must be one of group, random, official"),
        (["model.name=basline"], "Did you mean 'baseline'?"),
        (["model.weights=none.pth"], "none.pth"),
        (["data.path=nowhere"], "data.path: must be a folder written by `prepare`; got "),
        (["data.path=."], "no manifest.json"),
        (["resources.workers=50"], "workers=50 x (1 CPUs"),
        (["resources.workers=1000"], "resources.workers: must be <= 64; got 1000"),
        (["resources.gpus_per_worker=1.5"], "resources.gpus_per_worker: must be <= 1; got 1.5"),
        (["epochs"], "epochs: must be path=value"),
        (["--config", "none.yaml"], "none.yaml"),
    ],
)
def test_each_kind_of_mistake_is_one_message_with_the_remedy(
    command, words, message, refusal, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if command is ablate and words[0].startswith("optimizer.name"):
        words = [*words, "space=paper"]
    said = refusal(command, *words)
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("command", "path"), [(ablate, "study"), (train, "name")])
@pytest.mark.parametrize("name", [".", "..", "../other", "a b"])
def test_the_name_of_a_folder_leads_to_no_other_place(command, path, name, refusal):
    said = refusal(command, f"{path}={name}")
    assert said.startswith(f"{path}: must be the name of one folder")
    assert f"got {name!r}" in said


@BOTH
def test_all_mistakes_are_said_at_once(command, refusal):
    said = refusal(command, "batch_size=0", "epochs=-1", "sed=3")
    assert said.startswith("3 mistakes\n")
    for path in ("batch_size", "epochs", "sed"):
        assert f"  {path}: " in said


@BOTH
def test_a_protocol_that_the_data_set_lacks_is_refused_with_the_choices(command, refusal, data):
    said = refusal(command, f"data.path={data}", "data.protocol=official")
    assert "data.protocol: faces has no column split_official" in said
    assert "Choices: group, random" in said


@BOTH
def test_an_empty_split_is_refused_with_a_protocol_that_would_do(command, refusal, tmp_path):
    splits = {"group": np.zeros(60, int), "random": np.arange(60) % 3}
    root = write_set(tmp_path / "faces", image_px=32, splits=splits)
    said = refusal(command, f"data.path={root}", "data.protocol=group")
    assert "split 'validation' of protocol 'group' is empty" in said
    assert "Use protocol=random." in said


@BOTH
def test_a_damaged_data_set_is_refused(command, refusal, tmp_path):
    root = write_set(tmp_path / "faces", image_px=32)
    part = root / "part-00001.parquet"
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)
    assert "part-00001.parquet: sha256 must be that of the manifest" in refusal(
        command, f"data.path={root}"
    )


@BOTH
def test_images_too_small_for_the_model_are_refused(command, refusal, tmp_path):
    root = write_set(tmp_path / "faces", image_px=16)
    assert "16" in refusal(command, f"data.path={root}")


def test_a_plan_that_does_not_fit_is_refused_with_the_numbers(refusal, data):
    said = refusal(ablate, f"data.path={data}", "resources.workers=50")
    assert "resources: one trial must fit the cluster; got workers=50" in said
    assert "= 50 CPUs and 0 GPUs, but the cluster has 2 CPUs" in said
    assert "Lower resources.workers" in said


def test_an_unknown_space_is_refused_with_the_nearest(refusal):
    said = refusal(ablate, "space=quikstart")
    assert (
        "space: must be one of factorial, paper, quick_factorial, quick_paper, quickstart, search"
        in said
    )
    assert "Did you mean 'quickstart'?" in said


@pytest.mark.parametrize(
    ("space", "word"),
    [
        ("quickstart", "epochs=20"),  # 20 is the default: given all the same
        ("quickstart", "optimizer.lr=0.1"),
        ("quickstart", "optimizer.name=adamw"),
        ("search", "optimizer.lr=0.1"),
        ("paper", "epochs=3"),
    ],
)
def test_a_fixed_value_for_what_the_space_varies_is_refused(space, word, refusal):
    path = word.partition("=")[0]
    said = refusal(ablate, f"space={space}", word)
    assert f"{path}: is varied by space '{space}'; got a fixed value for it. Remove it" in said


def test_a_value_over_the_base_of_a_space_is_taken(data, monkeypatch, tmp_path):
    """And then the plan is made: only Ray is missing."""

    class Reached(Exception):
        pass

    def connect(*_, **__):
        raise Reached

    monkeypatch.setattr(ablate, "connect", connect)
    with pytest.raises(Reached):
        run(ablate.main, [f"data.path={data}", f"out={tmp_path}", "address=local", "batch_size=7"])


def test_mistakes_in_a_space_of_ones_own_are_all_said(refusal, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "question: Which?\nkind: grid\naxes: {optimizer.lr: [0.1, -1], model.nme: [main]}\n"
    )
    said = refusal(ablate, f"space={mine}")
    assert said.startswith("2 mistakes\n")
    assert "optimizer.lr: must be > 0; got -1" in said
    assert "model.nme: unknown key" in said


def test_a_base_with_an_unknown_path_is_refused(refusal, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("question: Which?\nkind: grid\nbase: {bach: 3}\naxes: {seed: [1, 2]}\n")
    assert "bach: unknown key" in refusal(ablate, f"space={mine}")


@pytest.mark.parametrize("address", ["somewhere", "http://127.0.0.1:8265"])
@BOTH
def test_what_is_no_address_is_refused(command, address, refusal):
    assert "address: must be auto, local or the host:port" in refusal(command, f"address={address}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "study: is required"),
        (["study=nowhere"], "study: must be the folder of a study, with a ledger.jsonl; got 'nowh"),
        (["study=.", "format=xml"], "format: must be one of table, markdown, csv, json"),
        (["sudy=."], "sudy: unknown key"),
    ],
)
def test_the_leaderboard_refuses_what_is_no_study(words, message, refusal):
    assert message in refusal(leaderboard, *words)


def test_the_leaderboard_says_which_line_of_a_ledger_is_damaged(tmp_path, capsys):
    with Ledger(tmp_path) as ledger:
        ledger.append({"record": "study", "version": 1})
    with (tmp_path / LEDGER).open("a") as file:
        file.write("not json\n")
    assert run(leaderboard.main, [f"study={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert "ledger.jsonl:2: must be one JSON object a line" in said
    assert said.count("\n") == 1
