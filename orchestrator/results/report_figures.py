"""The paper's four figures from our records, as pictures beside the report. DRIVER.

1 learning curves, 2 evolution over the experiments, 3 class distribution, 4 confusion matrix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

from orchestrator.config.storage import write_atomic
from orchestrator.results.confusion_image import confusion_image
from orchestrator.results.html_page import png_of
from orchestrator.results.report_blocks import Block, Figure, Paragraph, Section
from orchestrator.results.report_cells import Linker, part
from orchestrator.results.report_sources import JsonSource, Sources
from orchestrator.results.study_view import Confusion

MAX_OF_A_KIND: Final = 7
"""Pictures of one figure; the rest are in the folders of what they show.

As many as `reproduce preset=full` has: four runs and three studies with learning curves; of four
runs, two studies and production a confusion matrix.
"""


def figure_sections(sources: Sources, link: Linker) -> list[Section]:
    """Draws and writes the pictures."""
    kinds = (
        ("Figure 1: learning curves", _learning_curves),
        ("Figure 2: evolution over the experiments", _experiments),
        ("Figure 3: class distribution", _distributions),
        ("Figure 4: confusion matrix", _confusions),
    )
    return [_section(name, draw(sources, link)) for name, draw in kinds]


def _section(name: str, figures: Sequence[Figure]) -> Section:
    blocks: list[Block] = list(figures[:MAX_OF_A_KIND])
    if not figures:
        blocks.append(Paragraph("Nothing to draw it from was found.", "soft"))
    if len(figures) > MAX_OF_A_KIND:
        rest = len(figures) - MAX_OF_A_KIND
        blocks.append(Paragraph(f"{rest} more are not shown.", "soft"))
    return Section(name, blocks)


def _learning_curves(sources: Sources, link: Linker) -> list[Figure]:
    from orchestrator.results.plots import learning_curve, winner_curve

    figures = [
        _drawn(
            f"figure-1-{run.folder.name}",
            partial(learning_curve, run.history),
            f"{run.model} ({run.folder.name}), {run.protocol} split",
            run.file,
            link,
        )
        for run in sources.runs
    ]
    figures += [
        _drawn(
            f"figure-1-{study.view.name}",
            partial(winner_curve, study.view),
            f"The winner of {study.view.name}, {study.view.protocol} split",
            study.file,
            link,
        )
        for study in sources.studies
    ]
    return [figure for figure in figures if figure]


def _experiments(sources: Sources, link: Linker) -> list[Figure]:
    from orchestrator.results.plots import experiments

    figures = [
        _drawn(
            f"figure-2-{study.view.name}",
            partial(experiments, study.view),
            f"Experiments of {study.view.name}, {study.view.protocol} split",
            study.file,
            link,
        )
        for study in sources.studies
    ]
    return [figure for figure in figures if figure]


def _distributions(sources: Sources, link: Linker) -> list[Figure]:
    from orchestrator.results.dataset_plots import class_distribution

    figures = []
    for one in sources.datasets:
        manifest = one.manifest
        # Of a set that is only measured the splits are of no interest.
        shown = len(manifest.counts) if one in sources.trained_on else 1
        for protocol, counts in list(manifest.counts.items())[:shown]:
            figures.append(
                _drawn(
                    f"figure-3-{manifest.name}-{protocol}",
                    partial(class_distribution, counts, manifest.classes),
                    f"Images of each class of {manifest.name}, {protocol} split",
                    one.file,
                    link,
                )
            )
    return [figure for figure in figures if figure]


def _confusions(sources: Sources, link: Linker) -> list[Figure]:
    figures = [_confusion(one, link) for one in sources.evaluations]
    return [figure for figure in figures if figure]


def _confusion(evaluation: JsonSource, link: Linker) -> Figure | None:
    content = evaluation.content
    counts, classes = content.get("confusion"), content.get("classes")
    if not _is_square(counts) or not isinstance(classes, list):
        return None
    rows: Confusion = tuple(tuple(row) for row in counts or ())
    image = confusion_image(rows, [str(name) for name in classes])
    if image is None:
        return None
    home = evaluation.file.parent.parent.parent.name
    data = f"{part(content, 'data', 'name')}, {part(content, 'data', 'split')} rows"
    return _drawn(
        f"figure-4-{home}-{evaluation.file.parent.name}",
        partial(_write_picture, png_of(image)),
        f"{home} on {data}",
        evaluation.file,
        link,
    )


def _write_picture(png: bytes, path: Path) -> None:
    write_atomic(path, png)


def _is_square(counts: Any) -> bool:
    """Whether it is a matrix of counts, as an evaluation has it."""
    return isinstance(counts, list) and all(
        isinstance(row, list)
        and len(row) == len(counts)
        and all(isinstance(value, int) and value >= 0 for value in row)
        for row in counts
    )


def _drawn(
    name: str, draw: Callable[[Path], object], caption: str, source: Path, link: Linker
) -> Figure | None:
    """Lets a picture be drawn into the report's folder; None where there was nothing to draw."""
    path = _free(link.out, re.sub(r"[^\w.-]+", "_", name)[:100])
    draw(path)
    if not path.is_file():
        return None
    return Figure(path.name, path.read_bytes(), caption, link.address(source))


def _free(folder: Path, stem: str) -> Path:
    """A picture that is not there yet: folders of one name in two places have one each."""
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    return next(path for name in names if not (path := folder / f"{name}.png").exists())
