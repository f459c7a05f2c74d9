"""Pictures of a study and of one training, as PNG. DRIVER.

`learning_curve` is the paper's Figure 1 (one training; `winner_curve` that of a study's winner),
`experiments` its Figure 2 (accuracy, macro-F1 and loss over the experiments). Each returns
whether there was anything to draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from orchestrator.results.leaderboard_cells import has_seeds, score_text, values_text, varied_paths
from orchestrator.results.places import Place
from orchestrator.results.plot_style import (
    INK,
    PALETTE,
    STYLE,
    epoch_axis,
    loss_axis,
    new_figure,
    save,
    score_axis,
    title,
)
from orchestrator.results.printable import one_line
from orchestrator.results.study_fold import epoch_point
from orchestrator.results.study_view import EpochPoint, StudyView, TrialRow

_DASHES: Final = ("-", (0, (5, 1.6)))
MAX_LEGEND: Final = 12
MAX_NUMBERED: Final = 6
MAX_EXPERIMENTS: Final = 40


def learning_curve(history: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """One training: accuracy, macro-F1 and loss of train and validation over the epochs.

    Args:
        history: one mapping an epoch, in order, as the `metrics` of the ledger; an `epoch` in it
            is used, else epochs count from 1.
        path: the PNG to write.

    Returns:
        False, and no file, if the history is empty.
    """
    points = [
        epoch_point(int(metrics.get("epoch", i)), metrics)
        for i, metrics in enumerate(history, start=1)
    ]
    return _training_figure(points, path)


def winner_curve(view: StudyView, path: Path) -> bool:
    """The winner's training as `learning_curve` draws one.

    Returns:
        False, and no file, if there is no winner.
    """
    winner = view.winner
    if winner is None:
        return False
    values = values_text(winner, varied_paths(view))
    words = f"trial {winner.trial}, the winner{': ' if values else ''}{one_line(values, 40)}"
    return _training_figure(winner.curve, path, view, words)


def learning_curves(view: StudyView, path: Path) -> bool:
    """Validation macro-F1 and loss of all lineages; a dot where each of their trials ends.

    Up to `MAX_LEGEND` lineages have a legend, up to `MAX_NUMBERED` also the trials' numbers at
    their dots; more lineages are coloured by their last macro-F1. A failed end is a cross.

    Returns:
        False, and no file, if no epoch has been reported.
    """
    curves = _curves(view)
    if not curves:
        return False
    with mpl.rc_context(STYLE):
        named = len(curves) <= MAX_LEGEND
        rows = (len(curves) + 1) // 2 if named else 0
        figure = new_figure(9.6, 4.4 + 0.24 * rows)
        scores, losses = figure.subplots(1, 2)
        numbered = len(curves) <= MAX_NUMBERED
        for curve in curves:
            for axes, metric in ((scores, "val_macro_f1"), (losses, "val_loss")):
                _curve_line(axes, curve, metric, width=2.0 if named else 1.2, numbered=numbered)
        score_axis(scores, "Validation macro-F1")
        loss_axis(losses, "Validation loss (nats)")
        for axes in (scores, losses):
            epoch_axis(axes, max(curve.points[-1].epoch for curve in curves))
        if named:
            _legend_below(figure, scores if scores.get_lines() else losses)
        else:
            _score_bar(figure, [scores, losses], curves)
        failed = ", a cross where one failed" if any(c.failed for c in curves) else ""
        title(figure, view, f"learning curves; a dot is where a trial ends{failed}")
        save(figure, path)
    return True


def experiments(view: StudyView, path: Path) -> bool:
    """Macro-F1 with its interval, accuracy and loss of what is ranked, best first (Figure 2).

    Of a configuration with several seeds these are means.

    Returns:
        False, and no file, if no trial has finished with a score.
    """
    ranked = [place for place in view.places if place.rank is not None]
    shown = ranked[:MAX_EXPERIMENTS]
    if not shown:
        return False
    with mpl.rc_context(STYLE):
        figure = new_figure(10.2, 1.9 + 0.34 * len(shown))
        figure.get_layout_engine().set(wspace=0.06)
        panels = figure.subplots(1, 3, sharey=True)
        panels[1].sharex(panels[0])  # one scale: else small gaps in accuracy look large
        _dots(panels[0], shown, "val_macro_f1", "Macro-F1", PALETTE[0])
        _dots(panels[1], shown, "val_accuracy", "Accuracy", PALETTE[1])
        _dots(panels[2], shown, "val_loss", "Loss (nats)", PALETTE[2])
        paths = varied_paths(view)
        labels = [f"{_row_name(p.row, paths)}   {p.label:>3}" for p in shown]
        panels[0].set_yticks(range(len(shown)), labels, fontsize=9.5, color=INK)
        panels[0].set_ylim(len(shown) - 0.4, -0.6)
        whole = len(shown) == len(view.places)
        kind = "configurations" if has_seeds(view) else "trials"
        part = "" if whole else f" ({len(shown)} of {len(view.places)} {kind})"
        mark = ";  ~ not distinguishable from the first" if any(p.close for p in shown) else ""
        title(figure, view, f"experiments on validation, best first{part}{mark}")
        save(figure, path)
    return True


def confusion(view: StudyView, path: Path) -> bool:
    """The winner's confusion matrix: shares of each true class, with counts.

    Returns:
        False, and no file, if there is no winner or it has no matrix.
    """
    winner = view.winner
    if winner is None or not winner.confusion:
        return False
    counts = winner.confusion
    names = [one_line(name, 16) for name in view.classes]
    if len(names) != len(counts):
        names = [str(k) for k in range(len(counts))]
    with mpl.rc_context({**STYLE, "axes.grid": False, "axes.spines.left": False}):
        side = 2.6 + 0.72 * len(counts)
        figure = new_figure(side + 0.2, side)
        axes = figure.subplots()
        _shares(axes, counts)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        title(figure, view, f"trial {winner.trial}, macro-F1 {score_text(winner)}, validation")
        save(figure, path)
    return True


@dataclass(frozen=True)
class _Curve:
    """A lineage as a line: its points, and at which epoch which of its trials end."""

    points: tuple[EpochPoint, ...]
    ends: Mapping[int, str]
    failed: bool
    label: str
    color: Any
    dashes: Any


def _training_figure(
    points: Sequence[EpochPoint], path: Path, view: StudyView | None = None, words: str = ""
) -> bool:
    """Scores to the left, loss to the right; above both the study's name, if it is of one."""
    if not points:
        return False
    with mpl.rc_context(STYLE):
        figure = new_figure(8.6, 3.9 if view is None else 4.2)
        scores, losses = figure.subplots(1, 2)
        _split_lines(scores, points, "macro_f1", "macro-F1", PALETTE[0])
        _split_lines(scores, points, "accuracy", "accuracy", PALETTE[1])
        score_axis(scores, "Accuracy and macro-F1")
        _split_lines(losses, points, "loss", "loss", PALETTE[2])
        loss_axis(losses, "Cross-entropy loss (nats)")
        _mark_best(scores, points)
        for axes in (scores, losses):
            epoch_axis(axes, points[-1].epoch)
            if axes.get_lines():
                axes.legend(loc="best", fontsize=9)
        if view is not None:
            title(figure, view, words)
        save(figure, path)
    return True


