"""Pictures of a shift and of its remedies, as PNG: class shares, gains. DRIVER."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np

from orchestrator.results.plot_style import PALETTE, STYLE, new_figure, save
from orchestrator.results.printable import one_line
from orchestrator.shift.diagnosis import Priors
from orchestrator.shift.priors import PriorEstimate


def priors_plot(priors: Priors, classes: Sequence[str], words: str, path: Path) -> None:
    """Shares of the classes: counted in the reference, estimated and counted in production.

    Args:
        priors: of a diagnosis.
        classes: of the model.
        words: for the title.
        path: of the PNG.
    """
    places = np.arange(len(classes))
    bars: list[tuple[str, Sequence[float], str, PriorEstimate | None]]
    bars = [("reference, counted", priors.reference, "#b0b0b0", None)]
    if priors.production is not None:
        bars.append(("production, counted", priors.production, PALETTE[0], None))
    for one, color in ((priors.bbse, PALETTE[1]), (priors.em, PALETTE[2])):
        bars.append((f"production by {one.method}", one.priors, color, one))
    width = 0.8 / len(bars)
    with mpl.rc_context(STYLE):
        figure = new_figure(max(6.5, 1.3 * len(classes)), 4.0)
        axes = figure.subplots()
        for number, (label, shares, color, estimate) in enumerate(bars):
            at = places + (number - (len(bars) - 1) / 2) * width
            axes.bar(at, shares, width=0.9 * width, color=color, label=label, linewidth=0)
            if estimate is not None:
                axes.vlines(at, estimate.low, estimate.high, color="#333333", linewidth=1)
        axes.set_xticks(places, [one_line(name, 16) for name in classes])
        axes.set(ylabel="share of rows", ylim=(0, None))
        axes.legend(fontsize=9)
        figure.suptitle(one_line(words, 90), x=0.01, ha="left", fontsize=10.5)
        save(figure, path)


@dataclass(frozen=True)
class GainBar:
    """A remedy's gain with its interval; None without one."""

    name: str
    gain: float
    interval: tuple[float, float] | None
    color: int


def gains_plot(bars: Sequence[GainBar], words: str, path: Path) -> None:
    """Change of macro-F1 by each remedy, with intervals.

    Args:
        bars: from top to bottom.
        words: for the title.
        path: of the PNG.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(6.8, 1.2 + 0.42 * len(bars))
        axes = figure.subplots()
        for place, bar in enumerate(bars):
            color = PALETTE[bar.color]
            if bar.interval is not None:
                axes.hlines(place, *bar.interval, color=color)
            axes.plot([bar.gain], [place], marker="o", color=color)
        axes.axvline(0, color="#999999", linewidth=1, linestyle=(0, (4, 2)))
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
        axes.invert_yaxis()
        axes.set_xlabel("macro-F1 after minus before, held-out groups of production")
        figure.suptitle(one_line(words, 90), x=0.01, ha="left", fontsize=10.5)
        save(figure, path)
