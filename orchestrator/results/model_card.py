"""The card of an exported model: what goes in, what comes out, how good it is, where it is from.

PURE. One small JSON file beside the weights, so that whoever gets them can use them rightly and
knows on what the figures were measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

VERSION: Final = 1
CARD: Final = "card.json"
EVALUATION: Final = "evaluation.json"
"""What `evaluate` writes last, in a folder of its own below `evaluations`."""
TEST: Final = "test"
LICENCE: Final = (
    "The code that made this file is under Apache-2.0. The weights are made from data and from "
    "first weights that have licences of their own (Aff-Wild2 and VGGFace, for example, are for "
    "non-commercial research): this file grants no rights to either."
)
INTENDED_USE: Final = (
    "Research on recognising posed or acted expressions in cropped faces. An expression is not an "
    "emotion: do not decide about people by it."
)
NOT_EVALUATED: Final = "not evaluated: run python -m orchestrator.evaluate and export again"


def find_evaluation(home: Path, model_sha256: str) -> tuple[Path, Mapping[str, Any]] | None:
    """The newest evaluation of these weights on the test split of the run's own set.

    Args:
        home: folder of the run or study.
        model_sha256: of the weights.
    """
    found = []
    for path in sorted(home.glob(f"evaluations/*/{EVALUATION}")):
        content = read_evaluation(path)
        if content and _is_of(content, model_sha256) and _is_own_test(content):
            found.append((str(content.get("time", "")), path, content))
    if not found:
        return None
    _, path, content = max(found, key=lambda one: one[:2])
    return path, content


def read_evaluation(path: Path) -> Mapping[str, Any] | None:
    """An evaluation's JSON; None where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(content, dict) and isinstance(content.get("checkpoint"), dict)
    return content if whole and isinstance(content.get("data"), dict) else None


def metrics_of(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What of an evaluation belongs on a card: figures, and what they were measured on."""
    data = evaluation["data"]
    return {
        "macro_f1": evaluation.get("macro_f1"),
        "macro_f1_interval_95": evaluation.get("macro_f1_interval"),
        "accuracy": evaluation.get("accuracy"),
        "by_class": evaluation.get("by_class"),
        "rows": evaluation.get("num_rows"),
        "groups": evaluation.get("num_groups"),
        "data": {key: data.get(key) for key in ("name", "fingerprint", "protocol", "split")},
        "held_out": (evaluation.get("held_out") or {}).get("statement"),
        "temperature": (evaluation.get("calibration") or {}).get("temperature"),
        "time": evaluation.get("time"),
    }


def _is_of(evaluation: Mapping[str, Any], model_sha256: str) -> bool:
    return bool(evaluation["checkpoint"].get("model_sha256") == model_sha256)


def _is_own_test(evaluation: Mapping[str, Any]) -> bool:
    data = evaluation["data"]
    return data.get("split") == TEST and data.get("is_what_the_run_was_trained_on") is True
