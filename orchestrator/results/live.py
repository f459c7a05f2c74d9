"""The leaderboard while a study runs, and the last lines when it is over. DRIVER.

On a terminal the table stands still and is redrawn in place. Anywhere else (a log file, a job's
driver log) it is one plain line per epoch of a lineage and one per end of a trial, so that a log
grows with the work done and not with time.
"""

import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.config.folder import Folder
from orchestrator.results.leaderboard_cells import (
    Cells,
    cells,
    failures,
    figure_text,
    footer,
    has_seeds,
    heading,
    mean_text,
    score_text,
    trials_text,
    values_text,
    varied_paths,
)
from orchestrator.results.places import Place
from orchestrator.results.printable import duration, one_line, without_home
from orchestrator.results.study_view import EpochPoint, StudyView, TrialRow

_REFRESHES_PER_S: Final = 2
_MIN_ROWS: Final = 3
_COLUMN_GAP: Final = 2
_BAR_WIDTH: Final = 24
_STYLES: Final[Mapping[str, str]] = {
    "running": "cyan",
    "stopped": "dim",
    "failed": "red",
    "queued": "dim",
}


class LiveBoard:
    """Shows a study on `stream` as it grows; use it as a context manager.

    The first `update` is the starting point: epochs and trials that it already holds (a resumed
    study) are summed up in one line, and the time left is measured from what comes after it.

    Args:
        stream: where to write; it alone decides, by `isatty`, between table and lines.
        clock: seconds from a monotonic clock.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = _Pace(clock)
        self._lines: _PlainLines | None = None
        self._live: Live | None = None
        self._shown: tuple[StudyView, dict[str, str]] | None = None
        self._console = Console(file=stream, markup=False, emoji=False, highlight=False)
        if not stream.isatty() or self._console.is_dumb_terminal:
            self._lines = _PlainLines(stream)

    def __enter__(self) -> Self:
        if self._lines is None:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=_REFRESHES_PER_S,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, view: StudyView, slots: Mapping[str, str]) -> None:
        """Show `view`, and on a terminal what each slot trains (slot -> words, "" = idle)."""
        # The terminal is redrawn on rich's own beat, so that a report costs next to nothing.
        self._pace.note(view)
        self._shown = (view, dict(slots))
        if self._lines is not None:
            self._lines.update(view)

    def say(self, text: str) -> None:
        """Print lines that stay: on a terminal above the table."""
        self._console.print(Text(text), soft_wrap=True)

    def _render(self) -> RenderableType:
        """Called by rich, also from its refreshing thread."""
        if self._shown is None:
            return Text("starting")
        view, slots = self._shown
        above = [Text(line, style="bold" if i == 0 else "") for i, line in enumerate(heading(view))]
        below = [*_slot_lines(slots), _progress_line(view, self._pace)]
        notes = [Text(line, style="dim") for line in footer(view)]
        room = self._console.height - len(above) - len(below) - len(notes) - 5
        table = cells(view, num_rows=max(_MIN_ROWS, room))
        more = [Text(line, style="dim") for line in table.more]
        for line in (*above, *below, *notes):
            line.no_wrap, line.overflow = True, "ellipsis"
        body = _rich_table(table, self._console.width)
        return Group(*above, Text(), body, *more, Text(), *below, *notes)


def closing_lines(
    view: StudyView, folder: Folder | Path, next_command: str, *, complete: bool = True
) -> tuple[str, ...]:
    """The last words of a study: the winner, its checkpoint, where all lies, what to type next.

    Args:
        view: the study as it ended.
        folder: the study's folder, as the user should see it.
        next_command: what to type next, "" for nothing.
        complete: whether no trials are to come besides those of the view.
    """
    lines = [*_winner_lines(view, folder), *_failure_lines(view, folder)]
    open_trials = view.count("queued") + view.count("running")
    if open_trials:
        lines.append(
            f"not complete: {open_trials} of {len(view.trials)} trials are still to be trained; "
            "the same command goes on from here"
        )
    elif not complete:
        lines.append(
            f"not complete: trials beyond the first {len(view.trials)} are still to be drawn and "
            "trained; the same command goes on from here"
        )
    lines.append(f"results     {folder}  (leaderboard.txt, .md, .csv, .json, plots)")
    if next_command:
        lines.append(f"next        {next_command}")
    return tuple(lines)


class _Pace:
    """Measures epochs per second from the second new epoch on: start-up must not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_s = clock()
        self._before: int | None = None
        self._first: tuple[int, float] | None = None
        self._latest: tuple[int, float] | None = None

    def note(self, view: StudyView) -> None:
        done, now = view.epochs_trained, self._clock()
        if self._before is None:
            self._before = done
        if done > self._before and self._first is None:
            self._first = (done, now)
        if self._latest is None or done > self._latest[0]:
            self._latest = (done, now)

    def elapsed_s(self) -> float:
        return self._clock() - self._started_s

    def left_s(self, num_epochs: int) -> float | None:
        """Seconds that so many epochs will take; None until that can be known."""
        if self._first is None or self._latest is None or self._latest[0] == self._first[0]:
            return None
        per_epoch_s = (self._latest[1] - self._first[1]) / (self._latest[0] - self._first[0])
        since_s = self._clock() - self._latest[1]
        return max(0.0, num_epochs * per_epoch_s - since_s)


