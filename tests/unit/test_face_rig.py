import numpy as np
import pytest
from PIL import Image

from datasets._face_person import HAIR_STYLES, draw_person
from datasets._face_rig import Pose, paint
from datasets._face_shapes import ACTION_UNITS, shapes

CANVAS = Image.new("RGB", (128, 128), (150, 160, 170))
PEOPLE = [draw_person(np.random.default_rng(number)) for number in range(40)]


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_every_action_unit_can_be_seen(unit):
    neutral = np.asarray(paint(PEOPLE[0], {}, Pose(), CANVAS)).astype(int)
    moved = np.asarray(paint(PEOPLE[0], {unit: 1.0}, Pose(), CANVAS)).astype(int)
    assert (np.abs(moved - neutral).max(axis=2) > 20).sum() >= 8


def test_a_smile_lifts_the_corners_of_the_mouth_and_sadness_lowers_them():
    def corner(units):
        return shapes(PEOPLE[0], units)["seam"][0, 1]

    assert corner({12: 1.0}) < corner({}) - 0.1
    assert corner({15: 1.0}) > corner({}) + 0.1


def test_the_brow_lowerer_lowers_the_inner_brow_and_its_raiser_lifts_it():
    def inner_brow(units):
        return shapes(PEOPLE[0], units)["brow_r"][0, 1]

    assert inner_brow({1: 1.0}) < inner_brow({}) - 0.1 < inner_brow({4: 1.0}) - 0.2


def test_a_dropped_jaw_opens_the_mouth_and_lengthens_the_face():
    neutral, dropped = shapes(PEOPLE[0], {}), shapes(PEOPLE[0], {26: 1.0})
    assert np.ptp(dropped["mouth_inner"][:, 1]) > np.ptp(neutral["mouth_inner"][:, 1]) + 0.2
    assert dropped["face"][:, 1].max() > neutral["face"][:, 1].max() + 0.1


def test_a_neutral_face_looking_straight_ahead_is_symmetric_but_for_nose_shade_and_hair():
    neutral = shapes(PEOPLE[0], {})
    for part in ("brow", "eye_white", "lash", "ear", "nostril"):
        assert np.allclose(neutral[f"{part}_l"] * [-1, 1], neutral[f"{part}_r"])


def test_the_image_is_half_as_wide_as_its_canvas():
    assert paint(PEOPLE[0], {}, Pose(), CANVAS).size == (64, 64)
    assert CANVAS.getextrema() == ((150, 150), (160, 160), (170, 170)), "the canvas was drawn on"


def test_every_kind_of_person_can_be_drawn_in_any_pose():
    assert {person.hair_style for person in PEOPLE} == set(HAIR_STYLES)
    assert (
        {person.glasses for person in PEOPLE}
        == {person.beard for person in PEOPLE}
        == {True, False}
    )
    everything = dict.fromkeys(ACTION_UNITS, 1.3)
    for number, person in enumerate(PEOPLE):
        image = paint(person, everything, Pose(yaw=0.06 * (number - 20), pitch=0.3), CANVAS)
        assert np.asarray(image).std() > 10
