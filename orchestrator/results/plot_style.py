"""How our pictures look, and how a figure comes into being and onto disk. DRIVER.

Figures are our own objects on matplotlib's Agg canvas: pyplot's global state would leak figures
and backends into a long-lived driver.
"""

import io
import warnings
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.config.storage import write_atomic
from orchestrator.results.printable import one_line
from orchestrator.results.study_view import StudyView

# Okabe & Ito (2008), told apart with any colour vision; their yellow is too pale on white.
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#333333")
INK: Final = "#222222"
STYLE: Final[dict[str, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.labelcolor": INK,
    "axes.edgecolor": "#b0b0b0",
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
}
_DPI: Final = 150


def new_figure(width_in: float, height_in: float) -> Any:
    """An empty figure of that size in inches; its layout looks after itself."""
    figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path) -> None:
    """Write the figure as PNG, atomically."""
    image = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no error of ours.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(image, format="png", metadata={"Software": None})
    write_atomic(path, image.getvalue())


def title(figure: Any, view: StudyView, words: str) -> None:
    """One line above all panels, after the study's name."""
    figure.suptitle(f"{one_line(view.name, 48)}: {words}", x=0.01, ha="left", fontsize=11)


def score_axis(axes: Any, name: str) -> None:
    """A y axis for scores in [0, 1]."""
    axes.set_ylabel(name)
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(1.0, high + 0.02) if high <= 1 else high)


def loss_axis(axes: Any, name: str) -> None:
    """A y axis for a loss."""
    axes.set_ylabel(name)
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))


def epoch_axis(axes: Any, last: int) -> None:
    """An x axis from epoch 1 to `last`, with room for a mark at its end."""
    axes.set_xlabel("epoch")
    axes.set_xlim(0.7, last + 0.3 + 0.04 * last)
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )
