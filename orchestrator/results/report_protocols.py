"""What the split protocol does to a figure, what leaks, and what each factor contributes. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any, Final

from orchestrator.config.validate import fingerprint
from orchestrator.results.html_page import Cell, Row
from orchestrator.results.leaderboard_cells import (
    EPOCHS,
    has_seeds,
    short_names,
    values_text,
    varied_paths,
)
from orchestrator.results.paired_effects import Effect, paired_effects
from orchestrator.results.printable import value_text
from orchestrator.results.report_blocks import Block, Findings, Paragraph, Section, Table
from orchestrator.results.report_cells import (
    NONE,
    Linker,
    ends_of,
    number,
    part,
    scored,
    signed,
)
from orchestrator.results.report_sources import DatasetSource, Sources, StudySource
from orchestrator.results.report_tables import own_evaluation
from orchestrator.results.study_view import StudyView

HONEST: Final = "group"
FLATTERING: Final = "random"


@dataclass(frozen=True)
class Measured:
    """A figure under one protocol, with where it is from."""

    value: float
    interval: tuple[float, float] | None
    file: Path


@dataclass(frozen=True)
class Gap:
    """The same training under both protocols.

    Attributes:
        words: what was trained.
        split: on which rows it was measured.
    """

    words: str
    split: str
    honest: Measured
    flattering: Measured

    @property
    def value(self) -> float:
        """By how much the random split flatters."""
        return self.flattering.value - self.honest.value

    @property
    def interval(self) -> tuple[float, float] | None:
        """Approximate 95 %: half widths of two independent intervals, added in squares."""
        if self.honest.interval is None or self.flattering.interval is None:
            return None
        (a_low, a_high), (b_low, b_high) = self.honest.interval, self.flattering.interval
        half = hypot((a_high - a_low) / 2, (b_high - b_low) / 2)
        return self.value - half, self.value + half


def gap_section(sources: Sources, link: Linker) -> Section:
    """Pairs of trainings that differ in the protocol alone."""
    gaps = find_gaps(sources)
    lead = Paragraph(
        "A split by frame puts frames of one video on both sides, so that a model can know the "
        "faces it is tested on. The gap is macro-F1 under random minus macro-F1 under group, for "
        "trainings that differ in nothing else; its interval takes the two for independent."
    )
    if not gaps:
        missing = "No training was found under both protocols: run it with data.protocol=random too"
        return Section("The optimism gap", [lead, Paragraph(missing + ".", "soft")])
    rows: list[Row] = [
        [
            gap.words,
            gap.split,
            link.scored(gap.honest.value, gap.honest.interval, gap.honest.file),
            link.scored(gap.flattering.value, gap.flattering.interval, gap.flattering.file),
            link.cell(
                _signed_with(gap.value, gap.interval),
                gap.flattering.file,
                "bad" if gap.value > 0 else "",
            ),
        ]
        for gap in gaps
    ]
    head = ["training", "rows", "group", "random", "gap"]
    return Section("The optimism gap", [lead, Table("macro-F1 by split protocol", head, rows)])


def find_gaps(sources: Sources) -> list[Gap]:
    """Runs, then trials of studies, that were trained under both protocols."""
    return [*_gaps_of_runs(sources), *_gaps_of_studies(sources)]


def _gaps_of_runs(sources: Sources) -> Iterator[Gap]:
    """Runs of one experiment and data set that have trained the same number of epochs."""
    by_key: dict[tuple[str, int], dict[str, Any]] = {}
    for run in sources.runs:
        if run.protocol not in (HONEST, FLATTERING):
            continue
        data = {**run.experiment["data"], "protocol": ""}
        key = fingerprint({"experiment": {**run.experiment, "data": data}})
        # One that still runs, or whose patience ended before, is not the same training.
        by_key.setdefault((key, len(run.history)), {})[run.protocol] = run
    for pair in by_key.values():
        if HONEST not in pair or FLATTERING not in pair:
            continue
        honest, flattering = pair[HONEST], pair[FLATTERING]
        words = f"{honest.model}, {len(honest.history)} epochs"
        yield from _gap(words, "validation", _validated(honest), _validated(flattering))
        tests = [own_evaluation(run, sources) for run in (honest, flattering)]
        if tests[0] and tests[1]:
            yield from _gap(words, "test", _tested(tests[0]), _tested(tests[1]))


def _gaps_of_studies(sources: Sources) -> Iterator[Gap]:
    """Trials with the same values and seed in two studies of one space and data set."""
    by_key: dict[tuple[str, str], dict[str, StudySource]] = {}
    for study in sources.studies:
        key = (study.view.space, _apart_from_protocol(study))
        by_key.setdefault(key, {})[study.view.protocol] = study
    for pair in by_key.values():
        if HONEST not in pair or FLATTERING not in pair:
            continue
        honest, flattering = pair[HONEST], pair[FLATTERING]
        others = {(_values(row.values), row.seed): row for row in flattering.view.trials}
        for row in honest.view.trials:
            other = others.get((_values(row.values), row.seed))
            if other is None or {row.state, other.state} != {"finished"}:
                continue
            words = values_text(row, varied_paths(honest.view)) or f"trial {row.trial}"
            if has_seeds(honest.view):
                words += f", seed {row.seed}"
            yield from _gap(
                f"{words}, {row.epochs} epochs",
                "validation",
                _figure(row.val_macro_f1, row.interval, honest.file),
                _figure(other.val_macro_f1, other.interval, flattering.file)
                if other.epoch == row.epoch  # the patience of one may have ended before
                else None,
            )


def _apart_from_protocol(study: StudySource) -> str:
    """Fingerprint of what all trials of a study have alike, but for the split protocol."""
    data = part(study.experiment, "data")
    # The set is told by its own fingerprint, wherever it lies.
    own = {"protocol": "", "path": study.fingerprint}
    data = {**data, **own} if isinstance(data, Mapping) else own
    return fingerprint({"experiment": {**study.experiment, "data": data}})


def _gap(
    words: str, split: str, honest: Measured | None, flattering: Measured | None
) -> Iterator[Gap]:
    if honest and flattering:
        yield Gap(words, split, honest, flattering)


def _validated(run: Any) -> Measured | None:
    best = run.best
    low_high = [best.get("val_macro_f1_low"), best.get("val_macro_f1_high")]
    return _figure(best.get("val_macro_f1"), low_high, run.file)


def _tested(test: Any) -> Measured | None:
    content = test.content
    return _figure(content.get("macro_f1"), content.get("macro_f1_interval"), test.file)


def _figure(value: Any, interval: Any, file: Path) -> Measured | None:
    found = number(value)
    return None if found is None else Measured(found, ends_of(interval), file)


def _values(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((path, str(value)) for path, value in values.items()))


def effects_section(sources: Sources, link: Linker) -> Section:
    """Main effects of each study whose factors are crossed."""
    blocks: list[Block] = [
        Paragraph(
            "Mean validation macro-F1 of each level over the trials that have a partner at every "
            "other level, and the mean difference of these partners to the first level, with "
            "Student's t interval (95 %). Trials that differ in epochs only are prefixes of one "
            "training: the intervals are, if anything, too narrow."
        )
    ]
    for study in sources.studies:
        effects = paired_effects(study.view)
        if len({effect.factor for effect in effects}) > 1:
            blocks.append(_effects_table(study, effects, link))
    if len(blocks) == 1:
        blocks.append(Paragraph("No study with crossed factors was found.", "soft"))
    return Section("Main effects of the factors", blocks)


def _effects_table(study: StudySource, effects: Sequence[Effect], link: Linker) -> Table:
    names = short_names((*varied_paths(study.view), EPOCHS))
    rows: list[Row] = [
        [
            f"{names.get(effect.factor, effect.factor)} = {value_text(effect.level)}",
            link.share(effect.mean, study.file),
            link.cell(f"{effect.num_pairs}", study.file),
            _change(effect, study.file, link),
        ]
        for effect in effects
    ]
    caption = f"Factors of {study.view.name} ({_data_words(study.view)})"
    return Table(caption, ["factor and level", "mean macro-F1", "trials", "change"], rows)


def _change(effect: Effect, file: Path, link: Linker) -> Cell:
    if effect.change is None:
        return Cell("first level", "soft")
    mark = ""
    if effect.interval and (effect.interval[0] > 0 or effect.interval[1] < 0):
        mark = "good" if effect.change > 0 else "bad"
    return link.cell(_signed_with(effect.change, effect.interval), file, mark)


def _data_words(view: StudyView) -> str:
    return f"{view.dataset}, {view.protocol} split"


def leaks_section(sources: Sources, link: Linker) -> Section:
    """What lies on both sides of each protocol, of each data set."""
    rows = [row for one in sources.trained_on for row in _leak_rows(one, link)]
    lead = Paragraph(
        "Held-out rows (validation and test) whose video or subject, exact pixels or near copy "
        "also lie in the training split. The paper's own split is by frame; it reports no audit."
    )
    if not rows:
        return Section("Leak audit", [lead, Paragraph("No prepared set was found.", "soft")])
    head = ["data set", "protocol", "held-out rows", "group in train", "pixels in train"]
    head += ["near copy in train"]
    return Section(
        "Leak audit",
        [lead, Table("Held-out rows with a counterpart in train", head, rows)],
    )


def _leak_rows(dataset: DatasetSource, link: Linker) -> list[Row]:
    manifest, file = dataset.manifest, dataset.file
    rows: list[Row] = []
    for protocol, leak in manifest.audit.leaks.items():
        total = leak.held_out_rows
        counts = (leak.held_out_same_group, leak.held_out_duplicates, leak.held_out_near)
        cells = [
            link.cell(f"{number_:,} ({number_ / total:.1%})", file, "bad" if number_ else "")
            if total
            else NONE
            for number_ in counts
        ]
        rows.append([manifest.name, protocol, link.cell(f"{total:,}", file), *cells])
    return rows


def weaknesses(sources: Sources) -> Findings:
    """What the data at hand say of a split by frame, in a sentence each."""
    items: list[tuple[str, bool]] = []
    for one in sources.trained_on:
        leak = one.manifest.audit.leaks.get(FLATTERING)
        if leak and leak.held_out_rows:
            part_ = leak.held_out_same_group / leak.held_out_rows
            items.append(
                (
                    f"Under the paper's split by frame, {part_:.0%} of the held-out rows of "
                    f"{one.manifest.name} share their video or subject with training rows.",
                    part_ > 0,
                )
            )
    for gap in find_gaps(sources)[:2]:
        items.append(
            (
                f"{gap.words}: macro-F1 on {gap.split} rows is "
                f"{scored(gap.flattering.value, gap.flattering.interval)} under random and "
                f"{scored(gap.honest.value, gap.honest.interval)} under group, a gap of "
                f"{_signed_with(gap.value, gap.interval)}.",
                gap.value > 0,
            )
        )
    return Findings(items)


def _signed_with(value: float, interval: tuple[float, float] | None) -> str:
    ends = f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else ""
    return signed(value) + ends
