"""The study as a list of commands, each with what it needs. PURE.

Nothing is done here that a user could not type: a step is one of our commands with its words, and
leaves what that command leaves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.config.reproduction import ReproduceConfig

PRESETS = "orchestrator/presets"
SMALL = ("model.width=0.125", "batch_size=32", "model.normalisation=native")
WEIGHTS_EPOCHS = 14
SMALL_WEIGHTS = (*SMALL, "model.weights=random", "optimizer.lr=0.001", f"epochs={WEIGHTS_EPOCHS}")
"""In place of published weights: a training on other drawn people, as VGGFace saw other people.

VGG16 without batch norm sits on a plateau first, which each training leaves when it will, and some
never (benchmarks/LOG.md): from random weights, that decides which split looks better.
"""
SMALL_MAIN = (*SMALL, "optimizer.lr=0.001", "epochs=6")
SMALL_BASELINE = (*SMALL, "optimizer.lr=0.0003", "epochs=4")
"""In place of the presets' own, for networks this narrow and trainings this short."""
DRAWN = ("dataset=synthetic", "image_px=48", "rows_per_file=512")
OTHERS = ".weights"
"""Folder of those weights, hidden: what is in it is no result, and no report enters it."""
WITHOUT = "drop=[neutral,other]"
"""Labels of the release that the study has not; where there are none, nothing is dropped."""
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
        leaves: folder of the set or run that it leaves; "" where it leaves neither.
    """

    name: str
    command: str
    words: tuple[str, ...]
    needs: tuple[str, ...] = ()
    study: str = ""
    leaves: str = ""


def steps(config: ReproduceConfig) -> tuple[Step, ...]:
    """All steps, in the order in which they are run."""
    listed = (*_data(config), *_trainings(config), *_studies(config), *_measures(config))
    report = Step("report", "report", (f"study={config.out}",))
    return tuple(_with_shared_words(step, config) for step in (*listed, report))


def _data(config: ReproduceConfig) -> Iterator[Step]:
    out = config.out
    if config.preset == "quick":
        yield _prepare("prepare", DRAWN, f"{out}/faces")
        yield _prepare("prepare-others", (*DRAWN, "options.seed=1"), f"{out}/{OTHERS}/faces")
        for name in ("production", *DRAWN_SHIFTS):
            domain = f"options.domain={name.replace('-', '_')}"
            words = (*DRAWN, domain, "options.subjects=40")
            yield _prepare(f"prepare-{name}", words, f"{out}/{name}")
        return
    release = ("dataset=affwild2", f"source={config.source}", WITHOUT, f"every={config.every}")
    yield _prepare("prepare", release, f"{out}/faces")
    production = (f"dataset={config.production_dataset}", f"source={config.production}", WITHOUT)
    # As JSON, which is YAML: a pattern may begin with a bracket.
    options = (
        f"options.{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in config.production_options.items()
    )
    yield _prepare("prepare-production", (*production, *options), f"{out}/production")


def _prepare(name: str, words: tuple[str, ...], out: str) -> Step:
    return Step(name, "prepare", (*words, f"out={out}"), leaves=out)


def _trainings(config: ReproduceConfig) -> Iterator[Step]:
    """Main and baseline, under the honest split and under the study's."""
    if config.preset == "quick":
        yield _weights_training(config)
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
            needs, leaves = _training_needs(config), f"{config.out}/{name}"
            yield Step(f"train-{name}", "train", words, needs, leaves=leaves)


def _weights_training(config: ReproduceConfig) -> Step:
    words = (
        "--config",
        f"{PRESETS}/main.yaml",
        f"data.path={config.out}/{OTHERS}/faces",
        *SMALL_WEIGHTS,
        f"out={config.out}/{OTHERS}",
        "name=main",
    )
    leaves = f"{config.out}/{OTHERS}/main"
    return Step("train-weights", "train", words, ("prepare-others",), leaves=leaves)


def _training_needs(config: ReproduceConfig) -> tuple[str, ...]:
    return ("prepare", "train-weights") if config.preset == "quick" else ("prepare",)


def _model_words(config: ReproduceConfig, model: str) -> tuple[str, ...]:
    if config.preset == "quick":
        return (*(SMALL_MAIN if model == "main" else SMALL_BASELINE), _small_weights(config))
    return (f"model.weights={config.weights if model == 'main' else config.baseline_weights}",)


def _small_weights(config: ReproduceConfig) -> str:
    newest = f"{config.out}/{OTHERS}/main/checkpoints/last/epoch-{WEIGHTS_EPOCHS:04d}"
    return f"model.weights={newest}/model.safetensors"


def _studies(config: ReproduceConfig) -> Iterator[Step]:
    """The three rows of Table 4, and the factors crossed."""
    quick = config.preset == "quick"
    spaces = [("paper", "quick_paper" if quick else "paper", "group")]
    if not quick:
        spaces.append(("paper", "paper", "random"))
    spaces.append(("factorial", "quick_factorial" if quick else "factorial", "group"))
    given = (f"model.weights={config.weights}", "model.normalisation=unit")
    first = (_small_weights(config), "model.normalisation=native") if quick else given
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
        needs = _training_needs(config)
        yield Step(f"ablate-{name}", "ablate", words, needs, f"{config.out}/{name}")


def _measures(config: ReproduceConfig) -> Iterator[Step]:
    """Test and production, what shifted there, and what helps."""
    out = config.out
    for trained in (*_trainings(config), *_studies(config)):
        name = trained.name.partition("-")[2]
        if trained.name == "train-weights":
            continue
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
