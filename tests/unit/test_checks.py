"""Each check of the doctor with good and bad facts; every bad one names a remedy."""

import pytest

from orchestrator import checks
from orchestrator.checks import GIB
from orchestrator.machine import AuthFacts, TorchFacts
from orchestrator.node_facts import NodeFacts, Surroundings

PAIR = TorchFacts(
    version="2.14.1",
    vision_version="0.29.1",
    vision_wants="torch==2.14.1",
    cuda="13.0",
    capability="AVX512",
    native_bf16=True,
)
HERE = {
    "orchestrator": "~/fer/orchestrator",
    "datasets": "~/fer/datasets",
    "models": "~/fer/models",
    "search_spaces": "~/fer/search_spaces",
}


def torch(**changes):
    return TorchFacts(**(vars(PAIR) | changes))


def assert_ok(check, found=""):
    assert (check.verdict, check.remedy) == ("ok", "")
    assert found in check.found


def assert_warns(check, found, remedy):
    assert check.verdict == "warn"
    assert found in check.found
    assert remedy in check.remedy


def assert_fails(check, found, remedy):
    assert check.verdict == "FAIL"
    assert found in check.found
    assert remedy in check.remedy


def test_python_is_held_to_what_pyproject_requires():
    assert_ok(checks.check_python("3.11.7", ">=3.11"), "3.11.7")
    assert_fails(checks.check_python("3.10.4", ">=3.11"), "3.10.4 is not >=3.11", "make install")


def test_packages_at_or_above_their_floors_are_fine_also_local_and_pre_releases():
    installed = {"ray": "2.60.0", "torch": "2.14.1+cpu", "pyyaml": "7.0rc1"}
    assert_ok(checks.check_floors(["ray[data]>=2.60", "torch>=2.10", "PyYAML>=6"], installed))


def test_every_package_below_its_floor_or_absent_is_named():
    check = checks.check_floors(["ray[data]>=2.60", "torch>=2.10", "timm"], {"ray": "2.54.0"})
    assert_fails(check, "ray 2.54.0 is not >=2.60, torch is not installed", "make install")
    assert "timm is not installed" in check.found


def test_other_versions_than_the_tested_ones_are_a_warning():
    pins = {"ray": "2.60.0", "torch": "2.14.1", "nvidia-nccl": "2.30.7"}
    assert_ok(checks.check_pins(pins, {"ray": "2.60.0", "torch": "2.14.1+cpu"}), "2 packages")
    check = checks.check_pins(pins, {"ray": "2.61.0", "torch": "2.14.1"})
    assert_warns(check, "ray 2.61.0 (tested: 2.60.0)", "make install")


def test_a_long_list_is_cut_with_the_number_of_what_is_left_out():
    pins = {f"package-{number}": "1.0" for number in range(9)}
    check = checks.check_pins(pins, dict.fromkeys(pins, "2.0"))
    assert check.found.endswith("and 5 more")


def test_torch_and_torchvision_that_work_together_are_a_pair():
    assert_ok(checks.check_torch(torch()), "torch 2.14.1 and torchvision 0.29.1 are a pair")
    assert_ok(checks.check_torch(torch(version="2.14.1+cpu")))


def test_a_torchvision_built_for_another_torch_fails_even_if_it_imports():
    check = checks.check_torch(torch(version="2.13.0"))
    assert_fails(check, "torch 2.13.0 and torchvision 0.29.1, which was built for", "make install")


def test_an_operator_that_does_not_run_fails_with_its_reason():
    problem = "RuntimeError: operator torchvision::nms does not exist"
    assert_fails(checks.check_torch(torch(problem=problem)), problem, "make install")
    missing = checks.check_torch(TorchFacts(problem="ModuleNotFoundError: torch"))
    assert_fails(missing, "torch ? and torchvision ?", "make install")


def test_a_machine_without_gpus_is_fine_and_said_so():
    assert_ok(checks.check_gpus(torch(), (), None), "none: trials train on the CPU")


def test_gpus_that_torch_can_use_are_named():
    check = checks.check_gpus(torch(gpus=("NVIDIA L4",)), ("NVIDIA L4, 580.65",), None)
    assert_ok(check, "1 (NVIDIA L4, 580.65), CUDA 13.0")


def test_a_torch_for_the_cpu_beside_a_gpu_fails():
    check = checks.check_gpus(torch(cuda=""), ("NVIDIA L4, 580.65",), None)
    assert_fails(check, "torch can use 0 of 1 (NVIDIA L4, 580.65)", "built for CUDA")