def _curves(view: StudyView) -> list[_Curve]:
    """One curve a lineage, in leaderboard order of its best trial."""
    families: dict[str, list[TrialRow]] = {}
    for place in view.places:
        if place.row.curve:
            families.setdefault(place.row.lineage, []).append(place.row)
    longest = [max(rows, key=lambda row: len(row.curve)) for rows in families.values()]
    paint = _by_score(longest) if len(longest) > MAX_LEGEND else None
    paths = varied_paths(view)
    return [
        _Curve(
            points=row.curve,
            ends=_ends(rows),
            failed=row.state == "failed",
            label=_family_name(row, rows, paths),
            color=paint(row.val_macro_f1 or 0.0) if paint else PALETTE[i % len(PALETTE)],
            dashes="-" if paint else _DASHES[i // len(PALETTE) % len(_DASHES)],
        )
        for i, (row, rows) in enumerate(zip(longest, families.values(), strict=True))
    ]


def _by_score(rows: Sequence[TrialRow]) -> Any:
    """A colour by the last macro-F1; the palest end of the map is left out, it fades on white."""
    scores = [row.val_macro_f1 or 0.0 for row in rows]
    norm = Normalize(min(scores), max(scores))
    return lambda score: colormaps["viridis_r"](0.08 + 0.92 * float(norm(score)))


def _ends(rows: Sequence[TrialRow]) -> dict[int, str]:
    ends: dict[int, list[int]] = {}
    for row in rows:
        if row.state in ("finished", "stopped", "failed"):
            ends.setdefault(row.epoch, []).append(row.trial)
    return {epoch: ",".join(map(str, sorted(trials))) for epoch, trials in ends.items()}


def _family_name(longest: TrialRow, rows: Sequence[TrialRow], paths: Sequence[str]) -> str:
    numbers = ", ".join(str(trial) for trial in sorted(row.trial for row in rows))
    values = values_text(longest, paths) or f"lineage {longest.lineage}"
    return one_line(f"{values}  ({'trials' if len(rows) > 1 else 'trial'} {numbers})", 52)


def _row_name(row: TrialRow, paths: Sequence[str]) -> str:
    values = one_line(values_text(row, paths), 44)
    return f"trial {row.trial}: {values + ', ' if values else ''}{row.epoch} ep"


def _curve_line(axes: Any, curve: _Curve, metric: str, *, width: float, numbered: bool) -> None:
    known = [(p.epoch, p.metrics[metric]) for p in curve.points if metric in p.metrics]
    if not known:
        return
    at = dict(known)
    alone = len(known) == 1  # a single point makes no line
    axes.plot(
        list(at),
        list(at.values()),
        color=curve.color,
        linestyle=curve.dashes,
        linewidth=width,
        marker="." if alone else None,
        label=curve.label,
    )
    for epoch, trials in curve.ends.items():
        if epoch in at:
            failed = curve.failed and epoch == curve.points[-1].epoch
            _end_mark(axes, (epoch, at[epoch]), curve.color, failed=failed)
            if numbered:
                _number(axes, (epoch, at[epoch]), trials, curve.color)


def _end_mark(axes: Any, at: tuple[float, float], color: Any, *, failed: bool) -> None:
    axes.plot(
        *at,
        marker="x" if failed else "o",
        markersize=6.5 if failed else 5.5,
        markeredgewidth=2 if failed else 1.2,
        color=color,
        markeredgecolor=color if failed else "white",
        zorder=5,
        label="_end",
    )


def _number(axes: Any, at: tuple[float, float], trials: str, color: Any) -> None:
    axes.annotate(
        trials,
        at,
        xytext=(5, 4),
        textcoords="offset points",
        fontsize=8,
        color=color,
        zorder=6,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )


def _split_lines(
    axes: Any, points: Sequence[EpochPoint], metric: str, name: str, color: str
) -> None:
    """Train dashed and thin, validation solid, in one colour."""
    for split, words, style, width in (
        ("train", "train", (0, (4, 1.8)), 1.4),
        ("val", "validation", "-", 2.2),
    ):
        key = f"{split}_{metric}"
        known = {p.epoch: p.metrics[key] for p in points if key in p.metrics}
        if known:
            axes.plot(
                list(known),
                list(known.values()),
                color=color,
                linestyle=style,
                linewidth=width,
                marker="o" if split == "val" else None,
                markersize=4,
                label=f"{name}, {words}",
            )


def _mark_best(axes: Any, points: Sequence[EpochPoint]) -> None:
    known = [(p.metrics["val_macro_f1"], p.epoch) for p in points if "val_macro_f1" in p.metrics]
    if not known:
        return
    best, epoch = max(known, key=lambda pair: (pair[0], -pair[1]))
    axes.plot(epoch, best, "o", markersize=11, markerfacecolor="none", color=INK, label="_best")
    axes.set_title(f"Best validation macro-F1 {best:.3f} at epoch {epoch}", fontsize=10.5)


def _dots(axes: Any, places: Sequence[Place], metric: str, name: str, color: str) -> None:
    """One dot a place with its figure beside it, and for macro-F1 its interval."""
    for y, place in enumerate(places):
        value = place.mean(metric)
        if value is None:
            continue
        if metric == "val_macro_f1" and place.interval:
            axes.plot(
                place.interval, (y, y), color=color, alpha=0.35, linewidth=5, solid_capstyle="round"
            )
        axes.plot(value, y, "o", color=color, markersize=7, markeredgecolor="white")
        axes.annotate(
            f"{value:.3f}",
            (value, y),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=INK,
        )
    axes.set_title(name)
    axes.grid(axis="y", color="#f1f1f1")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.margins(x=0.14)
    axes.spines["left"].set_visible(False)


def _shares(axes: Any, counts: Sequence[Sequence[int]]) -> None:
    totals = [sum(row) for row in counts]
    shares = [
        [count / total if total else 0.0 for count in row]
        for row, total in zip(counts, totals, strict=True)
    ]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, row in enumerate(counts):
        for predicted, count in enumerate(row):
            share = shares[true][predicted]
            axes.text(
                predicted,
                true,
                f"{share:.0%}\n{count:,}" if totals[true] else "–",
                ha="center",
                va="center",
                fontsize=9 if len(counts) <= 10 else 6.5,
                fontweight="bold" if true == predicted else "normal",
                color="white" if share > 0.55 else INK,
            )
    for edge in range(1, len(counts)):
        axes.axhline(edge - 0.5, color="white", linewidth=1.5)
        axes.axvline(edge - 0.5, color="white", linewidth=1.5)
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)


def _legend_below(figure: Any, axes: Any) -> None:
    handles = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9)


def _score_bar(figure: Any, panels: Sequence[Any], curves: Sequence[_Curve]) -> None:
    """A colour bar in place of a legend."""
    finals = [c.points[-1].metrics.get("val_macro_f1", 0.0) for c in curves]
    scale = mpl.cm.ScalarMappable(Normalize(min(finals), max(finals)), _pale_end_cut())
    bar = figure.colorbar(scale, ax=list(panels), shrink=0.9, pad=0.02)
    bar.set_label("macro-F1 at the last epoch")
    bar.outline.set_visible(False)


def _pale_end_cut() -> Any:
    colors = [colormaps["viridis_r"](0.08 + 0.92 * i / 255) for i in range(256)]
    return mpl.colors.ListedColormap(colors)
