"""The Leaderboard tab of studies in an object store, against a real S3 server on loopback."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from types import SimpleNamespace

import pytest
from pyarrow.fs import FileType

from orchestrator.config.folder import Folder, folder
from orchestrator.config.home import Home
from orchestrator.config.lease import CLAIMS, EXPIRY_S
from orchestrator.config.object_store import Store
from orchestrator.dashboard import stored_studies
from orchestrator.dashboard.server import COMMAND, keep_up
from orchestrator.dashboard.stored_studies import (
    HELD_PAUSE_S,
    IDLE_LOOK_S,
    LIST_EVERY_S,
    RANK_EVERY_S,
    SHORT_QUIET_S,
    StoredStudies,
    dealt,
)
from orchestrator.dashboard.watcher import Watcher
from orchestrator.tuning.ledger import RECORDS, Ledger
from tests.integration.ray_nodes import ROOT, within
from tests.unit.fake_study import end, epoch, head, mixed, trial

WRITER, OTHER = "0a0a0a0a", "0b0b0b0b"


class Clock:
    """Of the store and of who looks."""

    def __init__(self) -> None:
        self.now_s = 1e10  # later than anything that the server writes

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def runs(faulty_s3, tmp_path) -> Folder:
    return folder(f"s3://faulty/{tmp_path.name}/runs")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def studies(runs, clock) -> StoredStudies:
    return StoredStudies(runs, clock)


def keep(runs: Folder, study: str, number: int, record: dict, writer: str = WRITER) -> None:
    name = f"{number:09d}-{writer}.json"
    (Store(runs) / study / RECORDS).put(name, json.dumps(record).encode() + b"\n")


def look(studies: StoredStudies, study: str = "s", *, is_open: bool = True) -> list[int]:
    """The epochs that a look finds new in a study."""
    studies.names()
    return taken(studies, study, is_open=is_open)


def taken(studies: StoredStudies, study: str, *, is_open: bool = True) -> list[int]:
    return [found["epoch"] for found in studies.ledger(study).new_records(is_open=is_open)]


def test_the_next_record_of_a_driver_is_read_without_a_listing(runs, studies, clock, faulty_s3):
    keep(runs, "s", 1, epoch("l", 1, 0.1))
    assert look(studies) == [1]
    clock.now_s = studies.ledger("s").changed_s + 1
    keep(runs, "s", 2, epoch("l", 2, 0.2))
    keep(runs, "s", 3, epoch("l", 3, 0.3))
    faulty_s3.mend()
    assert look(studies) == [2, 3]
    of_study = [path for _, path in faulty_s3.asked if "/ledger" in path]
    assert len(of_study) == 3 + 2 * 2, "is it there, then what is it"
    assert not [path for path in of_study if "list-type" in path]
    assert look(studies) == []


def test_records_of_another_driver_are_found_at_the_next_listing(runs, studies, clock):
    keep(runs, "s", 1, epoch("l", 1, 0.1))
    assert look(studies) == [1]
    clock.now_s = studies.ledger("s").changed_s
    keep(runs, "s", 2, epoch("l", 2, 0.2), OTHER)
    assert look(studies) == []
    clock.now_s = 1e10 + LIST_EVERY_S
    studies.ledger("s").changed_s = clock.now_s
    assert look(studies) == [2]
    keep(runs, "s", 3, epoch("l", 3, 0.3), OTHER)
    studies.ledger("s").changed_s = clock.now_s
    assert look(studies) == [3]


def test_a_study_that_has_ended_is_asked_seldom(runs, studies, clock, faulty_s3):
    keep(runs, "s", 1, epoch("l", 1, 0.1))
    assert look(studies, is_open=False) == [1]
    keep(runs, "s", 2, epoch("l", 2, 0.2))
    clock.now_s = studies.ledger("s").changed_s + 1
    assert look(studies, is_open=False) == [2], "between two trials none is open"
    keep(runs, "s", 3, epoch("l", 3, 0.3))
    clock.now_s += SHORT_QUIET_S
    studies.ledger("s")._looked_s = clock.now_s - 1
    faulty_s3.mend()
    assert look(studies, is_open=False) == []
    assert not [path for _, path in faulty_s3.asked if "/ledger" in path]
    clock.now_s += IDLE_LOOK_S
    assert look(studies, is_open=False) == [3]


def test_a_look_fetches_so_many_records_and_those_of_the_newest_study_first(
    runs, studies, monkeypatch
):
    monkeypatch.setattr(stored_studies, "RECORDS_A_LOOK", 3)
    for number in (1, 2, 3, 4, 9):
        keep(runs, "old", number, epoch("l", number, 0.1))
    time.sleep(1.1)  # the store counts in seconds
    keep(runs, "new", 9, epoch("l", 9, 0.1))
    assert studies.names() == ["new", "old"]
    assert taken(studies, "new") == [9]
    assert taken(studies, "old") == [1, 2]
    assert look(studies, "old") == [3, 4, 9]


def test_of_many_studies_the_newest_are_shown_and_one_that_goes_on_is_again(
    runs, studies, clock, monkeypatch
):
    monkeypatch.setattr(stored_studies, "MAX_STUDIES", 1)
    keep(runs, "a", 1, epoch("l", 1, 0.1))
    time.sleep(1.1)
    keep(runs, "b", 1, epoch("l", 1, 0.1))
    assert studies.names() == ["b"]
    assert taken(studies, "b") == [1]
    time.sleep(1.1)
    keep(runs, "a", 2, epoch("l", 2, 0.1))
    clock.now_s += RANK_EVERY_S
    assert studies.names() == ["a"]
    assert taken(studies, "a") == [1, 2]
    time.sleep(1.1)
    keep(runs, "b", 2, epoch("l", 2, 0.1))
    clock.now_s += RANK_EVERY_S
    assert studies.names() == ["b"]
    assert taken(studies, "b") == [1, 2], "from its beginning: nobody has kept what was read before"


def test_a_folder_that_is_no_study_is_asked_more_and_more_seldom(runs, studies, clock, faulty_s3):
    Store(runs).put("run/config.yaml", b"")
    asked = []
    for _ in range(8):
        faulty_s3.mend()
        assert studies.names() == []
        asked.append(any("runs/run/" in path for _, path in faulty_s3.asked))
        clock.now_s += 2
    assert asked == [True, True, False, True, False, False, False, True]
    keep(runs, "run", 1, head())
    clock.now_s += 60
    assert studies.names() == ["run"]


def test_a_study_whose_driver_has_begun_is_awaited(runs, studies, clock):
    Store(runs).put(f"s/{CLAIMS}/a-driver", b"{}")
    (claim,) = Store(runs / "s").changed_ns().values()
    clock.now_s = claim / 1e9
    for _ in range(4):
        assert studies.names() == []
        clock.now_s += HELD_PAUSE_S
    keep(runs, "s", 1, head())
    assert studies.names() == ["s"]


def test_claims_of_drivers_that_are_gone_and_of_runs_are_no_sign_of_a_study(
    runs, studies, clock, faulty_s3
):
    Store(runs).put(f"dead/{CLAIMS}/a-driver", b"{}")
    Store(runs).put(f"run/{CLAIMS}/a-driver", b"{}")
    Store(runs).put("run/config.yaml", b"")
    (claim,) = Store(runs / "dead").changed_ns().values()
    clock.now_s = claim / 1e9 + EXPIRY_S
    asked = []
    for _ in range(32):
        faulty_s3.mend()
        assert studies.names() == []
        asked.append(
            any(f"{name}/" in path for _, path in faulty_s3.asked for name in ("dead", "run"))
        )
        clock.now_s += 1
    assert sum(asked) == 5, "after 0, 2, 6, 14 and 30 s"


def test_of_many_folders_some_are_looked_into_at_a_time(
    runs, studies, clock, monkeypatch, faulty_s3
):
    monkeypatch.setattr(stored_studies, "FOLDERS_A_LOOK", 2)
    for name in "abcde":
        Store(runs).put(f"{name}/config.yaml", b"")
    found = []
    for _ in range(3):
        faulty_s3.mend()
        studies.names()
        found.append({n for n in "abcde" if any(f"runs/{n}/" in p for _, p in faulty_s3.asked)})
    assert [len(names) for names in found] == [2, 2, 1]
    assert set.union(*found) == set("abcde")


def test_a_store_that_fails_for_a_moment_loses_nothing_and_says_so_once(
    runs, studies, clock, faulty_s3, capsys
):
    keep(runs, "s", 1, epoch("l", 1, 0.1))
    assert look(studies) == [1]
    keep(runs, "s", 2, epoch("l", 2, 0.1))
    faulty_s3.fail(lambda *_: True, status=403, code="AccessDenied")
    assert studies.names() == studies.names() == ["s"]
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith(f"leaderboard: {runs} must be read; got ")
    assert "Give the environment credentials" in told
    faulty_s3.mend()
    clock.now_s += 60
    assert look(studies) == [2]


def test_a_record_that_cannot_be_read_holds_up_those_behind_it_and_no_other_study(
    runs, studies, clock, faulty_s3, capsys
):
    for study in ("s", "other"):
        for number in (1, 2, 3):
            keep(runs, study, number, epoch("l", number, 0.1))
    is_second = f"s/{RECORDS}/000000002-{WRITER}.json"
    faulty_s3.fail(lambda _, path: path.endswith(is_second), status=403, code="AccessDenied")
    assert look(studies) == [1]
    assert taken(studies, "other") == [1, 2, 3]
    faulty_s3.asked.clear()
    assert look(studies) == []
    assert not [path for _, path in faulty_s3.asked if path.endswith(is_second)], (
        "not at once again"
    )
    assert capsys.readouterr().err.count("\n") == 1
    faulty_s3.mend()
    clock.now_s += 60
    assert look(studies) == [2], "the one that could not be read, alone"
    assert look(studies) == [3]


def test_a_record_that_was_removed_holds_up_none(runs, studies, clock, faulty_s3, capsys):
    for number in (1, 2, 3):
        keep(runs, "s", number, epoch("l", number, 0.1))
    second = f"000000002-{WRITER}.json"
    faulty_s3.fail(lambda _, path: path.endswith(second), status=403, code="AccessDenied")
    assert look(studies) == [1]
    faulty_s3.mend()
    Store(runs / "s" / RECORDS).remove(second)
    clock.now_s += 60
    assert look(studies) == [], "the one that is gone, alone"
    assert look(studies) == [3]


@pytest.mark.parametrize("number", ["\u0660" * 7 + "\u0661", "999999999", "1000000000"])
def test_numbers_that_no_driver_writes_end_no_look(runs, studies, clock, number, faulty_s3):
    keep(runs, "s", 1, epoch("l", 1, 0.1))
    place = f"{runs.path().partition('/')[2]}/s/{RECORDS}/{number}-0a.json"
    faulty_s3.put("faulty", place, json.dumps(epoch("l", 9, 0.1)).encode())
    assert look(studies)[0] == 1
    keep(runs, "s", 2, epoch("l", 2, 0.1))
    for _ in range(3):
        clock.now_s = studies.ledger("s").changed_s + 1
        studies.names()
        list(studies.ledger("s").new_records())


def test_a_damaged_study_costs_nothing_more(runs, clock, faulty_s3):
    keep(runs, "s", 1, ["no record"])
    watcher = Watcher(str(runs))
    watcher._found._clock = clock
    for number in range(2, 9):
        watcher.look()
        keep(runs, "s", number, epoch("l", number, 0.1))
        clock.now_s += 60
    assert watcher.studies["s"].problem
    faulty_s3.mend()
    watcher.look()
    assert not [path for _, path in faulty_s3.asked if "/ledger" in path]


def test_what_a_look_may_read_is_shared_fairly():
    assert dealt([20_000, 3, 0, 40], 100) == [57, 3, 0, 40]
    assert dealt([20_000, 20_000], 100) == [50, 50]
    assert dealt([1, 2], 100) == [1, 2]
    assert dealt([], 100) == []


def test_no_name_of_a_folder_leads_elsewhere(runs, studies, monkeypatch):
    keep(runs, "s", 1, epoch("l", 1, 0.1))
    children = stored_studies._children

    def with_dots(place):
        of_dots = [SimpleNamespace(base_name=name, type=FileType.Directory) for name in ("..", ".")]
        return children(place) + (of_dots if place == runs else [])

    monkeypatch.setattr(stored_studies, "_children", with_dots)
    assert studies.names() == ["s"]


def test_a_study_that_cannot_be_listed_hides_no_other(runs, studies, faulty_s3):
    for study in ("a", "b", "c"):
        keep(runs, study, 1, head())
    faulty_s3.fail(lambda _, path: "runs/b/" in path, status=403, code="AccessDenied")
    assert sorted(studies.names()) == ["a", "c"]


@pytest.mark.parametrize("content", [b"not json", b"[1]", b" " * 100])
def test_a_damaged_record_is_a_problem_of_its_study_alone(runs, content, monkeypatch, faulty_s3):
    monkeypatch.setattr(stored_studies, "MAX_RECORD_BYTES", 2000)
    (Store(runs) / "bad" / RECORDS).put(f"000000001-{WRITER}.json", content * 30)
    for name in ("not-a-record", f"000000009-{WRITER}.json/a-folder", "a//b"):
        faulty_s3.put("faulty", f"{runs.path().partition('/')[2]}/good/{RECORDS}/{name}", b"x")
    for number, record in enumerate(mixed(), start=1):
        keep(runs, "good", number, record)
    watcher = Watcher(str(runs))
    watcher.look()
    assert watcher.studies["bad"].problem
    assert watcher.studies["good"].summary()["trials"] == 4


def test_a_look_that_fails_is_not_the_last_one(runs, monkeypatch, capsys):
    watcher, looked = Watcher(str(runs)), threading.Semaphore(0)

    def fails() -> None:
        looked.release()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("orchestrator.dashboard.watcher.LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(watcher, "look", fails)
    watcher.start()
    for _ in range(3):
        assert looked.acquire(timeout=60)
    watcher.stop()
    assert capsys.readouterr().err == "leaderboard: RuntimeError: can't start new thread\n"


def test_a_study_that_is_gone_leaves_the_list(runs, studies):
    keep(runs, "s", 1, head())
    assert studies.names() == ["s"]
    (Store(runs) / "s").remove_all(first="none")
    assert studies.names() == []


def test_a_head_node_shows_what_a_driver_writes_into_the_store(runs, tmp_path, s3_server):
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, *COMMAND.split()[1:], str(runs), str(port)],
        cwd=ROOT,
        env={**os.environ, "AWS_ENDPOINT_URL": s3_server, "RAY_AUTH_MODE": "disabled"},
        stderr=subprocess.PIPE,
        text=True,
    )

    def rows() -> list:
        url = f"http://127.0.0.1:{port}/api/leaderboard/study?study=s"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.loads(answer.read() or "{}").get("rows", [])
        except OSError:
            return []

    try:
        with Ledger(Home(tmp_path / "s", Store(runs / "s"))) as ledger:
            for record in (head(), trial(0, "l"), epoch("l", 1, 0.5)):
                ledger.append(record)
            assert within(60, lambda: [row["f1"] for row in rows()] == [0.5])
            for record in (epoch("l", 2, 0.7), end(0)):
                ledger.append(record)
            assert within(60, lambda: [row["state"] for row in rows()] == ["finished"])
        assert [row["f1"] for row in rows()] == [0.7]
    finally:
        server.terminate()
        assert server.wait(60) == 0
    assert server.stderr.read() == ""


@pytest.mark.parametrize("place", ["ftp://host/runs", "s3://key:secret@bucket/runs"])
def test_an_address_that_is_none_is_refused_without_its_password(place):
    with pytest.raises(SystemExit, match="folder: must be") as refused:
        keep_up([place, "8124"])
    assert "secret" not in str(refused.value)
