"""The study as a list of commands, each with what it needs. PURE.

Nothing is done here that a user could not type: a step is one of our commands with its words, and
leaves what that command leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.config.reproduction import ReproduceConfig

PRESETS = "orchestrator/presets"
SMALL = ("model.width=0.125", "batch_size=32")
SMALL_TRAINING = (
    *SMALL,
    "model.weights=random",
    "model.normalisation=native",
    "optimizer.lr=0.001",
    "epochs=10",
)
"""In place of the presets' own: a narrow network from random weights."""
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
        drawn = ("dataset=synthetic", "image_px=48", "rows_per_file=512")
        yield Step("prepare", "prepare", (*drawn, f"out={out}/faces"))
        other = ("options.domain=production", "options.subjects=40")
        yield Step("prepare-production", "prepare", (*drawn, *other, f"out={out}/production"))
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
            yield Step(f"train-{name}", "train", words, ("prepare",))


def _model_words(config: ReproduceConfig, model: str) -> tuple[str, ...]:
    if config.preset == "quick":
        return SMALL_TRAINING
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
