"""Settings of a training, and what each of them is for."""

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
    """What a training setting is for. Whatever depends on that asks :func:`names_of`."""

    STEP = auto()  # a value of the recipe, the same for all models that are trained side by side
    MODEL = auto()  # a value of the recipe, of which each model of a stack may have its own
    LENGTH = auto()  # how many steps there are, and after which of them models are taken
    STOP = auto()  # a rule that may end a model's training early, or choose which of its states is kept
    HISTORY = auto()  # of the recipe, and of what is told of a training: not part of a model's identity
    MEMORY = auto()  # changes the memory that a trial needs, beyond the batch size, which counts anyway
    ALONE = auto()  # models with this setting are trained side by side with their own replicates only


class EarlyStop(Options):
    """Stop when the training loss has moved by at most ``change`` for ``epochs`` passes in a row."""

    change: float = Field(1e-4, ge=0)
    epochs: int = Field(5, ge=1, le=10**6)
    after: int = Field(30, ge=0, le=10**7, description="passes that are not counted")


class TrainingOptions(Options):
    """How each model is trained. Exactly one of ``steps`` and ``epochs`` is given."""

    optimizer: Annotated[OptimiserName | Reference, Use.STEP | Use.MEMORY] = Field(
        "sgd", description="SGD with momentum; AdamW (momentum is its first beta); SAM; or module:function"
    )
    loss: Annotated[Reference | None, Use.STEP | Use.MEMORY] = Field(
        None,
        description="what is minimised: the task's own loss if left out, else module:function; "
        "measures take the task's own",
    )
    learning_rate: Annotated[float, Use.MODEL] = Field(
        0.05, gt=0, le=1e6, description="initial learning rate"
    )
    linear_scaling: Annotated[int | None, Use.MODEL] = Field(
        None, ge=1, description="batch size that learning_rate is meant for; others scale it in proportion"
    )
    momentum: Annotated[float, Use.MODEL] = Field(0.9, ge=0, lt=1)
    weight_decay: Annotated[float, Use.MODEL] = Field(
        0.0, ge=0, le=1e6, description="L2 penalty added to the gradient"
    )
    rho: Annotated[float, Use.MODEL] = Field(
        0.05, gt=0, le=1e3, description="radius of SAM; not used by the others"
    )
    schedule: Annotated[Literal["constant", "step", "one_decay", "cosine", "one_cycle"], Use.STEP] = Field(
        "cosine", description="cosine: to 0; one_decay: ×0.1 at 75 %; step: ×0.1 at 50 % and again at 75 %"
    )
    warmup: Annotated[float, Use.STEP] = Field(
        0.0, ge=0, le=1, description="share of the steps over which the rate rises to its value"
    )
    batch_size: Annotated[int, Use.STEP] = Field(
        32, ge=1, description="inputs a step; an incomplete last batch of a pass is dropped"
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
        description="share of the training after which the model is taken; as an axis, one "
        "training gives the models of all its values",
    )
    early_stop: Annotated[EarlyStop | None, Use.STOP | Use.ALONE] = Field(
        None, description="end a replicate whose loss no longer moves"
    )
    stop_at_loss: Annotated[float | None, Use.STOP | Use.ALONE] = Field(
        None, ge=0, description="end a replicate at this training loss"
    )
    keep: Annotated[Literal["last", "best"], Use.STOP | Use.MEMORY] = Field(
        "last", description="best: the state of the pass with the least loss"
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
        False, description="use torch.compile; pays for long trainings on a GPU"
    )
    history_points: Annotated[int, Use.HISTORY] = Field(
        20, ge=2, le=10_000, description="points of the training history that are kept"
    )

    @model_validator(mode="after")
    def _used(self) -> TrainingOptions:
        if self.rho != 0.05 and self.optimizer != "sam":
            raise ValueError(f"rho is the radius of optimizer sam; the optimizer is {self.optimizer}")
        return self

    @property
    def rate(self) -> float:
        """Initial learning rate of this batch size (linear scaling: Goyal et al., 2017)."""
        return self.learning_rate * (self.batch_size / self.linear_scaling if self.linear_scaling else 1)

    def length(self, inputs: int) -> int:
        """Optimiser steps at so many training inputs."""
        return self.steps if self.steps is not None else (self.epochs or 0) * (inputs // self.batch_size)


@functools.cache
def names_of(use: Use) -> frozenset[str]:
    """Return the training settings that are for this."""
    return frozenset(
        name
        for name, field in TrainingOptions.model_fields.items()
        if any(isinstance(entry, Use) and entry & use for entry in field.metadata)
    )
