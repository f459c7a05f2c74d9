"""What a diagnosis will compare, checked without Ray: which rows, which sets, where to."""

import json

import numpy as np
import pytest
from prepared_set import write_set
from trained_run import write_run

from orchestrator.checkpoint_choice import choose
from orchestrator.config.errors import ConfigError
from orchestrator.config.production import DiagnoseConfig
from orchestrator.diagnosis_job import checked_comparison, record, thinned
from orchestrator.ingest.dataset import SplitIndex, open_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_set(tmp_path_factory.mktemp("data") / "faces", image_px=32))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "small", dataset)


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("data") / "street", rows=300, image_px=32)


def compare(run, production, **values):
    config = DiagnoseConfig(checkpoint=str(run), production=str(production), **values)
    return checked_comparison(config, choose(config.checkpoint))


def drawn(comparison):
    sizes = (len(comparison.reference_ids), len(comparison.production_ids))
    return [(np.full((n, 3), 1 / 3, np.float32), np.zeros((n, 4), np.float32)) for n in sizes]


def test_the_runs_validation_split_is_compared_with_all_of_production(run, production):
    found = compare(run, production)
    first, second = found.requests()
    assert (first.dataset.name, second.dataset.name) == ("faces", "street")
    assert set(found.job.own_index.splits[first.row_ids]) == {"validation"}
    assert second.row_ids.tolist() == list(range(300))
    assert found.out.local == run / "diagnoses" / "street"
    reference, other = found.outputs(drawn(found))
    assert reference.labels.tolist() == found.job.own_index.labels[first.row_ids].tolist()
    assert other.labels is not None
    assert found.job.network.classifier is not None


def test_labels_of_production_are_not_looked_at_where_there_are_none(run, production):
    found = compare(run, production, labels=False)
    assert found.outputs(drawn(found))[1].labels is None
    assert record(found, "a test", kept=4)["production"]["labels_looked_at"] is False


def test_a_reference_of_videos_that_were_trained_on_is_said_to_be(
    run, production, dataset, tmp_path
):
    reference, other = compare(run, production).exposures()
    assert (reference.in_train, reference.group_in_train) == (0, 0)
    assert "no group of it was trained on" in reference.reference_statement
    # The first videos of production have the names of the run's own.
    assert (other.in_train, other.group_in_train > 0, other.held_out) == (0, True, False)
    by_rows = write_run(tmp_path / "random", dataset, data__protocol="random")
    reference, _ = compare(by_rows, production).exposures()
    assert reference.group_in_train > 0
    assert "the reference is NOT held-out" in reference.reference_statement


def test_a_set_is_not_compared_with_itself(run, dataset):
    with pytest.raises(ConfigError, match="production: must be another set"):
        compare(run, dataset.root)


def test_a_diagnosis_of_another_set_of_the_same_name_is_not_written_over(run, production, tmp_path):
    done = compare(run, production)
    other = write_set(tmp_path / "street", rows=90, image_px=32)
    done.out.local.mkdir(parents=True)
    summary = done.out.local / "diagnosis.json"
    try:
        summary.write_text(json.dumps(record(done, "a test", kept=4)))
        found = compare(run, other)
        fingerprint = found.job.sets.measured.fingerprint
        assert found.out.local == done.out.local.with_name(f"street-{fingerprint[:8]}")
        assert compare(run, production).out.local == done.out.local
    finally:
        summary.unlink()


def test_a_long_video_keeps_its_share_when_rows_are_thinned(run, production):
    groups = np.repeat(["a", "b", "c"], [600, 300, 100])
    rows = np.arange(1000)
    index = SplitIndex(rows * 0, groups, rows, rows, np.full(1000, "test"))
    chosen = thinned(index, rows, 100, seed=1)
    assert np.unique(groups[chosen], return_counts=True)[1].tolist() == [60, 30, 10]
    assert (np.diff(chosen) > 0).all()
    assert len(compare(run, production, max_rows=100).production_ids) == 100
    assert thinned(index, rows, 1000, seed=1) is rows
