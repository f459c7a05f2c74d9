"""Addresses of clusters: what cannot be one is refused before Ray is started."""

import socket
from pathlib import Path

import pytest

from orchestrator import (
    ablate,
    adapt,
    diagnose,
    evaluate,
    export,
    predict,
    prepare,
    report,
    reproduce,
    train,
)
from orchestrator.cluster import JOB_MARK, connect, refuse_lost_folder
from orchestrator.config.address import absolute_address
from orchestrator.config.commands import AblateConfig
from orchestrator.config.errors import ConfigError
from orchestrator.config.storage import as_typed
from orchestrator.config.validate import validate
from orchestrator.config.yaml_values import read_yaml
from orchestrator.tuning.plan import load_space


def refusal(address):
    with pytest.raises(ConfigError) as caught, connect(address):
        pass
    return str(caught.value)


@pytest.mark.parametrize(
    "address", ["somewhere", "http://127.0.0.1:8265", "ray://head:10001", ":6379", "head:port", ""]
)
def test_what_is_no_host_and_port_is_refused(address):
    assert "must be auto, local or the host:port" in refusal(address)


def test_a_port_where_nothing_listens_is_refused_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert f"a Ray head must answer there; got 127.0.0.1:{port}" in refusal(f"127.0.0.1:{port}")


def test_auto_follows_the_address_that_a_job_was_given(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert "got 'http://127.0.0.1:8265'" in refusal("auto")


def test_a_submitted_job_does_not_write_into_rays_copy_of_the_code(monkeypatch):
    for out in ("runs", "/shared/runs", "s3://bucket/runs"):
        refuse_lost_folder(out)
    monkeypatch.setenv(JOB_MARK, "{}")
    for out in ("/shared/runs", None, "s3://bucket/runs"):
        refuse_lost_folder(out)
    given = {predict: ["source=/faces"], diagnose: ["production=/new"], adapt: ["production=/new"]}
    of_checkpoint = (predict, evaluate, diagnose, adapt, export)
    for command in (ablate, train, prepare, reproduce, report, *of_checkpoint):
        words = ["checkpoint=/runs/r"] if command in of_checkpoint else []
        words += ["study=/runs/s"] if command is report else given.get(command, [])
        with pytest.raises(
            ConfigError, match=r"out: must be a path that all nodes see.*got 'mine.csv'"
        ):
            command.main([*words, "out=mine.csv"])
    with pytest.raises(ConfigError, match=r"got 'predictions.csv'"):
        predict.main(["checkpoint=/runs/r", "source=/faces"])


def test_the_home_folder_is_meant_by_a_tilde_wherever_a_path_is_given(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/somebody")
    config = validate(AblateConfig, ("a test", {"out": "~/runs", "data.path": "~/faces"}))
    assert (config.out, config.data.path) == ("/home/somebody/runs", "/home/somebody/faces")
    assert str(as_typed(Path("/home/somebody/runs/s"))) == "~/runs/s"
    for refused in (lambda: load_space("~/x.yaml"), lambda: read_yaml("~/x.yaml")):
        with pytest.raises(ConfigError, match=r"x\.yaml"):
            refused()
    (tmp_path / "x.yaml").write_text("a: 1")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_yaml("~/x.yaml") == {"a": 1}
    assert absolute_address("~nobody-of-this-name/x").endswith("~nobody-of-this-name/x")
