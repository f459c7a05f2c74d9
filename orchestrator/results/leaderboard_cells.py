"""What a leaderboard says, in short safe words: its cells, heading, footer, names of trials. PURE.

The tables, the live board and the pictures all take their words from here, so that a trial is
called the same everywhere. Trial values, names and errors are hostile input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from orchestrator.results.places import Place, num_compared
from orchestrator.results.printable import one_line, value_text
from orchestrator.results.study_view import Interval, Scalar, StudyView, TrialRow, f1_by_class

EPOCHS: Final = "epochs"
_MAX_ERRORS: Final = 10


@dataclass(frozen=True)
class Cells:
    """A leaderboard as cells of safe one-line text; `right` says which columns align right.

    `more` says in words which rows were left out; `optional` names the columns that a narrow
    terminal drops first, in that order.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]
    places: tuple[Place, ...]
    more: tuple[str, ...]
    optional: tuple[str, ...] = ("img/s", "val loss", "accuracy")


def cells(view: StudyView, *, per_class: bool = False, num_rows: int | None = None) -> Cells:
    """The leaderboard's cells: rank, trial, varied values, figures, state."""
    varied = varied_paths(view)
    names = short_names(varied)
    places = view.places if num_rows is None else view.places[:num_rows]
    classes = view.classes if per_class else ()
    head = ("rank", "trial", *(one_line(names[path], 20) for path in varied), "epochs")
    head += ("seeds",) if has_seeds(view) else ()
    head += ("macro-F1", "accuracy", "val loss")
    head += (*(f"F1 {one_line(name, 12)}" for name in classes), "img/s", "state")
    rows = tuple(_cells_of(place, varied, len(classes), has_seeds(view)) for place in places)
    left_out = len(view.places) - len(places)
    return Cells(
        head=head,
        rows=rows,
        right=(True, True, *(_numbers(view, path) for path in varied), True)
        + (True,) * has_seeds(view)
        + (False,)
        + (True,) * (3 + len(classes))
        + (False,),
        places=places,
        more=(f"… and {left_out} more",) if left_out else (),
    )


def heading(view: StudyView) -> tuple[str, ...]:
    """Two to four lines: which study, what it asks, on what data, what all trials have alike."""
    images = sum(view.counts.get("validation", {}).values())
    data = [
        one_line(view.dataset),
        f"{one_line(view.protocol)} split" if view.protocol else "",
        f"{len(view.classes)} classes" if view.classes else "",
        f"{images:,} validation images" if images else "",
    ]
    names = short_names(tuple(_constants(view)))
    alike = ", ".join(
        f"{one_line(names[path], 20)} {value_text(value)}"
        for path, value in _constants(view).items()
    )
    lines = (
        one_line(view.name),
        one_line(view.question),
        ", ".join(part for part in data if part),
        f"all trials: {alike}" if alike else "",
    )
    return tuple(line for line in lines if line)


def footer(view: StudyView) -> tuple[str, ...]:
    """What the marks mean, where any is shown; what sharing saved; why trials failed."""
    places = view.places
    lines = []
    if has_seeds(view):
        lines.append(
            "macro-F1, accuracy and loss are means over seeds; ranked once all seeds have finished; "
            "trial: the one with the median macro-F1 of its seeds, whose weights are used"
        )
    if any(place.interval for place in places):
        over = "over videos or subjects and over seeds" if has_seeds(view) else "over groups"
        lines.append(f"[low, high]: 95 % bootstrap interval of validation macro-F1, {over}")
    if any(place.tied for place in places):
        lines.append("= the same score: a tie")
    if any(place.close for place in places):
        lines.append(f"~ not distinguishable from the winner: {_how_compared(view)}")
    if any(row.ended_early for row in view.trials):
        lines.append("a finished trial of fewer epochs than it asked for stopped early: early_stop")
    if stopped := view.count("stopped"):
        lines.append(
            f"{stopped} trial{'s were' if stopped > 1 else ' was'} stopped as others did better, and "
            "not ranked: the score of a stopped trial is that of fewer epochs"
        )
    if saved := view.epochs_needed_unshared - view.epochs_planned:
        lines.append(
            f"{view.epochs_planned} epochs do the work of {view.epochs_needed_unshared}: "
            f"trials that differ in epochs only share them ({saved} saved)"
        )
    errors = failures(view)
    lines += [f"{who} failed: {error}" for who, error, _ in errors[:_MAX_ERRORS]]
    if len(errors) > _MAX_ERRORS:
        lines.append(f"… and {len(errors) - _MAX_ERRORS} more errors")
    return tuple(lines)


def has_seeds(view: StudyView) -> bool:
    """Whether any configuration has trials of several seeds."""
    return len({row.configuration for row in view.trials}) < len(view.trials)


def seed_lines(view: StudyView) -> tuple[str, ...]:
    """Macro-F1 of each seed of each configuration, one line each; none where there is one seed.

    A trial without a score says how it stands instead.
    """
    if not has_seeds(view):
        return ()
    lines = ["by seed: rank, macro-F1 of each seed (its trial), mean and standard deviation"]
    for place in view.places:
        seeds = ", ".join(f"seed {row.seed} {_seed_text(row)}" for row in place.rows)
        mean = f"mean {figure_text(place.score)}" if place.finished else ""
        spread = "" if place.spread is None else f" sd {place.spread:.3f}"
        lines.append(f"{place.label:>4}  {seeds}  {mean}{spread}".rstrip())
    return tuple(lines)


def _seed_text(row: TrialRow) -> str:
    if row.state == "finished":
        return f"{figure_text(row.val_macro_f1)} ({row.trial})"
    return f"{row.state} ({row.trial})"


