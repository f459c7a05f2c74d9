"""Ledger records of small made-up studies, for the tests of what is drawn from them."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.results.study_fold import fold
from orchestrator.results.study_view import StudyView

CLASSES = ("anger", "fear", "happiness")
Record = dict[str, Any]


def head(name: str = "quickstart-1a2b3c4d", classes: Sequence[str] = CLASSES) -> Record:
    return {
        "record": "study",
        "version": 1,
        "study": name,
        "space": {"name": "quickstart", "question": "Which optimizer?", "kind": "grid"},
        "dataset": {
            "name": "synthetic",
            "protocol": "group",
            "classes": list(classes),
            "counts": {"validation": dict.fromkeys(classes, 10)},
        },
        "time": "2026-01-01T00:00:00Z",
    }


def trial(
    number: int, lineage: str, epochs: int = 2, values: Mapping[str, Any] | None = None
) -> Record:
    values = {"optimizer.lr": 0.1 * (number + 1)} if values is None else values
    return {
        "record": "trial",
        "trial": number,
        "values": {**values, "epochs": epochs},
        "lineage": lineage,
        "epochs": epochs,
        "seed": 0,
        "time": "2026-01-01T00:00:01Z",
    }


def begin(lineage: str, slot: str = "slot-0", at: int = 0) -> Record:
    named = {"record": "begin", "lineage": lineage, "epoch": at, "slot": slot}
    return {**named, "time": "2026-01-01T00:00:01Z"}


def unbegun(lineage: str, slot: str = "slot-0") -> Record:
    named = {"record": "unbegun", "lineage": lineage, "slot": slot}
    return {**named, "time": "2026-01-01T00:00:01Z"}


def epoch(lineage: str, number: int, f1: float | None, width: float = 0.02) -> Record:
    low_high = (
        {} if f1 is None else {"val_macro_f1_low": f1 - width, "val_macro_f1_high": f1 + width}
    )
    return {
        "record": "epoch",
        "lineage": lineage,
        "epoch": number,
        "metrics": {
            "train_loss": 1.0,
            "train_accuracy": 0.5,
            "train_macro_f1": 0.5,
            "val_loss": 1.02,
            "val_accuracy": 0.5,
            "val_macro_f1": f1,
            **low_high,
            "val_confusion": [[8, 1, 1], [2, 6, 2], [0, 0, 10]],
            "images_per_s": 312.4,
            "seconds": {"train": 4.0, "evaluate": 1.0, "checkpoint": 0.5},
        },
        "slot": "slot-0",
        "time": "2026-01-01T00:00:02Z",
    }


def end(
    number: int, at: int = 2, state: str = "finished", error: str = "", log: str = ""
) -> Record:
    return {
        "record": "end",
        "trial": number,
        "state": state,
        "epoch": at,
        "error": error,
        "checkpoint": "" if state == "failed" else f"lineages/{number}/epoch-{at:04d}",
        "log": log,
        "time": "2026-01-01T00:00:03Z",
    }


def scored(scores: Sequence[float | None], width: float = 0.02) -> list[Record]:
    """Trial k, alone in its lineage, finished after 2 epochs with scores[k]."""
    records = [head()]
    for k, score in enumerate(scores):
        lineage = f"lineage{k}"
        records += [
            trial(k, lineage),
            epoch(lineage, 1, 0.1),
            epoch(lineage, 2, score, width),
            end(k),
        ]
    return records


def mixed() -> list[Record]:
    """One trial of each state: 0 finished, 1 running, 2 failed, 3 queued."""
    return [
        head(),
        *(trial(k, f"lineage{k}") for k in range(4)),
        epoch("lineage0", 1, 0.3),
        epoch("lineage0", 2, 0.6),
        end(0),
        epoch("lineage1", 1, 0.9),
        epoch("lineage2", 1, 0.8),
        end(2, 1, "failed", "loss is nan at step 12\nTraceback ...", "logs/trial-2.log"),
    ]


def hostile() -> StudyView:
    """A study whose every name, value and error tries to break out of what shows it."""
    evil = "\x1b[31m|<script>alert(1)</script>\n=cmd()`[x](http://evil)$a_b$ @all\u202e\ud800 [red]"
    records = [head(evil, (evil, "b", "c"))]
    for k in range(3):
        records.append(trial(k, f"lineage{k}", values={"model.name": evil + str(k), evil: f"={k}"}))
        records.append(epoch(f"lineage{k}", 1, 0.5))
    records += [epoch("lineage0", 2, 0.5), end(0), end(2, 1, "failed", evil, evil)]
    return fold(records)
