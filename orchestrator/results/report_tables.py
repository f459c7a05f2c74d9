"""The paper's tables 3, 4 and 5 beside ours. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final

from orchestrator.config.storage import RUN_CONFIG
from orchestrator.results import paper_tables as paper
from orchestrator.results.html_page import Cell, Row
from orchestrator.results.leaderboard_cells import has_seeds, values_text, varied_paths
from orchestrator.results.places import Place
from orchestrator.results.report_blocks import Block, Paragraph, Section, Table
from orchestrator.results.report_cells import NONE, Linker, mappings, number, part, share, theirs
from orchestrator.results.report_sources import JsonSource, RunSource, Sources, StudySource

PAPER: Final = "paper"
TEST: Final = "test"
SCORES: Final = ("precision", "recall", "f1")
MACRO, WEIGHTED, ACCURACY = "macro average", "weighted average", "accuracy"


def trained_section(sources: Sources, link: Linker) -> Section:
    """Table 3: the two models."""
    rows: list[Row] = [
        [
            theirs(f"{one.model} ({PAPER})"),
            theirs("random"),
            *map(theirs, ("–", share(one.train_accuracy), share(one.val_accuracy))),
            *map(theirs, (share(one.loss), share(one.macro_f1), NONE)),
        ]
        for one in paper.TABLE_3
    ]
    rows += [_run_row(run, sources, link) for run in sources.runs]
    head = ["model", "protocol", "epoch", "train accuracy", "validation accuracy", "train loss"]
    head += ["test macro-F1", "validation macro-F1"]
    blocks: list[Block] = [
        Paragraph(
            "Figures of ours are of the epoch with the best validation macro-F1, whose weights are "
            "kept; [low, high] is a 95 % interval that resamples whole videos or subjects. The "
            "paper gives none, and splits by frame (random)."
        ),
        Table("Table 3: main and baseline", head, rows),
    ]
    if not sources.runs:
        blocks.append(Paragraph("No single training was found beside the study.", "soft"))
    return Section("Table 3: the two models", blocks)


def _run_row(run: RunSource, sources: Sources, link: Linker) -> Row:
    best = run.best
    low_high = [best.get("val_macro_f1_low"), best.get("val_macro_f1_high")]
    test = own_evaluation(run, sources)
    return [
        link.cell(f"{run.model} ({run.folder.name})", run.folder / RUN_CONFIG),
        run.protocol,
        link.cell(f"{best.get('epoch', '?')} of {len(run.history)}", run.file),
        link.share(best.get("train_accuracy"), run.file),
        link.share(best.get("val_accuracy"), run.file),
        link.share(best.get("train_loss"), run.file),
        _test_cell(test, link),
        link.scored(best.get("val_macro_f1"), low_high, run.file),
    ]


def _test_cell(test: JsonSource | None, link: Linker) -> str | Cell:
    if test is None:
        return NONE
    return link.scored(
        test.content.get("macro_f1"), test.content.get("macro_f1_interval"), test.file
    )


def own_evaluation(source: RunSource | StudySource, sources: Sources) -> JsonSource | None:
    """The newest evaluation of a run's best epoch, or a study's winner, on its own test split."""
    home = source.file.parent
    found = [
        one
        for one in sources.evaluations
        if home in one.file.parents and _is_own_test(one) and _is_of_best(one, source)
    ]
    return max(found, key=lambda one: (str(one.content.get("time", "")), one.file), default=None)


def _is_own_test(evaluation: JsonSource) -> bool:
    """Of the set and by the split protocol that the weights were trained with."""
    content = evaluation.content
    return (
        part(content, "data", "is_what_the_run_was_trained_on") is True
        and part(content, "data", "split") == TEST
        and part(content, "data", "protocol") == part(content, "trained_on", "protocol")
    )


def _is_of_best(evaluation: JsonSource, source: RunSource | StudySource) -> bool:
    """Whether its weights are those whose other figures stand beside it."""
    if isinstance(source, RunSource):
        epoch = part(evaluation.content, "checkpoint", "epoch")
        return epoch is not None and epoch == source.best.get("epoch")
    winner = source.view.winner
    kept = PurePath(winner.checkpoint).parts if winner else ()
    folder = PurePath(str(part(evaluation.content, "checkpoint", "folder") or ""))
    # By the path inside the study: the study may have been moved since.
    return bool(kept) and folder.parts[-len(kept) :] == kept


def ablation_section(sources: Sources, link: Linker) -> Section:
    """Table 4: the paper's three rows, beside the trials of each study that have their factors."""
    blocks: list[Block] = []
    matched = [(study, _matched(study)) for study in sources.studies]
    matched.sort(key=lambda one: -len(one[1]))  # those with all three rows first
    for study, rows in matched:
        if rows:
            blocks.append(_ablation_table(study, rows, sources, link))
    if not blocks:
        blocks.append(
            Paragraph("No study with the optimizers and learning rates of Table 4.", "soft")
        )
    return Section("Table 4: the ablation", [Paragraph(paper.ablation_verdict()), *blocks])


