"""A face cut out of a larger picture, for sets whose lists say where in it the face is.

The size is read from the header and checked before a pixel is decoded, so that a decompression
bomb costs nothing. The box counts stored pixels, whatever EXIF says of the orientation: the
detectors that found the boxes look for upright faces in the pixels as they are.

`box_of` runs in the DRIVER, `read_crops` in a WORKER.
"""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from datasets import Face, Unreadable
from datasets._image_files import read_files

Image.init()  # else Pillow knows some formats only after it has met an image of another

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Formats that are decoded; others (EPS, which starts an interpreter) are left alone."""

MAX_PIXELS = 25_000_000
"""Of the whole picture: what a camera makes; 100 MB while it is decoded."""

_NUMBER = re.compile(r"-?\d{1,6}(\.\d*)?", re.ASCII)


@dataclass(frozen=True)
class Box:
    """Part of a picture in pixels from its upper left corner; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def payload(self) -> bytes:
        """The box as the payload of a `Face`."""
        return f"{self.left},{self.top},{self.right},{self.bottom}".encode()


def box_of(left: str, top: str, right: str, bottom: str) -> Box | None:
    """Reads the numbers of a list, parts of pixels cut off; None where they span nothing."""
    numbers = [whole_pixels(text) for text in (left, top, right, bottom)]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        return None
    box = Box(*found)
    return box if box.left < box.right and box.top < box.bottom else None


def whole_pixels(text: str) -> int | None:
    """Reads one number of a list; None where it is none, or larger than any picture."""
    return int(float(text)) if _NUMBER.fullmatch(text) else None


def read_crops(
    root: Path, faces: Sequence[Face], paths: Sequence[str]
) -> Iterator[bytes | npt.NDArray[np.uint8] | Unreadable]:
    """Yields the part of each picture that the face's payload marks; whole files where it is "".

    Args:
        root: The data set.
        faces: Rows, with the box as payload.
        paths: The picture of each, relative to the root.
    """
    files = [replace(face, source=path) for face, path in zip(faces, paths, strict=True)]
    for face, content in zip(faces, read_files(root, files), strict=True):
        if isinstance(content, Unreadable) or not face.payload:
            yield content
        else:
            yield crop(content, Box(*map(int, face.payload.split(b","))))


def crop(encoded: bytes, box: Box) -> npt.NDArray[np.uint8] | Unreadable:
    """Decodes the part of a picture inside a box; what lies outside of the picture is cut off.

    Returns:
        uint8, shape (H, W) for grey or (H, W, 3) for RGB; or why there is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on what it then reads or refuses
            return _cropped(encoded, box)
    except Image.DecompressionBombError:
        return Unreadable(f"picture has more than {MAX_PIXELS:,} pixels")
    # Pillow's decoders raise nearly anything on damaged files (OSError, SyntaxError, ValueError,
    # struct.error, ...): here each of them is a row for the quarantine.
    except Exception as error:  # noqa: BLE001
        return Unreadable(_reason(error))


def _cropped(encoded: bytes, box: Box) -> npt.NDArray[np.uint8] | Unreadable:
    if not encoded:
        return Unreadable("empty file")
    picture = Image.open(io.BytesIO(encoded), formats=FORMATS)  # the header only
    width, height = picture.size
    if width * height > MAX_PIXELS:
        return Unreadable(f"picture of {width}x{height} pixels, more than {MAX_PIXELS:,}")
    if picture.mode in ("F", "I") or picture.mode.startswith("I;"):
        return Unreadable(f"pixels of more than 8 bits ({picture.mode}) are not read")
    left, top = max(box.left, 0), max(box.top, 0)
    right, bottom = min(box.right, width), min(box.bottom, height)
    if left >= right or top >= bottom:
        return Unreadable(f"face box lies outside of the picture of {width}x{height} pixels")
    return np.asarray(_flat(picture.crop((left, top, right, bottom))))


def _flat(part: Image.Image) -> Image.Image:
    """Brings a part to 8-bit grey or RGB; transparent pixels become white."""
    if part.has_transparency_data:
        rgba = part.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return part.convert("L" if part.mode in ("1", "L") else "RGB")


def _reason(error: Exception) -> str:
    """One line that is the same each time: Pillow puts memory addresses into some messages."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of a format that is not read"
    return " ".join(str(error).split())[:200] or type(error).__name__
