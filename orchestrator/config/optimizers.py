"""Which optimizers there are, and what can be set of each.

Runs anywhere (PURE). `optimizer.name` chooses one of torch's, or any of timm's that can be saved
and restored: `timm:lamb`. Whether timm has it shows when a plan is made
(`training/timm_optimizers.py`), as asking timm means importing torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from orchestrator.config.fields import TagOf
from orchestrator.config.section import Flag, Number, Section

LearningRate = Annotated[
    Number, Field(gt=0, le=10, description="learning rate; `schedule` and warm-up scale it")
]
WeightDecay = Annotated[Number, Field(ge=0, le=1, description="weight decay")]
Beta = Annotated[Number, Field(ge=0, lt=1, description="decay rate of a moment estimate")]
Momentum = Annotated[Number, Field(ge=0, lt=1, description="momentum")]


class Sgd(Section):
    """Stochastic gradient descent (torch.optim.SGD)."""

    name: Literal["sgd"] = "sgd"
    lr: LearningRate = 1e-3
    momentum: Momentum = 0.9
    nesterov: Annotated[Flag, Field(description="Nesterov momentum")] = False
    weight_decay: WeightDecay = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: needs momentum > 0; got momentum 0. Set momentum=0.9")
        return self


class Adam(Section):
    """Adam (Kingma & Ba, 2015; torch.optim.Adam)."""

    name: Literal["adam"] = "adam"
    lr: LearningRate = 1e-4
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    weight_decay: WeightDecay = 0.0


class AdamW(Section):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019; torch.optim.AdamW)."""

    name: Literal["adamw"] = "adamw"
    lr: LearningRate = 1e-4
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    weight_decay: WeightDecay = 0.01


class RmsProp(Section):
    """Gradients over the root of their mean square (Hinton, 2012; torch.optim.RMSprop)."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: LearningRate = 1e-3
    alpha: Beta = 0.99
    momentum: Momentum = 0.0
    weight_decay: WeightDecay = 0.0


class Timm(Section):
    """Any optimizer of timm whose state can be saved, at timm's values for all else."""

    name: Annotated[
        str, Field(pattern="^timm:[a-z0-9]+$", description="timm:<name>, e.g. timm:lamb")
    ] = "timm:lamb"
    lr: LearningRate = 1e-3
    weight_decay: WeightDecay = 0.0


Optimizer = Annotated[
    Annotated[Sgd, Tag("sgd")]
    | Annotated[Adam, Tag("adam")]
    | Annotated[AdamW, Tag("adamw")]
    | Annotated[RmsProp, Tag("rmsprop")]
    | Annotated[Timm, Tag("timm:<name>")],
    Field(discriminator=Discriminator(TagOf("name"))),
]
"""The tags are those of the variants' names (`fields.tag_shape`)."""
