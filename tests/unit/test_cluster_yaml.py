"""cluster.yaml passes Ray's own checks and keeps what it promises; nothing is launched."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start as ray_start

from orchestrator.config.command_line import parse
from orchestrator.config.commands import AblateConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


@pytest.fixture(scope="module")
def prepared(written):
    return prepare_config(copy.deepcopy(written))


def starts(config):
    """The `ray start` lines of head and workers."""
    lines = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    return [line for line in lines if "ray start" in line]


def test_it_passes_the_schema_and_the_prepare_step_of_the_launcher(prepared):
    validate_config(prepared)


def test_the_schema_refuses_a_key_that_it_does_not_know(written):
    with pytest.raises(Exception, match="idle_timeout_hours"):
        validate_config(prepare_config(written | {"idle_timeout_hours": 1}))


def test_every_node_type_says_its_resources(written):
    for node_type in written["available_node_types"].values():
        assert {"CPU", "GPU"} <= node_type["resources"].keys()


def test_only_workers_have_gpus_and_only_they_are_on_spot(written):
    types = written["available_node_types"]
    head = types.pop(written["head_node_type"])
    assert head["resources"]["GPU"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]
    for worker in types.values():
        assert worker["resources"]["GPU"] >= 1
        assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"


def test_the_head_starts_ray_with_the_resources_that_the_launcher_is_told(prepared):
    has = prepared["available_node_types"][prepared["head_node_type"]]["resources"]
    start = next(line for line in starts(prepared) if "--head" in line)
    assert f"--num-cpus={has['CPU']} " in start
    assert f"--num-gpus={has['GPU']}\n" in start.replace(" ", "\n")


def test_workers_come_and_go_within_bounds(prepared):
    workers = prepared["available_node_types"]["gpu_worker"]
    assert workers["min_workers"] <= workers["max_workers"] <= prepared["max_workers"]
    assert 0 < prepared["idle_timeout_minutes"] <= 30


def test_head_and_workers_ask_for_the_token_and_get_its_file(prepared):
    assert len(starts(prepared)) == 2
    for line in starts(prepared):
        assert line.index("RAY_AUTH_MODE=token") < line.index("ray start")
    assert "~/.ray/auth_token" in prepared["file_mounts"]


def test_a_job_that_is_stopped_may_end_its_epochs(prepared):
    """Ray reads it where jobs are supervised; what a job's own environment says goes before."""
    head = next(line for line in starts(prepared) if "--head" in line)
    assert head.index("RAY_JOB_STOP_WAIT_TIME_S=600") < head.index("ray start")


def test_the_dashboard_is_on_loopback_only(prepared):
    head = next(line for line in starts(prepared) if "--head" in line)
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in (ROOT / "cluster.yaml").read_text().replace("10.0.0.0/8", "")


def test_ray_start_knows_every_option_that_it_is_given(prepared):
    known = {option for parameter in ray_start.params for option in parameter.opts}
    for line in starts(prepared):
        given = re.findall(r"--[a-z-]+", line.partition("ray start")[2])
        assert given
        assert set(given) <= known


def test_the_dashboard_asks_our_server_on_the_port_where_the_head_has_started_it(prepared):
    commands = prepared["head_start_ray_commands"]
    server = next(n for n, line in enumerate(commands) if "orchestrator.dashboard.server" in line)
    head = next(n for n, line in enumerate(commands) if "ray start" in line)
    folder, port = commands[server].split()[-2:]
    assert server < head
    assert f"--proxy-server-url=http://127.0.0.1:{port} " in commands[head]
    assert folder == "/mnt/fer/runs"
    assert prepared["file_mounts"]["~/fer/orchestrator"] == "orchestrator"


def test_only_files_of_this_repository_and_the_token_are_copied_to_the_nodes(prepared):
    local = set(prepared["file_mounts"].values()) - {"~/.ray/auth_token"}
    assert {"Makefile", "pyproject.toml", "constraints.txt"} <= local
    for name in local - {"README.md"}:
        assert (ROOT / name).exists()
    assert "." not in local, "the launcher would hash data and environments too"


def test_the_install_is_the_one_that_is_held_to_the_constraints(prepared):
    assert any("make -C ~/fer install" in line for line in prepared["setup_commands"])
    assert "-c constraints.txt" in (ROOT / "Makefile").read_text()


def test_prepared_data_and_runs_are_on_storage_that_every_node_mounts(prepared):
    assert any(
        "/mnt/fer/runs /mnt/fer/prepared" in line for line in prepared["head_setup_commands"]
    )
    assert any(
        "$RAY_HEAD_IP:/mnt/fer /mnt/fer" in line for line in prepared["worker_setup_commands"]
    )


def test_the_command_in_its_head_is_one_that_ablate_takes():
    text = (ROOT / "cluster.yaml").read_text()
    lines = text.partition("python -m orchestrator.ablate ")[2].splitlines()[:2]
    words = " ".join(lines).replace("\\ #", "").split()
    config = parse(AblateConfig, words, command="", description="", examples=())
    assert (config.out, config.space) == ("/mnt/fer/runs", "paper")
    assert config.data.path.startswith("/mnt/fer/prepared/")
    assert config.resources.gpus_per_worker == 1
    # A node takes minutes to come: neither is to end the study before.
    assert 600 < config.resources.start_timeout_s < config.resources.stall_s


def test_it_names_no_account_image_or_network_of_anybody(written):
    text = (ROOT / "cluster.yaml").read_text()
    for mark in ("ami-0", "subnet-", "sg-", "vpc-", "fs-0", "arn:aws:iam::1"):
        assert mark not in text
