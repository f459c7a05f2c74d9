"""What the launcher of a cluster wrote down of the nodes that may come."""

import shutil
from pathlib import Path

import pytest
import yaml

from orchestrator.nodes_to_come import WRITTEN_BY_LAUNCHER, nodes_to_come
from orchestrator.tuning.capacity import Node

CLUSTER = Path(__file__).resolve().parents[2] / "cluster.yaml"


def test_our_own_cluster_may_come_to_have_four_gpus(tmp_path):
    shutil.copy(CLUSTER, tmp_path / WRITTEN_BY_LAUNCHER)
    assert nodes_to_come(tmp_path) == (Node(4, 0), *[Node(8, 1)] * 4)


def written(folder, types, **more) -> tuple[Node, ...]:
    config = {"available_node_types": types, "head_node_type": "head", **more}
    (folder / WRITTEN_BY_LAUNCHER).write_text(yaml.safe_dump(config))
    return nodes_to_come(folder)


def kind(cpus: int, gpus: int = 0, **more) -> dict:
    return {"resources": {"CPU": cpus, "GPU": gpus}, **more}


def test_the_limit_of_the_whole_cluster_holds_and_gpus_come_first(tmp_path):
    types = {"head": kind(2, max_workers=0), "cpu": kind(16), "gpu": kind(8, 2, max_workers=3)}
    assert written(tmp_path, types, max_workers=4) == (Node(2, 0), *[Node(8, 2)] * 3, Node(16, 0))


def test_a_type_without_resources_brings_nothing_that_counts(tmp_path):
    types = {"head": {}, "other": {"max_workers": 1}}
    assert written(tmp_path, types, max_workers=3) == (Node(0, 0), Node(0, 0))


@pytest.mark.parametrize(
    "text", ["", "[]", "a: {b", "available_node_types: 3\nhead_node_type: head", "!!python/none x"]
)
def test_what_is_no_launchers_file_says_nothing(text, tmp_path):
    (tmp_path / WRITTEN_BY_LAUNCHER).write_text(text)
    assert nodes_to_come(tmp_path) == ()


def test_where_there_is_no_file_only_what_is_up_counts(tmp_path):
    assert nodes_to_come(tmp_path) == ()
