"""What one training is: data, model, optimizer, augmentation, epochs, seed.

Runs anywhere (PURE): no torch, no ray. Every value a researcher can vary has its place,
bounds and explanation here and nowhere else; `--help`, search spaces and saved runs all
read this schema.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from orchestrator.config.address import expanded
from orchestrator.config.neutral import Neutral
from orchestrator.config.optimizers import Adam, Optimizer
from orchestrator.config.section import Count, Flag, Number, Section, StoragePath

EMBEDDED = "embedded"


class Data(Section):
    """Which prepared data set, and which of its split protocols."""

    path: Annotated[
        StoragePath,
        Field(
            description="folder written by `prepare` (a path or s3://bucket/folder), or "
            "'embedded' for the drawn faces",
        ),
    ] = EMBEDDED
    protocol: Annotated[
        Literal["group", "random", "official"],
        Field(
            description="split protocol: group (no video or subject on two sides), "
            "random (frame level, the study's), official (the source's own)"
        ),
    ] = "group"
    train_per_class: Annotated[
        Count, Field(ge=0, description="train on at most so many rows of each class; 0 = all")
    ] = 0
    validation_per_class: Annotated[
        Count, Field(ge=0, description="validate on at most so many rows of each class; 0 = all")
    ] = 0


class Model(Section):
    """Which network, at which width, starting from which weights."""

    name: Annotated[
        str, Field(min_length=1, description="a file of models/ (main, baseline) or timm:<name>")
    ] = "main"
    width: Annotated[
        Number, Field(gt=0, le=4, description="factor on channels and hidden units; 1 = the paper")
    ] = 1.0
    weights: Annotated[
        str,
        Field(
            min_length=1,
            description="random, imagenet, vggface, a name of torchvision's or timm's, or a file "
            "or URL (.safetensors, .pt, .pth, .h5)",
        ),
        AfterValidator(expanded),
    ] = "random"
    weights_sha256: Annotated[
        str,
        Field(pattern="^([0-9a-f]{64})?$", description="digest the weights must have; '' = any"),
    ] = ""
    normalisation: Annotated[
        Literal["native", "unit"],
        Field(description="input range: native (what the weights were trained on) or unit ([0,1])"),
    ] = "native"
    dropout: Annotated[
        Number, Field(ge=0, lt=1, description="dropout on hidden layers; the paper lists none")
    ] = 0.0
    freeze: Annotated[
        Count,
        Field(ge=0, le=13, description="the first so many convolutions keep their first weights"),
        Neutral(0),
    ] = 0

    @model_validator(mode="after")
    def _what_is_frozen_can_be_counted(self) -> Model:
        if self.freeze and self.name.startswith("timm:"):
            raise ValueError(
                f"freeze: must be 0 for {self.name}, whose convolutions are in no order that holds "
                f"for all of timm; got {self.freeze}. Set model.freeze=0"
            )
        return self


class Augmentation(Section):
    """Random changes of training images, as in the study: flip, rotation, zoom."""

    share: Annotated[
        Number, Field(ge=0, le=1, description="share of the samples that are changed; 0 = off")
    ] = 0.5
    flip: Annotated[
        Number, Field(ge=0, le=1, description="probability that a changed sample is mirrored")
    ] = 0.5
    rotation_deg: Annotated[
        Number, Field(ge=0, le=180, description="rotation up to so many degrees to either side")
    ] = 20.0
    zoom: Annotated[
        Number, Field(ge=0, le=0.5, description="zoom in or out by up to this fraction")
    ] = 0.1


class Experiment(Section):
    """One training, resolved: everything its numbers depend on."""

    data: Data = Data()
    model: Model = Model()
    optimizer: Optimizer = Adam()
    augmentation: Augmentation = Augmentation()
    epochs: Annotated[Count, Field(le=9999, description="passes over the training split")] = 20
    early_stop: Annotated[
        Count,
        Field(
            ge=0,
            le=9999,
            description="end after so many epochs in a row without a better validation macro-F1; "
            "0 = never",
        ),
    ] = 0
    schedule: Annotated[
        Literal["constant", "cosine"],
        Field(
            description="learning rate over the epochs: constant (the study's), or cosine, down to "
            "0 at the last; trials of different epochs then share no training"
        ),
        Neutral("constant"),
    ] = "constant"
    warmup_epochs: Annotated[
        Number,
        Field(ge=0, le=9999, description="the learning rate rises to its own over so many epochs"),
        Neutral(0),
    ] = 0.0
    batch_size: Annotated[
        Count, Field(le=65_536, description="images per step over all workers (global batch)")
    ] = 256
    label_smoothing: Annotated[
        Number,
        Field(
            ge=0, lt=1, description="share of each training target spread over all classes evenly"
        ),
        Neutral(0),
    ] = 0.0
    class_weights: Annotated[
        Literal["none", "balanced", "effective"],
        Field(
            description="weight of a training row by its class: none, balanced (1 / rows of the "
            "class) or effective (1 / effective number of rows, Cui et al. 2019, beta 0.999)"
        ),
        Neutral("none"),
    ] = "none"
    target_shares: Annotated[
        tuple[Annotated[Number, Field(ge=0, le=1)], ...],
        Field(
            max_length=127,
            description="importance weights: the classes' shares where the model will be used, in "
            "the order of the classes; a training row then weighs its class's share there over "
            "that among the training rows; [] = none",
        ),
        Neutral(()),
    ] = ()
    gradient_clip: Annotated[
        Number,
        Field(
            ge=0,
            le=1e6,
            description="longest gradient: norm over all parameters and workers; 0 = no limit",
        ),
        Neutral(0),
    ] = 0.0
    seed: Annotated[
        Count,
        Field(ge=0, lt=2**31, description="initial weights, order, augmentation and dropout"),
    ] = 0
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Field(
            description="auto = bf16 autocast where the processor has it, else fp32 (tf32 on GPUs)"
        ),
    ] = "auto"
    compile: Annotated[
        Flag,
        Field(
            description="torch.compile: main on an H200 then trains 1.4 times as fast and starts "
            "20 s later, which pays from about a million images; needs a C++ compiler"
        ),
        Neutral(False),
    ] = False

    @field_validator("target_shares")
    @classmethod
    def _shares_of_one(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if shares and abs(sum(shares) - 1) > 1e-6:
            raise ValueError("must be shares >= 0 that add up to 1, one a class")
        return shares

    @model_validator(mode="after")
    def _one_rule_weighs_rows(self) -> Experiment:
        if self.target_shares and self.class_weights != "none":
            raise ValueError(
                "target_shares: weigh rows by themselves; got class_weights="
                f"{self.class_weights} besides. Set class_weights=none"
            )
        return self


class Resources(Section):
    """What one trial may use of the cluster; every trial gets the same."""

    workers: Annotated[
        Count, Field(le=64, description="data-parallel workers per trial (Ray Train)")
    ] = 1
    min_workers: Annotated[
        Count,
        Field(
            ge=0,
            le=64,
            description="start, or go on after a loss, with as few workers as this where no more "
            "fit; the losses are the same but for the last digits of sums, so models with dropout or "
            "batch norm are refused; 0 = always as many as `workers`",
        ),
    ] = 0
    cpus_per_worker: Annotated[
        Count, Field(ge=0, le=1024, description="CPU cores per worker; 0 = as many as fit")
    ] = 0
    gpus_per_worker: Annotated[
        Number | None,
        Field(
            ge=0,
            le=1,
            description="GPUs per worker; a fraction shares one GPU; null = 1 where there are GPUs",
        ),
    ] = None
    slots: Annotated[
        Count, Field(ge=0, le=10_000, description="trials at once; 0 = as many as fit")
    ] = 0
    device_budget_gib: Annotated[
        Number,
        Field(
            gt=0,
            le=1024,
            description="images a worker may keep on its device; beyond it they stay in host memory",
        ),
    ] = 8.0
    start_timeout_s: Annotated[
        Number, Field(gt=0, description="longest wait for a slot's workers before it is an error")
    ] = 300.0
    stall_s: Annotated[
        Number,
        Field(
            ge=10,
            description="seconds in which something must move (a batch, an epoch, the start of a "
            "slot), or else the command ends and says who waits for what",
        ),
    ] = 600.0
    restarts: Annotated[
        Count,
        Field(
            ge=0,
            le=100,
            description="times the processes of a trial are started anew before its next epoch, after "
            "one of them died, hung or lost its node",
        ),
    ] = 2

    @model_validator(mode="after")
    def _fewest_are_no_more_than_most(self) -> Resources:
        if self.min_workers > self.workers:
            raise ValueError(
                f"min_workers: must be <= workers; got {self.min_workers} of {self.workers}. "
                "Lower min_workers, or raise workers"
            )
        return self

    @model_validator(mode="after")
    def _one_gpu_for_each_of_several_workers(self) -> Resources:
        if self.workers > 1 and self.gpus_per_worker and self.gpus_per_worker < 1:
            raise ValueError(
                "gpus_per_worker: must be 0 or 1 for several workers, as NCCL refuses two on one "
                f"GPU; got {self.gpus_per_worker:g} for {self.workers}. Set workers=1"
            )
        return self
