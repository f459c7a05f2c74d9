"""Priors of unlabelled sets are found, with intervals that know of videos."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulated_shift import EVEN, PRODUCTION, REFERENCE, Videos, draw
from orchestrator.config.errors import DatasetError
from orchestrator.shift.outputs import Outputs
from orchestrator.shift.priors import bbse, bbse_priors, em, em_priors

WANTED = 0.05
"""Sum of absolute errors over the six classes."""
NUM_ROWS = 5000


def shares(outputs):
    return np.bincount(outputs.labels, minlength=outputs.num_classes) / len(outputs.labels)


def errors(method, num_shifts):
    """Of one method over random mixes of classes; about 74 % of the decisions are right."""
    found = []
    for number in range(num_shifts):
        rng = np.random.default_rng([number, 5])
        reference = draw(rng, Videos(NUM_ROWS), REFERENCE)
        production = draw(rng, Videos(NUM_ROWS), rng.dirichlet(np.ones(6)))
        estimate = method(reference, production, seed=number, num_resamples=1)
        found.append(np.abs(np.array(estimate.priors) - shares(production)).sum())
    return np.array(found)


def test_em_finds_the_priors_of_random_label_shifts():
    assert errors(em, 10).max() <= WANTED


def test_bbse_finds_them_on_average():
    # It uses only the mean output: about 1.4 times the error of EM, over 0.05 in one of five.
    assert errors(bbse, 20).mean() <= WANTED


def test_both_beat_counting_decisions_by_far():
    rng = np.random.default_rng(0)
    reference = draw(rng, Videos(NUM_ROWS), REFERENCE)
    production = draw(rng, Videos(NUM_ROWS), PRODUCTION)
    counted = np.bincount(production.predicted, minlength=6) / NUM_ROWS
    naive = np.abs(counted - shares(production)).sum()
    for method in (bbse, em):
        estimate = method(reference, production, seed=0, num_resamples=1)
        assert np.abs(np.array(estimate.priors) - shares(production)).sum() < naive / 3


def test_the_labels_of_production_are_not_looked_at():
    rng = np.random.default_rng(0)
    reference, production = (draw(rng, Videos(300), EVEN) for _ in range(2))
    for method in (bbse, em):
        blind = method(reference, replace(production, labels=None), seed=3, num_resamples=20)
        assert method(reference, production, seed=3, num_resamples=20) == blind


def test_intervals_are_wider_where_the_rows_are_frames_of_few_videos():
    rng = np.random.default_rng(1)
    videos = [draw(rng, Videos(60, 20), REFERENCE), draw(rng, Videos(60, 20), REFERENCE)]
    rows = [replace(one, groups=np.arange(len(one.groups))) for one in videos]
    for method in (bbse, em):
        by_video, by_row = (method(*pair, seed=0) for pair in (videos, rows))
        assert by_video.priors == pytest.approx(by_row.priors, abs=1e-9)
        width = np.subtract(by_video.high, by_video.low).sum()
        assert width > 1.5 * np.subtract(by_row.high, by_row.low).sum()


def test_intervals_cover_the_true_priors_about_as_often_as_they_claim():
    covered = []
    for number in range(15):
        rng = np.random.default_rng([number, 6])
        reference = draw(rng, Videos(150, 4), REFERENCE)
        production = draw(rng, Videos(150, 4), PRODUCTION)
        for method in (bbse, em):
            found = method(reference, production, seed=number, num_resamples=60)
            covered += [
                low <= true <= high
                for low, true, high in zip(found.low, PRODUCTION, found.high, strict=True)
            ]
    # 180 dependent trials; percentile intervals of 150 videos cover a little less than 95 %.
    assert 0.84 < np.mean(covered) <= 1


def test_a_confusion_matrix_that_cannot_be_inverted_is_told():
    rng = np.random.default_rng(0)
    good = draw(rng, Videos(500), EVEN)
    twins = good.probabilities.copy()
    twins[:, :2] = twins[:, :2].mean(axis=1, keepdims=True)
    blurred = Outputs(twins, None, good.labels, good.groups)
    assert bbse(good, good, seed=0, num_resamples=2).reliable
    estimate = bbse(blurred, blurred, seed=0, num_resamples=2)
    assert not estimate.reliable
    assert estimate.condition is None or estimate.condition > 30


def test_em_says_when_there_were_too_few_errors_to_calibrate_on():
    sure = np.eye(3)[[0, 1, 2] * 5] * 0.97 + 0.01
    perfect = Outputs(sure, None, np.array([0, 1, 2] * 5), np.arange(15))
    assert not em(perfect, perfect, seed=0, num_resamples=2).reliable


def test_a_reference_without_a_class_is_refused():
    rng = np.random.default_rng(0)
    lacking = draw(rng, Videos(100), np.array([0.5, 0.5, 0, 0, 0, 0]))
    for method in (bbse, em):
        with pytest.raises(DatasetError, match=r"reference\.labels: rows of every class"):
            method(lacking, lacking, seed=0)


def test_bbse_solves_exactly_where_the_answer_is_a_mixture():
    rng = np.random.default_rng(0)
    means = rng.dirichlet(np.ones(5), size=5).T + np.eye(5)
    means /= means.sum(axis=0)
    priors = rng.dirichlet(np.ones(5))
    assert bbse_priors(means, means @ priors) == pytest.approx(priors, abs=1e-10)


def test_bbse_finds_the_nearest_mixture_where_the_answer_is_none():
    rng = np.random.default_rng(2)
    means = rng.dirichlet(np.ones(4), size=4).T
    outside = np.array([0.97, 0.01, 0.01, 0.01])
    found = bbse_priors(means, outside)
    assert found.min() == 0
    assert found.sum() == pytest.approx(1, abs=1e-12)
    others = rng.dirichlet(np.full(4, 0.3), size=20_000)
    best = np.linalg.norm(others @ means.T - outside, axis=1).min()
    assert np.linalg.norm(means @ found - outside) <= best


def test_em_climbs_to_the_largest_likelihood():
    rng = np.random.default_rng(3)
    old = np.array([0.5, 0.3, 0.2])
    posteriors = rng.dirichlet([1.0, 0.5, 0.2], size=400)

    def likelihood(priors):
        return np.log(posteriors @ (priors / old)).sum()

    found = em_priors(posteriors, old)
    assert all(likelihood(found) >= likelihood(p) for p in rng.dirichlet(np.ones(3), size=3000))
    away = em_priors(posteriors, old, start_K=np.array([0.01, 0.01, 0.98]))
    assert away == pytest.approx(found, abs=1e-7)


def test_weights_of_rows_act_like_copies_of_them():
    posteriors = np.random.default_rng(4).dirichlet(np.ones(3), size=30)
    copies = np.arange(30) % 4
    weighted = em_priors(posteriors, np.full(3, 1 / 3), copies.astype(float))
    copied = em_priors(np.repeat(posteriors, copies, axis=0), np.full(3, 1 / 3))
    assert weighted == pytest.approx(copied, abs=1e-8)
