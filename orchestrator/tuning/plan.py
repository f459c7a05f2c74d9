"""What a study will do, worked out and checked before anything starts.

DRIVER. Imports neither torch nor ray, but for an optimizer of timm. Every trial that the space lists (or a sample of those
it can draw) goes through the one validator here, so that the last trial of a study does not
fail on a typing mistake hours later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import models
import search_spaces
from orchestrator.config.address import absolute_address, expanded
from orchestrator.config.errors import ConfigError
from orchestrator.config.experiment import EMBEDDED, Experiment, Resources
from orchestrator.config.optimizers import Timm
from orchestrator.config.problems import did_you_mean, shown
from orchestrator.config.space import Range, Space, Values
from orchestrator.config.validate import read_yaml, to_dict, validate
from orchestrator.tuning.lineages import Trial, lineage_key
from orchestrator.tuning.proposals import check_draws
from orchestrator.tuning.samplers import missing_package

NUM_DRAWS = 64


@dataclass(frozen=True)
class Resolver:
    """Turns the values of a trial into an experiment and its lineage.

    Attributes:
        given: what the user and the space's `base` set, nested; defaults fill the rest, so that
            a trial with another optimizer gets that optimizer's own defaults.
        dataset_fingerprint: of the data set that all trials share.
    """

    space: str
    given: Mapping[str, object]
    dataset_fingerprint: str

    def experiment(self, values: Values) -> Experiment:
        """Validate one trial's values.

        Raises:
            ConfigError: names the space and what is wrong with the values.
        """
        return with_absolute_paths(
            validate(Experiment, ("the command", self.given), (f"space {self.space}", values))
        )

    def trial(
        self, number: int, values: Values, configuration: int | None = None, seed: int | None = None
    ) -> Trial:
        """The trial of these values.

        Args:
            number: of the trial.
            values: of its configuration.
            configuration: number of the configuration; None = the trial's own.
            seed: None = the one of the values, or what was given.
        """
        experiment = self.experiment(values)
        if seed is not None:
            experiment = experiment.model_copy(update={"seed": seed})
        lineage = self.lineage(experiment)
        return Trial(
            number, values, experiment, lineage, number if configuration is None else configuration
        )

    def lineage(self, experiment: Experiment) -> str:
        """The key of the training that this experiment is a part of."""
        return lineage_key(experiment, self.dataset_fingerprint)


def load_space(name: str) -> Space:
    """Read a space by the name of its file in `search_spaces/`, or by a path to a YAML file.

    Raises:
        ConfigError: no such file, or mistakes in it.
    """
    is_path = name.endswith((".yaml", ".yml"))
    path = Path(expanded(name)) if is_path else search_spaces.path(name)
    if not path.is_file():
        choices = ", ".join(search_spaces.names())
        raise ConfigError(
            f"space: must be one of {choices}, or a path to a .yaml file; got {name!r}. "
            f"{did_you_mean(name, search_spaces.names())}"
        )
    return validate(Space, (str(path), read_yaml(path)))


def with_num_seeds(space: Space, seeds: int) -> Space:
    """The space with another number of seeds; 0 leaves its own.

    Raises:
        ConfigError: the space varies the seed itself.
    """
    if not seeds:
        return space
    return validate(Space, ("the space", to_dict(space)), ("the command", {"seeds": seeds}))


def listed_spaces() -> str:
    """The spaces that come with the program, each with its question, for the help."""
    questions = {name: read_yaml(search_spaces.path(name)) for name in search_spaces.names()}
    return "; ".join(f"{name} ({space['question']})" for name, space in questions.items())


def with_absolute_paths(experiment: Experiment) -> Experiment:
    """The experiment with its paths made absolute: workers have other folders."""
    model, data = experiment.model, experiment.data
    if Path(model.weights).is_file():
        model = model.model_copy(update={"weights": str(Path(model.weights).absolute())})
    if data.path != EMBEDDED:
        data = data.model_copy(update={"path": absolute_address(data.path)})
    return experiment.model_copy(update={"model": model, "data": data})


def whole_paths(space: Space, resolver: Resolver) -> frozenset[str]:
    """The space's paths whose fields take whole numbers, by the schema's own defaults."""
    defaults = to_dict(resolver.experiment({}))
    return frozenset(path for path in space.axes if type(value_at(defaults, path)) is int)


def check_space(
    space: Space, resolver: Resolver, *, image_size: int, num_classes: int
) -> tuple[Experiment, ...]:
    """Put the space's trials through the validator and their models through theirs.

    Returns:
        The experiments checked: all if the space lists them, else a sample.

    Raises:
        ConfigError: all mistakes, each once.
    """
    experiments: list[Experiment] = []
    found: dict[str, Values] = {}  # each problem with the first values that have it
    whole = whole_paths(space, resolver)
    _refuse_fractions(space, whole)
    _refuse_missing_package(space)
    for values in check_draws(space, whole, NUM_DRAWS):
        try:
            experiments.append(resolver.experiment(values))
            problems = _deeper_problems(experiments[-1], image_size, num_classes)
        except ConfigError as error:
            problems = error.problems
        for problem in problems:
            found.setdefault(problem, values)
    if found:
        by_rule = found if space.num_listed() else _one_of_each_rule(found)
        raise ConfigError(*(_with_values(problem, by_rule[problem]) for problem in by_rule))
    return tuple(experiments)


def checked(
    resolver: Resolver, *, image_size: int, num_classes: int
) -> Callable[[int, Values, int, int], Trial]:
    """Makes trials of what a sampler draws, by the rules that `check_space` asks of listed ones.

    What it returns raises ConfigError for values that make no training.
    """

    def trial(number: int, values: Values, configuration: int, seed: int) -> Trial:
        made = resolver.trial(number, values, configuration, seed)
        if found := _deeper_problems(made.experiment, image_size, num_classes):
            raise ConfigError(*found)
        return made

    return trial


def _deeper_problems(experiment: Experiment, image_size: int, num_classes: int) -> tuple[str, ...]:
    return (*model_problems(experiment, image_size, num_classes), *training_problems(experiment))


def _with_values(problem: str, values: Values) -> str:
    """The problem and the trial that has it: which of many values it was may lie in another."""
    drawn = ", ".join(f"{path}={shown(value)}" for path, value in values.items())
    return f"{problem} [trial of {drawn}]" if drawn else problem


def _refuse_missing_package(space: Space) -> None:
    if problem := missing_package(space.kind):
        raise ConfigError(problem)


def _refuse_fractions(space: Space, whole: frozenset[str]) -> None:
    """Optuna draws whole numbers between whole bounds in whole steps, or raises."""
    problems = []
    for path in sorted(whole):
        axis = space.axes[path]
        if isinstance(axis, Range):
            given = {"low": axis.low, "high": axis.high, "step": axis.step or 1.0}
            problems += [
                f"axes.{path}.{name}: must be a whole number, as {path} takes whole numbers; "
                f"got {value:g}"
                for name, value in given.items()
                if not value.is_integer()
            ]
    if problems:
        raise ConfigError(*problems)


def _one_of_each_rule(problems: Mapping[str, Values]) -> dict[str, Values]:
    """Many draws break one rule, each with a value of its own: one of them tells as much."""
    first: dict[str, str] = {}
    for problem in problems:
        first.setdefault(problem.partition("; got ")[0], problem)
    return {problem: problems[problem] for problem in first.values()}


def model_problems(experiment: Experiment, image_size: int, num_classes: int) -> tuple[str, ...]:
    """What does not fit the data set's images and classes, as far as shows without building it."""
    model, shares = experiment.model, experiment.target_shares
    if shares and len(shares) != num_classes:
        return (
            f"target_shares: must be one a class of the data set, {num_classes}; got "
            f"{len(shares)}. Give them in the order of its classes",
        )
    try:
        models.check(
            model.name,
            image_size=image_size,
            num_classes=num_classes,
            width=model.width,
            dropout=model.dropout,
            normalisation=model.normalisation,
            weights=model.weights,
            weights_sha256=model.weights_sha256,
        )
    except models.ModelError as error:
        return error.problems
    return ()


