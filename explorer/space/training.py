"""Training settings, and what each is used for."""

from __future__ import annotations

import functools
from enum import Flag, auto
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from explorer.options import Options
from explorer.train.optimisers import NAMES

if TYPE_CHECKING:
    OptimiserName = str
else:
    OptimiserName = Literal[NAMES]
Reference = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]  # module:function of the user


class Use(Flag):
    """The use of a training setting. Code that depends on the use calls :func:`names_of`."""

    STEP = auto()  # a value of the recipe that all models of a stack share
    MODEL = auto()  # a value of the recipe that may differ between the models of a stack
    LENGTH = auto()  # the number of steps, and the steps after which models are taken
    STOP = auto()  # a rule that may stop a model early, or selects the state that is kept
    HISTORY = auto()  # a value of the recipe that affects the history only, not a model's identity
    MEMORY = auto()  # changes the memory of a trial (the batch size always counts)
    ALONE = auto()  # models with this setting share a stack with their own replicates only


class EarlyStop(Options):
    """Early stopping: the training loss changes by at most ``change`` for ``epochs`` consecutive passes."""

    change: float = Field(1e-4, ge=0)
    epochs: int = Field(5, ge=1, le=10**6)
    after: int = Field(30, ge=0, le=10**7, description="number of initial passes that do not count")


class TrainingOptions(Options):
    """Settings of the training of each model. Exactly one of ``steps`` and ``epochs`` is given."""

    optimizer: Annotated[OptimiserName | Reference, Use.STEP | Use.MEMORY] = Field(
        "sgd", description="SGD with momentum; AdamW (momentum is its first beta); SAM; or module:function"
    )
    loss: Annotated[Reference | None, Use.STEP | Use.MEMORY] = Field(
        None,
        description="loss to minimise, as module:function; default: the loss of the task, which the "
        "measures always use",
    )
    learning_rate: Annotated[float, Use.MODEL] = Field(
        0.05, gt=0, le=1e6, description="initial learning rate"
    )
    linear_scaling: Annotated[int | None, Use.MODEL] = Field(
        None, ge=1, description="batch size that learning_rate is for; it is scaled in proportion for others"
    )
    momentum: Annotated[float, Use.MODEL] = Field(0.9, ge=0, lt=1)
    weight_decay: Annotated[float, Use.MODEL] = Field(
        0.0, ge=0, le=1e6, description="L2 penalty added to the gradient"
    )
    rho: Annotated[float, Use.MODEL] = Field(
        0.05, gt=0, le=1e3, description="radius of SAM; other optimisers do not use it"
    )
    schedule: Annotated[Literal["constant", "step", "one_decay", "cosine", "one_cycle"], Use.STEP] = Field(
        "cosine", description="cosine: to 0; one_decay: ×0.1 at 75 %; step: ×0.1 at 50 % and again at 75 %"
    )
    warmup: Annotated[float, Use.STEP] = Field(
        0.0, ge=0, le=1, description="share of the steps over which the learning rate rises to its value"
    )
    batch_size: Annotated[int, Use.STEP] = Field(
        32, ge=1, description="inputs per step; an incomplete last batch of a pass is dropped"
    )
    steps: Annotated[int | None, Use.LENGTH] = Field(
        None, ge=1, le=10**9, description="length in optimiser steps"
    )
    epochs: Annotated[int | None, Use.LENGTH] = Field(
        None, ge=1, le=10**7, description="length in passes over the training set"
    )
    checkpoint: Annotated[float, Use.LENGTH] = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the training after which the model is taken; if it is an axis, one training "
        "gives the models of all its values",
    )
    early_stop: Annotated[EarlyStop | None, Use.STOP | Use.ALONE] = Field(
        None, description="stop a replicate when its training loss no longer changes"
    )
    stop_at_loss: Annotated[float | None, Use.STOP | Use.ALONE] = Field(
        None, ge=0, description="stop a replicate at this training loss"
    )
    keep: Annotated[Literal["last", "best"], Use.STOP | Use.MEMORY] = Field(
        "last", description="model to keep; best: the state after the pass with the lowest training loss"
    )
    augment: Annotated[bool, Use.STEP | Use.MEMORY] = Field(
        False, description="shift and mirror the images of each batch"
    )
    precision: Annotated[Literal["float32", "bf16"], Use.STEP | Use.MEMORY] = Field(
        "float32", description="bf16: mixed precision"
    )
    channels_last: Annotated[bool, Use.STEP | Use.MEMORY] = Field(
        False, description="memory format of image batches"
    )
    compile: Annotated[bool, Use.STEP | Use.MEMORY] = Field(
        False, description="use torch.compile; worthwhile for long training on a GPU"
    )
    history_points: Annotated[int, Use.HISTORY] = Field(
        20, ge=2, le=10_000, description="number of recorded points of the training history"
    )

    @model_validator(mode="after")
    def _check_rho(self) -> TrainingOptions:
        if self.rho != 0.05 and self.optimizer != "sam":
            raise ValueError(f"rho is for optimizer sam only; the optimizer is {self.optimizer}. Remove rho")
        return self

    @property
    def rate(self) -> float:
        """Initial learning rate for this batch size (linear scaling: Goyal et al., 2017)."""
        return self.learning_rate * (self.batch_size / self.linear_scaling if self.linear_scaling else 1)

    def length(self, inputs: int) -> int:
        """Return the number of optimiser steps for ``inputs`` training inputs."""
        return self.steps if self.steps is not None else (self.epochs or 0) * (inputs // self.batch_size)


@functools.cache
def names_of(use: Use) -> frozenset[str]:
    """Return the names of the training settings with this use."""
    return frozenset(
        name
        for name, field in TrainingOptions.model_fields.items()
        if any(isinstance(entry, Use) and entry & use for entry in field.metadata)
    )