def _matched(study: StudySource) -> list[tuple[paper.Ablated, Place]]:
    """Rows of Table 4, each with the configuration of its optimizer and learning rate.

    A row goes to the one with the epochs nearest to its own: small studies have fewer.
    """
    left = [place for place in study.view.places if place.rank]
    found: list[tuple[paper.Ablated, Place]] = []
    for row in paper.TABLE_4:
        fitting = [
            place
            for place in left
            if place.row.values.get("optimizer.name") == row.optimizer
            and number(place.row.values.get("optimizer.lr")) == row.lr
        ]
        if fitting:
            nearest = min(fitting, key=lambda place: abs(place.row.epochs - row.epochs))
            left.remove(nearest)
            found.append((row, nearest))
    return found


def _ablation_table(
    study: StudySource,
    matched: Sequence[tuple[paper.Ablated, Place]],
    sources: Sources,
    link: Linker,
) -> Table:
    head = ["trial", "train accuracy", "train loss", "validation macro-F1", "test macro-F1"]
    head += ["paper: row", "train accuracy", "loss", "test macro-F1"]
    test = own_evaluation(study, sources)
    rows = []
    for row, place in matched:
        is_winner = place is study.view.leading
        rows.append(_ablation_row(study, place, test if is_winner else None, row, link))
    caption = (
        f"Table 4 beside {study.view.name}, {study.view.dataset}, {study.view.protocol} split; the "
        "test split is read for the winner alone"
    )
    if has_seeds(study.view):
        caption += ", by the weights of its median seed; the other figures are means over seeds"
    return Table(caption, head, rows)


def _ablation_row(
    study: StudySource,
    place: Place,
    test: JsonSource | None,
    row: paper.Ablated,
    link: Linker,
) -> Row:
    trial, num_seeds = place.row, len(place.rows)
    values = values_text(trial, varied_paths(study.view)) or f"trial {trial.trial}"
    seeds = f", {num_seeds} seeds" if num_seeds > 1 else ""
    ours: list[str | Cell] = [
        link.cell(f"{values}, {trial.epochs} epochs{seeds}", study.file),
        link.share(place.mean("train_accuracy"), study.file),
        link.share(place.mean("train_loss"), study.file),
        link.scored(place.score, place.interval, study.file),
        _test_cell(test, link),
    ]
    said = f"{row.optimizer} {row.lr:g}, {row.epochs} epochs"
    figures = (row.train_accuracy, row.loss, row.test_macro_f1)
    return [*ours, theirs(said), *(theirs(share(value)) for value in figures)]


def production_section(sources: Sources, link: Linker) -> Section:
    """Table 5: the paper's production classes, then each evaluation of ours on another set."""
    rows: list[Row] = [
        [
            theirs(one.name),
            *(theirs(f"{value:.2f}") for value in (one.precision, one.recall, one.f1)),
            theirs(f"{one.samples:,}"),
        ]
        for one in paper.TABLE_5
    ]
    rows += [
        [*map(theirs, (name, NONE, NONE, f"{value:.2f}", f"{paper.PRODUCTION_IMAGES:,}"))]
        for name, value in (
            (MACRO, paper.TABLE_5_MACRO_F1),
            (WEIGHTED, paper.TABLE_5_WEIGHTED_F1),
            (ACCURACY, paper.TABLE_5_ACCURACY),
        )
    ]
    head = ["class", "precision", "recall", "F1", "samples"]
    blocks: list[Block] = [
        Paragraph(paper.production_verdict()),
        Table("Table 5 as the paper has it", head, rows),
    ]
    elsewhere = [one for one in sources.evaluations if _is_elsewhere(one)]
    blocks += [_class_table(one, head, link) for one in elsewhere]
    if not elsewhere:
        blocks.append(Paragraph("No evaluation on another set was found.", "soft"))
    return Section("Table 5: production", blocks)


def _is_elsewhere(evaluation: JsonSource) -> bool:
    return part(evaluation.content, "data", "is_what_the_run_was_trained_on") is False


def _class_table(evaluation: JsonSource, head: Sequence[str], link: Linker) -> Table:
    content, file = evaluation.content, evaluation.file
    rows: list[Row] = [
        [
            str(one.get("name", "")),
            *(link.share(one.get(key), file) for key in SCORES),
            link.cell(count(one.get("support")), file),
        ]
        for one in mappings(content.get("by_class"))
    ]
    rows += [
        [
            name,
            *(link.share(part(content, average, key), file) for key in SCORES),
            link.cell(count(content.get("num_rows")), file),
        ]
        for name, average in ((MACRO, "macro_average"), (WEIGHTED, "weighted_average"))
        if average in content
    ]
    interval = content.get("macro_f1_interval")
    macro = link.scored(content.get("macro_f1"), interval, file)
    rows.append(["macro-F1, 95 % interval over groups", "", "", macro, ""])
    rows.append([ACCURACY, "", "", link.share(content.get("accuracy"), file), ""])
    home = file.parent.parent.parent.name
    name = part(content, "data", "name")
    return Table(f"Ours: {home} on {name}", head, rows)


def count(value: Any) -> str:
    """For example 26,124."""
    found = number(value)
    return NONE if found is None else f"{found:,.0f}"