def training_problems(experiment: Experiment) -> tuple[str, ...]:
    """What is wrong with how an experiment is to be trained, and no single field shows."""
    found = []
    warmup, epochs = experiment.warmup_epochs, experiment.epochs
    if experiment.schedule == "cosine" and warmup >= epochs:
        found.append(
            "warmup_epochs: must be < epochs with schedule=cosine, which would never begin; got "
            f"{warmup:g} of {epochs}. Lower warmup_epochs"
        )
    if isinstance(experiment.optimizer, Timm):
        from orchestrator.training.timm_optimizers import problem  # torch and timm: some seconds

        found += [line for line in [problem(experiment.optimizer.name)] if line]
    return tuple(found)


def worker_problems(
    experiments: Iterable[Experiment], resources: Resources, image_size: int
) -> tuple[str, ...]:
    """Why trainings must not change their number of workers: their losses would change with it."""
    if resources.min_workers in (0, resources.workers):
        return ()
    rule = (
        "resources.min_workers: must be 0 or as many as workers for {}; got "
        f"{resources.min_workers} of {resources.workers}. Set resources.min_workers=0"
    )
    found = []
    trained = tuple(experiments)
    if any(experiment.model.dropout > 0 for experiment in trained):
        found.append(rule.format("model.dropout > 0, which each worker draws for itself"))
    for name in dict.fromkeys(experiment.model.name for experiment in trained):
        if models.has_batch_norm(name, image_size=image_size):
            found.append(rule.format(f"{name}, whose batch norm averages each worker's own rows"))
    return tuple(found)


def value_at(tree: Mapping[str, object], path: str) -> object:
    """The value at a dotted path of a nested mapping; None if there is none."""
    value: object = tree
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value
