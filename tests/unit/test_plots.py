import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from orchestrator.results import plots
from orchestrator.results.study_fold import fold
from tests.unit.fake_study import epoch, head, hostile, mixed, scored, trial

STUDY_PLOTS = [plots.learning_curves, plots.winner_curve, plots.experiments, plots.confusion]


def ink(path):
    """Share of pixels that are not background; a picture has some and is not full of it."""
    with Image.open(path) as image:
        return float((np.asarray(image.convert("L")) < 250).mean())


def history(num_epochs):
    return [epoch("a", k, 0.1 * k)["metrics"] for k in range(1, num_epochs + 1)]


@pytest.mark.parametrize("draw", STUDY_PLOTS)
def test_a_study_is_drawn_onto_a_light_ground(draw, tmp_path):
    assert draw(fold(mixed()), tmp_path / "new" / "a.png")
    assert 0.005 < ink(tmp_path / "new" / "a.png") < 0.7


@pytest.mark.parametrize("draw", STUDY_PLOTS)
def test_nothing_is_drawn_where_nothing_was_measured(draw, tmp_path):
    assert not draw(fold([head(), trial(0, "a")]), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("draw", STUDY_PLOTS)
def test_hostile_names_neither_break_a_picture_nor_warn(draw, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw(hostile(), tmp_path / "a.png")


def test_scripts_that_the_font_lacks_do_not_warn(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plots.confusion(
            fold([head("表情", ("表", "情", "認")), *scored([0.5])[1:]]), tmp_path / "a.png"
        )


@pytest.mark.parametrize("num_lineages", [1, plots.MAX_LEGEND, plots.MAX_LEGEND + 1])
def test_learning_curves_are_drawn_with_and_without_a_legend(num_lineages, tmp_path):
    view = fold(scored([0.3 + k / 100 for k in range(num_lineages)]))
    assert plots.learning_curves(view, tmp_path / "a.png")


def test_lineages_that_all_score_alike_can_be_coloured(tmp_path):
    assert plots.learning_curves(fold(scored([0.5] * 14)), tmp_path / "a.png")


def test_many_experiments_make_a_picture_of_bounded_height(tmp_path):
    assert plots.experiments(fold(scored([k / 100 for k in range(60)])), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.height < 2600


def test_gaps_in_the_figures_are_left_out(tmp_path):
    records = scored([None, 0.5])
    del records[3]["metrics"]["val_loss"], records[7]["metrics"]["val_accuracy"]
    view = fold(records)
    assert all(draw(view, tmp_path / "a.png") for draw in STUDY_PLOTS)


@pytest.mark.parametrize("num_epochs", [1, 5])
def test_one_training_is_drawn_from_its_first_epoch_on(num_epochs, tmp_path):
    assert plots.learning_curve(history(num_epochs), tmp_path / "a.png")
    assert ink(tmp_path / "a.png") > 0.005


def test_a_training_without_epochs_is_not_drawn(tmp_path):
    assert not plots.learning_curve([], tmp_path / "a.png")


def test_the_winners_curve_is_that_of_its_training_under_the_studys_name(tmp_path):
    view = fold(scored([0.3, 0.5]))
    winner = [{**p.metrics, "epoch": p.epoch} for p in view.winner.curve]
    assert plots.winner_curve(view, tmp_path / "a.png")
    assert plots.learning_curve(winner, tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as titled, Image.open(tmp_path / "b.png") as plain:
        assert titled.height > plain.height


def test_equal_studies_make_equal_files(tmp_path):
    plots.learning_curves(fold(mixed()), tmp_path / "a.png")
    plots.learning_curves(fold(mixed()), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_drawing_needs_no_pyplot():
    code = "import sys, orchestrator.results.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
