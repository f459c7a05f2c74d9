"""A diagnosis of shift as a page, a text and JSON, and all its files at once. DRIVER.

The numbers are those of `shift/diagnosis`; here they get names and sentences. Names are hostile
input: they are cleaned before they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.config.storage import write_atomic, write_json
from orchestrator.results.evaluation_report import aligned
from orchestrator.results.held_out import Exposure
from orchestrator.results.html_page import Row, page, picture, table, words
from orchestrator.results.printable import one_line
from orchestrator.shift.diagnosis import Diagnosis
from orchestrator.shift.verdict import Answers, Verdict

JSON_VERSION: Final = 1
SUMMARY: Final = "diagnosis.json"
"""Written last and removed first: where it is, the other files belong to it."""

STATEMENTS: Final[Mapping[Verdict, str]] = {
    "no shift found": "Nothing was found that drawing other videos would not do.",
    "label shift": (
        "Other class shares alone explain it: correcting the priors, or importance weights, can "
        "mend it."
    ),
    "covariate shift": (
        "The images look different to the model while the mix of classes did not change beyond "
        "chance: correcting priors cannot mend it, training on such images can."
    ),
    "both": (
        "The mix of classes changed, and the images look different too: correcting priors alone "
        "cannot mend it, training on such images can."
    ),
    "not label shift alone": (
        "Other class shares alone do not explain it: correcting priors alone cannot mend it. "
        "Whether the mix changed besides, only labels can tell."
    ),
}
METHODS: Final = (
    "Priors: soft BBSE, and EM on outputs with bias-corrected temperature scaling fitted on "
    "the reference. Tests resample or permute whole groups (videos, subjects), never frames; "
    "p-values of one question are Bonferroni-adjusted, the three questions by Holm."
)


@dataclass(frozen=True, eq=False)
class Report:
    """A diagnosis with names.

    Attributes:
        classes: of the model.
        reference: name of the run's own set.
        production: name of the other.
        record: what the figures belong to, for diagnosis.json.
        reference_exposure: what the run has seen of the rows of the reference.
        production_exposure: the same for production.
    """

    diagnosis: Diagnosis
    classes: tuple[str, ...]
    reference: str
    production: str
    record: Mapping[str, Any]
    reference_exposure: Exposure
    production_exposure: Exposure

    @property
    def seen(self) -> tuple[str, str]:
        """What goes before every figure."""
        return (
            self.reference_exposure.reference_statement,
            f"production is {self.production_exposure.statement}",
        )


@dataclass(frozen=True)
class _Table:
    """A table of text; the first column names the rows."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_diagnosis(report: Report, out: Path) -> None:
    """Write all files of a diagnosis into a folder, each atomically.

    Raises:
        OSError: the folder cannot be written.
    """
    from orchestrator.results.shift_plots import priors_plot  # matplotlib: only who draws waits

    (out / SUMMARY).unlink(missing_ok=True)
    picture_file = out / "priors.png"
    priors_plot(report.diagnosis.priors, report.classes, _title(report), picture_file)
    write_atomic(out / "report.txt", text(report).encode())
    write_atomic(out / "diagnosis.html", html(report, picture_file.read_bytes()).encode())
    write_json(out / SUMMARY, document(report))


