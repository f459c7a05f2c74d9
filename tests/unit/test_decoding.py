"""Decoding: whatever comes in, an RGB square or a reason comes out."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from datasets import Unreadable
from orchestrator.ingest import decoding
from orchestrator.ingest.decoding import decode

MAX_PIXELS = 4_000_000


def encoded(image, image_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def decoded(pixels, image_px=48, max_pixels=MAX_PIXELS):
    return decode(pixels, image_px=image_px, max_pixels=max_pixels)


def reason(pixels, **options):
    result = decoded(pixels, **options)
    assert isinstance(result, Unreadable)
    assert "\n" not in result.reason
    return result.reason


def noise(height, width, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png_header_of(width, height):
    """A PNG that is nothing but the claim of a size."""

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["array", "PNG", "BMP", "PPM"])
def test_an_image_of_the_right_size_keeps_every_pixel(form):
    pixels = noise(48, 48)
    given_form = pixels if form == "array" else encoded(Image.fromarray(pixels), form)
    assert np.array_equal(decoded(given_form), pixels)


@pytest.mark.parametrize("form", ["array", "PNG"])
def test_grey_becomes_three_equal_channels(form):
    grey = noise(48, 48, channels=1)
    result = decoded(grey if form == "array" else encoded(Image.fromarray(grey)))
    assert np.array_equal(result, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_every_mode_becomes_uint8_rgb_of_the_size_asked_for(mode):
    image = Image.fromarray(noise(60, 50)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    result = decoded(encoded(image, "TIFF" if mode == "CMYK" else "PNG"))
    assert (result.shape, result.dtype) == ((48, 48, 3), np.uint8)


def test_sixteen_bits_are_scaled_to_eight():
    grey = noise(48, 48, channels=1)
    result = decoded(encoded(Image.fromarray(grey.astype(np.uint16) * 257)))
    assert np.array_equal(result[:, :, 0], grey)


def test_transparent_parts_become_white():
    image = np.zeros((48, 48, 4), dtype=np.uint8)
    image[:24, :, 3] = 255
    result = decoded(encoded(Image.fromarray(image)))
    assert result[:24].max() == 0
    assert result[24:].min() == 255


def test_a_transparent_palette_entry_becomes_white():
    palette = Image.new("P", (48, 48), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    assert decoded(encoded(palette, transparency=1)).min() == 255


def test_exif_orientation_is_applied():
    upright = noise(48, 48)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: to be turned a quarter clockwise
    lying = Image.fromarray(np.rot90(upright))
    assert np.array_equal(decoded(encoded(lying, exif=exif)), upright)


def test_resizing_to_half_is_antialiased():
    stripes = np.zeros((96, 96), dtype=np.uint8)
    stripes[:, ::2] = 255
    inner = decoded(stripes)[4:-4, 4:-4]
    assert inner.min() >= 110
    assert inner.max() <= 145


def test_an_oblong_image_is_squeezed_into_the_square():
    halves = np.zeros((48, 96), dtype=np.uint8)
    halves[:, 48:] = 255
    result = decoded(halves)
    assert result.shape == (48, 48, 3)
    assert result[:, :22].max() == 0
    assert result[:, 26:].min() == 255


def test_a_large_jpeg_is_like_its_full_decoding():
    smooth = np.add.outer(np.arange(768), np.arange(768)) / 6
    data = encoded(Image.fromarray(smooth.astype(np.uint8)).convert("RGB"), "JPEG", quality=95)
    full = decoded(np.asarray(Image.open(io.BytesIO(data))), image_px=96)
    difference = decoded(data, image_px=96).astype(int) - full.astype(int)
    assert np.abs(difference).max() <= 3  # reduced-scale decoding rounds differently


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_truncated_file_has_a_reason(image_format):
    data = encoded(Image.fromarray(noise(200, 200)), image_format)
    assert reason(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"\x00", b"<html>not found</html>", b"%!PS-Adobe-3.0 EPSF"])
def test_what_is_no_image_has_a_reason(data):
    assert reason(data) in ("empty file", "not an image, or of a format that is not read")


@pytest.mark.parametrize("size", [(2001, 2000), (9_000, 11_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_found_by_its_header(size):
    assert "max_pixels=4000000" in reason(png_header_of(*size))


def test_the_limit_of_pixels_is_the_callers():
    assert "more than max_pixels=100" in reason(noise(20, 20), max_pixels=100)
    assert decoded(noise(10, 10), max_pixels=100).shape == (48, 48, 3)


def test_a_strip_is_no_face():
    assert "aspect above 4" in reason(noise(100, 401))
    assert decoded(noise(100, 400)).shape == (48, 48, 3)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), dtype=np.float32),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((0, 4), dtype=np.uint8),
        np.zeros(16, dtype=np.uint8),
    ],
)
def test_an_array_that_is_no_image_has_a_reason(pixels):
    assert reason(pixels)


def test_floating_point_images_have_a_reason():
    assert "range" in reason(encoded(Image.fromarray(np.zeros((48, 48), np.float32)), "TIFF"))


def test_an_earlier_failure_is_passed_on():
    assert reason(Unreadable("file missing")) == "file missing"


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_files_never_raise(data):
    image_format = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]))
    content = bytearray(encoded(Image.fromarray(noise(20, 20)), image_format))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    result = decoded(bytes(content))
    assert isinstance(result, Unreadable) or result.shape == (48, 48, 3)


def by_pillow(monkeypatch, data):
    with monkeypatch.context() as patched:
        patched.setattr(decoding, "_plain_jpeg", lambda *_: None)
        return decoded(data)


def same(one, other):
    if isinstance(one, Unreadable) or isinstance(other, Unreadable):
        return one == other
    return np.array_equal(one, other)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [10, 75, 95])
@pytest.mark.parametrize("size", [(48, 48), (57, 61), (33, 95)])
def test_a_jpeg_file_is_decoded_to_the_bits_of_pillow(
    monkeypatch, quality, subsampling, progressive, size
):
    picture = Image.fromarray(noise(*size)).filter(ImageFilter.GaussianBlur(2))
    data = encoded(
        picture, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive
    )
    assert decoding._plain_jpeg(data, 48, MAX_PIXELS) is not None
    assert same(decoded(data), by_pillow(monkeypatch, data))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_files_of_other_colours_are_decoded_to_the_bits_of_pillow(monkeypatch, mode):
    data = encoded(Image.fromarray(noise(61, 57)).convert(mode), "JPEG")
    assert same(decoded(data), by_pillow(monkeypatch, data))


def test_a_jpeg_file_cut_anywhere_is_judged_as_pillow_does(monkeypatch):
    data = encoded(Image.fromarray(noise(40, 40)), "JPEG", quality=20)
    for length in range(len(data)):
        assert same(decoded(data[:length]), by_pillow(monkeypatch, data[:length])), length


@given(st.data())
def test_a_jpeg_file_with_bytes_changed_is_judged_as_pillow_does(drawn):
    data = bytearray(encoded(Image.fromarray(noise(40, 40)), "JPEG", quality=20))
    for _ in range(drawn.draw(st.integers(1, 4))):
        data[drawn.draw(st.integers(0, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert same(decoded(bytes(data)), by_pillow(monkeypatch, bytes(data)))
