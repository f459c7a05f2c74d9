"""The study as a list of commands, each with what it needs. PURE.

Nothing is done here that a user could not type: a step is one of our commands with its words, and
leaves what that command leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.config.reproduction import ReproduceConfig

PRESETS = "orchestrator/presets"
SMALL_EPOCHS = 12
SMALL = ("model.width=0.125", "batch_size=32", "model.normalisation=native")
SMALL_MAIN = (*SMALL, "model.weights=random", "optimizer.lr=0.001", f"epochs={SMALL_EPOCHS}")
"""In place of the preset's own: what was seen to learn drawn faces.

VGG16 without batch norm sits on a plateau first. Of the settings in benchmarks/LOG.md this one
(Adam, from the preset) comes furthest: macro-F1 0.57 after 12 epochs; the README has 0.31 for 6.
"""
SMALL_BASELINE = (*SMALL, "optimizer.lr=0.0003", "epochs=6")
"""`baseline` this narrow never left that plateau from random weights, at no rate tried. So it begins,
as the study's does, with trained convolutions: those of `main`, trained on the same split. 0.0003
as trained weights want less than random ones: what worked from ImageNet's (3e-5), for weights that
are about ten times as large here. That is reasoned, not measured.
"""
DRAWN = ("dataset=synthetic", "image_px=48", "rows_per_file=512")
DRAWN_SHIFTS = ("label-shift", "covariate-shift")
"""Beside `production`, which has both: each change of the drawn faces by itself."""
STARTS_RAY = frozenset({"prepare", "train", "ablate", "evaluate", "diagnose", "adapt"})
TRAINS = frozenset({"train", "ablate", "adapt"})


@dataclass(frozen=True)
class Step:
    """One command of the study.

    Attributes:
        name: of the step, unique.
        command: which of ours.
        words: its arguments.
        needs: names of steps without which it cannot work; all of them come before it.
        study: folder of the study that it leaves, of which other steps need the winner alone; ""
            where it leaves none.
    """

    name: str
    command: str
    words: tuple[str, ...]
    needs: tuple[str, ...] = ()
    study: str = ""


def steps(config: ReproduceConfig) -> tuple[Step, ...]:
    """All steps, in the order in which they are run."""
    listed = (*_data(config), *_trainings(config), *_studies(config), *_measures(config))
    report = Step("report", "report", (f"study={config.out}",))
    return tuple(_with_shared_words(step, config) for step in (*listed, report))


def _data(config: ReproduceConfig) -> Iterator[Step]:
    out = config.out
    if config.preset == "quick":
        yield Step("prepare", "prepare", (*DRAWN, f"out={out}/faces"))
        for name in ("production", *DRAWN_SHIFTS):
            domain = f"options.domain={name.replace('-', '_')}"
            words = (*DRAWN, domain, "options.subjects=40", f"out={out}/{name}")
            yield Step(f"prepare-{name}", "prepare", words)
        return
    release = ("dataset=affwild2", f"source={config.source}", "drop=[neutral,other]")
    yield Step("prepare", "prepare", (*release, f"every={config.every}", f"out={out}/faces"))
    production = (f"dataset={config.production_dataset}", f"source={config.production}")
    yield Step("prepare-production", "prepare", (*production, f"out={out}/production"))


def _trainings(config: ReproduceConfig) -> Iterator[Step]:
    """Main and baseline, under the honest split and under the study's."""
    for model in ("main", "baseline"):
        for protocol in ("group", "random"):
            if config.preset == "quick" and (model, protocol) == ("baseline", "random"):
                continue  # one pair shows the gap
            name = f"{model}-{protocol}"
            words = (
                "--config",
                f"{PRESETS}/{model}.yaml",
                f"data.path={config.out}/faces",
                f"data.protocol={protocol}",
                *_model_words(config, model),
                f"out={config.out}",
                f"name={name}",
            )
            yield Step(f"train-{name}", "train", words, _training_needs(config, model))


def _training_needs(config: ReproduceConfig, model: str) -> tuple[str, ...]:
    begins_with_main = config.preset == "quick" and model == "baseline"
    return ("prepare", "train-main-group") if begins_with_main else ("prepare",)


def _model_words(config: ReproduceConfig, model: str) -> tuple[str, ...]:
    if config.preset == "quick" and model == "baseline":
        newest = f"{config.out}/main-group/checkpoints/last/epoch-{SMALL_EPOCHS:04d}"
        return (*SMALL_BASELINE, f"model.weights={newest}/model.safetensors")
    if config.preset == "quick":
        return SMALL_MAIN
    return (f"model.weights={config.weights if model == 'main' else config.baseline_weights}",)


def _studies(config: ReproduceConfig) -> Iterator[Step]:
    """The three rows of Table 4, and the factors crossed."""
    quick = config.preset == "quick"
    spaces = [("paper", "quick_paper" if quick else "paper", "group")]
    if not quick:
        spaces.append(("paper", "paper", "random"))
    spaces.append(("factorial", "quick_factorial" if quick else "factorial", "group"))
    first = () if quick else (f"model.weights={config.weights}", "model.normalisation=unit")
    for kind, space, protocol in spaces:
        words = (
            f"space={space}",
            f"data.path={config.out}/faces",
            f"data.protocol={protocol}",
            *first,
            f"out={config.out}",
            f"study={kind}-{protocol}",
            "open_page=false",
        )
        name = f"{kind}-{protocol}"
        yield Step(f"ablate-{name}", "ablate", words, ("prepare",), f"{config.out}/{name}")


def _measures(config: ReproduceConfig) -> Iterator[Step]:
    """Test and production, what shifted there, and what helps."""
    out = config.out
    for trained in (*_trainings(config), *_studies(config)):
        name = trained.name.partition("-")[2]
        if trained.command == "train" or name.startswith("paper"):
            words = (f"checkpoint={out}/{name}",)
            yield Step(f"evaluate-{name}", "evaluate", words, (trained.name,))
    checkpoint = f"checkpoint={out}/main-group"
    needs = ("train-main-group", "prepare-production")
    elsewhere = (checkpoint, f"data.path={out}/production", "split=all")
    yield Step("evaluate-production", "evaluate", elsewhere, needs)
    production = (checkpoint, f"production={out}/production")
    yield Step("diagnose", "diagnose", production, needs)
    for name in DRAWN_SHIFTS if config.preset == "quick" else ():
        drawn = (checkpoint, f"production={out}/{name}")
        yield Step(f"diagnose-{name}", "diagnose", drawn, ("train-main-group", f"prepare-{name}"))
    small = (
        ("remedies=[prior_correction,more_data,balanced]", "epochs=2")
        if config.preset == "quick"
        else ()
    )
    yield Step("adapt", "adapt", (*production, *small), needs)


def _with_shared_words(step: Step, config: ReproduceConfig) -> Step:
    """What holds for every step that starts Ray, or that trains."""
    words = list(step.words)
    if step.command in STARTS_RAY and config.address != "auto":
        words.append(f"address={config.address}")
    if step.command in TRAINS and config.workers > 1:
        words.append(f"resources.workers={config.workers}")
    return replace(step, words=tuple(words))
