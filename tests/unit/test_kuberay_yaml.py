"""deploy/kuberay.yaml has the fields of KubeRay's types and keeps what it promises.

The operator's own schema is a file of tens of thousands of lines. What is here is an excerpt, written
down by hand from the API reference of KubeRay 1.6.2 (`ray.io/v1`), compared with the types in its
source, and from that of Kubernetes's pods: the fields that there are, of which type, and which must be.
A field that is not in it may exist there.
"""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from ray.scripts.scripts import start as ray_start

from orchestrator.config.command_line import parse
from orchestrator.config.commands import AblateConfig

ROOT = Path(__file__).parents[2]
TEXTS = {str: str}
QUANTITIES = {"requests": TEXTS, "limits": TEXTS}
ENV = {"!name": str, "value": str, "valueFrom": {"secretKeyRef": {"!name": str, "!key": str}}}
CONTAINER = {
    "!name": str,
    "!image": str,
    "command": [str],
    "workingDir": str,
    "env": [ENV],
    "resources": QUANTITIES,
    "volumeMounts": [{"!name": str, "!mountPath": str, "readOnly": bool}],
}
TEMPLATE = {
    "!spec": {
        "!containers": [CONTAINER],
        "volumes": [{"!name": str, "persistentVolumeClaim": {"!claimName": str}}],
    }
}
RAY_CLUSTER = {
    "rayVersion": str,
    "authOptions": {"mode": {"token", "disabled"}, "secretName": str},
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": {
        "upscalingMode": {"Default", "Aggressive", "Conservative"},
        "idleTimeoutSeconds": int,
    },
    "!headGroupSpec": {
        "serviceType": {"ClusterIP", "NodePort", "LoadBalancer"},
        "rayStartParams": TEXTS,
        "!template": TEMPLATE,
    },
    "workerGroupSpecs": [
        {
            "!groupName": str,
            "replicas": int,
            "!minReplicas": int,
            "!maxReplicas": int,
            "rayStartParams": TEXTS,
            "!template": TEMPLATE,
        }
    ],
}
RAY_JOB = {
    "!apiVersion": {"ray.io/v1"},
    "!kind": {"RayJob"},
    "!metadata": {"!name": str},
    "!spec": {
        "entrypoint": str,
        "submissionMode": {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"},
        "backoffLimit": int,
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
        "!rayClusterSpec": RAY_CLUSTER,
    },
}


def problems(value, shape, path="") -> list[str]:
    """Where a document is not of a shape: "!" marks a field that must be there."""
    if isinstance(shape, set):
        return [] if value in shape else [f"{path}: {value!r} is none of {sorted(shape)}"]
    if isinstance(shape, type):
        is_so = type(value) is shape
        return [] if is_so else [f"{path}: must be {shape.__name__}; got {value!r}"]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{path}: must be a list; got {value!r}"]
        return [p for n, item in enumerate(value) for p in problems(item, shape[0], f"{path}[{n}]")]
    return _problems_of_fields(value, shape, path)


def _problems_of_fields(value, shape, path):
    if not isinstance(value, dict):
        return [f"{path}: must be fields; got {value!r}"]
    if str in shape:
        return [p for key, item in value.items() for p in problems(item, str, f"{path}.{key}")]
    known = {name.removeprefix("!"): of for name, of in shape.items()}
    needed = {name[1:] for name in shape if name.startswith("!")}
    found = [f"{path}: {name} is missing" for name in sorted(needed - value.keys())]
    found += [f"{path}: {name} is no field" for name in sorted(value.keys() - known.keys())]
    both = known.keys() & value.keys()
    return found + [p for n in sorted(both) for p in problems(value[n], known[n], f"{path}.{n}")]


@pytest.fixture(scope="module")
def written():
    return yaml.safe_load((ROOT / "deploy" / "kuberay.yaml").read_text())


@pytest.fixture(scope="module")
def cluster(written):
    return written["spec"]["rayClusterSpec"]


def test_it_has_the_fields_of_a_ray_job_and_no_other(written):
    assert problems(written, RAY_JOB) == []


def test_the_check_finds_what_is_wrong(written):
    assert problems({**written, "knd": 1}, RAY_JOB) == [": knd is no field"]
    assert problems({"apiVersion": "ray.io/v1"}, RAY_JOB) == [
        ": kind is missing",
        ": metadata is missing",
        ": spec is missing",
    ]
    assert problems({"replicas": "1"}, {"replicas": int}) == [".replicas: must be int; got '1'"]


def test_the_job_runs_a_command_that_ablate_takes(written):
    python, option, module, *words = shlex.split(written["spec"]["entrypoint"])
    assert (python, option, module) == ("python", "-m", "orchestrator.ablate")
    config = parse(AblateConfig, words, command="", description="", examples=())
    assert config.out == "/mnt/fer/runs"
    (workers,) = written["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert config.resources.slots == workers["maxReplicas"]


def test_the_job_is_one_command_also_where_a_shell_reads_it_unquoted(written):
    """As KubeRay's submitter does: what follows an operator would not be part of the job."""
    entrypoint = written["spec"]["entrypoint"]
    assert not re.search(r"[;&|<>()`$\n]", entrypoint), "nothing ends a command or begins another"
    assert shlex.split(entrypoint) == entrypoint.split(), "no quotes, which the shell would take"


def test_the_image_lets_every_process_import_the_code(cluster):
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    page = cluster["headGroupSpec"]["template"]["spec"]["containers"][1]
    assert f"WORKDIR {page['workingDir']}" in lines
    assert f"ENV PYTHONPATH={page['workingDir']}" in lines


def test_a_token_is_asked_for_by_ray_and_by_our_page(cluster):
    auth = cluster["authOptions"]
    assert auth["mode"] == "token"
    page = cluster["headGroupSpec"]["template"]["spec"]["containers"][1]
    environment = {entry["name"]: entry for entry in page["env"]}
    assert environment["RAY_AUTH_MODE"]["value"] == "token"
    secret = environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert secret == {"name": auth["secretName"], "key": "auth_token"}


def test_a_job_that_is_stopped_may_end_its_epochs(cluster):
    head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": "600"} in head["env"]


def test_the_dashboard_asks_the_page_that_runs_beside_it(cluster):
    head = cluster["headGroupSpec"]
    page = head["template"]["spec"]["containers"][1]
    module, folder, port = page["command"][2:]
    assert module == "orchestrator.dashboard.server"
    assert folder == "/mnt/fer/runs"
    assert head["rayStartParams"]["proxy-server-url"] == f"http://127.0.0.1:{port}"
    assert page["volumeMounts"][0]["readOnly"], "it only looks"


def test_every_start_parameter_is_an_option_of_ray_start(cluster):
    known = {option for parameter in ray_start.params for option in parameter.opts}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert {f"--{name}" for name in group["rayStartParams"]} <= known


def test_only_workers_have_gpus_and_every_pod_sees_the_storage(cluster):
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-gpus"] == "0"
    for group in (head, *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        has_gpu = "nvidia.com/gpu" in spec["containers"][0]["resources"]["limits"]
        assert has_gpu == (group is not head)
        claims = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"]}
        for container in spec["containers"]:
            assert [claims[m["name"]] for m in container["volumeMounts"]] == ["fer"]


def test_the_image_has_the_ray_that_the_constraints_pin(cluster):
    pinned = re.search(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert cluster["rayVersion"] == pinned
    assert f"FROM rayproject/ray:{pinned}-" in (ROOT / "deploy" / "Dockerfile").read_text()
