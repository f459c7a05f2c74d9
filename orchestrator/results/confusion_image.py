"""A confusion matrix as a small picture, drawn in milliseconds. PURE.

`plots.confusion` draws a better one for people to keep; it takes a third of a second, too long
for each epoch of each trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from orchestrator.results.printable import one_line
from orchestrator.results.study_view import Confusion

CELL_PX: Final = 44
MARGIN_PX: Final = 96
"""Room for the classes' names to the left and below."""
FONT_PX: Final = 11
MAX_CLASSES: Final = 40
"""Beyond it cells are too many to be read, and the picture too large for a dashboard."""

_INK: Final = (34, 34, 34)
_WHITE: Final = (255, 255, 255)
_BLUE: Final = np.array([8.0, 81.0, 156.0])


def confusion_image(counts: Confusion, names: Sequence[str]) -> npt.NDArray[np.uint8] | None:
    """Rows are true classes, columns predicted ones; colour is the share of the row.

    Args:
        counts: images by true and predicted class.
        names: of the classes; numbers are shown in their place if they are not as many.

    Returns:
        uint8 RGB of shape (side, side, 3); None where there are no counts, or too many classes.
    """
    size = len(counts)
    if not 0 < size <= MAX_CLASSES:
        return None
    side = MARGIN_PX + size * CELL_PX + 8
    canvas = Image.new("RGB", (side, side), _WHITE)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.truetype(_font_file(), FONT_PX)
    for true, row in enumerate(counts):
        for predicted, count in enumerate(row):
            _cell(draw, font, (true, predicted), count, sum(row))
    labels = names if len(names) == size else [str(k) for k in range(size)]
    _names(canvas, draw, font, [one_line(name, 14) for name in labels])
    return np.asarray(canvas)


def _cell(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    at: tuple[int, int],
    count: int,
    total: int,
) -> None:
    share = count / total if total else 0.0
    top, left = 4 + at[0] * CELL_PX, MARGIN_PX + at[1] * CELL_PX
    shade = np.rint(255 - share * (255 - _BLUE)).astype(int)
    fill = (int(shade[0]), int(shade[1]), int(shade[2]))
    draw.rectangle((left, top, left + CELL_PX - 2, top + CELL_PX - 2), fill=fill)
    middle = (left + CELL_PX / 2 - 1, top + CELL_PX / 2 - 1)
    ink = _WHITE if share > 0.5 else _INK
    text = f"{share:.0%}\n{_short(count)}" if total else "–"
    draw.multiline_text(middle, text, fill=ink, font=font, anchor="mm", align="center", spacing=2)


def _names(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    names: Sequence[str],
) -> None:
    """True classes to the left; predicted ones below, upwards, as they are longer than a cell."""
    bottom = 4 + len(names) * CELL_PX
    for k, name in enumerate(names):
        middle = k * CELL_PX + CELL_PX / 2
        draw.text((MARGIN_PX - 6, 4 + middle), name, fill=_INK, font=font, anchor="rm")
        strip = Image.new("RGB", (MARGIN_PX - 8, FONT_PX + 5), _WHITE)
        ImageDraw.Draw(strip).text(
            (strip.width, strip.height / 2), name, fill=_INK, font=font, anchor="rm"
        )
        upright = strip.rotate(90, expand=True)
        canvas.paste(upright, (round(MARGIN_PX + middle - upright.width / 2), bottom + 2))
    draw.text((6, bottom + 10), "rows: true", fill=_INK, font=font)
    draw.text((6, bottom + 26), "columns:", fill=_INK, font=font)
    draw.text((6, bottom + 42), "predicted", fill=_INK, font=font)


def _short(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def _font_file() -> str:
    """The font of our other pictures, which matplotlib brings along."""
    import matplotlib as mpl  # half a second, and only for those who draw

    return str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
