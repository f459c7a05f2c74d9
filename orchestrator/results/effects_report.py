"""Importance and main effects of a study as lines, CSV, JSON and pictures. DRIVER.

effects.csv and effects.json, importance.png and main_effects.png in the study's folder. Paths and
values are hostile input.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from orchestrator.config.storage import write_atomic
from orchestrator.results.leaderboard_cells import short_names
from orchestrator.results.main_effects import Effects, Level
from orchestrator.results.printable import in_csv, one_line
from orchestrator.results.study_view import StudyView

NAME_WIDTH: Final = 20
MAX_PANELS: Final = 12
PANELS_A_ROW: Final = 3


def effect_lines(effects: Effects) -> tuple[str, ...]:
    """Importance and the mean macro-F1 of each value, as a user reads them."""
    if effects.why:
        return (f"effects     none: {effects.why}",)
    importance = effects.importance
    lines = [f"effects of the fields on validation macro-F1, {effects.num_trials} finished trials"]
    if importance.why:
        of = " of what all trials have" if importance.within else ""
        lines.append(f"importance  not known{of}: {one_line(importance.why, 160)}")
    names = short_names(tuple(effects.fields))
    for path in _by_importance(effects):
        head = f"{one_line(names[path], NAME_WIDTH):{NAME_WIDTH}}"
        lines.append(f"{head} {_share_words(effects, path)}".rstrip())
        lines += [f"  {_level_line(level)}" for level in effects.fields[path]]
    if not effects.is_balanced:
        lines.append(
            "not every combination was tried equally often: values that went together share effects"
        )
    return tuple(lines)


def write_effects(effects: Effects, view: StudyView, folder: Path) -> tuple[Path, ...]:
    """Write the files; none where nothing is known.

    Raises:
        OSError: the folder cannot be written.
    """
    if effects.why:
        return ()
    written = [folder / "effects.csv", folder / "effects.json", folder / "main_effects.png"]
    write_atomic(written[0], effects_csv(effects).encode())
    write_atomic(written[1], effects_json(effects).encode())
    _draw_effects(effects, view, written[2])
    if effects.importance.shares or effects.importance.within:
        written.append(folder / "importance.png")
        _draw_importance(effects, view, written[-1])
    return tuple(written)


def effects_csv(effects: Effects) -> str:
    """One row a value: field, the trials that have it, importance among them, value, trials, mean."""
    out = io.StringIO()
    writer = csv.writer(out)
    head = ["field", "among", "importance", "value", "trials", "mean_macro_f1", "low", "high"]
    writer.writerow(head)
    for path, levels in effects.fields.items():
        share, among = _share(effects, path), _num_among(effects, path)
        known = "" if share is None else share
        for level in levels:
            figures = [level.num_trials, level.mean, *(level.interval or ("", ""))]
            writer.writerow([in_csv(path), among, known, in_csv(level.text), *figures])
    return out.getvalue()


def effects_json(effects: Effects) -> str:
    """All of it, as ASCII JSON."""
    importance = effects.importance
    document = {
        "trials": effects.num_trials,
        "mean_macro_f1": effects.mean,
        "balanced": effects.is_balanced,
        "importance": dict(importance.shares) or None,
        "importance_unknown": importance.why,
        "partial": {
            path: {
                "trials": part.num_trials,
                "mean_macro_f1": part.mean,
                "importance": _share(effects, path),
            }
            for path, part in effects.partial.items()
        },
        "fields": {
            path: [
                {
                    "value": level.text,
                    "trials": level.num_trials,
                    "mean_macro_f1": level.mean,
                    "interval": level.interval,
                }
                for level in levels
            ]
            for path, levels in effects.fields.items()
        },
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _by_importance(effects: Effects) -> list[str]:
    """Fields that all trials have come first: what the others explain is of fewer trials."""
    return sorted(
        effects.fields, key=lambda path: (path in effects.partial, -(_share(effects, path) or 0.0))
    )


def _share(effects: Effects, path: str) -> float | None:
    """Of the variance among the trials that have a field."""
    if path in effects.partial:
        within = effects.importance.within.get(path)
        return within.share if within else None
    return effects.importance.shares.get(path)


def _num_among(effects: Effects, path: str) -> int:
    part = effects.partial.get(path)
    return part.num_trials if part else effects.num_trials


def _share_words(effects: Effects, path: str) -> str:
    share, within = _share(effects, path), effects.importance.within.get(path)
    if within is not None:
        newest = "newest " if within.num_trials < _num_among(effects, path) else ""
        return (
            f"{within.share:4.0%} of the variance of the {newest}{within.num_trials} trials that "
            "have it"
        )
    if path in effects.partial:
        return f"in the {_num_among(effects, path)} trials that have it"
    return "" if share is None else f"{share:4.0%} of the variance"


def _level_line(level: Level) -> str:
    trials = f"{level.num_trials} trial{'s' if level.num_trials > 1 else ''}"
    interval = f" [{level.interval[0]:.3f}, {level.interval[1]:.3f}]" if level.interval else ""
    return f"{one_line(level.text, 24):24} {level.mean:.3f}{interval}  {trials}"


def _draw_importance(effects: Effects, view: StudyView, path: Path) -> None:
    import matplotlib as mpl

    from orchestrator.results.plot_style import INK, PALETTE, STYLE, new_figure, save, title

    weighed = [field for field in _by_importance(effects) if _share(effects, field) is not None]
    shown = weighed[:MAX_PANELS][::-1]
    names = short_names(tuple(effects.fields))
    shares = [_share(effects, field) or 0.0 for field in shown]
    with mpl.rc_context(STYLE):
        figure = new_figure(7.2, 1.6 + 0.42 * len(shown))
        axes = figure.subplots()
        colors = [PALETTE[field in effects.partial] for field in shown]
        axes.barh(range(len(shown)), shares, color=colors, height=0.6)
        axes.set_yticks(
            range(len(shown)), [one_line(names[f], NAME_WIDTH) for f in shown], color=INK
        )
        for y, (field, share) in enumerate(zip(shown, shares, strict=True)):
            within = effects.importance.within.get(field)
            words = f"{share:.0%}" + (f" among {within.num_trials} trials" if within else "")
            axes.annotate(words, (share, y), xytext=(4, 0), textcoords="offset points", va="center")
        axes.set_xlim(0, max(shares) * (1.4 if effects.partial else 1.15))
        axes.set_xlabel("share of the variance of macro-F1 (fANOVA)")
        axes.grid(axis="y", visible=False)
        title(figure, view, f"importance of fields, {effects.importance.num_trials} trials")
        save(figure, path)


def _draw_effects(effects: Effects, view: StudyView, path: Path) -> None:
    import matplotlib as mpl

    from orchestrator.results.plot_style import STYLE, new_figure, save, title

    shown = _by_importance(effects)[:MAX_PANELS]
    names = short_names(tuple(effects.fields))
    columns = min(PANELS_A_ROW, len(shown))
    rows = -(-len(shown) // columns)
    with mpl.rc_context(STYLE):
        figure = new_figure(1.2 + 3.4 * columns, 0.9 + 2.8 * rows)
        panels: Sequence[Any] = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for axes, field in zip(panels, shown, strict=False):
            _draw_field(axes, effects.fields[field], effects.mean_of(field))
            some = f", {_num_among(effects, field)} trials" if field in effects.partial else ""
            axes.set_title(one_line(names[field], NAME_WIDTH) + some)
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
        for row in range(rows):
            panels[row * columns].set_ylabel("mean macro-F1")
        mark = "" if effects.is_balanced else "; not all combinations were tried equally often"
        title(figure, view, f"main effects, {effects.num_trials} trials, 95 % intervals{mark}")
        save(figure, path)


def _draw_field(axes: Any, levels: Sequence[Level], mean: float) -> None:
    from orchestrator.results.plot_style import PALETTE

    places = range(len(levels))
    for place, level in zip(places, levels, strict=True):
        if level.interval:
            axes.plot((place, place), level.interval, color=PALETTE[0], alpha=0.35, linewidth=5)
    axes.plot(places, [level.mean for level in levels], "o-", color=PALETTE[0], markersize=6)
    axes.axhline(mean, color="#999999", linewidth=1, linestyle=(0, (4, 3)))
    turned = max(len(level.text) for level in levels) > 6
    axes.set_xticks(
        places,
        [one_line(level.text, 18) for level in levels],
        rotation=25 if turned else 0,
        ha="right" if turned else "center",
    )
    axes.set_xlim(-0.5, len(levels) - 0.5)
