"""What `ray job submit --working-dir .` would send, by Ray's own reading of .rayignore."""

import shutil
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env import packaging

ROOT = Path(__file__).parents[2]
STAYS = (
    ".git/config",
    ".venv/bin/python",
    "data/fer2013.csv",
    "prepared/synthetic/part-0.parquet",
    "runs/quickstart-1a2b3c4d/ledger.jsonl",
    "models/vgg16.safetensors",
    "faces.zip",
    "videos/train.mp4",
    "AFF_WILD2/cropped/video1/00001.jpg",
    "exports/main.onnx",
    "kept/faces.tar.bz2",
    "secrets/cluster.pem",
    ".env.production",
)
TRAVELS = (
    "cluster.yaml",
    "datasets/__init__.py",
    "models/main.py",
    "orchestrator/ablate.py",
    "search_spaces/paper.yaml",
    "pyproject.toml",
    "constraints.txt",
)


@pytest.fixture
def sent(tmp_path):
    for name in (*STAYS, *TRAVELS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    shutil.copy(ROOT / ".rayignore", tmp_path / ".rayignore")
    archive = tmp_path.with_suffix(".zip")
    packaging.create_package(str(tmp_path), archive, include_gitignore=False)
    with zipfile.ZipFile(archive) as package:
        return {name for name in package.namelist() if not name.endswith("/")}


def test_code_travels_with_a_job_and_data_runs_and_environments_stay(sent):
    assert sent - {".rayignore"} == set(TRAVELS)
