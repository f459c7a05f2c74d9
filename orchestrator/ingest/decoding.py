"""One encoded face to an RGB array of the size asked for, or the reason why not.

What happens to every image, in this order: the size is read from the header and checked before
a pixel is decoded (decompression bombs, absurd shapes); EXIF orientation is applied; 16-bit
greys are scaled to 8; transparent parts become white; the image is resized to a square, as in
the study, so its aspect changes if it was none; grey becomes RGB. The filter is Pillow's
antialiased bilinear; an image that has the size already is not touched, bit for bit. JPEG files
at least twice as large as needed are decoded at a reduced scale, which is part of the format.

Pillow decides what an image is and what is wrong with it. A plain JPEG file, upright and whole, is
decoded by libjpeg-turbo directly (simplejpeg): the same bits as Pillow's, which is built on that
library too, in half its time; where it has any remark on a file, Pillow is asked.

Runs in a WORKER, on one image at a time; PURE. Bad input never raises.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from datasets import Pixels, Unreadable

Image.init()  # else Pillow knows some formats only after it has met an image of another

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Formats that are decoded; others (EPS, which starts an interpreter) are left alone."""

MAX_ASPECT = 4.0
"""A face four times as long as it is wide is a fault of the cropping."""

REDUCIBLE = 2
"""Times as large as needed from which a JPEG file can be decoded at a reduced scale."""

_SOI = b"\xff\xd8"  # a JPEG file begins so
_EXIF = b"Exif\0\0"
_PLAIN = {"YCbCr": "RGBX", "Gray": "GRAY"}  # colours of plain JPEG files, and what they become

Rgb = npt.NDArray[np.uint8]


def decode(pixels: Pixels, *, image_px: int, max_pixels: int) -> Rgb | Unreadable:
    """Decodes one face.

    Args:
        pixels: An encoded file, an (H, W) or (H, W, 3) uint8 array, or an earlier failure.
        image_px: Side of the square returned.
        max_pixels: Width times height above which nothing is decoded.

    Returns:
        uint8 RGB, shape (image_px, image_px, 3); or why there is none.
    """
    if isinstance(pixels, Unreadable):
        return pixels
    if (plain := _plain_jpeg(pixels, image_px, max_pixels)) is not None:
        return _resized(plain, image_px)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on what it then reads or refuses
            return _checked(pixels, image_px, max_pixels)
    except Image.DecompressionBombError:
        return Unreadable(f"more pixels than max_pixels={max_pixels}")
    # Pillow's decoders raise nearly anything on damaged files (OSError, SyntaxError, ValueError,
    # struct.error, ...): here each of them is a row for the quarantine.
    except Exception as error:  # noqa: BLE001
        return Unreadable(_reason(error))


def _plain_jpeg(
    pixels: bytes | npt.NDArray[np.uint8], image_px: int, max_pixels: int
) -> Image.Image | None:
    """Decodes a JPEG file that needs nothing but decoding; None where Pillow must look at it."""
    if not isinstance(pixels, bytes) or pixels[:2] != _SOI or _EXIF in pixels:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(pixels, strict=True)
        is_reducible = min(height, width) >= REDUCIBLE * image_px
        if colours not in _PLAIN or is_reducible or _fault_of_size((width, height), max_pixels):
            return None
        decoded = simplejpeg.decode_jpeg(pixels, _PLAIN[colours], strict=True)
    except ValueError:
        return None
    if colours == "Gray":
        return Image.fromarray(decoded[..., 0])
    # Four bytes a pixel are what Pillow holds of an RGB image: copied whole, not spread from three.
    return Image.frombuffer("RGBX", (width, height), decoded, "raw", "RGBX", 0, 1).convert("RGB")


def _checked(
    pixels: bytes | npt.NDArray[np.uint8], image_px: int, max_pixels: int
) -> Rgb | Unreadable:
    """Decodes what passes the checks that need no decoding."""
    opened = _opened(pixels)
    if isinstance(opened, Unreadable):
        return opened
    fault = _fault_of_size(opened.size, max_pixels)
    return Unreadable(fault) if fault else _square(opened, image_px)


def _opened(pixels: bytes | npt.NDArray[np.uint8]) -> Image.Image | Unreadable:
    """Reads the header of a file, or checks an array and wraps it."""
    if isinstance(pixels, bytes):
        if not pixels:
            return Unreadable("empty file")
        return Image.open(io.BytesIO(pixels), formats=FORMATS)
    shape = pixels.shape
    if pixels.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
        return Unreadable(f"pixels of shape {shape} and type {pixels.dtype} are no uint8 image")
    if 0 in shape:
        return Unreadable("image without pixels")
    return Image.fromarray(pixels)


def _fault_of_size(size: tuple[int, int], max_pixels: int) -> str:
    width, height = size
    if width < 1 or height < 1:
        return "image without pixels"
    if width * height > max_pixels:
        return f"{width}x{height} pixels, more than max_pixels={max_pixels}"
    if max(width, height) > MAX_ASPECT * min(width, height):
        return f"{width}x{height} pixels, aspect above {MAX_ASPECT:g}"
    return ""


def _square(image: Image.Image, image_px: int) -> Rgb:
    """Decodes and brings an image to the wanted form."""
    image.draft(None, (image_px, image_px))  # only JPEG can; the scale never falls below this
    return _resized(
        _flat(image if _is_upright(image) else ImageOps.exif_transpose(image)), image_px
    )


def _resized(flat: Image.Image, image_px: int) -> Rgb:
    """Brings an image that is 8-bit grey or RGB to the wanted size."""
    if flat.size != (image_px, image_px):
        flat = flat.resize((image_px, image_px), Image.Resampling.BILINEAR)
    # Grey becomes RGB after resizing, at a third of the cost.
    return np.asarray(flat if flat.mode == "RGB" else flat.convert("RGB"))


def _is_upright(image: Image.Image) -> bool:
    """Whether an image is sure to have no EXIF orientation; parsing costs as much as decoding.

    Only of a JPEG it is known before decoding: other formats can have it behind the pixels.
    """
    return image.format == "JPEG" and "exif" not in image.info


def _flat(image: Image.Image) -> Image.Image:
    """Brings any mode to 8-bit grey or RGB without transparency."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image  # the usual case first: each step below would copy it
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scales 0..65535 to 0..255, rounding to nearest."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("32-bit pixels have no known range")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _reason(error: Exception) -> str:
    """One line that is the same each time: Pillow puts memory addresses into some messages."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of a format that is not read"
    return " ".join(str(error).split())[:200] or type(error).__name__
