"""What an adaptation is going to try, checked before a process is started.

DRIVER. Imports torch: the command imports it when its words have been judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.checkpoint_choice import Choice
from orchestrator.config.errors import ConfigError
from orchestrator.config.evaluation import EvaluateConfig, EvaluatedData
from orchestrator.config.experiment import Experiment
from orchestrator.config.production import AdaptConfig
from orchestrator.config.validate import to_dict, validate
from orchestrator.diagnosis_job import refuse_own
from orchestrator.environment import describe_environment
from orchestrator.evaluation_job import Int64s, Job, checked_job, checkpoint_record, set_record
from orchestrator.ingest.dataset import PreparedDataset
from orchestrator.ingest.reading import select_rows
from orchestrator.shift.parts import HELD_OUT, TRAIN, UNUSED, VALIDATION, Parts, part
from orchestrator.shift.remedies import CORRECTIONS, Material, Rows, training_rows
from orchestrator.training.checkpoint import MODEL
from orchestrator.tuning.plan import worker_problems

GENTLER = 10.0
"""The learning rate of a training that goes on is the run's own over this."""


@dataclass(frozen=True, eq=False)
class Adaptation:
    """A checkpoint, production in parts, and what to try.

    Attributes:
        job: the checkpoint and both sets, as `evaluate` opens them.
        parts: what becomes of each row of production.
        material: what remedies may train with.
        own_test: rows of the run's own test split, on which forgetting shows; may be none.
        remedies: to try, in order.
        skipped: (remedy, why it is left out).
        out: folder for the results.
    """

    config: AdaptConfig
    job: Job
    parts: Parts
    material: Material
    own_test: Int64s
    remedies: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    out: Path

    @property
    def trained(self) -> tuple[str, ...]:
        """The remedies that train."""
        return tuple(name for name in self.remedies if name not in CORRECTIONS)

    def rows(self, remedy: str) -> Rows:
        """The rows that a remedy trains on."""
        classes = self.job.sets.own.classes
        return training_rows(
            remedy,
            self.material,
            classes=tuple(k for k, name in enumerate(classes) if name in self.config.classes),
            since=self.config.since,
            replay=self.config.replay,
            seed=self.config.seed,
        )

    def splits(self, rows: Rows) -> npt.NDArray[np.str_]:
        """Splits of a merged set; "unused" for what does not belong in it.

        Training rows are those that the remedy wants, "test" is the run's own test split only.
        Order: all rows of the run's own set, then those of production that may be learned from.
        """
        old = np.full(len(self.job.own_index.splits), UNUSED, dtype="<U10")
        old[self.own_test] = "test"
        old[self.job.validation_ids] = VALIDATION
        old[rows.old] = TRAIN
        merged = self.parts.rows(TRAIN, VALIDATION)
        new = np.full(len(merged), UNUSED, dtype="<U10")
        new[self.parts.of_row[merged] == VALIDATION] = VALIDATION
        new[np.isin(merged, rows.new)] = TRAIN
        return np.concatenate([old, new])

    def experiment(
        self, remedy: str, dataset: PreparedDataset, estimated_priors: Sequence[float]
    ) -> Experiment:
        """What a remedy trains: the run's own experiment from the checkpoint's weights on."""
        own, config = self.job.stored.experiment, self.config
        values = to_dict(own) | {
            "epochs": config.epochs,
            "early_stop": 0,
            "warmup_epochs": 0,
            "seed": config.seed,
            "data": {
                "path": str(dataset.root),
                "protocol": own.data.protocol,
                # A merged set has the rows that the run was trained on, chosen already.
                "train_per_class": own.data.train_per_class if self.is_own(dataset) else 0,
                "validation_per_class": own.data.validation_per_class,
            },
            "model": to_dict(own.model)
            | {"weights": str(self.weights), "weights_sha256": self.job.stored.sha256},
            "optimizer": to_dict(own.optimizer) | {"lr": config.lr or own.optimizer.lr / GENTLER},
        }
        if remedy == "balanced":
            values |= {"class_weights": "balanced", "target_shares": []}
        if remedy == "importance":
            values |= {"class_weights": "none", "target_shares": list(estimated_priors)}
        return validate(Experiment, (f"remedy {remedy}", values))

    def is_own(self, dataset: PreparedDataset) -> bool:
        """Whether it is the set that the run was trained on."""
        return dataset.fingerprint == self.job.sets.own.fingerprint

    @property
    def weights(self) -> Path:
        """What trainings go on from, where workers of all nodes see it."""
        choice = self.job.choice
        return (choice.folder if choice.home.store is None else self.out / "checkpoint") / MODEL

    def run_folder(self, remedy: str) -> Path:
        """Where a remedy that trains leaves what `train` would."""
        return self.out / "runs" / remedy


def checked_adaptation(config: AdaptConfig, choice: Choice) -> Adaptation:
    """Open the checkpoint and both sets, part production, and choose the remedies.

    Raises:
        ConfigError: no such set or class, production is the run's own set, no remedy can be
            tried, or there is no folder for the results.
        DatasetError: production has too few groups, or no class to learn from.
        CheckpointError: the checkpoint is damaged.
    """
    _refuse_no_folder(config, choice)
    job = checked_job(
        EvaluateConfig(
            checkpoint=config.checkpoint,
            # Production's own splits are not looked at: `group` is there in every set.
            data=EvaluatedData(path=config.production, protocol="group"),
            run_data=config.run_data,
            split="all",
            calibrate=True,
        ),
        choice,
    )
    refuse_own(job, config.production)
    image_px = job.sets.own.image_shape[0]
    if problems := worker_problems([job.stored.experiment], config.resources, image_px):
        raise ConfigError(*problems)
    _refuse_classes(config, job)
    parts = part(job.index, job.own_index, adapt_share=config.adapt_share, seed=config.seed)
    material = _material(job, parts)
    remedies, skipped = _chosen(config, material, job)
    if not remedies:
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped)
        raise ConfigError(
            f"remedies: must name one that can be tried; got {', '.join(config.remedies)}, of "
            f"which none can ({reasons}). Name others, or give what they need"
        )
    return Adaptation(
        config=config,
        job=job,
        parts=parts,
        material=material,
        own_test=job.own_index.row_ids[job.own_index.splits == "test"],
        remedies=remedies,
        skipped=skipped,
        out=_out(config, choice, job.sets.measured.name),
    )


