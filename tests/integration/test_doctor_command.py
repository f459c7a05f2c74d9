"""`doctor` as typed: real torch, real storage, a Ray of its own, and our code on its workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Runs the command once, for a user who set nothing but has another `datasets` at hand."""
    rival = tmp_path_factory.mktemp("elsewhere")
    (rival / "datasets").mkdir()
    (rival / "datasets" / "__init__.py").write_text("")
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    run = subprocess.run(
        [sys.executable, "-m", "orchestrator.doctor", "--json", "address=local"],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": str(rival)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    checks = {check["name"]: check for check in json.loads(run.stdout)["checks"]}
    return run, checks


def test_datasets_and_models_are_ours_on_the_driver_and_on_a_ray_worker(report):
    _, checks = report
    for name in ("code in this process", "code in Ray's workers"):
        assert checks[name]["found"] == "datasets and models are ours"


def test_no_installed_package_competes_with_ours(report):
    assert report[1]["names"]["verdict"] == "ok"


def test_torch_and_torchvision_are_found_to_be_a_pair(report):
    assert report[1]["torch"]["verdict"] == "ok"


def test_the_exit_status_is_what_the_lines_say(report):
    run, checks = report
    failed = any(check["verdict"] == "FAIL" for check in checks.values())
    assert run.returncode == (1 if failed else 0)


def test_every_finding_that_is_not_ok_has_a_remedy(report):
    for check in report[1].values():
        assert (check["verdict"] == "ok") == (check["remedy"] == "")


def test_nothing_but_the_report_is_printed_and_no_home_folder_is_named(report):
    run, _ = report
    assert run.stderr == ""
    home = str(Path.home())
    assert home == "/" or f"{home}/" not in run.stdout
