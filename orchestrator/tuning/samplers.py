"""Optuna's samplers by the kind of a space, each seeded for one proposal.

PURE. A sampler of its own for each trial makes a proposal a function of the seed, the trial's
number and what was told before: a resumed study proposes what an undisturbed one would have.
"""

from __future__ import annotations

import importlib.util
import warnings
import zlib

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler

from orchestrator.config.space import Space

REPLAYED = ("cmaes", "qmc", "nsga2")
"""Kinds that keep notes of their own beside the trials: to go on, every question is asked again."""
NEEDS = {"cmaes": ("cmaes",), "gp": ("scipy", "torch"), "qmc": ("scipy",)}
"""Packages that Optuna imports for a kind, and does not bring along."""
POPULATION = (4, 50)
"""Bounds of NSGA-II's population; Optuna's default of 50 would be all of a small study."""
GENERATIONS = 4


def missing_package(kind: str) -> str:
    """What is wrong where a package for this kind of space is not installed; "" if nothing is."""
    for package in NEEDS.get(kind, ()):
        if importlib.util.find_spec(package) is None:
            return (
                f"kind: '{kind}' needs the package {package}; it is not installed. "
                f"pip install {package}, or use kind tpe"
            )
    return ""


def sampler(space: Space, seed: int, number: int, attempt: int = 0) -> BaseSampler:
    """The sampler that proposes one trial.

    Args:
        space: which kind, over which axes.
        seed: of the study.
        number: of the trial.
        attempt: grows where what was drawn is drawn again.
    """
    # Hashed, as a sum would make trial 5 of seed 0 trial 4 of seed 1.
    own = zlib.crc32(f"{seed}/{number}{f'/{attempt}' if attempt else ''}".encode())
    with warnings.catch_warnings():
        # Optuna has called its QMC sampler and TPE's groups experimental for years.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _sampler(space, seed, own)


def _sampler(space: Space, seed: int, own: int) -> BaseSampler:
    samplers = optuna.samplers
    match space.kind:
        # Slots ask while others train: a trial that runs counts as a bad one, so that not all of them
        # are given nearly the same values.
        case "tpe" if space.when:
            return samplers.TPESampler(seed=own, multivariate=True, group=True, constant_liar=True)
        case "tpe":
            return samplers.TPESampler(seed=own, constant_liar=True)
        case "gp":
            return samplers.GPSampler(seed=own, warn_independent_sampling=False)
        case "cmaes":
            return samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
        case "qmc":
            # One sequence for the whole study: its points are spread only against each other.
            return samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        case "nsga2":
            size = min(max(space.trials // GENERATIONS, POPULATION[0]), POPULATION[1])
            return samplers.NSGAIISampler(population_size=size, seed=own)
        case _:
            return samplers.RandomSampler(seed=own)


def directions(kind: str) -> list[str]:
    """What is sought: the highest macro-F1, and for nsga2 the fewest seconds too."""
    return ["maximize", "minimize"] if kind == "nsga2" else ["maximize"]