def test_a_driver_that_is_too_old_fails_with_what_torch_said():
    said = torch(warnings=("The NVIDIA driver on your system is too old",))
    check = checks.check_gpus(said, ("NVIDIA L4, 470.1",), None)
    assert_fails(check, "driver on your system is too old", "driver for CUDA 13.0")


def test_gpus_hidden_on_purpose_are_no_failure():
    check = checks.check_gpus(torch(), ("NVIDIA L4, 580.65",), "")
    assert_ok(check, "0 of 1 visible to this process")


def test_a_gpu_that_torch_warns_of_is_a_warning():
    said = torch(gpus=("Tesla K80",), warnings=("capability 3.7 is not supported",))
    check = checks.check_gpus(said, ("Tesla K80, 470.1",), None)
    assert_warns(check, "capability 3.7 is not supported", "built for this GPU")


def test_the_processor_line_says_what_auto_precision_will_be():
    assert_ok(checks.check_processor(16, torch()), "16 cores, AVX512; precision=auto: bf16")
    emulated = torch(native_bf16=False, capability="AVX2")
    assert_ok(checks.check_processor(2, emulated), "no bf16 in hardware, so fp32")


def test_a_single_core_is_a_warning():
    assert_warns(checks.check_processor(1, torch()), "1 core,", "one after another")


def test_memory_for_a_slot_is_wanted():
    assert_ok(checks.check_memory(16 * GIB), "16.0 GiB free")
    assert_warns(checks.check_memory(3 * GIB), "3.0 GiB", "slots=1")
    assert_fails(checks.check_memory(GIB), "1.0 GiB", "Free memory")


