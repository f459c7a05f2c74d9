"""Facts as the doctor gathers them: files read, storage tried, tokens found."""

import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator import machine
from orchestrator.machine import AuthFacts


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def keep_token(home, text="secret", mode=0o600):
    (home / ".ray").mkdir()
    file = home / ".ray" / "auth_token"
    file.write_text(text)
    file.chmod(mode)


def test_requirements_are_those_of_pyproject(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[project]\nrequires-python = ">=3.11"\ndependencies = ["ray>=2.60", "torch"]\n'
    )
    assert machine.read_requirements(file) == (">=3.11", ("ray>=2.60", "torch"))


def test_pins_are_read_by_canonical_name_without_comments(tmp_path):
    file = tmp_path / "constraints.txt"
    file.write_text("# keep==1\nPyYAML==6.0.4\n\nhuggingface_hub==2.4.0\n")
    assert machine.read_pins(file) == {"pyyaml": "6.0.4", "huggingface-hub": "2.4.0"}
    assert machine.read_pins(tmp_path / "none.txt") == {}


def test_a_folder_where_files_are_replaced_in_one_step_has_no_problem(tmp_path):
    assert machine.storage_problem(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_tried_above_and_not_made(tmp_path):
    assert machine.storage_problem(tmp_path / "runs" / "deep") == ""
    assert list(tmp_path.iterdir()) == []


def test_storage_that_shows_half_a_file_is_found_out(tmp_path):
    def copies_half(source, target):
        target.write_bytes(source.read_bytes()[:100])

    assert "half replaced" in machine.storage_problem(tmp_path, replace=copies_half)


def test_storage_where_a_replaced_file_goes_missing_is_found_out(tmp_path):
    def removes(source, target):
        source.unlink()
        target.unlink(missing_ok=True)

    assert "missing while it was replaced" in machine.storage_problem(tmp_path, replace=removes)


def test_storage_that_refuses_to_write_is_found_out(tmp_path):
    def refuses(source, target):
        raise OSError(30, "Read-only file system")

    problem = machine.storage_problem(tmp_path, replace=refuses)
    assert problem == "cannot be written (Read-only file system)"


def test_the_token_is_looked_for_in_the_order_of_ray(home, monkeypatch):
    assert machine.read_auth("") == AuthFacts("", "", exists=False)
    keep_token(home)
    assert machine.read_auth("token") == AuthFacts("token", "~/.ray/auth_token", exists=True)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "absent"))
    assert machine.read_auth("") == AuthFacts("", "RAY_AUTH_TOKEN_PATH", exists=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert machine.read_auth("") == AuthFacts("", "RAY_AUTH_TOKEN", exists=True)


def test_an_empty_token_file_is_no_token(home):
    keep_token(home, text="\n")
    assert machine.read_auth("").exists is False


def test_a_token_is_open_to_others_only_if_they_can_pass_every_folder_above(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        home = Path(folder)
        monkeypatch.setenv("HOME", folder)
        keep_token(home, mode=0o644)
        (home / ".ray").chmod(0o755)
        home.chmod(0o755)
        assert machine.read_auth("").readable_by_others is True
        home.chmod(0o700)
        assert machine.read_auth("").readable_by_others is False


def test_our_packages_are_found_beside_orchestrator():
    folders = machine.our_folders()
    root = folders["orchestrator"].removesuffix("/orchestrator")
    assert folders == {name: f"{root}/{name}" for name in machine.OUR_PACKAGES}


def test_a_package_that_cannot_be_imported_is_nowhere(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert machine.our_folders()["datasets"] == ""


def test_memory_and_shared_memory_are_numbers_of_bytes():
    assert machine.free_memory_bytes() > 2**20
    assert machine.free_shared_memory_bytes() > 0


def test_a_container_with_a_limit_has_no_more_than_is_left_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 500000\n")
    assert machine.free_memory_bytes() == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_memory_bytes() > 1_500_000


def test_a_machine_without_nvidia_smi_lists_no_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.list_gpus() == ()


def test_gpus_are_listed_with_their_driver(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA L4, 580.65.06'\necho 'NVIDIA L4, 580.65.06'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.list_gpus() == ("NVIDIA L4, 580.65.06",) * 2


def test_a_torchvision_that_does_not_import_is_a_fact_and_no_traceback(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    torch = machine.try_torch()
    assert torch.problem.startswith("ModuleNotFoundError")
    assert torch.version
