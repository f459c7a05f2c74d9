"""What a model is asked to be, and every objection that needs no torch. PURE."""

import difflib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from models.weight_source import RANDOM, TIMM, weight_problems

SMALLEST_IMAGE_PX = 32  # five 2x2 pools leave one pixel of it
LARGEST_WIDTH = 4.0


@dataclass(frozen=True)
class Request:
    """The arguments of `models.build`, which explains them."""

    name: str
    image_size: int
    num_classes: int = 2
    width: float = 1.0
    dropout: float = 0.0
    normalisation: str = "native"
    weights: str = RANDOM
    weights_sha256: str = ""
    seed: int = 0


def names() -> tuple[str, ...]:
    """The files of this folder that define `build`, sorted."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return tuple(file.stem for file in files if _builds(file))


def problems(request: Request) -> list[str]:
    """One sentence for each thing that is wrong with a request."""
    return [
        *_name_problems(request.name),
        *_size_problems(request),
        *weight_problems(request.name, request.width, request.weights, request.weights_sha256),
    ]


def _builds(file: Path) -> bool:
    return re.search(r"^def build\(", file.read_text(encoding="utf-8"), re.MULTILINE) is not None


def _name_problems(name: str) -> list[str]:
    if name.startswith(TIMM):
        if name == TIMM:
            return [
                f"model.name: needs timm's name after '{TIMM}'; got '{name}'. Try timm:resnet18"
            ]
        return []
    if name in names():
        return []
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    choices = ", ".join(names())
    return [f"model.name: must be one of {choices} or {TIMM}<name>; got '{name}'.{hint}"]


def _size_problems(request: Request) -> list[str]:
    found = []
    if request.image_size < SMALLEST_IMAGE_PX:
        found.append(
            f"image_size: must be at least {SMALLEST_IMAGE_PX} px (five 2x2 pools); "
            f"got {request.image_size}. Prepare the data set at a larger size"
        )
    if request.num_classes < 2:
        found.append(f"num_classes: must be at least 2; got {request.num_classes}")
    if not (math.isfinite(request.width) and 0 < request.width <= LARGEST_WIDTH):
        found.append(
            f"model.width: must be above 0 and at most {LARGEST_WIDTH:g}; got {request.width}"
        )
    elif request.name.startswith(TIMM) and request.width != 1.0:
        found.append(
            f"model.width: must be 1.0 for {request.name}; got {request.width}. "
            "Choose a smaller model of timm instead"
        )
    if not 0 <= request.dropout < 1:
        found.append(f"model.dropout: must be at least 0 and below 1; got {request.dropout}")
    if request.normalisation not in ("native", "unit"):
        found.append(f"model.normalisation: must be native or unit; got '{request.normalisation}'")
    return found
