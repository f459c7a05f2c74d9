"""An adaptation as a page, Markdown and JSON, and all its files at once. DRIVER.

Names are hostile input: they are cleaned before they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.config.storage import write_atomic, write_json
from orchestrator.results.evaluation import Scores
from orchestrator.results.html_page import Cell, Row, page, picture, table, words
from orchestrator.results.paired_gain import Gain, Told, fewest_groups
from orchestrator.results.printable import in_markdown, one_line

JSON_VERSION: Final = 1
SUMMARY: Final = "adapt.json"
"""Written last and removed first: where it is, the other files belong to it."""
HEAD: Final = (
    "remedy", "macro-F1", "gain", "95 %", "for all at once", "accuracy", "old test macro-F1",
    "change there", "labels of production", "verdict",
)  # fmt: skip
MARKS: Final[Mapping[Told, str]] = {"helped": "good", "hurt": "bad", "no difference told": "soft"}


@dataclass(frozen=True)
class Measured:
    """Scores on one set; recall of the classes that it has."""

    macro_f1: float
    interval: tuple[float, float] | None
    accuracy: float
    recall: Mapping[str, float]
    num_rows: int
    num_groups: int

    @classmethod
    def of(cls, scores: Scores) -> Measured:
        """The few figures of an evaluation that remedies are compared by."""
        return cls(
            macro_f1=scores.macro.f1,
            interval=scores.interval,
            accuracy=scores.accuracy,
            recall={one.name: one.recall for one in scores.by_class},
            num_rows=int(scores.confusion.sum()),
            num_groups=scores.num_groups,
        )


@dataclass(frozen=True)
class Tried:
    """A remedy and what it was worth.

    Attributes:
        needs_labels: whether it needs labels of production.
        priors: class shares that it corrects or weighs by; None for others.
        detail: rows, checkpoint and epochs of a training.
        after: scores on `production` (held out) and `old_test`; None where there are none.
        gain: on held-out production.
        old_gain: on the run's own test split; None where outputs are corrected in production only.
    """

    name: str
    words: str
    needs_labels: bool
    priors: tuple[float, ...] | None
    detail: Mapping[str, Any]
    after: Mapping[str, Measured | None]
    gain: Gain
    old_gain: Gain | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that was tried, and what it belongs to."""

    record: Mapping[str, Any]
    classes: tuple[str, ...]
    production: str
    trained_on: str
    before: Mapping[str, Measured | None]
    tried: tuple[Tried, ...]


def write_adaptation(outcome: Outcome, out: Path) -> None:
    """Write all files of an adaptation into a folder, each atomically.

    Raises:
        OSError: the folder cannot be written.
    """
    from orchestrator.results.shift_plots import GainBar, gains_plot  # matplotlib

    (out / SUMMARY).unlink(missing_ok=True)
    bars = [
        GainBar(
            name=one.name,
            gain=one.gain.macro_f1,
            interval=_pair(one.gain.low_all, one.gain.high_all),
            color={"helped": 2, "hurt": 1, "no difference told": 6}[one.gain.verdict],
        )
        for one in outcome.tried
    ]
    gains_plot(bars, _title(outcome), out / "gains.png")
    write_atomic(out / "adapt.md", markdown(outcome).encode())
    write_atomic(out / "adapt.html", html(outcome, (out / "gains.png").read_bytes()).encode())
    write_json(out / SUMMARY, document(outcome))


