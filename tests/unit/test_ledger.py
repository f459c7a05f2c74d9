"""The ledger: what was written is there, whole; what was cut short never happened."""

import json

import pytest

from orchestrator.config.errors import ConfigError, LedgerError
from orchestrator.tuning.ledger import LEDGER, Ledger, read_records


def write(folder, *numbers) -> None:
    with Ledger(folder) as ledger:
        for number in numbers:
            ledger.append({"record": "trial", "trial": number})


def trials(folder) -> list[int]:
    return [record["trial"] for record in read_records(folder / LEDGER)]


def test_records_are_read_as_they_were_appended_over_several_runs(tmp_path):
    write(tmp_path / "study", 0, 1)
    write(tmp_path / "study", 2)
    assert trials(tmp_path / "study") == [0, 1, 2]


def test_a_record_is_on_the_disk_with_its_time_before_append_returns(tmp_path):
    with Ledger(tmp_path) as ledger:
        returned = ledger.append({"record": "epoch", "name": "Zürich \u2028"})
        assert list(read_records(tmp_path / LEDGER)) == [returned]
    assert returned["time"].endswith("+00:00")


def test_no_file_is_no_records(tmp_path):
    assert list(read_records(tmp_path / LEDGER)) == []


@pytest.mark.parametrize("kept", [1, 10, -1])
def test_a_torn_last_line_is_ignored_by_readers_and_cut_off_by_the_next_writer(kept, tmp_path):
    write(tmp_path, 0, 1)
    path = tmp_path / LEDGER
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:kept])
    assert trials(tmp_path) == [0]
    write(tmp_path, 2)
    assert trials(tmp_path) == [0, 2]


def test_a_ledger_of_one_torn_line_is_empty(tmp_path):
    (tmp_path / LEDGER).write_bytes(b'{"record": "stu')
    assert trials(tmp_path) == []
    write(tmp_path, 5)
    assert trials(tmp_path) == [5]


def test_a_second_writer_is_refused_until_the_first_has_left(tmp_path):
    with Ledger(tmp_path) as ledger:
        with pytest.raises(ConfigError, match=r"only one .* study=NAME"), Ledger(tmp_path):
            pass
        ledger.append({"record": "trial", "trial": 0})
    write(tmp_path, 1)
    assert trials(tmp_path) == [0, 1]


def test_readers_need_no_lock(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append({"record": "trial", "trial": 0})
        assert trials(tmp_path) == [0]


@pytest.mark.parametrize("line", [b'{"record": "tri', b"\xff\xfe", b"[1, 2]", b"{}", b"", b"null"])
def test_a_damaged_line_is_named_by_its_number(line, tmp_path):
    write(tmp_path, 0, 1)
    path = tmp_path / LEDGER
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + b"\n" + second)
    with pytest.raises(LedgerError, match=r"ledger\.jsonl:2: must be"):
        list(read_records(path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_has_no_form_for_are_refused_and_leave_no_trace(value, tmp_path):
    with Ledger(tmp_path) as ledger:
        with pytest.raises(ValueError):
            ledger.append({"record": "epoch", "metrics": {"val_loss": value}})
        ledger.append({"record": "trial", "trial": 7})
    assert trials(tmp_path) == [7]


def test_every_line_is_one_plain_json_object(tmp_path):
    write(tmp_path, 0)
    (line,) = (tmp_path / LEDGER).read_text().splitlines()
    assert json.loads(line)["record"] == "trial"