def text(report: Report) -> str:
    """What a reader decides by, in plain text; ends in a newline."""
    parts = [[_title(report), *report.seen, *_sentences(report)]]
    parts += [
        [one.caption, *aligned([list(one.head), *map(list, one.rows)])] for one in _tables(report)
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def html(report: Report, priors_png: bytes) -> str:
    """The page, in one file."""
    verdict, *others = _sentences(report)
    mark = "" if report.diagnosis.verdict == "no shift found" else ' class="warns"'
    body = [
        f"<h1>{words(_title(report))}</h1>",
        *(f"<p>{words(line, 400)}</p>" for line in report.seen),
        f'<ul class="verdicts"><li{mark}>{words(verdict, 400)}</li></ul>',
        *(f"<p>{words(line, 400)}</p>" for line in others),
        f"<figure>{picture(priors_png, 'class shares of reference and production')}</figure>",
        *(table(one.caption, one.head, _rows(one)) for one in _tables(report)),
        f'<p class="soft">{words(METHODS, 400)}</p>',
        f'<p class="soft">Made by {words(str(report.record.get("command", "")), 400)}; all numbers '
        f"are in {SUMMARY} beside this page.</p>",
    ]
    return page(_title(report), "\n".join(body))


def document(report: Report) -> dict[str, Any]:
    """All numbers with what they belong to, as finite JSON values."""
    found = report.diagnosis
    return {
        "version": JSON_VERSION,
        **report.record,
        "held_out": {
            name: {"verdict": one.held_out, "statement": statement, **asdict(one)}
            for name, one, statement in (
                ("reference", report.reference_exposure, report.seen[0]),
                ("production", report.production_exposure, report.seen[1]),
            )
        },
        "classes": list(report.classes),
        "verdict": found.verdict,
        "statement": STATEMENTS[found.verdict],
        "diagnosis": found.to_dict(),
    }


def _rows(one: _Table) -> list[Row]:
    return [row for row in one.rows]


def _title(report: Report) -> str:
    names = (one_line(name, 40) for name in (report.production, report.reference))
    return "{} against the validation split of {}".format(*names)


def _sentences(report: Report) -> list[str]:
    found = report.diagnosis
    lines = [f"verdict: {found.verdict}. {STATEMENTS[found.verdict]}"]
    if found.with_labels:
        lines.append(f"Without labels it would be: {found.without_labels.verdict}.")
    lines.append(
        f"{found.num_rows[1]:,} rows in {found.num_groups[1]:,} groups of production, "
        f"{found.num_rows[0]:,} in {found.num_groups[0]:,} of the reference; level {found.alpha:g}."
    )
    if not found.priors.em.reliable or not found.priors.bbse.reliable:
        lines.append(
            "The estimated priors are not to be relied on: the model confuses classes too much, "
            "or makes too few mistakes to calibrate by."
        )
    return lines


def _tables(report: Report) -> list[_Table]:
    tables = [_questions(report.diagnosis), _tests(report.diagnosis), _priors(report)]
    tables.append(_accuracy(report.diagnosis))
    if recall := _recall(report):
        tables.append(recall)
    return tables


def _questions(found: Diagnosis) -> _Table:
    head = ["question", "p without labels"]
    columns: list[Answers] = [found.without_labels]
    if found.with_labels:
        head.append("p with labels")
        columns.append(found.with_labels)
    rows = tuple(
        (question, *(_p(getattr(one, name)) for one in columns))
        for question, name in (
            ("does label shift alone fail to explain it?", "not_label_shift_alone"),
            ("has the mix of classes changed?", "mix_of_classes"),
            ("do the images look different to the model?", "look_of_images"),
        )
    )
    return _Table("three questions; a small p says yes", tuple(head), rows)


def _tests(found: Diagnosis) -> _Table:
    evidence = found.evidence
    rows = [
        (f"label shift alone, by {test.of}", f"{test.statistic:.4g}", _p(test.p_value))
        for test in evidence.label_shift
    ]
    rows.append(("classifier two-sample test, area under the curve",
                 f"{evidence.classifier.statistic:.3f}", _p(evidence.classifier.p_value)))  # fmt: skip
    rows.append(("maximum mean discrepancy, squared",
                 f"{evidence.mmd.statistic:.4g}", _p(evidence.mmd.p_value)))  # fmt: skip
    rows.append(("equal mean outputs", "", _p(evidence.outputs_differ)))
    if evidence.labels_differ is not None:
        rows.append(("equal class shares, by labels", "", _p(evidence.labels_differ)))
    return _Table("tests, p-values as they came", ("test", "statistic", "p"), tuple(rows))


def _priors(report: Report) -> _Table:
    priors = report.diagnosis.priors
    head = ["class", "reference"]
    if priors.production:
        head.append("production, counted")
    head += ["production by BBSE", "95 %", "production by EM", "95 %"]
    rows = []
    for k, name in enumerate(report.classes):
        cells = [one_line(name, 24), _share(priors.reference[k])]
        if priors.production:
            cells.append(_share(priors.production[k]))
        for one in (priors.bbse, priors.em):
            cells += [_share(one.priors[k]), f"{_share(one.low[k])} to {_share(one.high[k])}"]
        rows.append(tuple(cells))
    return _Table("class shares", tuple(head), tuple(rows))


def _accuracy(found: Diagnosis) -> _Table:
    accuracy, calibration = found.accuracy, found.calibration
    rows = [("accuracy on the reference", f"{accuracy.reference:.4f}", "")]
    for name, one in (
        ("in production without labels, if nothing shifted", accuracy.estimated),
        ("the same, if label shift is all", accuracy.estimated_label_shift),
    ):
        rows.append((name, f"{one.accuracy:.4f}", f"{one.low:.4f} to {one.high:.4f}"))
    if accuracy.measured is not None:
        rows.append(("in production by its labels", f"{accuracy.measured:.4f}", ""))
    rows.append(("calibration error of the reference", f"{calibration.reference_error:.4f}", ""))
    if calibration.production_error is not None:
        name = "calibration error in production, after calibration"
        rows.append((name, f"{calibration.production_error:.4f}", ""))
    caption = "accuracy to expect (CBPE; too high where images look different)"
    return _Table(caption, ("what", "value", "95 %"), tuple(rows))


def _recall(report: Report) -> _Table | None:
    change = report.diagnosis.evidence.recall
    if change is None:
        return None
    rows = []
    for name, one in zip(report.classes, change.classes, strict=True):
        interval = ""
        if one.change is not None and one.low is not None and one.high is not None:
            interval = f"{one.low:+.3f} to {one.high:+.3f}"
        cells = (_number(one.reference), _number(one.production), _signed(one.change), interval)
        p = "" if one.p_value is None else _p(one.p_value)
        counts = (f"{one.num_reference:,}", f"{one.num_production:,}")
        rows.append((one_line(name, 24), *cells, p, *counts))
    head = ("class", "reference", "production", "change", "95 %", "p", "rows", "rows there")
    caption = f"recall by labels: {change.verdict} (label shift leaves recalls as they are)"
    return _Table(caption, head, tuple(rows))


def _p(value: float) -> str:
    return f"{value:.3f}"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