class _PlainLines:
    """Writes each epoch of a lineage and each end of a trial once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rows: dict[int, TrialRow] = {}
        self._epochs: dict[str, int] = {}  # lineage -> its last epoch written
        self._ended: set[int] = set()
        self._scores: list[float] = []  # of the finished trials, ascending
        self._paths: tuple[str, ...] = ()
        self._has_seeds = False
        self._begun = False

    def update(self, view: StudyView) -> None:
        # Rows that did not change are the same objects: a report costs what changed.
        grown = len(view.trials) > len(self._rows)
        changed = [row for row in view.trials if self._rows.get(row.trial) is not row]
        self._rows.update((row.trial, row) for row in changed)
        if grown:
            self._paths = varied_paths(view)
            self._has_seeds = has_seeds(view)
        points = self._new_points(changed)
        ended = self._newly_ended(changed)
        if self._begun:
            lines = [_epoch_line(row, point, self._paths) for row, point in points]
            lines += [self._end_line(row) for row in ended]
        else:
            lines = _resume_lines(view)
        self._begun = True
        for line in lines:
            self._stream.write(line + "\n")
        if lines:
            self._stream.flush()

    def _new_points(self, changed: Sequence[TrialRow]) -> list[tuple[TrialRow, EpochPoint]]:
        """New epochs, each with the longest trial of its lineage."""
        longest: dict[str, TrialRow] = {}
        for row in changed:
            if row.lineage not in longest or row.epochs > longest[row.lineage].epochs:
                longest[row.lineage] = row
        new = []
        for lineage, row in longest.items():
            seen = self._epochs.get(lineage, 0)
            new += [(row, point) for point in row.curve if point.epoch > seen]
            if row.curve:
                self._epochs[lineage] = max(seen, row.curve[-1].epoch)
        return new

    def _newly_ended(self, changed: Sequence[TrialRow]) -> list[TrialRow]:
        ended = [
            row
            for row in changed
            if row.state in ("finished", "stopped", "failed") and row.trial not in self._ended
        ]
        self._ended.update(row.trial for row in ended)
        for row in ended:
            if row.state == "finished" and row.val_macro_f1 is not None:
                insort(self._scores, row.val_macro_f1)
        return ended

    def _end_line(self, row: TrialRow) -> str:
        if row.state == "failed":
            error = one_line(without_home(row.error), 200) or "no error was recorded"
            return f"trial {row.trial} failed at epoch {row.epoch}/{row.epochs}  {error}"
        if row.state == "stopped":
            return (
                f"trial {row.trial} stopped at epoch {row.epoch}/{row.epochs}  "
                f"macro-F1 {score_text(row)}"
            )
        rank = "not ranked: no macro-F1"
        if self._has_seeds and row.val_macro_f1 is not None:
            rank = f"seed {row.seed} of configuration {row.configuration}"
        elif row.val_macro_f1 is not None:
            after = bisect_right(self._scores, row.val_macro_f1)
            tied = after - bisect_left(self._scores, row.val_macro_f1) > 1
            rank = f"rank {len(self._scores) - after + 1}{'=' if tied else ''}/{len(self._scores)}"
        early = f" early, after {row.epoch} of {row.epochs} epochs" if row.ended_early else ""
        return f"trial {row.trial} finished{early}  macro-F1 {score_text(row)}  {rank}"


def _resume_lines(view: StudyView) -> list[str]:
    if not view.epochs_trained:
        return []
    ended = view.count("finished") + view.count("stopped") + view.count("failed")
    return [
        f"resuming: {view.epochs_trained} epochs and {ended} of {len(view.trials)} trials are done, "
        f"{view.epochs_left} epochs are left"
    ]


def _epoch_line(row: TrialRow, point: EpochPoint, paths: Sequence[str]) -> str:
    get = point.metrics.get
    parts = (
        f"epoch  lineage {one_line(row.lineage, 12)}  {point.epoch}/{row.epochs}",
        f"val macro-F1 {figure_text(get('val_macro_f1'))}",
        f"loss {figure_text(get('val_loss'), 2)}",
        f"{figure_text(get('images_per_s'), 0)} img/s",
        values_text(row, paths),
    )
    return "  ".join(part for part in parts if part)


def _rich_table(table: Cells, width: int) -> Table:
    kept = _columns_that_fit(table, width)
    shown = Table(box=None, padding=(0, _COLUMN_GAP, 0, 0), pad_edge=False)
    for i in kept:
        shown.add_column(
            Text(table.head[i]),
            justify="right" if table.right[i] else "left",
            no_wrap=True,
            overflow="ellipsis",
            header_style="bold",
        )
    for row, place in zip(table.rows, table.places, strict=True):
        style = "bold green" if place.rank == 1 else _STYLES.get(place.row.state, "")
        # Text, never str: a str would be searched for markup.
        shown.add_row(*(Text(row[i]) for i in kept), style=style)
    return shown


def _columns_that_fit(table: Cells, width: int) -> list[int]:
    """Columns by index; the optional ones go first where the terminal is narrow."""
    kept = list(range(len(table.head)))
    widths = [max(cell_len(row[i]) for row in (table.head, *table.rows)) for i in kept]
    for name in table.optional:
        if sum(widths[i] + _COLUMN_GAP for i in kept) <= width + _COLUMN_GAP:
            break
        kept.remove(table.head.index(name))
    return kept


def _slot_lines(slots: Mapping[str, str]) -> list[Text]:
    return [
        Text(f"{one_line(slot, 16)}  {one_line(words, 160) or 'idle'}")
        for slot, words in slots.items()
    ]


def _progress_line(view: StudyView, pace: _Pace) -> Text:
    done, whole = view.epochs_trained, view.epochs_trained + view.epochs_left
    filled = round(_BAR_WIDTH * done / whole) if whole else 0
    left_s = pace.left_s(view.epochs_left)
    line = Text()
    line.append("━" * filled, style="green")
    line.append("━" * (_BAR_WIDTH - filled), style="dim")
    words = f"  {done}/{whole} epochs, {duration(pace.elapsed_s())}"
    if left_s is not None and view.epochs_left:
        words += f", about {duration(left_s)} left"
    line.append(words)
    return line


def _winner_lines(view: StudyView, folder: Folder | Path) -> list[str]:
    place = view.leading
    if place is None:
        if any(place.finished for place in view.places):
            return ["winner      none: no configuration finished with all of its seeds"]
        return ["winner      none: no trial finished with a macro-F1"]
    row = place.row
    what = [values_text(row, varied_paths(view)), f"{row.epoch} epochs"]
    equals = [p.row.trial for p in view.places if p.rank == 1 and p is not place]
    close = sorted(p.row.trial for p in view.places if p.close)
    lines = [
        f"winner      trial {row.trial}: {', '.join(part for part in what if part)}",
        f"            validation macro-F1 {mean_text(place)}, "
        f"accuracy {figure_text(place.mean('val_accuracy'))}, "
        f"loss {figure_text(place.mean('val_loss'))}",
        *_seeds_of_winner(place),
    ]
    if equals:
        lines.append(f"            a tie with {trials_text(equals)}")
    if close:
        lines.append(f"            not distinguishable from it: {trials_text(close)}")
    checkpoint = folder / one_line(row.checkpoint) if row.checkpoint else "none was kept"
    return [*lines, f"checkpoint  {checkpoint}"]


def _seeds_of_winner(place: Place) -> list[str]:
    """Which of the seeds gives the weights: never the best, which would flatter."""
    if len(place.rows) < 2:
        return []
    seeds = ", ".join(f"{row.seed}: {figure_text(row.val_macro_f1)}" for row in place.rows)
    return [
        f"            mean of {len(place.rows)} seeds ({seeds}); sd {figure_text(place.spread)}",
        f"            its weights are those of seed {place.row.seed}, the median of them "
        f"({score_text(place.row)})",
    ]


def _failure_lines(view: StudyView, folder: Folder | Path) -> list[str]:
    return [
        f"failed      {who}: {without_home(error)}" + (f"  (log: {folder / log})" if log else "")
        for who, error, log in failures(view)
    ]
