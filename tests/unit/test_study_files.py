import json
import os

from orchestrator.dashboard.study_files import GrowingLedger, WatchedStudy, study_folders
from orchestrator.dashboard.watcher import Watcher
from orchestrator.tuning.ledger import LEDGER
from tests.unit.fake_study import epoch, mixed, scored


def write(folder, records):
    folder.mkdir(exist_ok=True)
    (folder / LEDGER).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def watched(folder):
    return WatchedStudy(folder.name, GrowingLedger(folder / LEDGER))


def test_each_look_reads_only_what_is_new(tmp_path):
    ledger = GrowingLedger(write(tmp_path / "s", mixed()) / LEDGER)
    assert len(list(ledger.new_records())) == len(mixed())
    assert list(ledger.new_records()) == []
    with (tmp_path / "s" / LEDGER).open("a") as file:
        file.write(json.dumps(epoch("lineage3", 1, 0.1)) + "\n")
    assert [record["lineage"] for record in ledger.new_records()] == ["lineage3"]


def test_a_torn_line_waits_for_its_end(tmp_path):
    path = write(tmp_path / "s", []) / LEDGER
    path.write_text('{"record": "ep')
    ledger = GrowingLedger(path)
    assert list(ledger.new_records()) == []
    path.write_text('{"record": "epoch"}\n')
    assert list(ledger.new_records()) == [{"record": "epoch"}]


def test_a_study_whose_ledger_is_not_there_yet_has_an_empty_picture(tmp_path):
    study = watched(tmp_path / "later")
    assert not study.look()
    assert json.loads(study.snapshot.document())["rows"] == []
    write(tmp_path / "later", mixed())
    assert study.look()
    assert len(json.loads(study.snapshot.document())["rows"]) == 4


def test_a_damaged_study_says_so_and_hides_no_other(tmp_path):
    write(tmp_path / "good", mixed())
    for name, line in {
        "a": "not json",
        "b": "[1]",
        "c": '{"record": "study", "version": 9}',
    }.items():
        write(tmp_path / name, [])
        (tmp_path / name / LEDGER).write_text(line + "\n")
    watcher = Watcher(str(tmp_path))
    watcher.look()
    problems = {name: study.summary()["problem"] for name, study in watcher.studies.items()}
    assert problems.pop("good") == ""
    assert all(problems.values())
    assert watcher.studies["good"].summary()["trials"] == 4


def test_links_and_folders_without_a_ledger_are_no_studies(tmp_path):
    outside = write(tmp_path / "outside", mixed())
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "link").symlink_to(outside)
    (runs / "inside").mkdir()
    (runs / "inside" / LEDGER).symlink_to(outside / LEDGER)
    (runs / "file").touch()
    assert study_folders(runs) == []
    assert study_folders(tmp_path / "nowhere") == []


def test_the_newest_study_comes_first_and_the_list_then_stands_still(tmp_path):
    for age, name in enumerate(["newest", "older"]):
        ledger = write(tmp_path / name, mixed()) / LEDGER
        os.utime(ledger, (1000 - age, 1000 - age))
    watcher = Watcher(str(tmp_path))
    watcher.look()
    assert list(watcher.studies) == ["newest", "older"]
    os.utime(tmp_path / "older" / LEDGER, (2000, 2000))
    watcher.look()
    assert list(watcher.studies) == ["newest", "older"]


def test_importance_is_weighed_again_only_when_clearly_more_trials_have_finished(tmp_path):
    study = watched(write(tmp_path / "s", scored([0.1, 0.2])))
    study.look()
    study.work_out_importance()
    first = study.importance
    study.work_out_importance()
    assert study.importance is first
    assert first.num_trials == 2
