"""What an adaptation will try, checked without Ray: no row that measures is ever trained on."""

import numpy as np
import pytest
from prepared_set import write_set
from trained_run import write_run

from orchestrator.adaptation_job import checked_adaptation, facts, identity, record
from orchestrator.checkpoint_choice import choose
from orchestrator.config.errors import ConfigError
from orchestrator.config.production import REMEDIES, AdaptConfig
from orchestrator.ingest.dataset import open_dataset, read_split_index
from orchestrator.ingest.merging import gather_pixels, without_rows, write_merged
from orchestrator.shift.parts import HELD_OUT, TRAIN, UNUSED, VALIDATION

CLASSES = ("fear",)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_set(tmp_path_factory.mktemp("data") / "faces", image_px=32))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "small", dataset, optimizer__lr=0.01)


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    # Its first 60 rows have the names of the run's own videos.
    return write_set(tmp_path_factory.mktemp("data") / "street", rows=300, image_px=32)


def adaptation(run, production, **values):
    given = {"classes": CLASSES, "since": 100, **values}
    config = AdaptConfig(checkpoint=str(run), production=str(production), **given)
    return checked_adaptation(config, choose(config.checkpoint))


def test_no_remedy_trains_on_a_group_that_measures(run, production):
    found = adaptation(run, production)
    held_out = set(found.parts.groups[found.parts.rows(HELD_OUT)])
    own = found.job.own_index
    assert found.remedies == REMEDIES
    for remedy in found.trained:
        rows = found.rows(remedy)
        assert not held_out & set(found.parts.groups[rows.new])
        assert not held_out & set(own.groups[rows.old])
        assert set(own.splits[rows.old]) <= {"train"}
    assert not held_out & set(own.groups[own.splits == "validation"])


def test_what_is_held_out_is_not_in_a_merged_set(run, production, tmp_path):
    found = adaptation(run, production)
    sets, learned = found.job.sets, found.parts.rows(TRAIN, VALIDATION)
    pixels = gather_pixels(
        sets.own, sets.measured, learned, sets.class_indices, tmp_path / "pixels"
    )
    splits = found.splits(found.rows("classes"))
    used = splits != UNUSED
    pixels = without_rows(pixels, used, tmp_path / "used")
    merged = write_merged(pixels, splits[used], "group", name="m", settings={}, out=tmp_path / "m")
    index = read_split_index(merged, "group")
    assert not set(found.parts.groups[found.parts.rows(HELD_OUT)]) & set(index.groups)
    new = np.arange(len(index.splits)) >= np.count_nonzero(used[: sets.own.num_rows])
    assert set(index.labels[new & (index.splits == "train")]) == {1}
    # The run's test rows stay out of train and validation, and are all that is called test.
    assert np.flatnonzero(used)[index.splits == "test"].tolist() == found.own_test.tolist()


def test_a_training_goes_on_from_the_checkpoint_gently(run, production, dataset):
    found = adaptation(run, production, epochs=2)
    experiment = found.experiment("importance", dataset, (0.2, 0.3, 0.5))
    assert experiment.model.weights.endswith("epoch-0002/model.safetensors")
    assert experiment.model.weights_sha256 == found.job.stored.sha256
    assert experiment.optimizer.lr == pytest.approx(0.001)
    assert (experiment.epochs, experiment.early_stop) == (2, 0)
    assert experiment.target_shares == (0.2, 0.3, 0.5)
    balanced = found.experiment("balanced", dataset, (0.2, 0.3, 0.5))
    assert (balanced.class_weights, balanced.target_shares) == ("balanced", ())


def test_what_cannot_be_tried_is_left_out_with_the_reason(run, production):
    found = adaptation(run, production, since=None)
    assert "since" not in found.remedies
    assert found.skipped == (("since", "since=N does not say when the shift began"),)
    assert "skipped      since" in "\n".join(facts(found))
    late = adaptation(run, production, since=10_000)
    assert late.skipped[0][1].startswith("no row to learn from is listed from 10000 on")


def test_remedies_of_which_none_can_be_tried_are_refused(run, production):
    with pytest.raises(ConfigError, match="remedies: must name one that can be tried; got since"):
        adaptation(run, production, since=None, remedies=("since",))


def test_a_class_that_the_model_does_not_know_is_refused(run, production):
    with pytest.raises(ConfigError, match="classes: must be among the model's, anger, fear"):
        adaptation(run, production, classes=("disgust",))
    without = adaptation(run, production, classes=("disgust",), remedies=("old_data",))
    assert without.remedies == ("old_data",)


def test_the_runs_own_set_is_no_production(run, dataset):
    with pytest.raises(ConfigError, match="production: must be another set"):
        adaptation(run, dataset.root)


def test_what_the_results_depend_on_tells_adaptations_apart(run, production):
    first = identity(adaptation(run, production))
    assert first == identity(adaptation(run, production, batch_size=8, out="elsewhere"))
    assert first != identity(adaptation(run, production, seed=1))
    said = record(adaptation(run, production), "a test")
    assert (
        said["parts"]["adapt"]["rows"]
        + said["parts"]["held_out"]["rows"]
        + said["parts"]["unused"]["rows"]
        == 300
    )
