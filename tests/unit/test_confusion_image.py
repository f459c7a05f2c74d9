import numpy as np
import pytest

from orchestrator.results.confusion_image import CELL_PX, MARGIN_PX, MAX_CLASSES, confusion_image

NAMES = ("anger", "fear", "happiness")


def cell(pixels, true, predicted):
    """The colour in a corner of a cell, where no text is."""
    return pixels[4 + true * CELL_PX + 2, MARGIN_PX + predicted * CELL_PX + 2].astype(int)


def test_a_cell_is_the_darker_the_larger_its_share_of_the_true_class():
    pixels = confusion_image(((80, 20, 0), (0, 5, 0), (1, 1, 1)), NAMES)
    assert cell(pixels, 0, 0).sum() < cell(pixels, 0, 1).sum() < cell(pixels, 0, 2).sum()
    assert cell(pixels, 1, 1).sum() < cell(pixels, 0, 0).sum()
    assert cell(pixels, 0, 2).tolist() == [255, 255, 255]


def test_rows_are_true_classes():
    pixels = confusion_image(((0, 9), (0, 9)), ("a", "b"))
    assert cell(pixels, 0, 1).sum() < cell(pixels, 0, 0).sum()
    assert cell(pixels, 1, 0).tolist() == [255, 255, 255]


def test_a_class_without_images_has_no_colour():
    assert cell(confusion_image(((0, 0), (0, 9)), ("a", "b")), 0, 0).tolist() == [255, 255, 255]


@pytest.mark.parametrize("names", [("a", "b"), (), ("表情", "\x1b[31m\ud800x" * 20, "")])
def test_any_names_can_be_drawn(names):
    pixels = confusion_image(((1, 2, 3), (4, 5, 600_000), (7, 8, 9)), names)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (pixels.shape[0], pixels.shape[0], 3)


@pytest.mark.parametrize("size", [0, MAX_CLASSES + 1])
def test_what_cannot_be_read_is_not_drawn(size):
    assert confusion_image(((1,) * size,) * size, ()) is None
