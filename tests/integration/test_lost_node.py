"""A node is lost while a training has a worker on it: it goes on with the workers that there are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.prepared_set import write_set

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SUMMATION = 1e-4
"""Two workers add float32 gradients in another order than one does."""


def epochs(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_training_goes_on_with_fewer_workers_and_has_the_same_losses(tmp_path):
    data = write_set(tmp_path / "tiny", rows=240, image_px=32)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.integration.two_nodes", str(data), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lost, calm = epochs(tmp_path / "lost"), epochs(tmp_path / "calm")
    assert [metrics["epoch"] for metrics in lost] == [1, 2, 3, 4]
    assert [metrics["workers"] for metrics in calm] == [1, 1, 1, 1]
    assert lost[0]["workers"] == 2
    assert lost[-1]["workers"] == 1
    for with_fewer, undisturbed in zip(lost, calm, strict=True):
        for name in ("train_loss", "val_loss"):
            assert with_fewer[name] == pytest.approx(undisturbed[name], rel=SUMMATION)
        assert sum(map(sum, with_fewer["val_confusion"])) == sum(
            map(sum, undisturbed["val_confusion"])
        )
