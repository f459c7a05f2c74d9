"""Pictures on the audit's page: copies side by side, and some images of a class. PURE."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from orchestrator.results.html_page import picture, png_of, words

MAX_SOURCE: Final = 80
SHEET_COLUMNS: Final = 12
SHEET_GAP_PX: Final = 4


@dataclass(frozen=True, eq=False)
class Sample:
    """One image of the set.

    Attributes:
        image: RGB uint8, shape (H, W, 3).
        source: Its name in the source.
        label: Its class.
        splits: Its split under each protocol.
    """

    image: npt.NDArray[np.uint8]
    source: str
    label: str
    splits: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Twins:
    """Two images that are copies of each other.

    Attributes:
        first: One of them.
        second: The other.
        exact: Whether their pixels are the same.
        distance: Bits of 64 in which their hashes differ.
    """

    first: Sample
    second: Sample
    exact: bool
    distance: int


def twin_cards(pairs: Sequence[Twins]) -> str:
    """A card a pair, as HTML; what differs within a pair stands out."""
    cards = [
        f"<li><p>{_distance(pair)}</p>"
        f'<div class="two">{_figure(pair.first, pair.second)}{_figure(pair.second, pair.first)}'
        "</div></li>"
        for pair in pairs
    ]
    return '<ul class="pairs">\n' + "\n".join(cards) + "\n</ul>"


def _distance(pair: Twins) -> str:
    if pair.exact:
        return "The same pixels"
    return f"Near: {pair.distance} of 64 bits differ"


def _figure(sample: Sample, other: Sample) -> str:
    """An image with what is known of it; what differs from the other one stands out."""
    label = words(sample.label)
    if sample.label != other.label:
        label = f'<span class="bad">{label}</span>'
    splits = [
        _part(protocol, split, differs=split != other.splits.get(protocol))
        for protocol, split in sample.splits.items()
    ]
    return (
        f"<figure>{picture(png_of(sample.image), f'face labelled {sample.label}')}"
        f"<figcaption>{label}<br>{'<br>'.join(splits)}<br>"
        f'<span class="soft">{words(sample.source, MAX_SOURCE)}</span></figcaption></figure>'
    )


def _part(protocol: str, split: str, *, differs: bool) -> str:
    value = f'<span class="bad">{words(split)}</span>' if differs else words(split)
    return f"{words(protocol)} split: {value}"


def sheet(name: str, images_NHWC: npt.NDArray[np.uint8]) -> str:
    """Some images of a class as one picture, as HTML; N >= 1."""
    count = len(images_NHWC)
    alt = f"{count} {'face' if count == 1 else 'faces'} labelled {name}"
    return f"<h3>{words(name)}</h3>\n{picture(png_of(_tiled(images_NHWC)), alt)}"


def _tiled(images_NHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Lays images out in rows, on transparent ground, shape (height, width, 4)."""
    count, height, width, _ = images_NHWC.shape
    columns = min(count, SHEET_COLUMNS)
    down, across = height + SHEET_GAP_PX, width + SHEET_GAP_PX
    ground = np.zeros((-(-count // columns) * down, columns * across, 4), dtype=np.uint8)
    for place, image in enumerate(images_NHWC):
        top, left = place // columns * down, place % columns * across
        ground[top : top + height, left : left + width, :3] = image
        ground[top : top + height, left : left + width, 3] = 255
    return ground
