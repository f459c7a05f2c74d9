"""`prepare` to an S3 server, and training data read from it, on a real Ray."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.config.commands import PrepareConfig
from orchestrator.config.errors import ConfigError, DatasetError, OrchestratorError
from orchestrator.config.folder import folder
from orchestrator.ingest import writing
from orchestrator.ingest.dataset import open_dataset
from orchestrator.ingest.pixels import images_of
from orchestrator.ingest.reading import read_training_data
from orchestrator.prepare import prepare

pytestmark = pytest.mark.ray

PX = 8


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    root = tmp_path_factory.mktemp("s3-faces")
    random = np.random.default_rng(0)
    for label in ("anger", "fear"):
        (root / label).mkdir()
        for number in range(300):
            pixels = random.integers(0, 256, (PX, PX, 3), np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number:04d}.png")
    (root / "fear" / "9999.png").write_bytes(b"no image")
    return root


def config(faces, out, **changes):
    given = {
        "dataset": "folder",
        "source": str(faces),
        "out": str(out),
        "classes": ("anger", "fear"),
        "image_px": PX,
        "rows_per_file": 250,
    }
    return PrepareConfig.model_validate(given | changes)


@pytest.fixture(scope="module")
def on_disk(local_ray, faces, tmp_path_factory):
    return prepare(config(faces, tmp_path_factory.mktemp("disk") / "set"))


def test_a_set_in_a_bucket_is_the_set_on_disk(on_disk, faces, s3_bucket):
    dataset = prepare(config(faces, f"{s3_bucket}/whole"))
    assert str(dataset.root) == f"{s3_bucket}/whole"
    assert dataset.fingerprint == on_disk.fingerprint
    assert dataset.counts == on_disk.counts
    assert set(dataset.root.files()) == {
        "manifest.json",
        "quarantine.parquet",
        "rows.parquet",
        *dataset.files,
    }
    assert not (dataset.root / ".partial").files()
    quarantine = pq.read_table(
        dataset.root.path("quarantine.parquet"), filesystem=dataset.root.filesystem
    )
    assert quarantine["source"].to_pylist() == ["fear/9999.png"]
    rows = [599, 0, 250, 249]
    assert np.array_equal(images_of(dataset, rows), images_of(on_disk, rows))
    assert prepare(config(faces, f"{s3_bucket}/whole")) == dataset


def test_a_killed_run_goes_on_in_a_bucket(on_disk, faces, s3_bucket, monkeypatch):
    out = f"{s3_bucket}/killed"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(config(faces, out))
    with pytest.raises(DatasetError, match="no prepared data set, or one that was not finished"):
        open_dataset(out)
    with pytest.raises(ConfigError, match="no unfinished work of other settings"):
        prepare(config(faces, out, rows_per_file=100))
    assert prepare(config(faces, out)).fingerprint == on_disk.fingerprint


def test_training_data_are_read_from_a_bucket(on_disk, faces, s3_bucket):
    dataset = prepare(config(faces, f"{s3_bucket}/train"))
    wanted = {"protocol": "random", "train_per_class": 0, "validation_per_class": 0}
    rows = {
        place: read_training_data(found, **wanted).datasets["train"].to_pandas()
        for place, found in {"s3": dataset, "disk": on_disk}.items()
    }
    frames = [frame.sort_values("row_id", ignore_index=True) for frame in rows.values()]
    assert len(frames[0]) == 360
    assert frames[0].equals(frames[1])


def test_a_changed_object_is_found_before_it_is_read(on_disk, faces, s3_bucket):
    dataset = prepare(config(faces, f"{s3_bucket}/changed"))
    content = bytearray(dataset.root.read("part-00001.parquet"))
    content[100] ^= 1
    dataset.root.put_bytes("part-00001.parquet", bytes(content))
    with pytest.raises(DatasetError, match=r"part-00001\.parquet: sha256 must be"):
        open_dataset(dataset.root)


def test_a_bucket_that_is_not_there_is_said_in_one_line(local_ray, faces, s3_bucket):
    with pytest.raises(DatasetError, match=r"data\.path: "):
        open_dataset("s3://no-such-bucket-of-ours/set")
    with pytest.raises(OrchestratorError, match="out: ") as caught:
        prepare(config(faces, "s3://no-such-bucket-of-ours/set"))
    assert "\n" not in str(caught.value)
    assert folder(f"{s3_bucket}/whole").exists()
