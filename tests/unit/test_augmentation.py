"""Augmentation: the same pixels for a row in any company, and only what was asked for."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from orchestrator.training.augmentation import AugmentationPlan, _sampling_grid, augment, transforms

RESAMPLING = 1e-5
"""Bilinear weights at pixel centres are 0 and 1 to within a few float32 roundings of a coordinate
of up to 32 pixels (32 * 2**-23 = 4e-6), and so is what they weigh."""
STUDY = AugmentationPlan(share=0.5, flip=0.5, rotation_deg=20, zoom=0.1)
FLIP_ONLY = AugmentationPlan(share=1, flip=1, rotation_deg=0, zoom=0)
IDS = np.arange(40, dtype=np.int64) * 3


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(len(IDS), 3, 32, 32, generator=generator)
    return images.contiguous(memory_format=torch.channels_last)


def augmented(images, row_ids=IDS, plan=STUDY, seed=0, epoch=1):
    return augment(images, row_ids, plan, seed=seed, epoch=epoch)


@pytest.mark.parametrize("size", [1, 3, 8, 13])
def test_a_row_gets_the_same_pixels_whichever_batch_it_is_in(images, size):
    together = augmented(images)
    for start in range(0, len(IDS), size):
        part = slice(start, start + size)
        assert torch.equal(augmented(images[part], IDS[part]), together[part])


def test_a_row_gets_the_same_pixels_wherever_in_the_batch_it_lies(images):
    backwards = torch.arange(len(IDS) - 1, -1, -1)
    swapped = augmented(images[backwards], IDS[::-1].copy())
    assert torch.equal(swapped[backwards], augmented(images))


def test_rows_that_are_not_chosen_are_unchanged_to_the_bit_and_the_others_are_not(images):
    changed, _ = transforms(IDS, STUDY, seed=0, epoch=1)
    after = augmented(images)
    same = [torch.equal(before, now) for before, now in zip(images, after, strict=True)]
    assert np.flatnonzero(np.logical_not(same)).tolist() == changed.tolist()
    assert 0 < len(changed) < len(IDS)


def test_the_input_is_left_as_it_was(images):
    before = images.clone()
    augmented(images)
    assert torch.equal(images, before)


def test_a_flip_alone_is_a_mirror_image(images):
    flipped = augmented(images, plan=FLIP_ONLY)
    assert torch.allclose(flipped, torch.flip(images, dims=[3]), rtol=0, atol=RESAMPLING)


def test_without_flip_and_zoom_the_map_is_a_pure_rotation_to_either_side():
    angles = AugmentationPlan(share=1, flip=0, rotation_deg=180, zoom=0)
    _, theta = transforms(IDS, angles, seed=0, epoch=1)
    # Proper rotations, of both senses and up to the bound, of the unit square.
    assert np.allclose(theta[:, :, :2] @ theta[:, :, :2].transpose(0, 2, 1), np.eye(2), atol=1e-6)
    assert np.allclose(np.linalg.det(theta[:, :, :2].astype(float)), 1, atol=1e-6)
    degrees = np.degrees(np.arctan2(theta[:, 1, 0], theta[:, 0, 0]))
    assert degrees.min() < -90
    assert degrees.max() > 90


def test_rotation_and_zoom_stay_within_their_bounds_and_use_them():
    rows = np.arange(2000, dtype=np.int64)
    plan = AugmentationPlan(share=1, flip=0, rotation_deg=20, zoom=0.1)
    _, theta = transforms(rows, plan, seed=0, epoch=1)
    degrees = np.degrees(np.arctan2(theta[:, 1, 0], theta[:, 0, 0]))
    scale = np.hypot(theta[:, 0, 0], theta[:, 1, 0])
    # 2000 uniform draws leave the outer hundredth of a range empty once in 5e8 times.
    assert 19.6 < degrees.max() <= 20.001
    assert -20.001 <= degrees.min() < -19.6
    assert 1.098 < scale.max() <= 1.1001
    assert 0.8999 <= scale.min() < 0.902


def test_the_share_and_the_flips_are_as_frequent_as_asked():
    rows = np.arange(4000, dtype=np.int64)
    plan = AugmentationPlan(share=0.3, flip=0.25, rotation_deg=0, zoom=0)
    changed, theta = transforms(rows, plan, seed=3, epoch=2)
    five_sigma = 5 * np.sqrt(0.3 * 0.7 / len(rows))
    assert abs(len(changed) / len(rows) - 0.3) < five_sigma
    five_sigma = 5 * np.sqrt(0.25 * 0.75 / len(changed))
    assert abs((theta[:, 0, 0] < 0).mean() - 0.25) < five_sigma


def test_share_zero_is_the_identity(images):
    assert augmented(images, plan=AugmentationPlan(0, 1, 180, 0.5)) is images


def test_a_batch_without_rows_stays_one(images):
    assert augmented(images[:0], IDS[:0]).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("plan", [STUDY, AugmentationPlan(1, 0.5, 180, 0.5)])
def test_values_stay_in_zero_one(plan):
    extremes = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(1)).round()
    after = augmented(extremes, plan=plan)
    assert after.min() >= 0
    assert after.max() <= 1
    assert after.isfinite().all()


def test_a_plain_image_stays_plain_as_corners_are_reflected_not_black():
    plain = torch.full((40, 3, 32, 32), 0.5)
    after = augmented(plain, plan=AugmentationPlan(1, 0.5, 45, 0.5))
    assert torch.allclose(after, plain, rtol=0, atol=1e-6)  # weights that sum to 1, rounded


def test_another_epoch_or_seed_makes_other_pixels(images):
    first = augmented(images)
    assert not torch.equal(first, augmented(images, epoch=2))
    assert not torch.equal(first, augmented(images, seed=1))
    assert torch.equal(first, augmented(images))


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 96)])
def test_images_are_sampled_where_torchs_affine_grid_says(size):
    _, theta = transforms(IDS, STUDY, seed=0, epoch=1)
    theta_K23 = torch.from_numpy(theta)
    expected = functional.affine_grid(theta_K23, [len(theta), 3, *size], align_corners=False)
    found = _sampling_grid(theta_K23, *size)
    # To the bit where matrix products multiply and add apart; one fused rounding off elsewhere.
    torch.testing.assert_close(found, expected, rtol=0, atol=2.0**-22)