def _refuse_no_folder(config: AdaptConfig, choice: Choice) -> None:
    if choice.home.store and not config.out:
        raise ConfigError(
            "out: must be a folder that all nodes see, for a checkpoint in an object store; got none. "
            "Remedies are trained there: type out=/shared/adapted"
        )


def _out(config: AdaptConfig, choice: Choice, production: str) -> Path:
    if config.out:
        return Path(config.out).absolute()
    name = re.sub(r"[^\w.-]+", "_", production)[:60].lstrip(".") or "production"
    words = [word for word in (choice.label, name) if word]
    return choice.home.local / "adaptations" / "-".join(words)


def _refuse_classes(config: AdaptConfig, job: Job) -> None:
    unknown = [name for name in config.classes if name not in job.sets.own.classes]
    if unknown and "classes" in config.remedies:
        raise ConfigError(
            f"classes: must be among the model's, {', '.join(job.sets.own.classes)}; got "
            f"{', '.join(unknown)}. Name others, or leave `classes` out of remedies"
        )


def _material(job: Job, parts: Parts) -> Material:
    data = job.stored.experiment.data
    # As the run was trained: with its limit of rows a class, chosen by the reader's own seed.
    old = select_rows(job.sets.own, data.protocol, "train", data.train_per_class, 0)
    new = parts.rows(TRAIN)
    numbers = np.asarray(job.sets.class_indices, dtype=np.int64)
    return Material(
        old=old.row_ids,
        new=new,
        new_labels=numbers[job.index.labels[new]],
        new_listed=job.index.listed[new],
    )


def _chosen(
    config: AdaptConfig, material: Material, job: Job
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """What can be tried, and why the rest cannot."""
    skipped = []
    if config.since is None and "since" in config.remedies:
        skipped.append(("since", "since=N does not say when the shift began"))
    elif config.since is not None and not (material.new_listed >= config.since).any():
        last = int(material.new_listed.max())
        skipped.append(
            ("since", f"no row to learn from is listed from {config.since} on; last {last}")
        )
    wanted = [k for k, name in enumerate(job.sets.own.classes) if name in config.classes]
    if not np.isin(material.new_labels, wanted).any():
        skipped.append(("classes", f"no row to learn from is {' or '.join(config.classes)}"))
    out = {name for name, _ in skipped}
    named = tuple(dict.fromkeys(name for name in config.remedies if name not in out))
    return named, tuple(one for one in skipped if one[0] in config.remedies)


def facts(adaptation: Adaptation) -> tuple[str, ...]:
    """Lines that say what is tried on what."""
    job, parts = adaptation.job, adaptation.parts
    lines = [
        f"checkpoint   {job.choice.shown}",
        f"             {job.choice.words}; epoch {job.stored.state.epoch}",
    ]
    for words, names in (
        ("learned from", (TRAIN,)),
        ("validation", (VALIDATION,)),
        ("held out", (HELD_OUT,)),
        ("unused", (UNUSED,)),
    ):
        if len(rows := parts.rows(*names)):
            groups = f"in {parts.num_groups(*names):,} groups of production"
            lines.append(f"{words:12} {len(rows):,} rows {groups}")
    lines += [f"skipped      {name}: {why}" for name, why in adaptation.skipped]
    return tuple(lines)


def identity(adaptation: Adaptation) -> dict[str, Any]:
    """What the content of the output folder depends on: another one is not written over it."""
    job, config = adaptation.job, to_dict(adaptation.config)
    named = {"checkpoint", "production", "run_data", "remedies", "out"}
    place = {"resources", "batch_size", "actors", "gpus_per_actor", "timeout_s", "address"}
    return {
        "model_sha256": job.stored.sha256,
        "production": job.sets.measured.fingerprint,
        "own": job.sets.own.fingerprint,
        "config": {name: value for name, value in config.items() if name not in named | place},
    }


def record(adaptation: Adaptation, command: str) -> dict[str, Any]:
    """What the figures belong to, for adapt.json."""
    job, parts = adaptation.job, adaptation.parts
    sizes = {
        name: {"rows": len(parts.rows(*of)), "groups": parts.num_groups(*of)}
        for name, of in (
            ("adapt", (TRAIN, VALIDATION)),
            ("adapt_train", (TRAIN,)),
            ("adapt_validation", (VALIDATION,)),
            ("held_out", (HELD_OUT,)),
            ("unused", (UNUSED,)),
        )
    }
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "config": to_dict(adaptation.config),
        "identity": identity(adaptation),
        "checkpoint": checkpoint_record(job),
        "production": set_record(job.sets.measured),
        "trained_on": {
            **set_record(job.sets.own),
            "protocol": job.stored.experiment.data.protocol,
        },
        "parts": sizes,
        "classes": list(job.sets.own.classes),
        "skipped": [{"name": name, "reason": why} for name, why in adaptation.skipped],
        "environment": describe_environment(),
    }
