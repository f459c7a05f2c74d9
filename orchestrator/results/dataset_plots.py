"""Pictures of a data set, as PNG: rows a class and split, and some images of a class. DRIVER.

`class_distribution` is the paper's Figure 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from orchestrator.ingest.splits import SPLITS
from orchestrator.results.plot_style import INK, PALETTE, STYLE, new_figure, save
from orchestrator.results.printable import one_line

MAX_WIDTH_IN: Final = 24.0
MAX_NUMBERED_CLASSES: Final = 14  # with more, the numbers above the bars would overlap
COLUMNS: Final = 8
CELL_IN: Final = 1.15
GAP: Final = 0.06  # of an image's side, between two images
CAPTION: Final = 0.2  # of an image's side, below each


def class_distribution(
    counts: Mapping[str, Mapping[str, int]], classes: Sequence[str], path: Path
) -> None:
    """Draws the rows of each class in train, validation and test, side by side.

    Args:
        counts: Rows by split and class, of one protocol, as the manifest has them.
        classes: Class names in the order to draw them.
        path: The PNG to write.
    """
    places = np.arange(len(classes))
    numbered = len(classes) <= MAX_NUMBERED_CLASSES
    with mpl.rc_context(STYLE):
        width_in = 1.2 + (1.45 if numbered else 0.45) * len(classes)
        figure = new_figure(min(MAX_WIDTH_IN, max(5.5, width_in)), 4.2)
        axes = figure.subplots()
        for index, split in enumerate(SPLITS):
            rows = [counts[split][name] for name in classes]
            bars = axes.bar(
                places + 0.29 * (index - 1),
                rows,
                width=0.27,
                color=PALETTE[index],
                label=f"{split} ({sum(rows):,})",
            )
            if numbered:
                axes.bar_label(bars, [f"{count:,}" for count in rows], fontsize=7.5, padding=1.5)
        _class_axis(axes, classes, slanted=not numbered)
        axes.set_ylabel("images")
        axes.set_ylim(bottom=0, top=max(1.0, axes.get_ylim()[1]))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        figure.legend(loc="outside upper left", ncols=len(SPLITS))
        save(figure, path)


def contact_sheet(
    images_NHWC: npt.NDArray[np.uint8], captions: Sequence[str], path: Path, *, heading: str
) -> None:
    """Draws images in rows, each with its caption below.

    Args:
        images_NHWC: RGB, shape (N, H, W, 3), N >= 1.
        captions: A few words on each image; what does not fit is cut off.
        path: The PNG to write.
        heading: A line above all of them.
    """
    num_columns = min(COLUMNS, len(images_NHWC))
    num_rows = -(-len(images_NHWC) // num_columns)
    aspect = images_NHWC.shape[1] / images_NHWC.shape[2]
    down = aspect + CAPTION + GAP  # from an image to the one below it; an image is 1 wide
    across = 1 + GAP
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = new_figure(CELL_IN * max(3, num_columns) * across, CELL_IN * num_rows * down + 0.4)
        axes = figure.subplots()
        for place, (image, caption) in enumerate(zip(images_NHWC, captions, strict=True)):
            left, top = place % num_columns * across, place // num_columns * down
            axes.imshow(image, extent=(left, left + 1, top + aspect, top))
            words = one_line(caption, 22)
            axes.text(left, top + aspect + 0.03, words, fontsize=5.5, va="top", clip_on=True)
        axes.set_xlim(0, max(3, num_columns) * across)
        axes.set_ylim(num_rows * down, 0)
        axes.set_axis_off()
        figure.suptitle(one_line(heading, 80), x=0.01, ha="left", fontsize=11)
        save(figure, path)


def _class_axis(axes: Any, classes: Sequence[str], *, slanted: bool) -> None:
    """Class names below the bars, and no lines but those that counts are read from."""
    names = [one_line(name, 18) for name in classes]
    turned: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), names, color=INK, **(turned if slanted else {}))
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.margins(x=0.02, y=0.08)