def test_disk_for_checkpoints_is_wanted():
    assert_ok(checks.check_disk(50 * GIB, "runs"), "50.0 GiB free at runs/")
    assert_warns(checks.check_disk(5 * GIB, "runs"), "5.0 GiB", "0.6 GB")
    assert_fails(checks.check_disk(GIB // 2, "runs"), "0.5 GiB", "out=")


def test_a_disk_too_full_for_ray_fails():
    assert_ok(checks.check_spilling(0.73), "73%")
    assert_fails(checks.check_spilling(0.96), "96%", "TMPDIR")


def test_an_object_store_that_fits_shared_memory_is_fine():
    assert_ok(checks.check_shared_memory(24 * GIB, 14 * GIB), "object store 4.2 GiB")
    assert_ok(checks.check_shared_memory(None, 14 * GIB), "no /dev/shm")


def test_the_object_store_shrinks_to_a_shared_memory_above_its_floor():
    assert_ok(checks.check_shared_memory(20 * GIB, 256 * GIB), "object store 19.0 GiB")


def test_the_shared_memory_of_a_plain_container_is_a_warning():
    check = checks.check_shared_memory(64 * 2**20, 16 * GIB)
    assert_warns(check, "0.1 GiB, object store 4.8 GiB", "--shm-size=6g")


@pytest.mark.parametrize("mode", ["", "token", "TOKEN"])
def test_a_token_that_is_kept_to_oneself_is_fine(mode):
    assert_ok(checks.check_auth(AuthFacts(mode, "~/.ray/auth_token", exists=True)))


def test_authentication_that_is_switched_off_fails():
    check = checks.check_auth(AuthFacts("disabled", "~/.ray/auth_token", exists=True))
    assert_fails(check, "can run code on it", "unset RAY_AUTH_MODE")


def test_a_named_token_file_without_a_token_fails():
    check = checks.check_auth(AuthFacts("token", "RAY_AUTH_TOKEN_PATH", exists=False))
    assert_fails(check, "RAY_AUTH_TOKEN_PATH names no file", "unset RAY_AUTH_TOKEN_PATH")


def test_no_token_is_a_warning():
    check = checks.check_auth(AuthFacts("", "", exists=False))
    assert_warns(check, "none", "ray get-auth-token --generate")


def test_a_token_that_others_can_read_is_a_warning():
    auth = AuthFacts("", "~/.ray/auth_token", exists=True, readable_by_others=True)
    assert_warns(checks.check_auth(auth), "can be read by others", "chmod 600 ~/.ray/auth_token")


@pytest.mark.parametrize("name", ["datasets", "models"])
def test_an_installed_package_with_a_name_of_ours_fails(name):
    check = checks.check_names({"numpy": ["numpy"], name: ["rival"]})
    assert_fails(check, "rival", "pip uninstall rival")


def test_other_installed_packages_do_not_matter():
    assert_ok(checks.check_names({"numpy": ["numpy"], "dataset": ["dataset"]}))


def test_packages_beside_orchestrator_are_ours():
    assert_ok(checks.check_ours("this process", HERE), "datasets and models are ours")


@pytest.mark.parametrize("folder", ["/usr/lib/python3/site-packages/datasets", ""])
def test_a_datasets_from_elsewhere_or_nowhere_fails(folder):
    check = checks.check_ours("Ray's workers", HERE | {"datasets": folder})
    assert_fails(check, f"datasets is {folder or 'nowhere'}", "python -m")
    assert check.name == "code in Ray's workers"


def test_without_orchestrator_nothing_counts_as_ours():
    assert checks.check_ours("Ray's workers", dict.fromkeys(HERE, "")).verdict == "FAIL"


def test_storage_fails_with_its_problem():
    assert_ok(checks.check_storage("", "runs"))
    check = checks.check_storage("cannot be written", "/shared/runs/")
    assert_fails(check, "/shared/runs/: cannot be written", "out=")


def node(listed=(), gpus=0, free_gib=8.0):
    seen = Surroundings(HERE, tuple(listed), int(free_gib * GIB), {"torch": "2.14.1"})
    return NodeFacts("10.0.0.2", 8, gpus, 2 * GIB, seen)


def test_nodes_that_would_keep_runs_elsewhere_are_named():
    good, lost = ("10.0.0.2", ""), ("10.0.0.3", "not there")
    assert_ok(checks.check_storage_of_nodes([good], "/nfs/runs"), "each of 1 would keep runs")
    check = checks.check_storage_of_nodes([good, lost], "/nfs/runs")
    assert_fails(check, "/nfs/runs/ on 10.0.0.3: not there", "s3://bucket/runs")
    check = checks.check_storage_of_nodes([good, lost], "s3://bucket/runs")
    assert_fails(check, "10.0.0.3: not there", "each node's Ray the environment")


def test_an_object_store_that_takes_no_runs_fails():
    assert_ok(checks.check_store("", "", "s3://b/runs"), "s3://b/runs can be written")
    assert_fails(checks.check_store("no", "Create it", "s3://b/runs"), "s3://b/runs: no", "Create")


def test_a_node_that_computes_with_other_packages_fails():
    assert_ok(checks.check_versions_of_nodes([node()], {"torch": "2.14.1"}), "each of 1")
    check = checks.check_versions_of_nodes([node()], {"torch": "2.13.0"})
    assert_fails(check, "torch 2.14.1 on 10.0.0.2 (2.13.0 here)", "constraints.txt")


def test_a_node_says_what_it_has():
    check = checks.check_node(node(["NVIDIA H200, 575.1"], gpus=1))
    assert_ok(check, "8 CPUs, 1 GPUs (NVIDIA H200, 575.1), 8.0 GiB free, object store 2.0 GiB")
    assert check.name == "node 10.0.0.2"


def test_a_node_whose_ray_counts_other_gpus_than_its_driver_is_found():
    unused = checks.check_node(node(["NVIDIA H200, 575.1"] * 2, gpus=1))
    assert_warns(unused, "its driver lists 2 GPUs", "--num-gpus=2")
    assert_warns(checks.check_node(node(gpus=1)), "its driver lists 0 GPUs", "nvidia-smi")


def test_a_node_without_memory_for_a_slot_is_found():
    assert_warns(checks.check_node(node(free_gib=1.0)), "1.0 GiB free", "4 GiB")


def test_the_dashboard_of_a_cluster_answers_or_there_is_a_remedy():
    url = "http://10.0.0.1:8265"
    assert_ok(checks.check_dashboard(url, "", is_open=False), f"{url} answers")
    assert_warns(checks.check_dashboard("", "", is_open=False), "has none", "--include-dashboard")
    assert_warns(
        checks.check_dashboard(url, "does not answer (refused)", is_open=False), "refused", "ssh -L"
    )
    assert_fails(
        checks.check_dashboard(url, "", is_open=True), "can run code", "RAY_AUTH_MODE=token"
    )
    closed = checks.check_dashboard(url, "answers 401 (Ray's token is needed)", is_open=False)
    assert_warns(closed, "401", "RAY_AUTH_TOKEN")


def test_where_rays_dashboard_cannot_be_served_its_packages_are_the_remedy():
    assert_ok(checks.check_private_dashboard(True), "127.0.0.1")
    assert_warns(checks.check_private_dashboard(False), "missing", "ray[default]")
