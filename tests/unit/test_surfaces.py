import json
import threading
import unicodedata
from types import SimpleNamespace

from orchestrator.dashboard import surfaces
from orchestrator.dashboard.snapshot import shown
from orchestrator.dashboard.surfaces import log_text, shown_in_ray, status_message, submitted_job
from orchestrator.results.leaderboard_tables import text_table
from orchestrator.results.study_fold import fold
from orchestrator.tuning.ledger import LEDGER
from tests.unit.fake_study import end, epoch, head, hostile, mixed, scored, trial


def test_columns_of_the_log_are_held_apart_by_no_break_spaces():
    text = log_text(fold(scored([0.5, 0.25])))
    assert "  " not in text
    head_line = next(line for line in text.split("\n") if "macro-F1" in line and "rank" in line)
    assert "rank\u00a0\u00a0trial" in head_line


def test_the_log_names_no_home_folder():
    records = [head(), trial(0, "l"), epoch("l", 1, 0.5)]
    text = log_text(fold([*records, end(0, 1, "failed", "lost /home/ada/x")]))
    assert "lost ~/x" in text


def test_hostile_words_add_no_lines_to_the_log_and_reach_rays_pages_as_plain_words():
    view = hostile()
    lines = log_text(view).splitlines()
    assert len(lines) == len(text_table(view, per_class=True).split("\n")) - 1 == 12
    for text in (log_text(view), status_message(view), shown(view.name)):
        assert not any(unicodedata.category(c) in ("Cf", "Cs", "Co") for c in text)
        assert "\x1b" not in text
    assert "\n" not in status_message(view)


def test_the_status_of_a_job_says_how_far_it_is_and_who_leads():
    assert status_message(fold(mixed())) == (
        "best so far 0.600 [0.580, 0.620], trial 0; 2 of 4 trials ended"
    )
    assert status_message(fold([head(), trial(0, "l")])) == "0 of 1 trials ended"


def test_a_driver_knows_the_job_it_was_submitted_as(monkeypatch):
    monkeypatch.setenv(surfaces.JOB_CONFIG, json.dumps({"metadata": {"job_submission_id": "j1"}}))
    assert submitted_job() == "j1"


def test_a_driver_of_no_job_knows_none(monkeypatch):
    monkeypatch.delenv(surfaces.JOB_CONFIG, raising=False)
    assert submitted_job() == ""
    for content in ("[]", "null", '{"metadata": null}', "{"):
        monkeypatch.setenv(surfaces.JOB_CONFIG, content)
        assert submitted_job() == ""


def only_logs(monkeypatch, *others):
    """Leaves out what needs a running Ray."""
    monkeypatch.setattr(surfaces, "StudyMetrics", lambda study: others[0] if others else _nothing)
    monkeypatch.setattr(surfaces, "_JobStatus", lambda study: _nothing)


def _nothing(view, slots):
    pass


def test_the_log_holds_the_end_of_the_study(tmp_path, monkeypatch):
    only_logs(monkeypatch)
    study, logs = tmp_path / "s", tmp_path / "logs"
    study.mkdir()
    logs.mkdir()
    with shown_in_ray(study, str(logs)), (study / LEDGER).open("w") as ledger:
        for record in mixed():
            ledger.write(json.dumps(record) + "\n")
    assert "0.600" in (logs / "leaderboard-s.log").read_text()
    assert [path.name for path in logs.iterdir()] == ["leaderboard-s.log"]


def test_a_node_without_session_logs_gets_none(tmp_path, monkeypatch):
    only_logs(monkeypatch)
    (tmp_path / "s").mkdir()
    with shown_in_ray(tmp_path / "s", str(tmp_path / "none")):
        pass
    assert not (tmp_path / "none").exists()


def test_what_fails_again_and_again_is_left_alone_and_holds_up_nothing_else(tmp_path, monkeypatch):
    calls, written = [], threading.Event()

    def broken(view, slots):
        calls.append(view)
        raise AttributeError("a private interface of Ray that is gone")

    def write(path, text):
        if b"finished" in text:  # the study's last record
            written.set()

    only_logs(monkeypatch, broken)
    monkeypatch.setattr(surfaces, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(surfaces, "write_atomic", write)
    (tmp_path / "s").mkdir()
    records = [head(), trial(0, "l"), epoch("l", 1, 0.5), end(0, 1)]
    with (tmp_path / "s" / LEDGER).open("w") as ledger, shown_in_ray(tmp_path / "s", str(tmp_path)):
        for record in records:
            ledger.write(json.dumps(record) + "\n")
            ledger.flush()
        assert written.wait(10)
    assert 1 <= len(calls) <= surfaces.MOST_FAILURES


def test_a_surface_that_failed_for_a_moment_is_tried_again(monkeypatch):
    shown, outcomes = [], iter([OSError(), OSError(), None, OSError(), OSError(), OSError()])

    def shaky(view, slots):
        shown.append(view)
        if (error := next(outcomes)) is not None:
            raise error

    study = SimpleNamespace(view=fold(mixed()), feed=SimpleNamespace(slots=None))
    failures = {shaky: 0}
    while failures:
        surfaces._show(shaky, study, failures)
    assert len(shown) == 6, "three in a row, and the one that went well ended a row"


def test_what_is_new_is_shown_at_the_next_look_and_what_is_not_costs_none(tmp_path, monkeypatch):
    assert surfaces.LOOK_EVERY_S <= 2
    shows, looks, many = [], [], threading.Semaphore(0)

    class Watched(surfaces.WatchedStudy):
        def look(self):
            looks.append(super().look())
            if len(looks) % 20 == 0:
                many.release()
            return looks[-1]

    only_logs(monkeypatch, lambda view, slots: shows.append(view))
    monkeypatch.setattr(surfaces, "WatchedStudy", Watched)
    monkeypatch.setattr(surfaces, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(surfaces, "REFRESH_EVERY_S", 1000)
    (tmp_path / "s").mkdir()
    records = [head(), trial(0, "l"), epoch("l", 1, 0.5)]
    with (tmp_path / "s" / LEDGER).open("w") as ledger, shown_in_ray(tmp_path / "s", ""):
        for record in records:
            ledger.write(json.dumps(record) + "\n")
            ledger.flush()
            assert many.acquire(timeout=60)
            assert many.acquire(timeout=60), "twenty whole looks after it was written"
        assert len(shows) == 2, "the head alone has no trials to show"
    assert len(shows) == 3, "and once at the end"


def test_a_status_that_could_not_be_put_is_tried_again(monkeypatch):
    answers, put = iter([False, True]), []

    def put_status(job, message, metadata):
        put.append((job, message, metadata["best_trial"]))
        return next(answers)

    monkeypatch.setenv(surfaces.JOB_CONFIG, json.dumps({"metadata": {"job_submission_id": "j1"}}))
    monkeypatch.setattr(surfaces, "_put_status", put_status)
    show, view = surfaces._JobStatus("s"), fold(mixed())
    for _ in range(3):
        show(view, {})
    assert put == [("j1", status_message(view), "0")] * 2
