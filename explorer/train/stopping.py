"""Early stopping of replicates, and the choice of the state to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class NoChange(Protocol):
    """Rule for when a loss counts as no longer changing: see :class:`Stopping`."""

    @property
    def change(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def after(self) -> int: ...


@dataclass(frozen=True)
class Stopping:
    """Stopping rules on the mean training loss of a pass, averaged over batches as they were trained.

    Args:
        early_stop: stop when the loss changed by at most ``change`` in each of ``epochs`` passes in a row,
            counted after pass ``after`` (Yang et al., 2021: 1e-4, 5, 30).
        stop_at_loss: stop when the loss is at most this.
        keep: ``best`` keeps the state at the end of the pass with the lowest loss, ``last`` the last state.
    """

    early_stop: NoChange | None = None
    stop_at_loss: float | None = None
    keep: str = "last"

    def __bool__(self) -> bool:
        return self != Stopping()


class LossMonitor:
    """Monitor of the losses of all models; its whole state is in ``tensors``, so it can be saved."""

    def __init__(
        self, rule: Stopping, theta: Tensor, buffers: Tensor, tensors: dict[str, Tensor] | None = None
    ):
        rows, like = len(theta), {"dtype": theta.dtype, "device": theta.device}
        self.rule = rule
        self.tensors = tensors or {
            "watch_sum": torch.zeros(rows, **like),
            "watch_last": torch.full((rows,), torch.inf, **like),
            "watch_calm": torch.zeros(rows, dtype=torch.int64, device=theta.device),
            "watch_stopped": torch.full((rows,), -1, dtype=torch.int64, device=theta.device),
            "watch_least": torch.full((rows,), torch.inf, **like),
            "watch_theta": theta.clone(),
            "watch_buffers": buffers.clone(),
        }

    def add_losses(self, loss: Tensor) -> None:
        """Add the losses (models,) of a batch."""
        self.tensors["watch_sum"] += loss.detach()

    def end_pass(self, number: int, batches: int, step: int, theta: Tensor, buffers: Tensor) -> bool:
        """Apply the rules after pass ``number`` (from 1) at ``step``; return whether all have stopped."""
        t = self.tensors
        loss = t["watch_sum"] / batches
        t["watch_sum"].zero_()
        running = t["watch_stopped"] < 0
        if self.rule.keep == "best":
            better = running & (loss < t["watch_least"])
            t["watch_least"] = torch.where(better, loss, t["watch_least"])
        else:
            better = running
        t["watch_theta"] = torch.where(better[:, None], theta, t["watch_theta"])
        t["watch_buffers"] = torch.where(better[:, None], buffers, t["watch_buffers"])
        stops = torch.zeros_like(running)
        if (rule := self.rule.early_stop) is not None:
            calm = (loss - t["watch_last"]).abs() <= rule.change
            t["watch_calm"] = torch.where(calm & (number > rule.after), t["watch_calm"] + 1, 0)
            stops |= t["watch_calm"] >= rule.epochs
        if self.rule.stop_at_loss is not None:
            stops |= loss <= self.rule.stop_at_loss
        t["watch_last"] = loss
        t["watch_stopped"] = torch.where(running & stops, step, t["watch_stopped"])
        return bool((t["watch_stopped"] >= 0).all())

    def models_to_keep(self, theta: Tensor, buffers: Tensor) -> tuple[Tensor, Tensor]:
        """Return the models to keep: the best, or the stopped ones and the others in their current state."""
        t = self.tensors
        take = torch.isfinite(t["watch_least"]) if self.rule.keep == "best" else t["watch_stopped"] >= 0
        return (
            torch.where(take[:, None], t["watch_theta"], theta),
            torch.where(take[:, None], t["watch_buffers"], buffers),
        )

    def steps_trained(self, step: int) -> list[int]:
        """Return the number of steps that each model has trained for, at ``step``."""
        stopped = self.tensors["watch_stopped"]
        return torch.where(stopped >= 0, stopped, step).tolist()
