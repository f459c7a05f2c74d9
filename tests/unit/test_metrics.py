"""What is exported of a study, and the Grafana dashboard that draws it."""

import json
import re
from pathlib import Path

import pytest

from orchestrator.dashboard.grafana import as_text, dashboard
from orchestrator.dashboard.metrics import METRICS, StudyMetrics, slot_values, study_values
from orchestrator.dashboard.slot_activity import SlotActivity, SlotState
from orchestrator.results.study_fold import fold
from tests.unit.fake_study import begin, head, mixed

ROOT = Path(__file__).parents[2]


class Recorded:
    """A metric that keeps what it is set to."""

    def __init__(self):
        self.values = {}

    def set(self, value, tags):
        self.values[tuple(tags.values())] = value

    def inc(self, value, tags):
        self.values[tuple(tags.values())] = self.values.get(tuple(tags.values()), 0) + value


def slots_of(records):
    activity = SlotActivity()
    for record in records:
        activity.add(record)
    return activity.slots


def exported(records, times=1):
    metrics, made = StudyMetrics("s"), {metric.name: Recorded() for metric in METRICS}
    metrics._made = made
    for _ in range(times):
        metrics(fold(records), slots_of(records))
    return {name: metric.values for name, metric in made.items()}


def test_every_metric_of_the_list_is_set_and_no_other():
    assert all(exported(mixed()).values())


def test_figures_are_those_of_the_study():
    values = exported(mixed(), times=2)
    assert values["fer_best_macro_f1"] == {("s",): 0.6}
    assert values["fer_best_val_loss"] == {("s",): 1.02}
    assert values["fer_epochs"] == {("s",): 4}, "counted once, however often it is looked at"
    assert values["fer_trials"][("s", "failed")] == 1
    assert values["fer_epochs_left"] == {("s",): 3}
    assert values["fer_slot_macro_f1"] == {("s", "slot-0"): 0.8}


def test_hostile_names_are_plain_words_in_the_tags():
    evil = 'a"} 1\nray_fer_trials{study="b\x1b[31m'
    metrics = StudyMetrics(evil)
    assert metrics._study == {"study": 'a"} 1 ray_fer_trials{study="b'}  # Ray escapes the quotes


def test_a_study_without_an_epoch_exports_no_score():
    values = study_values(fold([head()]), {})
    assert values == {"fer_epochs_left": 0, "fer_images_per_s": 0}


@pytest.mark.parametrize(("now_s", "share"), [(110.0, 0.8), (140.0, 0.3), (100.0, 0.8)])
def test_utilisation_is_the_share_of_its_time_that_a_slot_trained(now_s, share):
    slots = {"slot-0": SlotState("lineage1", 1, 8.0, since_s=100.0, until_s=110.0, last_s=4.0)}
    values = slot_values(fold(mixed()), slots, now_s)["slot-0"]
    assert values["fer_slot_utilisation"] == pytest.approx(share)


def test_a_slot_that_has_not_trained_yet_has_no_utilisation():
    for at in (0, 1):
        slots = slots_of([begin("lineage1", at=at)])
        assert slot_values(fold(mixed()), slots, 100.0) == {"slot-0": {}}
        assert study_values(fold(mixed()), slots)["fer_images_per_s"] == 0


def test_the_file_for_grafana_is_what_the_function_makes():
    text = (ROOT / "deploy" / "grafana.json").read_text()
    assert text == as_text(), "python -m orchestrator.dashboard.grafana > deploy/grafana.json"


def test_grafana_is_told_of_exactly_the_metrics_that_there_are():
    named = re.findall(r"ray_fer_\w+", json.dumps(dashboard()["panels"]))
    assert sorted(named) == sorted(metric.exported for metric in METRICS)


def test_charts_lie_side_by_side_without_overlap():
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    assert len({(place["x"], place["y"]) for place in places}) == len(places)
    assert all(place["x"] + place["w"] <= 24 for place in places)
