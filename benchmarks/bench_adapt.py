"""Question: which remedies help on FER2013 when production is dark, blurred and mixed otherwise?

A study set of some hundred faces a class, drawn from all rows whatever their official split; a
production set of other faces with other class shares, darkened to half and blurred by one pixel.
`baseline` is trained on the one from ImageNet weights, then `diagnose` and `adapt` look at the
other: gains are measured on held-out rows before and after.

FER2013 is not ours to give: SOURCE is a folder with labels.csv (path, label) and its images.
Nothing of it stays behind: all is written below a temporary folder, or OUT.
Usage: python -m benchmarks.bench_adapt SOURCE WEIGHTS [ROWS_A_CLASS] [EPOCHS] [WIDTH] [OUT]
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.machine import describe
from datasets import EMOTIONS
from orchestrator import adapt, diagnose, prepare, train
from orchestrator.cluster import connect

SHARES = (0.13, 0.05, 0.05, 0.03, 0.46, 0.28)
"""About those of the study's own production set, in the order of EMOTIONS."""
DARKER, BLUR_PX, SIDE_PX = 0.5, 1.0, 48
Row = tuple[str, str]


def main(
    source: str,
    weights: str,
    rows_a_class: int = 250,
    epochs: int = 3,
    width: float = 1.0,
    out: str = "",
) -> None:
    """Writes both sets, trains, diagnoses, adapts, and prints the tables."""
    folder = Path(out or tempfile.mkdtemp(prefix="bench-adapt-")).absolute()
    started = time.monotonic()
    study, production = _rows(Path(source), rows_a_class)
    _write(Path(source), study, folder / "raw-study", shifted=False)
    _write(Path(source), production, folder / "raw-production", shifted=True)
    run = folder / "runs" / "baseline"
    with connect("local"):
        for name in ("study", "production"):
            given = [f"source={folder / f'raw-{name}'}", f"out={folder / name}"]
            _must(prepare.main(["dataset=table", *given, f"image_px={SIDE_PX}"]))
        model = ["model.name=baseline", f"model.width={width}", f"model.weights={weights}"]
        rest = ["optimizer.lr=3e-5" if weights != "random" else "optimizer.lr=1e-3"]
        rest += ["batch_size=16", f"epochs={epochs}", f"out={run.parent}", f"name={run.name}"]
        _must(train.main([f"data.path={folder / 'study'}", *model, *rest]))
        given = [f"checkpoint={run}", f"production={folder / 'production'}"]
        _must(diagnose.main(given))
        _must(adapt.main([*given, f"epochs={max(1, epochs - 1)}"]))
    print(f"\n{describe()}; {time.monotonic() - started:,.0f} s for all, in {folder}\n")
    _report(run)


def _must(status: int) -> None:
    if status:
        raise SystemExit(status)


def _rows(source: Path, rows_a_class: int) -> tuple[list[Row], list[Row]]:
    """Rows (path, label) of the study, and of production with its own shares."""
    with (source / "labels.csv").open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["label"] in EMOTIONS]
    generator = np.random.default_rng(0)
    by_class = {name: [row["path"] for row in found if row["label"] == name] for name in EMOTIONS}
    mixed = {name: list(generator.permutation(paths)) for name, paths in by_class.items()}
    size = 4 * rows_a_class
    study = [(path, name) for name in EMOTIONS for path in mixed[name][:rows_a_class]]
    production = [
        (path, name)
        for name, share in zip(EMOTIONS, SHARES, strict=True)
        for path in mixed[name][rows_a_class:][: max(10, round(share * size))]
    ]
    return study, production


def _write(source: Path, rows: Sequence[Row], out: Path, *, shifted: bool) -> None:
    """A folder with labels.csv that `prepare dataset=table` reads."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    with (out / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for path, label in rows:
            name = f"images/{Path(path).stem}.png"
            image = Image.open(source / path).convert("RGB")
            if shifted:
                dark = np.asarray(image, dtype=np.float64) * DARKER
                image = Image.fromarray(dark.astype(np.uint8))
                image = image.filter(ImageFilter.GaussianBlur(BLUR_PX))
            image.save(out / name)
            writer.writerow([name, label])


def _report(run: Path) -> None:
    said = json.loads((run / "diagnoses" / "production" / "diagnosis.json").read_text())
    blind = said["diagnosis"]["without_labels"]["verdict"]
    print(f"diagnosis: {said['verdict']}; without labels: {blind}\n")
    found = json.loads((run / "adaptations" / "production" / "adapt.json").read_text())
    print("| remedy | macro-F1 before | after | gain | 95 % | verdict |\n|---|---|---|---|---|---|")
    before = found["before"]["production"]["macro_f1"]
    print(*_lines(found["remedies"], before), sep="\n")


def _lines(remedies: Sequence[Mapping[str, object]], before: float) -> Iterator[str]:
    for one in remedies:
        gain, after = one["gain"], one["production"]
        assert isinstance(gain, dict)
        assert isinstance(after, dict)
        yield (
            f"| {one['name']} | {before:.3f} | {after['macro_f1']:.3f} | {gain['macro_f1']:+.3f} | "
            f"{gain['low']:+.3f} to {gain['high']:+.3f} | {one['verdict']} |"
        )


if __name__ == "__main__":
    words = sys.argv[1:]
    kinds = (str, str, int, int, float, str)
    main(*(kind(word) for kind, word in zip(kinds, words, strict=False)))
