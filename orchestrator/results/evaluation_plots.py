"""Pictures of an evaluation, as PNG: confusion matrix, reliability, a sheet of mistakes. DRIVER."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from orchestrator.results.evaluation import Calibrated, Reliability, Scores, normalised_rows
from orchestrator.results.evaluation_groups import Mistake
from orchestrator.results.plot_style import INK, PALETTE, STYLE, new_figure, save
from orchestrator.results.printable import one_line

SHEET_COLUMNS: Final = 6
STEP_X: Final = 1.1
STEP_Y: Final = 1.42
"""From picture to picture, in their width: room for three lines above each."""
BARE: Final = {"axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}


def confusion(scores: Scores, classes: Sequence[str], words: str, path: Path) -> None:
    """Shares of each true class, with counts.

    Args:
        scores: of the evaluation.
        classes: of the model.
        words: what was evaluated, for the title.
        path: of the PNG.
    """
    names = [one_line(name, 16) for name in classes]
    side = 2.6 + 0.72 * min(len(names), 40)
    with mpl.rc_context({**STYLE, **BARE}):
        figure = new_figure(side + 0.2, side)
        axes = figure.subplots()
        _matrix(axes, scores)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        _title(figure, f"{words}: macro-F1 {scores.macro.f1:.3f}")
        save(figure, path)


def _matrix(axes: Any, scores: Scores) -> None:
    shares = normalised_rows(scores.confusion)
    num_classes = len(shares)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.tick_params(length=0)
    for (true, predicted), count in np.ndenumerate(scores.confusion):
        share = shares[true, predicted]
        axes.text(
            predicted,
            true,
            f"{share:.0%}\n{count:,}" if scores.confusion[true].any() else "–",
            ha="center",
            va="center",
            fontsize=9 if num_classes <= 10 else 6.5,
            fontweight="bold" if true == predicted else "normal",
            color="white" if share > 0.55 else INK,
        )
    for edge in range(1, num_classes):
        axes.axhline(edge - 0.5, color="white", linewidth=1.5)
        axes.axvline(edge - 0.5, color="white", linewidth=1.5)


def reliability(before: Reliability, calibrated: Calibrated | None, words: str, path: Path) -> None:
    """Accuracy against confidence, as it is and with the temperature; below it where rows lie."""
    curves = [("as trained", PALETTE[0], before)]
    if calibrated:
        temperature = calibrated.calibration.temperature
        curves.append((f"temperature {temperature:.2f}", PALETTE[1], calibrated.after))
    with mpl.rc_context(STYLE):
        figure = new_figure(5.4, 6.0)
        curve, rows = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        curve.plot((0, 1), (0, 1), color="#999999", linewidth=1, linestyle=(0, (4, 2)))
        for number, (name, color, measured) in enumerate(curves):
            _curve(curve, measured, f"{name}: ECE {measured.ece:.3f}", color)
            _histogram(rows, measured, color, shift=0.5 * number, of=len(curves))
        curve.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        curve.legend(loc="upper left", fontsize=9)
        rows.set(xlabel="confidence of the decision", ylabel="share of rows")
        _title(figure, words)
        save(figure, path)


def _curve(axes: Any, measured: Reliability, label: str, color: str) -> None:
    at = [row.mean_confidence for row in measured.bins]
    right = [row.accuracy for row in measured.bins]
    total = sum(row.count for row in measured.bins)
    sizes = [12 + 160 * row.count / total for row in measured.bins]
    axes.plot(at, right, color=color, label=label)
    axes.scatter(at, right, s=sizes, color=color, edgecolors="white", zorder=3)


def _histogram(axes: Any, measured: Reliability, color: str, *, shift: float, of: int) -> None:
    total = sum(row.count for row in measured.bins)
    for row in measured.bins:
        width = (row.high - row.low) / of
        left = row.low + shift * (row.high - row.low)
        axes.bar(left, row.count / total, width=width, align="edge", color=color, linewidth=0)


def mistakes(
    found: Sequence[Mistake], images: npt.NDArray[np.uint8], words: str, path: Path
) -> bool:
    """A contact sheet of confident mistakes, each with what it is and what it was taken for.

    Args:
        found: the mistakes, most confident first.
        images: their pixels, uint8 of shape (len(found), H, W, 3).
        words: what was evaluated, for the title.
        path: of the PNG.

    Returns:
        False, and no file, if there is none.
    """
    if not found:
        return False
    rows = -(-len(found) // SHEET_COLUMNS)
    with mpl.rc_context({**STYLE, **BARE}):
        figure = new_figure(1.6 * SHEET_COLUMNS, 0.4 + 1.6 / STEP_X * STEP_Y * rows)
        axes = figure.subplots()  # one for all: a layout of 24 takes a second
        for place, (mistake, image) in enumerate(zip(found, images, strict=True)):
            left, top = STEP_X * (place % SHEET_COLUMNS), STEP_Y * (place // SHEET_COLUMNS)
            axes.imshow(image, extent=(left, left + 1, top + 1, top), interpolation="nearest")
            axes.text(left, top - 0.04, _caption(mistake), fontsize=7.5, va="bottom")
        bottom = STEP_Y * rows + 1 - STEP_Y
        axes.set(xlim=(0, STEP_X * SHEET_COLUMNS), ylim=(bottom, 1 - STEP_Y), xticks=[], yticks=[])
        _title(figure, f"{words}: wrong with most confidence")
        save(figure, path)
    return True


def _caption(mistake: Mistake) -> str:
    true, taken_for = one_line(mistake.true, 16), one_line(mistake.predicted, 16)
    where = f"{one_line(mistake.group, 14)} row {mistake.row_id}".strip()
    return f"is {true}\nsaid {taken_for}, {mistake.confidence:.3f}\n{where}"


def _title(figure: Any, words: str) -> None:
    figure.suptitle(one_line(words, 90), x=0.01, ha="left", fontsize=10.5)
