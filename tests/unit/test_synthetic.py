from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets import EMOTIONS, synthetic
from datasets._face_shapes import ACTION_UNITS

NOWHERE = Path()
SMALL = synthetic.Options(size_px=32, subjects=3, videos_per_subject=4, frames_per_video=3)


def drawn(options, faces=None):
    faces = list(synthetic.faces(NOWHERE, options)) if faces is None else faces
    return np.stack(list(synthetic.read(NOWHERE, faces, options)))


def clear_caches():
    for cached in (synthetic._shot, synthetic._subject, synthetic._background):
        cached.cache_clear()


def test_an_image_does_not_depend_on_what_was_read_before_it():
    faces = list(synthetic.faces(NOWHERE, SMALL))
    expected = drawn(SMALL, faces)
    clear_caches()
    backwards = drawn(SMALL, faces[::-1])[::-1]
    assert np.array_equal(expected, backwards)
    clear_caches()
    assert np.array_equal(expected[7], drawn(SMALL, [faces[7]])[0])


def test_an_image_does_not_depend_on_how_many_there_are():
    more = replace(SMALL, subjects=9, videos_per_subject=7, frames_per_video=5)
    few = {face.source: face.label for face in synthetic.faces(NOWHERE, SMALL)}
    many = {face.source: face.label for face in synthetic.faces(NOWHERE, more)}
    assert few.items() <= many.items()
    assert np.array_equal(synthetic.draw(SMALL, 2, 3, 2), synthetic.draw(more, 2, 3, 2))


@pytest.mark.parametrize("change", [{"seed": 1}, {"domain": "production"}])
def test_another_seed_or_domain_draws_other_people(change):
    other = replace(SMALL, **change)
    assert synthetic._subject(SMALL.seed, SMALL.domain, 0) != synthetic._subject(
        other.seed, other.domain, 0
    )
    assert (drawn(SMALL) != drawn(other)).mean() > 0.9


def test_no_group_of_the_study_occurs_in_production():
    study = {face.group for face in synthetic.faces(NOWHERE, SMALL)}
    production = {
        face.group for face in synthetic.faces(NOWHERE, replace(SMALL, domain="production"))
    }
    assert len(study) == len(production) == 3
    assert not study & production


def test_images_have_the_size_asked_for():
    assert drawn(replace(SMALL, size_px=48)).shape == (36, 48, 48, 3)


def test_frames_are_numbered_inside_their_subject():
    frames = [face.frame for face in synthetic.faces(NOWHERE, SMALL) if face.group == "subject-001"]
    assert frames == list(range(12))


def test_neighbouring_frames_are_more_alike_than_two_videos_of_a_subject():
    options = replace(SMALL, subjects=6)
    images = drawn(options).astype(float).reshape(6, 4, 3, -1)
    within = np.abs(images[:, :, 0] - images[:, :, 1]).mean()
    between = np.abs(images[:, 0, 0] - images[:, 1, 0]).mean()
    assert within < 0.5 * between


def test_each_class_occurs_as_often_as_the_priors_say():
    for domain in ("study", "production"):
        options = replace(SMALL, subjects=60, videos_per_subject=10, domain=domain)
        counts = Counter(face.label for face in synthetic.faces(NOWHERE, options))
        shares = [counts[emotion] / counts.total() for emotion in EMOTIONS]
        assert np.abs(np.subtract(shares, synthetic._DOMAINS[domain].priors)).max() < 0.02


def test_already_a_few_subjects_show_every_expression():
    for seed in range(20):
        faces = synthetic.faces(
            NOWHERE, replace(SMALL, subjects=3, videos_per_subject=6, seed=seed)
        )
        assert {face.label for face in faces} == set(EMOTIONS)


def test_an_expression_rises_and_fades_smoothly():
    shot = synthetic._shot(0, "study", 1, 1)
    unit = max(shot.units, key=lambda u: shot.units[u] if u not in (25, 26) else 0.0)
    course = np.array([synthetic._intensities(shot, frame)[unit] for frame in range(30)])
    assert course.max() > 2.5 * course.min() > 0
    assert np.abs(np.diff(course)).max() < 0.35 * course.max()


def test_expressions_use_known_action_units_and_differ_from_each_other():
    assert set(synthetic._EXPRESSIONS) == set(EMOTIONS)
    units = [frozenset(expression) for expression in synthetic._EXPRESSIONS.values()]
    assert len(set(units)) == len(EMOTIONS)
    assert set().union(*units) <= set(ACTION_UNITS)