def _how_compared(view: StudyView) -> str:
    compared = num_compared(view.places)
    if not compared:
        return "its interval contains that score"
    ranked = sum(place.rank is not None for place in view.places)
    of_best = f" among the best {compared}" if compared < ranked else ""
    words = (
        "the interval of its difference to it contains 0, where the same videos"
        f"{' and seeds' if has_seeds(view) else ''} are drawn anew for both and the intervals of "
        f"all pairs{of_best} hold at once in 95 % of studies"
    )
    if has_seeds(view):
        return words
    return f"{words}. One seed each: this compares trained networks; what another seed would change is not in it"


def failures(view: StudyView) -> tuple[tuple[str, str, str], ...]:
    """Each different failure once: ("trials 6, 7", its error on one line, its log or "")."""
    trials: dict[tuple[str, str], list[int]] = {}
    for row in view.trials:
        if row.state == "failed":
            key = (one_line(row.error, 240) or "no error was recorded", one_line(row.log))
            trials.setdefault(key, []).append(row.trial)
    return tuple((trials_text(numbers), *key) for key, numbers in trials.items())


def trials_text(numbers: Sequence[int], limit: int = 12) -> str:
    """For example "trial 3" or "trials 3, 5, 8"."""
    shown = ", ".join(map(str, numbers[:limit]))
    rest = f" and {len(numbers) - limit} more" if len(numbers) > limit else ""
    return f"trial{'s' if len(numbers) > 1 else ''} {shown}{rest}"


def varied_paths(view: StudyView) -> tuple[str, ...]:
    """The dotted paths that make trials differ, `epochs` excepted: it has a column of its own."""
    constant = _constants(view)
    return tuple(path for path in all_paths(view) if path not in constant and path != EPOCHS)


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """The last part of each path; for `<part>.name` the part; the whole path where two clash."""
    short = {path: path.removesuffix(".name").rpartition(".")[2] for path in paths}
    names = list(short.values())
    return {path: name if names.count(name) == 1 else path for path, name in short.items()}


def values_text(row: TrialRow, paths: Sequence[str]) -> str:
    """A trial's values of `paths` in a few words, like "adam, lr 0.001"."""
    names = short_names(paths)
    words = []
    for path in paths:
        if path in row.values:
            value = value_text(row.values[path])
            named = path.endswith(".name") or path == "model"
            words.append(value if named else f"{one_line(names[path], 20)} {value}")
    return ", ".join(words)


def score_text(row: TrialRow) -> str:
    """Macro-F1 with its interval, like "0.612 [0.580, 0.640]"; "–" where not measured."""
    return _with_interval(row.val_macro_f1, row.interval)


def mean_text(place: Place) -> str:
    """The same of a configuration: the mean over its seeds."""
    return _with_interval(place.score, place.interval)


def _with_interval(score: float | None, interval: Interval | None) -> str:
    if score is None:
        return "–"
    return f"{score:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def figure_text(value: float | None, digits: int = 3) -> str:
    """A figure with that many decimals; "–" where not measured, scientific where it is huge."""
    if value is None:
        return "–"
    return f"{value:.2e}" if abs(value) >= 1e6 else f"{value:.{digits}f}"


def padded(by_class: Sequence[float | None], num_classes: int) -> Sequence[float | None]:
    """F1 by class, all None where there is none for these classes."""
    return by_class if len(by_class) == num_classes else (None,) * num_classes


def _cells_of(
    place: Place, varied: Sequence[str], num_classes: int, with_seeds: bool
) -> tuple[str, ...]:
    row = place.row
    return (
        place.label,
        str(row.trial),
        *(value_text(row.values[path]) if path in row.values else "" for path in varied),
        _epochs_cell(row),
        *((_seeds_cell(place),) if with_seeds else ()),
        mean_text(place),
        figure_text(place.mean("val_accuracy")),
        figure_text(place.mean("val_loss")),
        *(figure_text(f1) for f1 in mean_f1_by_class(place, num_classes)),
        figure_text(row.metrics.get("images_per_s"), 0),
        place.state if len(place.rows) > 1 else row.state_text,
    )


def mean_f1_by_class(place: Place, num_classes: int) -> tuple[float | None, ...]:
    """F1 of each class, mean over the seeds that have finished; None where one has none."""
    rows = place.finished or (place.row,)
    by_seed = [padded(f1_by_class(row.confusion), num_classes) for row in rows]
    return tuple(
        None if None in of_class else fmean(f1 for f1 in of_class if f1 is not None)
        for of_class in zip(*by_seed, strict=True)
    )


def _seeds_cell(place: Place) -> str:
    finished, failed = len(place.finished), sum(row.state == "failed" for row in place.rows)
    text = str(finished) if finished == len(place.rows) else f"{finished}/{len(place.rows)}"
    return f"{text}, {failed} failed" if failed else text


def _epochs_cell(row: TrialRow) -> str:
    done = row.state == "finished" and not row.ended_early
    return str(row.epochs) if done else f"{row.epoch}/{row.epochs}"


def _numbers(view: StudyView, path: str) -> bool:
    values = [row.values[path] for row in view.trials if path in row.values]
    return all(isinstance(value, int | float) for value in values)


def all_paths(view: StudyView) -> tuple[str, ...]:
    """Every dotted path that any trial has a value for, in order of appearance."""
    return tuple(dict.fromkeys(path for row in view.trials for path in row.values))


def _constants(view: StudyView) -> dict[str, Scalar]:
    """The values that all trials of a study of two or more share."""
    if len(view.trials) < 2:
        return {}
    first, *others = (row.values for row in view.trials)
    return {
        path: value
        for path, value in first.items()
        if path != EPOCHS and all(path in other and other[path] == value for other in others)
    }
