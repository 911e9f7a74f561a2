"""Networks as functions of a matrix of parameters with one row per model.

The numerical code does not use modules. It uses ``theta`` (models, parameters), ``buffers`` (models, numbers)
and a function that maps both and an input to outputs, such as logits (models, batch, classes). So training,
curves, Lanczos and Hutchinson run for many models at once, and a single model is a matrix with one row.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vmap

from explorer.models import memory
from explorer.models.together import ContiguousPieces, TogetherBatchNorm
from explorer.models.torch_attention import differentiable_attention
from explorer.settings import Disagreement, InputError
from explorer.tasks import TASKS, Task
from explorer.users.functions import progress

Execution = Literal["stacked", "vmap", "loop"]
Forward = Callable[[Sequence[Tensor], Tensor], Tensor]
Pieces = Sequence[Tensor]  # of a parameter matrix, each (models, *shape) in the module's order
# (inputs, targets, wanted) -> mean losses (models,) if they are wanted.
Step = Callable[[Tensor, Tensor, bool], Tensor | None]
# (parameters, tensors that a step writes their gradients to) -> step.
BindGradient = Callable[[Pieces, Pieces], Step]
Derived = Callable[[int], Execution]  # of the batch size
# (theta, inputs, targets, buffers) -> losses (models,) and gradients (models, parameters).
LossAndGradient = Callable[[Tensor, Tensor, Tensor, Any], tuple[Tensor, Tensor]]
# For each tensor, all dictionaries and keys under which a module stores it.
Places = Sequence[Sequence[tuple[dict[str, Any], str]]]
# Numbers that a layer's activations may hold in one evaluation on a CPU (32 MB of float32). On a GPU, the
# limit is a share of the memory that the process may use.
MEMORY = 2**23
# Passes over the inputs until statistics other than those of BatchNorm have settled, at most.
PASSES = 100
SETTLED = 1e-5  # relative change in a pass of an average that is quick
ROUNDED = 3e-7  # relative change in a pass that is rounding
UNSETTLED = 1e-3  # relative change of outputs if averages went where they are going
FOLLOWED = 10  # passes in which a slow average is watched, twice, before it is set to where it is going
FEW = 16  # inputs of a test of what a forward pass does
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
NORMS = (*BATCH_NORMS, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


class Bound(NamedTuple):
    """A step and its gradient for one ``theta`` that is changed in place.

    ``step`` takes inputs (models or 1, batch, *shape) on the device, targets (models or 1, batch, …), and
    whether to return the mean losses (models,). ``gradient`` (models, parameters) is that of the last step.
    """

    step: Step
    gradient: Tensor


class ModelParameters(dict[str, Any]):
    """Parameters by name of one layer of :class:`Rows`, which belong to a model during its forward pass only.

    At other times they are none of any model. Only a backward pass that runs the layer again reads them then.
    """

    armed = False

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if self.armed and isinstance(value, nn.Parameter):
            raise Disagreement(
                "a backward pass runs the network again (torch.utils.checkpoint), and did not for other "
                "inputs of this number: let checkpoints depend on nothing but mode and batch size"
            )
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # copies are not of these rows


class Rows:
    """An ``nn.Module`` as a function of a matrix of models.

    Args:
        module: any module that maps (batch, *shape) to outputs (batch, …). It is copied and never changed.
        build: the function that has built ``module``. With it, ``module`` is used itself, and other modules
            are built, never copied: a copy of a module may share layers with it (a closure, a hook).
        forward: the architecture's own stacked forward, if it has one. It maps its parameters, each
            (models, *shape) in the module's order, and inputs (models, batch, *shape) to outputs.
        gradient: the architecture's own loss and gradient, if it has them. It is called with parameters that
            are changed in place, and with tensors for their gradients. It returns a step. The step takes
            inputs and targets (models or 1, batch, …), writes the gradient of the mean loss of each model to
            these tensors, and returns the losses.
        derived: the execution, by batch size, if ``forward`` cannot be differentiated and a derivative is
            needed, for a Hessian or for another loss.
        task: the task, which defines the loss of the outputs.
        recomputes: whether a backward pass runs the module again (:func:`torch.utils.checkpoint`). If None,
            a test decides for each mode and batch size when a gradient is needed.
        execution: ``stacked`` uses ``forward``; ``vmap`` and ``loop`` work for every module. All give the
            same results up to rounding. Which is fastest depends on the architecture and the device.

    Parameters that the module shares (tied weights) occur once in ``theta``. The matrix ``buffers`` holds
    everything else that may differ between models: buffers (such as BatchNorm statistics, random features or
    a flag; complex numbers count twice) and frozen parameters (``requires_grad`` is false). BatchNorm's
    counter of batches is a constant of the module.

    What a forward pass in training mode does to parameters and buffers is kept, in ``theta`` and ``buffers``,
    as :func:`torch.func.functional_call` does it. A forward pass in evaluation mode leaves no trace.
    """

    def __init__(
        self,
        module: nn.Module,
        forward: Forward | None = None,
        execution: Execution | None = None,
        gradient: BindGradient | None = None,
        task: Task = TASKS["classification"],
        derived: Derived | None = None,
        recomputes: bool | None = None,
        build: Callable[[], nn.Module] | None = None,
    ):
        self.module = (module if build else copy.deepcopy(module)).eval()
        # Forward passes may leave tensors in attributes of ``module`` that cannot be copied (spectral_norm).
        pristine = self.module if build else copy.deepcopy(self.module)
        self._new = build or (lambda: copy.deepcopy(pristine))
        self.forward, self.gradient, self.task, self.derived = forward, gradient, task, derived
        self.recomputes = recomputes
        self._tried: set[tuple[int, bool]] = set()  # batch sizes and modes in which nothing runs again
        self._writes = None if recomputes is None else False
        self.execution: Execution = execution or ("stacked" if forward else "loop")
        if self.execution == "stacked" and forward is None:
            raise ValueError("execution 'stacked' needs the architecture's own forward; use 'vmap' or 'loop'")
        parameters = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        buffers = _state(self.module)
        self.names, self._shapes = list(parameters), [p.shape for p in parameters.values()]
        self.buffer_names = list(buffers)
        self._buffer_shapes = [_real(b).shape for b in buffers.values()]
        self._dtype = next((p.dtype for p in parameters.values()), torch.float32)
        self._pieces, self._buffer_pieces = map(ContiguousPieces, (self._shapes, self._buffer_shapes))
        self._buffer_types = [None if b.dtype == self._dtype else b.dtype for b in buffers.values()]
        if recomputes is None:
            for part in self.module.modules():
                part._parameters = ModelParameters(part._parameters)
        self.places = self._places_in(self.module)
        self.norms = [m for m in self.module.modules() if isinstance(m, BATCH_NORMS)]
        self._frozen = sum(not p.requires_grad for p in self.module.parameters())
        self._activations = 0
        self._spare: nn.Module | None = None  # a module to copy
        self._changing: list[bool] | None = None
        self._counters: list[bool] = []

    @property
    def parameters(self) -> int:
        """Number of parameters of a model."""
        return sum(shape.numel() for shape in self._shapes)

    @property
    def matrices(self) -> dict[str, tuple[int, str]]:
        """Numbers of a model in each of the matrices ``theta`` and ``buffers``, and their type."""
        kind = str(self._dtype).removeprefix("torch.")
        buffers = sum(shape.numel() for shape in self._buffer_shapes)
        return {"theta": (self.parameters, kind), "buffers": (buffers, kind)}

    @property
    def layers(self) -> list[tuple[str, torch.Size]]:
        """Name and shape of each parameter of a model, in order."""
        return list(zip(self.names, self._shapes, strict=True))

    def row(self, module: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Return copies of the parameters (parameters,) and buffers (numbers,) of a module."""
        module = module or self.new_module()
        own, state = dict(module.named_parameters()), _state(module)
        pieces = [own[name].detach().flatten() for name in self.names]
        stats = [_as_numbers(name, state[name], pieces[0]) for name in self.buffer_names]
        return torch.cat(pieces), torch.cat(stats) if stats else pieces[0].new_zeros(0)

    def to_module(self, theta: Tensor, buffers: Tensor) -> nn.Module:
        """Return a new module, in evaluation mode, with parameters (parameters,) and buffers of one model."""
        module = self.new_module().to(theta.device)
        if theta.dtype != next(module.parameters()).dtype:
            # ``to`` would cast complex buffers to real ones.
            module = module.double() if theta.dtype == torch.float64 else module.to(theta.dtype)
        pieces = [*self.split(theta), *self._as_stored(self.split_buffers(buffers))]
        with torch.no_grad():
            for of_tensor, piece in zip(self._places_in(module), pieces, strict=True):
                store, key = of_tensor[0]
                assign(store[key], piece)
        return module

    def new_module(self) -> nn.Module:
        """Return a new module in evaluation mode, with parameters and buffers of no model."""
        with seeded(0):
            return self._new().eval()

    def to(self, device: torch.device | str) -> Rows:
        """Move the constants to a device."""
        for norm in self.norms if torch.device(device).type == "cuda" else ():
            if norm.momentum is not None:  # then only the counter itself uses the counter
                norm.num_batches_tracked = None
        self.module.to(device)
        self.places = self._places_in(self.module)
        return self

    def _places_in(self, module: nn.Module) -> Places:
        tensors = tensors_of(module)
        return _places(module, {name: tensors[name] for name in [*self.names, *self.buffer_names]})

    def split(self, theta: Tensor) -> list[Tensor]:
        """Return each parameter (…, *shape) of ``theta`` (…, parameters)."""
        return _split(theta, self._shapes)

    def split_buffers(self, buffers: Tensor) -> list[Tensor]:
        """Return each buffer (…, *shape) of ``buffers`` (…, numbers)."""
        return _split(buffers, self._buffer_shapes)

    def __call__(
        self, theta: Tensor, x: Tensor, buffers: Tensor | None = None, *, training: bool = False
    ) -> Tensor:
        """Return outputs (models, batch, …) of ``theta`` (models, parameters).

        Args:
            x: inputs (models, batch, *shape), or (1, batch, *shape) if all models see the same inputs. They
                are moved to the device of ``theta``.
            buffers: (models, numbers); optional if the architecture has none.
            training: use training mode, in which BatchNorm uses the batch. What the forward pass changes is
                written to ``buffers`` and ``theta``, in place.
        """
        x = x.to(theta.device, non_blocking=True)
        wanted = torch.is_grad_enabled() and (theta.requires_grad or x.requires_grad)
        execution = self.execution_of_gradient(x) if wanted else self.execution
        if execution == "stacked":
            assert self.forward is not None
            return self.forward(self.split(theta), x)
        progress()
        if self.module.training != training:
            self.module.train(training)
        if buffers is None:
            if self._buffer_shapes:
                raise ValueError("this architecture has buffers (such as BatchNorm statistics); pass them")
            buffers = theta.new_zeros(len(theta), 0)
        writes = self._writes_parameters(theta, x, buffers)
        copies = wanted and self._recomputes(theta, x, buffers)
        if execution == "vmap" and not copies and not writes:
            with differentiable_attention():
                return as_float32(self._with_vmap(theta, x, buffers, training))
        x = x.expand(len(theta), *x.shape[1:])
        by_row = zip(theta.unbind(0), buffers.unbind(0), x.unbind(0), strict=True)
        return as_float32(torch.stack([self._in_turn(*row, training, copy=copies) for row in by_row]))

    def _with_vmap(self, theta: Tensor, x: Tensor, buffers: Tensor, training: bool) -> Tensor:
        # With two models or more, and separate inputs for each, a convolution becomes one grouped
        # convolution with a group per model. Rounding of gradients of deep networks still depends on the
        # number of models.
        rows, together = len(theta), theta.device.type == "cuda" and not torch.compiler.is_compiling()
        some = max(2, rows)
        both = theta if rows > 1 else torch.cat([theta, theta])
        # vmap's BatchNorm flattens the statistics of all models. Tensors that are not contiguous would be
        # copied, and the update of the copy would be lost.
        if together:
            pieces, own = self._pieces(both), self._buffer_pieces(buffers.detach().expand(some, -1))
        else:
            pieces, stats = self.split(both), self.split_buffers(buffers)
            own = [b.expand(some, *b.shape[1:]).clone(memory_format=torch.contiguous_format) for b in stats]

        def one(pieces: Pieces, stats: Pieces, x: Tensor) -> tuple[Tensor, list[Tensor]]:
            values = [*pieces, *self._as_stored(stats)]
            with tensors_replaced(self.places, values):
                output = self.module(x)
                state = [_real(store[key].detach()) for (store, key), *_ in self.places[len(pieces) :]]
            return output, state if training else []

        with TogetherBatchNorm() if together else nullcontext():
            outputs, after = vmap(one, randomness="different")(pieces, own, x.expand(some, *x.shape[1:]))
        if after:
            buffers.copy_(torch.cat([updated[:rows].flatten(1) for updated in after], 1))
        return outputs[:rows]

    def _in_turn(self, theta: Tensor, buffers: Tensor, x: Tensor, training: bool, *, copy: bool) -> Tensor:
        """Return the outputs (batch, …) of one model; with ``copy``, its module keeps the parameters."""
        kept = [*self.split(theta), *self.split_buffers(buffers)]
        values = [*kept[: len(self.names)], *self._as_stored(kept[len(self.names) :])]
        if self._writes:  # PyTorch allows no changes in place of the parts of one tensor
            values = [value.clone() for value in values]
        elif not training:  # changes of buffers are thrown away
            first = len(self.names) + self._frozen
            values[first:] = [value.clone() for value in values[first:]]
        module = self._copy() if copy else self.module
        places = self._places_in(module) if copy else self.places
        starts = [value.data_ptr() for value in values] if training else []
        with tensors_replaced(places, values, restore=not copy):
            output = module(x)
            after = [store[key] for (store, key), *_ in places] if training else []
        homes: list[Tensor] = []
        for place, (mine, start, new) in enumerate(zip(kept, starts, after, strict=False)):
            if new is mine and new.data_ptr() == start:
                continue  # unchanged, or changed in place
            new = _real(new)
            if new.shape != mine.shape:
                raise InputError(
                    f"a forward pass changes the shape of a parameter or buffer of the network, from "
                    f"{tuple(mine.shape)} to {tuple(new.shape)}; its shape must stay the same"
                )
            # ``p.data = …`` has moved ``mine`` elsewhere, so the matrices are split anew.
            homes = homes or [*self.split(theta), *self.split_buffers(buffers)]
            homes[place].data.copy_(new.detach())
        return output

    def _copy(self) -> nn.Module:
        """Return another module in the same mode, by copying if that is proved to give the same."""
        if self._spare is None:
            module = self.new_module().to(next(self.module.parameters()).device)
        else:
            shared = itertools.chain(self._spare.parameters(), self._spare.buffers())
            module = copy.deepcopy(self._spare, {id(tensor): tensor for tensor in shared})
        for part, own in zip(module.modules(), self.module.modules(), strict=True):
            part.training = own.training
        return module

    @contextmanager
    def _trial(self) -> Iterator[None]:
        """Put the module in training mode within this block; restore its mode and constants afterwards."""
        mode, own = self.module.training, set(self.buffer_names)
        buffers = [buffer for name, buffer in self.module.named_buffers() if name not in own]
        constants = [buffer.clone() for buffer in buffers]
        self.module.train()  # checkpointing, for example, is often left out in evaluation mode
        try:
            yield
        finally:
            self.module.train(mode)
            with torch.no_grad():
                for buffer, value in zip(buffers, constants, strict=True):
                    buffer.copy_(value)

    def _recomputes(self, theta: Tensor, x: Tensor, buffers: Tensor) -> bool:
        """Return whether a backward pass runs the module again, as :func:`torch.utils.checkpoint` does.

        Such a module must keep the parameters of its model until after the backward pass. The test compares
        gradients with and without, once for each mode and batch size. The decision stands for all later ones.
        """
        training = self.module.training
        if self.recomputes is not None or (x.shape[1], training) in self._tried:
            return bool(self.recomputes)
        self._tried.add((x.shape[1], training))
        self._arm()

        def gradient(*, with_copy: bool) -> Tensor:
            leaf = (1.1 * theta[0] + 0.01).detach().requires_grad_()  # not the module's own
            stats = buffers[0].detach().clone()
            with self._trial(), torch.enable_grad(), seeded(0, theta.device):
                self.module.train(training)
                output = self._in_turn(leaf, stats, x[0].detach(), training, copy=with_copy)
                return torch.autograd.grad(output.float().square().mean(), leaf)[0]

        def agrees(*, with_copy: bool) -> bool:
            try:
                return torch.allclose(gradient(with_copy=with_copy), right, rtol=1e-3, equal_nan=True)
            except (RuntimeError, Disagreement):
                return False

        right = gradient(with_copy=True)
        if not agrees(with_copy=False):
            self.recomputes, self._spare = True, self.new_module().to(theta.device)
            if not agrees(with_copy=True):
                self._spare = None
        return bool(self.recomputes)

    def _arm(self) -> None:
        """From now on, raise an error if a backward pass runs the module itself again."""
        for part in self.module.modules():
            if isinstance(part._parameters, ModelParameters):
                part._parameters.armed = True

    def _writes_parameters(self, theta: Tensor, x: Tensor, buffers: Tensor) -> bool:
        """Return whether a forward pass changes parameters, by a test on a few inputs."""
        if self._writes is None:
            after, stats = theta[0].detach().clone(), buffers[0].detach().clone()
            try:
                with self._trial(), torch.no_grad(), seeded(0, theta.device):
                    self._in_turn(after, stats, x[0, :FEW].detach(), True, copy=False)
            except Exception:  # too few inputs for BatchNorm, for example: the next call decides
                return False
            self._writes = not torch.equal(after, theta[0])
        return self._writes

    def execution_of_gradient(self, x: Tensor) -> Execution:
        """Return the execution that is used if a derivative is needed."""
        stacked = self.execution == "stacked"
        return self.derived(x.shape[1]) if stacked and self.derived is not None else self.execution

    def _as_stored(self, stats: Sequence[Tensor]) -> list[Tensor]:
        """Return the pieces of ``buffers`` in the types in which the module stores them."""
        return [
            piece
            if kind is None
            else torch.complex(*piece.unbind(-1)).to(kind)
            if kind.is_complex
            else piece.to(kind)
            for piece, kind in zip(stats, self._buffer_types, strict=True)
        ]

    def bound(self, theta: Tensor) -> Bound | None:
        """Return the architecture's own gradient for a ``theta`` that is changed in place, or None.

        ``theta`` is split once for all steps, and gradients are written to their final place.
        """
        if self.execution != "stacked" or self.gradient is None:
            return None
        gradient = torch.empty_like(theta)
        return Bound(self.gradient(self.split(theta), self.split(gradient)), gradient)

    def loss_gradient(
        self, theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss (models,) of a batch in training mode, and its gradient (models, parameters).

        Args:
            x: inputs (models or 1, batch, *shape); ``y``: targets (models or 1, batch, …).
            buffers: (models, numbers), updated in place.
        """
        if (bound := self.bound(theta)) is not None:
            with torch.inference_mode():  # avoids version counters too, a fifth of such a step
                losses = bound.step(x.to(theta.device), y, True)
                assert losses is not None
                return losses, bound.gradient
        if self.execution_of_gradient(x) == "loop" and len(theta) > 1:
            return one_by_one(self.loss_gradient, theta, x, y, buffers)
        leaf = theta.detach().requires_grad_()
        losses = self.task.loss(self(leaf, x, buffers, training=True), y)
        return losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]

    def output_sizes(self, x: Tensor, *, leaves: bool = False) -> list[int]:
        """Return the sizes of the input and of each layer's output, for one input of ``x`` (inputs, *shape).

        With ``leaves``, layers that consist of other layers are left out.
        """
        sizes = [x[0].numel()]

        def add(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                sizes.append(output.numel())

        layers = [m for m in self.module.modules() if not leaves or not list(m.children())]
        hooks = [layer.register_forward_hook(add) for layer in layers]
        mode, weight = self.module.training, next(self.module.parameters())
        own = [dict.__getitem__(store, key).clone() for (store, key), *_ in self.places]
        try:
            with torch.no_grad(), tensors_replaced(self.places, own):
                dtype = weight.dtype if x.is_floating_point() else x.dtype  # token ids stay integers
                self.module.eval()(x[:1].to(weight.device, dtype))
        finally:
            self.module.train(mode)
            for hook in hooks:
                hook.remove()
        return sizes

    def activations(self, x: Tensor) -> int:
        """Return the size of the largest layer output for one input of ``x`` (inputs, *shape); cached."""
        self._activations = self._activations or max(self.output_sizes(x))
        return self._activations

    def chunks(self, x: Tensor) -> list[slice]:
        """Return slices of the inputs (inputs, *shape) for which one model fits into the memory budget.

        The slices do not depend on the number of models, because the rounding of a mean depends on its
        chunks.
        """
        return list(self._slices(len(x), self.budget() // self.activations(x)))

    def blocks(self, rows: int, x: Tensor) -> Iterator[tuple[slice, slice]]:
        """Yield slices of ``rows`` models and of the inputs (:meth:`chunks`) that fit into the budget."""
        return blocks(rows, self.chunks(x), self.budget() // self.activations(x))

    def budget(self) -> int:
        """Return how many numbers a layer's activations may hold on the device of this network."""
        device = next(self.module.parameters()).device
        return memory.floats_at_once(memory.card_bytes(device), MEMORY, memory.EVALUATION)

    @staticmethod
    def _slices(inputs: int, size: int) -> Iterator[slice]:
        # Slices of about equal size, with at least 2 inputs: BatchNorm cannot take the variance of one.
        count = min(-(-inputs // max(1, size)), max(1, inputs // 2))
        for part in range(count):
            yield slice(inputs * part // count, inputs * (part + 1) // count)

    @torch.no_grad()
    def outputs(self, theta: Tensor, x: Tensor, buffers: Tensor | None = None) -> Tensor:
        """Return outputs (models, inputs, …) of inputs (inputs, *shape) in evaluation mode, in chunks."""
        return self._in_blocks(lambda outputs: outputs, theta, x, buffers)

    @torch.no_grad()
    def answers(self, theta: Tensor, x: Tensor, buffers: Tensor | None = None) -> Tensor:
        """Return the task's answers (models, inputs, …) to inputs (inputs, *shape), in chunks."""
        return self._in_blocks(self.task.answers, theta, x, buffers)

    def _in_blocks(
        self, of: Callable[[Tensor], Tensor], theta: Tensor, x: Tensor, buffers: Tensor | None
    ) -> Tensor:
        def compute(rows: slice, part: slice) -> Tensor:
            return of(self(theta[rows], x[None, part], None if buffers is None else buffers[rows]))

        return join_blocks(self.blocks(len(theta), x), compute)

    @torch.no_grad()
    def changing(self, theta: Tensor, buffers: Tensor, x: Tensor) -> list[bool]:
        """Return which buffers are statistics, by a test on a few inputs.

        A forward pass in training mode changes a statistic, and how depends on inputs or parameters. Buffers
        that it always changes in the same way are counters (of steps, a temperature that falls).
        """
        if self._changing is None:
            self._changing, self._counters = [], []
            after = [buffers[:1].clone() for _ in range(2)]
            if self.buffer_names:
                with self._trial(), seeded(0, theta.device):
                    self(theta[:1].clone(), x[None, :FEW], after[0], training=True)
                with self._trial(), seeded(0, theta.device):
                    self(1.1 * theta[:1] + 0.01, x[None, -FEW:].flip(1), after[1], training=True)
            for before, now, other in zip(*map(self.split_buffers, (buffers[:1], *after)), strict=True):
                changes, always = not torch.equal(before, now), torch.equal(now, other)
                self._changing.append(changes and not always)
                self._counters.append(changes and always)
        return self._changing

    @torch.no_grad()
    def different_constants(self, theta: Tensor, a: Tensor, b: Tensor, x: Tensor) -> list[str]:
        """Return the names of buffers other than statistics that two models do not share.

        ``a``, ``b``: buffers (numbers,) of the models. No path between such models is meaningful: random
        features, for example, are drawn once for each model. A counter counts only if it changes outputs.
        """
        changing, names, inputs = self.changing(theta[None], a[None], x), [], x[None, :FEW]
        for place, (one, other) in enumerate(zip(self.split_buffers(a), self.split_buffers(b), strict=True)):
            if changing[place] or torch.equal(one, other):
                continue
            if self._counters[place]:
                moved = a.clone()
                self.split_buffers(moved)[place].copy_(other)
                outputs = [self(theta[None], inputs, stats[None]) for stats in (a, moved)]
                if torch.equal(*outputs):
                    continue
            names.append(self.buffer_names[place])
        return names

    @torch.no_grad()
    def estimate_buffers(self, theta: Tensor, buffers: Tensor, x: Tensor) -> Tensor:
        """Re-estimate the statistics (models, numbers) of ``theta`` on inputs (inputs, *shape).

        Every statistic (:meth:`changing`) is estimated; other buffers are returned unchanged. For BatchNorm,
        the estimate is a cumulative average over batches, weighted by their size, as in stochastic weight
        averaging (Izmailov et al., 2018). Other buffers take what forward passes in training mode make of
        them, until a pass over the inputs changes them no more; slow averages get there by extrapolation.
        Only layers with such buffers are in training mode, so dropout layers draw nothing.

        Normalisation uses the statistics of each batch, so the estimate depends on the batches. They are as
        large as ``MEMORY`` allows for one model. So they depend only on the architecture, neither on the
        other models nor on the device.
        """
        return self._settle(theta, buffers, x)[0]

    @torch.no_grad()
    def unsettled(self, theta: Tensor, buffers: Tensor, x: Tensor) -> list[list[str]]:
        """Return for each model the statistics that :meth:`estimate_buffers` has not settled.

        They would still change the outputs, by where their last passes say that they are going. BatchNorm's
        need one pass.
        """
        found: list[list[str]] = [[] for _ in theta]
        if all(layer in self.norms for layer in self._layers_with_statistics(theta, buffers, x)):
            return found
        estimate, rest = self._settle(theta, buffers, x)
        for row in range(len(theta) if rest.any() else 0):
            ends = [stats[row : row + 1] for stats in (estimate, estimate + rest)]
            now, later = (self(theta[row : row + 1], x[None, :FEW], stats) for stats in ends)
            if not (now - later).abs().max() <= UNSETTLED * (1 + now.abs().max()):
                pieces = zip(self.buffer_names, self.split_buffers(rest[row]), strict=True)
                found[row] = [name for name, piece in pieces if piece.any()]
        return found

    def _layers_with_statistics(self, theta: Tensor, buffers: Tensor, x: Tensor) -> list[nn.Module]:
        names = zip(self.buffer_names, self.changing(theta, buffers, x), strict=True)
        owners = {name.rpartition(".")[0] for name, changes in names if changes}
        return [layer for name, layer in self.module.named_modules() if name in owners]

    def _settle(self, theta: Tensor, buffers: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the estimated statistics and how far each will still go, both (models, numbers)."""
        layers = self._layers_with_statistics(theta, buffers, x)
        if not layers:
            return buffers, torch.zeros_like(buffers)
        settle = any(layer not in self.norms for layer in layers)
        size = MEMORY // self.activations(x)
        if settle:  # averages that move a little with each batch need many batches
            size = min(size, max(32, len(x) // 10))
        batches = list(self._slices(len(x), size))
        some = models_per_chunk(batches, self.budget() // self.activations(x))
        pieces = zip(theta.split(some), buffers.split(some), strict=True)
        parts = [self._estimated(t, b.clone(), x, batches, layers, settle) for t, b in pieces]
        estimate, rest = map(torch.cat, zip(*parts, strict=True))
        return estimate, rest

    def _estimated(
        self,
        theta: Tensor,
        buffers: Tensor,
        x: Tensor,
        batches: Sequence[slice],
        layers: Sequence[nn.Module],
        settle: bool,
    ) -> tuple[Tensor, Tensor]:
        momenta, start = [norm.momentum for norm in self.norms], buffers.clone()
        counters = [place for place, counts in enumerate(self._counters) if counts]
        self.module.train()
        for part in self.module.modules():  # other layers are in evaluation mode, without dropout
            part.training = part is self.module or part in layers
        try:
            with seeded(0, theta.device):
                marks = [buffers.clone()]
                rest, change, largest, share = (torch.zeros_like(buffers) for _ in range(4))
                for number in range(1, PASSES + 1 if settle else 2):
                    last, seen = buffers.clone(), 0
                    for part in batches:
                        piece = x[None, part]
                        seen += piece.shape[1]
                        for norm in self.norms:
                            norm.momentum = piece.shape[1] / seen
                        self(theta, piece, buffers, training=True)
                        for place in counters:
                            self.split_buffers(buffers)[place].copy_(self.split_buffers(start)[place])
                    before, change, size = change, (buffers - last).abs(), 1 + buffers.abs()
                    quick = (change <= SETTLED * size) & (change < 0.9 * before)
                    if (quick | (change <= ROUNDED * size)).all():
                        rest.zero_()
                        break
                    if number % FOLLOWED == 0:
                        marks.append(buffers.clone())
                    if len(marks) == 3:
                        earlier, later = marks[1] - marks[0], marks[2] - marks[1]
                        # Of small changes, rounding is a large part: the share is that of the largest one.
                        share = torch.where(earlier.abs() > largest, later / earlier, share)
                        largest = largest.maximum(earlier.abs())
                        rest = _rest(later, share)
                        rest[change <= ROUNDED * size] = 0
                        if number < PASSES:
                            buffers += rest.where(rest.isfinite(), 0.0)
                            marks, change = [buffers.clone()], torch.zeros_like(buffers)
        finally:
            for norm, momentum in zip(self.norms, momenta, strict=True):
                norm.momentum = momentum
            self.module.eval()
        return buffers, rest


def _rest(change: Tensor, share: Tensor) -> Tensor:
    """Return how far averages will still go whose changes shrink to a ``share`` each time, after ``change``.

    An average that follows a value slowly keeps the same share of its distance in each pass. The result is
    infinite if the changes do not shrink, and 0 if they change their sign.
    """
    rest = change * share / (1 - share).clamp_min(1e-4)
    return torch.where(share < 1, rest.where(share > 0, 0.0), change.sign() * torch.inf).nan_to_num(
        0.0, torch.inf, -torch.inf
    )


def models_per_chunk(parts: Sequence[slice], size: int) -> int:
    """Return how many models fit at once with any of these slices, if one model fits with ``size`` inputs."""
    return max(1, size // max((part.stop - part.start for part in parts), default=1))


def blocks(rows: int, parts: Sequence[slice], size: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of models, each with every slice of the inputs (see :func:`models_per_chunk`)."""
    some = models_per_chunk(parts, size)
    for start in range(0, rows, some):
        for part in parts:
            yield slice(start, min(start + some, rows)), part


def join_blocks(blocks: Iterable[tuple[slice, slice]], compute: Callable[[slice, slice], Tensor]) -> Tensor:
    """Return (models, inputs, …), computed for each block of models and inputs (:func:`blocks`)."""
    found: dict[int, list[Tensor]] = {}
    for rows, part in blocks:
        found.setdefault(rows.start, []).append(compute(rows, part))
    return torch.cat([torch.cat(parts, dim=1) for parts in found.values()])


def select_rows(values: Tensor, rows: slice) -> Tensor:
    """Return the values (models, …) of some models, or the values (1, …) that all models share."""
    return values[rows] if len(values) > 1 else values


def one_by_one(
    gradient: LossAndGradient,
    theta: Tensor,
    x: Tensor,
    y: Tensor,
    buffers: Tensor | None,
    seeds: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Call ``gradient`` for each model separately, with a seed of torch's global generators for each.

    The graph of a model is freed before the next is built, so memory does not grow with the models.
    """
    losses, gradients = theta.new_empty(len(theta)), torch.empty_like(theta)
    for row in range(len(theta)):
        rows = slice(row, row + 1)
        with seeded(seeds[row], theta.device) if seeds else nullcontext():
            losses[rows], gradients[rows] = gradient(
                theta[rows],
                select_rows(x, rows),
                select_rows(y, rows),
                None if buffers is None else buffers[rows],
            )
    return losses, gradients


def _split(matrix: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    # The backward of one split is one concatenation; each slice would need a padded matrix.
    pieces, leading = matrix.split([s.numel() for s in shapes], dim=-1), matrix.shape[:-1]
    return [p if len(s) == 1 else p.view(leading + s) for p, s in zip(pieces, shapes, strict=True)]


def _places(module: nn.Module, tensors: dict[str, Any]) -> Places:
    """Return where the module stores each tensor; a tied weight is stored in several places."""
    found: dict[int, list[tuple[dict[str, Any], str]]] = {}
    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for key, value in store.items():
                found.setdefault(id(value), []).append((store, key))
    return [found[id(tensor)] for tensor in tensors.values()]


@contextmanager
def tensors_replaced(places: Places, pieces: Sequence[Tensor], *, restore: bool = True) -> Iterator[None]:
    """Replace tensors of a module within this block, or (without ``restore``) for good.

    The same as :func:`torch.func.functional_call`, but without looking parameters up by name each time, which
    alone takes a fifth of a step of a small convolutional network.
    """
    before = (
        [(store, key, store.get(key)) for of_tensor in places for store, key in of_tensor] if restore else []
    )
    try:
        for of_tensor, piece in zip(places, pieces, strict=True):
            for store, key in of_tensor:
                store[key] = piece
        yield
    finally:
        for store, key, value in before:
            store[key] = value


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a module that are not trained and may differ between models."""
    counters = {
        f"{name}.num_batches_tracked" if name else "num_batches_tracked"
        for name, part in module.named_modules()
        if isinstance(part, NORMS) and part.momentum is not None
    }
    frozen = {name: p for name, p in module.named_parameters() if not p.requires_grad}
    buffers = {name: b for name, b in module.named_buffers() if name not in counters}
    return {**frozen, **buffers}


def as_float32(outputs: Tensor) -> Tensor:
    """Return outputs of half precision (autocast within a network) in float32, as losses need them."""
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs


def _real(value: Tensor) -> Tensor:
    """Return complex numbers (…) as real numbers (…, 2), and other numbers unchanged."""
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a module by name."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def assign(tensor: Tensor, value: Tensor) -> None:
    """Give a parameter or buffer a value, also if its elements share memory (an expanded buffer)."""
    if 0 in tensor.stride():
        tensor.data = value.detach().clone()
    else:
        tensor.copy_(value)


def _as_numbers(name: str, value: Tensor, like: Tensor) -> Tensor:
    """Return a buffer as numbers (size,) of the type of the parameters.

    Raises:
        InputError: the buffer has whole numbers that this type does not hold.
    """
    numbers = _real(value.detach()).flatten().to(like)
    whole = not value.is_floating_point() and not value.is_complex()
    if whole and not torch.equal(numbers.to(value.dtype), value.flatten()):
        raise InputError(
            f"the buffer {name!r} has whole numbers that {like.dtype} cannot hold; store them as a Python "
            "attribute if they are the same in all models, or as smaller numbers"
        )
    return numbers


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generators, also that of ``device``, within this block; restore them afterwards."""
    with torch.random.fork_rng(devices=[device] if device is not None and device.type == "cuda" else []):
        if torch.cuda.is_available():
            torch.manual_seed(seed)
        else:  # torch.manual_seed would keep a stack trace for each missing kind of device
            torch.default_generator.manual_seed(seed)
        yield


def initial_rows(build: Callable[[], nn.Module], rows: Rows, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return freshly initialised models: ``theta`` (seeds, parameters), ``buffers`` (seeds, numbers)."""
    thetas, buffers = [], []
    for seed in seeds:
        with seeded(seed):
            theta, stats = rows.row(build())
        thetas.append(theta)
        buffers.append(stats)
    return torch.stack(thetas), torch.stack(buffers)
