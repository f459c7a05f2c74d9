"""A source that changes between the two times it is listed is refused. No Ray is started."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from orchestrator import prepare as command
from orchestrator.config.commands import PrepareConfig
from orchestrator.config.errors import ConfigError
from orchestrator.ingest import writing
from orchestrator.prepare import prepare

CLASSES = ("anger", "fear")


@pytest.fixture
def faces(tmp_path):
    random = np.random.default_rng(0)
    for label in CLASSES:
        (tmp_path / "faces" / label).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / label / f"{number}.png")
    return tmp_path / "faces"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Tasks are plain calls."""
    monkeypatch.setattr("ray.remote", lambda task: SimpleNamespace(remote=task))
    monkeypatch.setattr(writing, "in_bounds", iter)
    monkeypatch.setattr(command, "_start_workers", lambda: None)


@pytest.fixture
def at_second_listing(monkeypatch):
    """Does something to the source after it was counted, before its rows are handed out."""

    def install(change):
        listed = writing.slices

        def slices(*args):
            change()
            return listed(*args)

        monkeypatch.setattr(writing, "slices", slices)

    return install


def prepared(faces, out):
    config = {"dataset": "folder", "source": str(faces), "out": str(out), "classes": CLASSES}
    return prepare(PrepareConfig.model_validate(config | {"image_px": 8, "rows_per_file": 6}))


def test_a_row_that_takes_the_place_of_another_is_refused_though_the_number_is_the_same(
    faces, tmp_path, at_second_listing
):
    at_second_listing(lambda: (faces / "anger" / "3.png").rename(faces / "fear" / "33.png"))
    with pytest.raises(
        ConfigError, match=r"^source: must not change .* 20 rows, then as many, but others\. Run"
    ):
        prepared(faces, tmp_path / "set")
    assert not (tmp_path / "set" / "manifest.json").exists()


def test_rows_that_have_gone_are_refused_with_both_numbers(faces, tmp_path, at_second_listing):
    at_second_listing((faces / "anger" / "3.png").unlink)
    with pytest.raises(ConfigError, match=r"must not change .*; got 20 rows, then 19\. Run"):
        prepared(faces, tmp_path / "set")


def test_the_same_command_again_prepares_what_the_source_has_become(
    faces, tmp_path, at_second_listing
):
    at_second_listing(lambda: (faces / "anger" / "3.png").unlink(missing_ok=True))
    with pytest.raises(ConfigError, match="must not change"):
        prepared(faces, tmp_path / "set")
    assert prepared(faces, tmp_path / "set").num_rows == 19
