"""The perceptual hash: its definition, what it survives, and pictures without texture."""

import io

import numpy as np
import pytest
from PIL import Image

from datasets.synthetic import Options, draw
from orchestrator.ingest.perceptual_hash import BLOCK, FLAT, GRID, THRESHOLD, perceptual_hashes

SIDE = 96


@pytest.fixture(scope="module")
def people():
    options = Options(subjects=8, size_px=SIDE)
    return np.stack([draw(options, subject, 0, 0) for subject in range(8)])


def distances(some, others):
    return np.bitwise_count(perceptual_hashes(some) ^ perceptual_hashes(others))


def waves(height=40, width=56):
    y, x = np.mgrid[:height, :width]
    channels = [x * x // 9 + y, 7 * y + x * y // 5, (x - 20) ** 2 // 3 + 2 * y]
    return np.stack([channel % 256 for channel in channels], axis=-1).astype(np.uint8)[None]


def coefficients(image):
    """The definition in plain steps, in floats: luma, means over cells, DCT-II."""
    luma = (image.astype(int) @ [77, 150, 29] + 128) >> 8
    fine = np.repeat(np.repeat(luma, GRID, axis=0), GRID, axis=1)  # each pixel cut into 32 x 32
    cells = fine.reshape(GRID, luma.shape[0], GRID, luma.shape[1]).mean(axis=(1, 3))
    place = np.arange(GRID)
    found = np.empty((BLOCK, BLOCK))
    for u in range(BLOCK):
        for v in range(BLOCK):
            down = np.cos(np.pi * (u + 1) * (2 * place + 1) / (2 * GRID))
            across = np.cos(np.pi * (v + 1) * (2 * place + 1) / (2 * GRID))
            found[u, v] = down @ cells @ across
    return found.ravel()


@pytest.mark.parametrize("shape", [(48, 48), (33, 57), (20, 100), (96, 96)])
def test_bits_are_those_of_the_stated_definition(shape):
    images = np.random.default_rng(0).integers(0, 256, (5, *shape, 3), np.uint8)
    for image, found in zip(images, perceptual_hashes(images), strict=True):
        low = coefficients(image)
        above = low - np.median(low)
        bits = [int(found) >> (63 - place) & 1 for place in range(64)]
        clear = np.abs(above) > 0.01 * np.abs(low).max()  # the rest may be rounded either way
        assert clear.sum() > 55
        np.testing.assert_array_equal(np.array(bits)[clear], (above > 0)[clear])


def test_the_hash_of_a_known_picture_never_changes():
    # Hashes lie in files: another definition would need another version of them.
    assert [f"{value:016x}" for value in perceptual_hashes(waves())] == ["4a3fe8933e40c7d8"]


def test_copies_that_were_encoded_anew_or_resized_are_near(people):
    copies = []
    for image in people:
        file = io.BytesIO()
        Image.fromarray(image).resize((70, 70), Image.Resampling.BILINEAR).save(file, "JPEG")
        copies.append(np.asarray(Image.open(file)))
    assert (distances(people, np.stack(copies)) <= THRESHOLD).all()


def test_brighter_copies_are_near(people):
    brighter = np.clip(people.astype(int) + 15, 0, 255).astype(np.uint8)
    assert (distances(people, brighter) <= THRESHOLD).all()


def test_different_people_are_far(people):
    first, second = np.triu_indices(len(people), 1)
    assert distances(people[first], people[second]).min() > 2 * THRESHOLD


@pytest.mark.parametrize("times", [2, 3])  # at three times the size sums need 64-bit floats
def test_a_picture_with_every_pixel_repeated_has_the_same_hash(people, times):
    larger = np.repeat(np.repeat(people, times, axis=1), times, axis=2)
    np.testing.assert_array_equal(perceptual_hashes(larger), perceptual_hashes(people))


def test_a_hash_does_not_depend_on_the_batch(people):
    many = np.concatenate([people] * 9)
    alone = [perceptual_hashes(image[None])[0] for image in people]
    assert perceptual_hashes(many).tolist() == alone * 9
    assert perceptual_hashes(many[:0]).shape == (0,)


def test_pictures_without_texture_are_flat():
    even = np.full((SIDE, SIDE, 3), 77, np.uint8)
    noisy = even + (np.random.default_rng(0).random(even.shape) < 0.5).astype(np.uint8)
    stripes = np.broadcast_to(np.arange(SIDE, dtype=np.uint8)[:, None, None] * 2, even.shape)
    found = perceptual_hashes(np.stack([even, noisy, stripes, 255 * (even > 0)]).astype(np.uint8))
    assert (found == FLAT).all()


def test_a_faint_picture_is_not_flat(people):
    faint = (people // 16 + 100).astype(np.uint8)
    assert not (perceptual_hashes(faint) == FLAT).any()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((2, 8, 8, 1), np.uint8),
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 0, 8, 3), np.uint8),
    ],
)
def test_other_shapes_and_types_are_refused(images):
    with pytest.raises(ValueError, match=r"images: must be uint8 of shape \(N, H, W, 3\)"):
        perceptual_hashes(images)
