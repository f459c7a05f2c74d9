"""A slice staged in this process: whose fault it is where something cannot be read or written."""

import errno
import os

import pytest

import datasets
from datasets import Face, SourceError
from orchestrator.config.folder import folder
from orchestrator.ingest import slices
from orchestrator.ingest.listing import Recipe, Slice

BROKEN = OSError(errno.EIO, os.strerror(errno.EIO), "labels.csv")


@pytest.fixture
def recipe(tmp_path):
    return Recipe(
        adapter="any",
        source=tmp_path,
        options=None,
        classes=("anger",),
        drop=(),
        every=1,
        image_px=8,
        max_pixels=1000,
    )


@pytest.fixture
def out(tmp_path):
    (tmp_path / "set" / ".partial").mkdir(parents=True)
    return folder(tmp_path / "set")


PIECE = Slice(0, 0, (Face("a", "anger"), Face("b", "anger")), key="k", digest="")


class Adapter:
    """Stands for an adapter whose pixels are never to be had."""

    def __init__(self, *, at_once):
        self.at_once = at_once

    def read(self, source, faces, options):
        if self.at_once:
            raise BROKEN
        return self.failing()

    def failing(self):
        yield b"no image"
        raise BROKEN


@pytest.mark.parametrize("at_once", [True, False])
def test_a_source_that_cannot_be_read_on_a_node_is_not_blamed_on_out(
    recipe, out, monkeypatch, at_once
):
    monkeypatch.setattr(datasets, "adapter", lambda name: Adapter(at_once=at_once))
    with pytest.raises(
        SourceError, match=r"^source: must be readable on every node; .*labels\.csv"
    ):
        slices.stage(recipe, PIECE, out, out / ".partial")


def test_a_disk_that_is_full_is_not_blamed_on_the_source(recipe, out, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(slices, "_decoded", lambda *_: iter([slices.Unreadable("x")] * 2))
    monkeypatch.setattr(slices, "_write_summary", full)
    with pytest.raises(OSError, match="No space left") as caught:
        slices.stage(recipe, PIECE, out, out / ".partial")
    assert not isinstance(caught.value, SourceError)
