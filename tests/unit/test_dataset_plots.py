"""Pictures of a data set: drawn for one class and for many, and whatever the names are."""

import warnings

import numpy as np
import pytest
from PIL import Image

from orchestrator.ingest.splits import SPLITS
from orchestrator.results.dataset_plots import class_distribution, contact_sheet
from orchestrator.results.plot_style import PALETTE


def share(path, color):
    """Share of a picture's pixels that have exactly this colour."""
    wanted = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    with Image.open(path) as image:
        return float((np.asarray(image.convert("RGB")) == wanted).all(axis=-1).mean())


def counts(classes, *of_split):
    return {
        split: dict.fromkeys(classes, rows) for split, rows in zip(SPLITS, of_split, strict=True)
    }


def test_bars_are_as_high_as_the_counts(tmp_path):
    names = ["anger", "fear", "joy"]
    class_distribution(counts(names, 60_000, 20_000, 10_000), names, tmp_path / "new" / "a.png")
    train, validation, test = (share(tmp_path / "new" / "a.png", c) for c in PALETTE[:3])
    assert train == pytest.approx(3 * validation, rel=0.1)  # the legend's marks add a little
    assert validation == pytest.approx(2 * test, rel=0.2)


@pytest.mark.parametrize("num_classes", [1, 15, 60])
def test_any_number_of_classes_is_drawn(num_classes, tmp_path):
    names = [f"class {k}" for k in range(num_classes)]
    class_distribution(counts(names, 3, 2, 1), names, tmp_path / "a.png")
    assert share(tmp_path / "a.png", PALETTE[0]) > 0.01


def test_hostile_names_neither_break_a_picture_nor_warn(tmp_path):
    names = ["$x_{$", "a\nb\x1b[31m", "\u202egnp", "\udcff", "表情", "<b>" * 50, "%s{0}"]
    images = np.zeros((len(names), 8, 8, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        class_distribution(counts(names, 0, 0, 0), names, tmp_path / "a.png")
        contact_sheet(images, names, tmp_path / "b.png", heading="".join(names))


@pytest.mark.parametrize("num_images", [1, 9])
def test_every_image_is_on_the_sheet_once(num_images, tmp_path):
    images = np.zeros((num_images, 12, 12, 3), np.uint8)
    images[:] = (200, 0, 0)
    images[-1] = (0, 0, 200)
    contact_sheet(images, ["a"] * num_images, tmp_path / "a.png", heading="all")
    last, others = share(tmp_path / "a.png", "#0000c8"), share(tmp_path / "a.png", "#c80000")
    assert others == pytest.approx((num_images - 1) * last, rel=0.05)
    assert last > 0.01
