"""What became of every layer when weights were loaded. PURE: no torch.

A partial load is normal here (a classifier for other classes, a first hidden layer for another
image size) and must never be silent, so each layer of the model is listed as loaded or
initialised, and each layer of the file as loaded or skipped, with the reason.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from models.weight_source import is_url

Action = Literal["loaded", "initialised", "skipped"]
Shapes = dict[str, tuple[int, ...]]

# Longer runs of one action (timm's backbones have hundreds of layers) become one line.
LONGEST_LISTING = 20


@dataclass(frozen=True)
class WeightRow:
    """One layer of the model (loaded, initialised) or of the file alone (skipped)."""

    layer: str
    action: Action
    shapes: Shapes
    reason: str = ""
    file_layer: str = ""

    @property
    def numbers(self) -> int:
        """How many numbers the layer holds."""
        return sum(_product(shape) for shape in self.shapes.values())


@dataclass(frozen=True)
class WeightReport:
    """Where a model's initial weights came from.

    Attributes:
        model: name in configs.
        source: `random`, `imagenet`, ... or the file's path or URL.
        layout: whose layer names the file uses; "" without a file.
        sha256: digest of the file; "" without a file.
        pinned: whether the file had to have that digest.
        normalisation: what the input statistics belong to; `mean` and `std` are for RGB in [0, 1].
        rows: every layer, in the model's order, then what only the file has.
    """

    model: str
    source: str
    layout: str
    sha256: str
    pinned: bool
    normalisation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rows: tuple[WeightRow, ...]

    def layers(self, action: Action) -> tuple[str, ...]:
        """Names of the layers with that action (for `skipped`: the file's names)."""
        chosen = [row for row in self.rows if row.action == action]
        return tuple(row.file_layer if action == "skipped" else row.layer for row in chosen)

    def table(self) -> str:
        """All of it as text: a heading, then one line a layer."""
        lines = [self._heading(), *_aligned(_listing(self.rows)), self._input_line()]
        return "\n".join(map(_printable, lines))

    def to_json(self) -> str:
        """The report as a JSON object, for the run's folder."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    def _heading(self) -> str:
        digest = f"sha256 {self.sha256}" if self.sha256 else ""
        # What a server sends today it need not send tomorrow; a file has its owner.
        loose = "not pinned" if is_url(self.source) and not self.pinned else ""
        origin = ", ".join(filter(None, [self.layout, digest, loose]))
        return f"weights of {self.model}: {self.source}" + (f" ({origin})" if origin else "")

    def _input_line(self) -> str:
        mean, std = (", ".join(f"{value:.4g}" for value in side) for side in (self.mean, self.std))
        return f"  input: {self.normalisation} (mean {mean}; std {std})"


def _listing(rows: Sequence[WeightRow]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for action in ("loaded", "initialised", "skipped"):
        chosen = [row for row in rows if row.action == action]
        if len(chosen) > LONGEST_LISTING:
            numbers = sum(row.numbers for row in chosen)
            lines.append((action, f"{len(chosen)} layers", f"{numbers:,} numbers", ""))
        else:
            lines.extend(_line(row) for row in chosen)
    return lines


def _line(row: WeightRow) -> tuple[str, ...]:
    names = [row.layer, row.file_layer]
    shape = row.shapes.get("weight", next(iter(row.shapes.values()), ()))
    return (row.action, " < ".join(filter(None, names)), "x".join(map(str, shape)), row.reason)


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(4)]
    return [("  " + "  ".join(map(str.ljust, line, widths))).rstrip() for line in lines]


def _printable(line: str) -> str:
    """A file names its layers as it likes: none of them is to move a terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in line)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
