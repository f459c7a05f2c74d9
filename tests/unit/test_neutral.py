"""A field that came later does not count where it changes nothing."""

from typing import Annotated, Literal

import pytest

from orchestrator.config.experiment import Experiment, Model
from orchestrator.config.neutral import Neutral, but_neutral
from orchestrator.config.section import Count, Flag, Number, Section
from orchestrator.config.validate import to_dict, validate
from orchestrator.tuning.lineages import lineage_key


class Inner(Section):
    depth: Count = 2
    added: Annotated[Flag, Neutral(False)] = False


class Outer(Section):
    inner: Inner = Inner()
    size: Number = 1.0
    share: Annotated[Number, Neutral(0)] = 0.5
    kind: Annotated[Literal["old", "new"], Neutral("old")] = "old"


def test_fields_that_hold_their_neutral_value_are_left_out_at_any_depth():
    assert but_neutral(Outer(share=0)) == {"inner": {"depth": 2}, "size": 1.0}


def test_any_other_value_counts_be_it_the_default():
    found = but_neutral(Outer(inner=Inner(added=True), kind="new"))
    assert found == {
        "inner": {"depth": 2, "added": True},
        "size": 1.0,
        "share": 0.5,
        "kind": "new",
    }


def test_fields_that_were_there_from_the_start_always_count():
    assert but_neutral(Outer(share=0))["size"] == 1.0


class LaterModel(Model):
    """As it might look in a year."""

    attention: Annotated[Flag, Neutral(False)] = False


class LaterExperiment(Experiment):
    model: LaterModel = LaterModel()
    ema: Annotated[Number, Neutral(0)] = 0.0


def test_a_field_that_is_yet_to_come_leaves_the_lineages_of_today_as_they_are():
    values = {"optimizer.name": "sgd", "schedule": "cosine", "model.freeze": 2}
    now = lineage_key(validate(Experiment, ("a test", values)), "d" * 64)
    later = validate(LaterExperiment, ("a test", values))
    assert lineage_key(later, "d" * 64) == now
    other = validate(LaterExperiment, ("a test", {**values, "model.attention": True}))
    assert lineage_key(other, "d" * 64) != now


@pytest.mark.parametrize("field", ["schedule", "label_smoothing", "class_weights"])
def test_a_saved_experiment_still_says_all_of_it(field):
    assert field in to_dict(Experiment())
