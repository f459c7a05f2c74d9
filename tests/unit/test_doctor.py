"""The command `doctor`: lines or JSON, and an exit status that scripts can rely on."""

import json

import pytest

from orchestrator import doctor
from orchestrator.checks import Check
from orchestrator.config.errors import ConfigError

FINE = Check("memory", "ok", "14.0 GiB free")
SLOW = Check("disk", "warn", "5.0 GiB free at runs/", "Free space")
BROKEN = Check("torch", "FAIL", "no pair", "Type: make install")


@pytest.fixture
def found(monkeypatch):
    """Sets what `examine` finds."""

    def set_found(*checks):
        monkeypatch.setattr(doctor, "examine", lambda address: iter(checks))

    return set_found


def test_warnings_alone_are_no_failure(found, capsys):
    found(FINE, SLOW)
    assert doctor.main([]) == 0
    assert "2 checks: 0 failed, 1 with a warning" in capsys.readouterr().out


def test_one_failed_check_is_exit_status_1(found, capsys):
    found(FINE, BROKEN)
    assert doctor.main([]) == 1
    assert "2 checks: 1 failed" in capsys.readouterr().out


def test_each_line_has_verdict_finding_and_remedy(found, capsys):
    found(FINE, BROKEN)
    doctor.main([])
    fine, broken, *_ = capsys.readouterr().out.splitlines()
    assert fine.split() == ["ok", "memory", "14.0", "GiB", "free"]
    assert broken.startswith("FAIL  torch")
    assert broken.endswith("no pair. Type: make install")


def test_json_is_one_object_and_nothing_else(found, capsys):
    found(FINE, BROKEN)
    assert doctor.main(["format=json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["checks"][1] == {
        "name": "torch",
        "verdict": "FAIL",
        "found": "no pair",
        "remedy": "Type: make install",
    }


def test_what_is_no_address_is_refused_before_anything_is_checked(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda address: pytest.fail("was asked"))
    with pytest.raises(ConfigError, match="must be auto, local or the host:port"):
        doctor.main(["address=somewhere"])
