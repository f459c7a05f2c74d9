"""The ledger in an object store: a record an object, read back on any machine, written by one driver."""

import pytest

from orchestrator.config.errors import ConfigError, LedgerError, StorageError
from orchestrator.config.folder import folder
from orchestrator.config.home import Home
from orchestrator.config.lease import Lease
from orchestrator.config.object_store import Store
from orchestrator.tuning import ledger
from orchestrator.tuning.ledger import LEDGER, RECORDS, Ledger, fetch_ledger, read_records


@pytest.fixture
def machine(faulty_s3, tmp_path):
    """Makes a home of the one study on the disk of a machine of that name."""

    def make(name: str) -> Home:
        return Home(tmp_path / name, Store(folder(f"s3://faulty/{tmp_path.name}")))

    return make


def write(home: Home, *numbers: int) -> None:
    with Ledger(home) as records:
        for number in numbers:
            records.append({"record": "trial", "trial": number})


def trials(home: Home) -> list[int]:
    fetch_ledger(home)
    return [record["trial"] for record in read_records(home.local / LEDGER)]


def test_records_are_read_in_order_on_a_machine_with_an_empty_disk(machine):
    write(machine("a"), 0, 1)
    write(machine("b"), *range(2, 12))
    assert trials(machine("c")) == list(range(12))
    assert trials(machine("a")) == list(range(12))
    assert trials(machine("never")) == list(range(12))


def test_a_study_that_is_not_there_has_no_records(machine):
    assert trials(machine("a")) == []


def test_a_record_is_in_the_store_before_append_returns(machine):
    with Ledger(machine("a")) as ledger:
        returned = ledger.append({"record": "epoch", "name": "Zürich \u2028"})
        other = machine("b")
        fetch_ledger(other)
        assert list(read_records(other.local / LEDGER)) == [returned]


def test_a_second_driver_on_another_machine_is_refused(machine, monkeypatch):
    monkeypatch.setitem(Lease.__init__.__kwdefaults__, "heartbeat_s", 0.5)
    with Ledger(machine("a")) as ledger:
        with pytest.raises(ConfigError, match=r"study: only one .* study=NAME"):
            Ledger(machine("b"), say=lambda _: None).__enter__()
        ledger.append({"record": "trial", "trial": 0})
    write(machine("b"), 1)
    assert trials(machine("c")) == [0, 1]


def test_a_store_that_takes_no_record_is_an_error_and_what_is_there_stays_whole(
    machine, faulty_s3, impatient
):
    home = machine("a")
    with Ledger(home) as ledger:
        ledger.append({"record": "trial", "trial": 0})
        faulty_s3.fail(lambda method, path: RECORDS in path, status=503, code="SlowDown")
        with pytest.raises(StorageError, match=r"storage: .* same command again"):
            ledger.append({"record": "trial", "trial": 1})
        faulty_s3.mend()
    assert [record["trial"] for record in read_records(home.local / LEDGER)] == [0]
    write(machine("b"), 2)
    assert trials(machine("c")) == [0, 2]


def test_stumbles_of_the_store_lose_and_double_nothing(machine, faulty_s3):
    count = iter(range(10**6))
    faulty_s3.fail(
        lambda method, path: RECORDS in path and next(count) % 4 == 3, status=500, code="X"
    )
    write(machine("a"), *range(8))
    faulty_s3.mend()
    assert trials(machine("b")) == list(range(8))


def test_a_late_record_of_a_driver_that_was_taken_over_hides_no_other(machine):
    first, second = Ledger(machine("a")), Ledger(machine("b"))
    with first:
        first.append({"record": "trial", "trial": 0})
        late = first._num_kept
    write(machine("b"), 1)
    first._num_kept = late  # it wakes up in the middle of its next write
    first._keep(b'{"record": "trial", "trial": 2}\n')
    assert sorted(trials(machine("c"))) == [0, 1, 2]
    assert second._writer != first._writer


def test_what_no_driver_wrote_among_the_records_is_left_or_named(machine, monkeypatch):
    write(machine("a"), 0)
    store = machine("a").store / RECORDS
    store.put("\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0661-0a.json", b"not ours")
    store.put("notes.txt", b"not ours")
    assert trials(machine("b")) == [0]
    store.put("000000002-0a.json", b"x" * 3000)
    monkeypatch.setattr(ledger, "MAX_RECORD_BYTES", 2000)
    with pytest.raises(
        LedgerError, match=r"000000002-0a\.json: a record must be shorter than 2000"
    ):
        trials(machine("c"))


def test_a_number_that_leaves_no_room_for_others_is_refused(machine):
    (machine("a").store / RECORDS).put("999999999-0a.json", b'{"record": "trial"}\n')
    with pytest.raises(LedgerError, match="numbers must be below 999000000; got 999999999"):
        write(machine("b"), 1)


def test_a_record_that_is_removed_while_it_is_read_is_an_error(machine, monkeypatch):
    write(machine("a"), 0)

    def removed(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Store, "download", removed)
    with pytest.raises(LedgerError, match="records must stay; one was removed"):
        trials(machine("b"))
