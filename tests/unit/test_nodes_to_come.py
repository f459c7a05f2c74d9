"""What the launcher of a cluster wrote down of the nodes that may come."""

import shutil
import socket
from pathlib import Path

import pytest
import yaml

from orchestrator.nodes_to_come import WRITTEN_BY_LAUNCHER, largest_cluster, nodes_to_come
from orchestrator.tuning.capacity import Node

CLUSTER = Path(__file__).resolve().parents[2] / "cluster.yaml"


def test_our_own_cluster_may_come_to_have_four_gpus(tmp_path):
    shutil.copy(CLUSTER, tmp_path / WRITTEN_BY_LAUNCHER)
    assert largest_cluster(tmp_path) == (Node(4, 0), *[Node(8, 1)] * 4)


def written(folder, types, **more) -> tuple[Node, ...]:
    config = {"available_node_types": types, "head_node_type": "head", **more}
    (folder / WRITTEN_BY_LAUNCHER).write_text(yaml.safe_dump(config))
    return largest_cluster(folder)


def kind(cpus: int, gpus: int = 0, **more) -> dict:
    return {"resources": {"CPU": cpus, "GPU": gpus}, **more}


def test_the_limit_of_the_whole_cluster_holds_and_gpus_come_first(tmp_path):
    types = {"head": kind(2, max_workers=0), "cpu": kind(16), "gpu": kind(8, 2, max_workers=3)}
    assert written(tmp_path, types, max_workers=4) == (Node(2, 0), *[Node(8, 2)] * 3, Node(16, 0))


def test_the_launcher_of_ones_own_machines_names_no_resources_and_says_nothing(tmp_path):
    assert written(tmp_path, {"head": {"resources": {}, "max_workers": 2}}, max_workers=2) == ()


def test_workers_may_be_of_the_heads_own_type(tmp_path):
    assert written(tmp_path, {"head": kind(4, max_workers=2)}, max_workers=2) == (Node(4, 0),) * 3


@pytest.mark.parametrize(
    "text", ["", "[]", "a: {b", "available_node_types: 3\nhead_node_type: head", "!!python/none x"]
)
def test_what_is_no_launchers_file_says_nothing(text, tmp_path):
    (tmp_path / WRITTEN_BY_LAUNCHER).write_text(text)
    assert largest_cluster(tmp_path) == ()


def test_where_there_is_no_file_only_what_is_up_counts(tmp_path):
    assert largest_cluster(tmp_path) == ()


def test_a_private_ray_stays_as_it_is_whatever_lies_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert written(tmp_path, {"head": kind(4, max_workers=1)}, max_workers=1)
    assert nodes_to_come("local") == nodes_to_come("auto") == ()
    with socket.create_server(("127.0.0.1", 0)) as head:
        assert len(nodes_to_come(f"127.0.0.1:{head.getsockname()[1]}")) == 2