def markdown(outcome: Outcome) -> str:
    """The table and what it says; ends in a newline."""
    lines = [f"## {in_markdown(_title(outcome))}", ""]
    lines += [*_sentences(outcome), ""]
    lines += [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    lines += [f"| {' | '.join(map(in_markdown, row))} |" for row in _body(outcome)]
    lines += ["", f"| recall | {' | '.join(map(in_markdown, outcome.classes))} |"]
    lines.append("|---" * (1 + len(outcome.classes)) + "|")
    lines += [f"| {' | '.join(row)} |" for row in _recalls(outcome)]
    return "\n".join(lines) + "\n"


def html(outcome: Outcome, gains_png: bytes) -> str:
    """The page, in one file."""
    marks = ["", *(MARKS[one.gain.verdict] for one in outcome.tried)]
    rows: list[Row] = [
        [*row[:-1], Cell(row[-1], mark)] for row, mark in zip(_body(outcome), marks, strict=True)
    ]
    recalls: list[Row] = list(_recalls(outcome))
    body = [
        f"<h1>{words(_title(outcome))}</h1>",
        *(f"<p>{words(line, 400)}</p>" for line in _sentences(outcome)),
        f"<figure>{picture(gains_png, 'gain of each remedy with its interval')}</figure>",
        table("remedies, measured on held-out groups of production", HEAD, rows),
        table("recall on held-out production", ["remedy", *outcome.classes], recalls),
        "<h2>What each does</h2>",
        table(
            "remedies", ["remedy", "what it does"], [[one.name, one.words] for one in outcome.tried]
        ),
        f'<p class="soft">Made by {words(str(outcome.record.get("command", "")), 400)}; all '
        f"numbers are in {SUMMARY} beside this page.</p>",
    ]
    return page(_title(outcome), "\n".join(body))


def document(outcome: Outcome) -> dict[str, Any]:
    """All numbers with what they belong to, as finite JSON values."""
    nothing = {"data": None, "checkpoint": None, "epochs": None}
    return {
        "version": JSON_VERSION,
        **outcome.record,
        "classes": list(outcome.classes),
        "before": _measured(outcome.before),
        "remedies": [
            {
                "name": one.name,
                "words": one.words,
                "needs_labels": one.needs_labels,
                "priors": list(one.priors) if one.priors else None,
                **nothing,
                **one.detail,
                **_measured(one.after),
                "gain": asdict(one.gain),
                "old_gain": asdict(one.old_gain) if one.old_gain else None,
                "verdict": one.gain.verdict,
            }
            for one in outcome.tried
        ],
    }


def _measured(found: Mapping[str, Measured | None]) -> dict[str, Any]:
    return {name: None if one is None else asdict(one) for name, one in found.items()}


def _title(outcome: Outcome) -> str:
    return f"remedies for {one_line(outcome.production, 40)}"


def _sentences(outcome: Outcome) -> list[str]:
    by_verdict = {
        verdict: [one.name for one in outcome.tried if one.gain.verdict == verdict]
        for verdict in MARKS
    }
    lines = [f"{verdict}: {', '.join(names)}." for verdict, names in by_verdict.items() if names]
    held_out = outcome.before["production"]
    assert held_out is not None, "held-out production is always measured"
    lines.append(
        f"Measured on {held_out.num_rows:,} rows in {held_out.num_groups:,} groups of production "
        "that no remedy has learned from. The verdict is by intervals of the paired gain in "
        "macro-F1, over groups, that hold for all remedies at once."
    )
    if held_out.num_groups < (fewest := fewest_groups(len(outcome.tried))):
        lines.append(
            f"Too few groups to tell any gain from chance: {len(outcome.tried)} remedies at once "
            f"want {fewest} groups held out, got {held_out.num_groups}."
        )
    return lines


def _body(outcome: Outcome) -> list[list[str]]:
    first = outcome.before["production"], outcome.before["old_test"]
    rows = [["as it is", *_scores(first[0]), "", "", "", _accuracy(first[0]), *_scores(first[1]),
             "", "", ""]]  # fmt: skip
    for one in outcome.tried:
        gain, old = one.gain, one.old_gain
        rows.append(
            [
                one.name,
                *_scores(one.after["production"]),
                f"{gain.macro_f1:+.4f}",
                _interval(gain.low, gain.high),
                _interval(gain.low_all, gain.high_all),
                _accuracy(one.after["production"]),
                *_scores(one.after["old_test"]),
                f"{old.macro_f1:+.4f} {_interval(old.low, old.high)}" if old else "",
                "needed" if one.needs_labels else "not needed",
                gain.verdict,
            ]
        )
    return rows


def _recalls(outcome: Outcome) -> list[list[str]]:
    found = [("as it is", outcome.before), *((one.name, one.after) for one in outcome.tried)]
    rows = []
    for name, after in found:
        measured = after["production"]
        recall = measured.recall if measured else {}
        rows.append([name, *(f"{recall[k]:.3f}" if k in recall else "" for k in outcome.classes)])
    return rows


def _scores(found: Measured | None) -> list[str]:
    return ["" if found is None else f"{found.macro_f1:.4f}"]


def _accuracy(found: Measured | None) -> str:
    return "" if found is None else f"{found.accuracy:.4f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"


def _pair(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)
