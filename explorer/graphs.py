"""A step as a graph: captured once, then replayed by a single call (CUDA graphs).

A step of a small network on a card is some dozens of kernels that take less time than their launches.
Replayed as a graph they cost one launch. A graph is a list of kernels with fixed addresses and fixed
numbers: a step can be one only if it reads and writes tensors that stay where they are, and nothing else of
it changes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from explorer.settings import in_a_line

WARM_UP = 2  # steps before the capture: libraries start and choose their kernels in them


class Recorder(Protocol):
    """What makes graphs of work on a kind of device."""

    def beside(self, work: Callable[[], None]) -> None:
        """Do it, where the capture will be done; what follows waits for it."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record it, without doing it; returns what does it."""
        ...


class Cuda:
    """All that is asked of ``torch.cuda`` here."""

    def __init__(self, device: torch.device):
        self.device, self.stream = device, _stream(device)

    def beside(self, work: Callable[[], None]) -> None:
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            work()
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        # The outer one comes back to the stream before even where the end of a capture fails.
        with torch.cuda.stream(self.stream), torch.cuda.graph(graph, stream=self.stream):
            work()
        return graph.replay


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    # One for all: libraries keep memory for each stream that they have worked on.
    return torch.cuda.Stream(device)


RECORDERS: dict[str, Callable[[torch.device], Recorder]] = {"cuda": Cuda}  # by kind of device


def known(device: torch.device) -> bool:
    """Whether there are graphs on this device."""
    return device.type in RECORDERS


class Replayed:
    """Work that is done as it is at first, then captured, and replayed from then on.

    What cannot be captured goes on being done as it is; ``failed`` says why.

    Args:
        work: a function of tensors that keep their shapes from call to call. All else that it reads must
            stay the same, or be changed in place.
    """

    def __init__(self, work: Callable[..., None], device: torch.device):
        self.work, self.recorder = work, RECORDERS[device.type](device)
        self.calls = self.replayed = 0
        self.failed = ""
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None

    def __call__(self, *inputs: Tensor) -> None:
        self.calls += 1
        if self.calls <= WARM_UP:
            self.recorder.beside(lambda: self.work(*inputs))
            return
        if self._replay is None and not self.failed:
            self._capture(inputs)
        if self._replay is None:
            self.work(*inputs)
            return
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._replay()
        self.replayed += 1

    def _capture(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = [given.clone() for given in inputs]
        try:
            self._replay = self.recorder.capture(lambda: self.work(*self._inputs))
        # Whatever it was: nothing has been computed yet, and the work has gone well without a graph.
        except Exception as error:
            self.failed = in_a_line(error)
