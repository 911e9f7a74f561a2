"""Comparison of what Explorer computes with the module itself, in plain PyTorch.

Explorer trains and measures networks as functions of a matrix of parameters, and has fast paths for some.
These checks compare a few of its results with those of a module that the user's own function has built anew
and that gets the parameters and buffers of a model. The expected value comes from this module and PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from explorer.models.draws import draws_random_numbers
from explorer.models.outside import GENERATORS, differing, values_outside
from explorer.models.rows import Rows, as_float32, assign, seeded, tensors_of
from explorer.models.torch_attention import differentiable_attention
from explorer.settings import Disagreement, InputError
from explorer.tasks import Task

TOLERANCE = 1e-3  # relative; of losses and outputs. Rounding is a thousandth of this
GRADIENT_TOLERANCE = 1e-2  # relative, in norm: gradients of deep networks round more
INPUTS = 64  # inputs of a check, at most
HESSIAN_TOLERANCE = 0.05  # relative, in norm
SIZES = (1e-5, 3e-6)  # of the differences of gradients
CALLS = 8  # forward passes after which a module is compared with a new one
SAMPLE = 1000  # inputs of the check of a recorded loss, at most


def plain_loss(task: Task, outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean loss of outputs (inputs, …) and targets (inputs, …), by PyTorch's own functions."""
    outputs = as_float32(outputs)
    if task.by_token:
        return functional.cross_entropy(outputs.flatten(0, -2), y.flatten(), ignore_index=-100)
    if task.name == "regression":
        scored = ~y.isnan()
        return functional.mse_loss(outputs[scored], y[scored])
    return functional.cross_entropy(outputs, y)


def check_reloading(build: Callable[[], nn.Module], x: Tensor) -> None:
    """Check that a module is a function of its parameters, its buffers and one input.

    A module that has seen inputs ``x`` (inputs, *shape) is compared with a new one that gets its parameters
    and buffers.

    Raises:
        InputError: their outputs differ, and the message names the attributes that hold the rest of the
            state; or an output depends on the other inputs of its batch; or a forward pass changes ``x``.
    """
    half, given = max(1, len(x) // 2), x.clone()
    with seeded(1):
        used = build().train()
        _check_seeded(used, build)
        trained = {name: p.requires_grad for name, p in used.named_parameters()}
    with seeded(1):
        first = used(x[:half])
        _check_inputs_kept(x, given)
        if not isinstance(first, Tensor):
            raise InputError(
                f"in training mode, the network returns {type(first).__name__}; it should return one tensor, "
                "as in evaluation mode"
            )
        before = values_outside(used)
        for _ in range(CALLS - 1):
            used(x[:half])
        changed = differing(before, values_outside(used)) or _changed_in_a_repetition(used, x[:half])
        _check_same_trained(used, trained)
    with seeded(2):
        fresh = build()
    state, target = tensors_of(used), tensors_of(fresh)
    if state.keys() != target.keys() or any(state[n].shape != target[n].shape for n in state):
        raise InputError(
            "a forward pass, or the random initialisation, changes which parameters and buffers the network "
            "has, or their shapes; they must always be the same"
        )
    for name, tensor in state.items():
        if tensor.numel() and tensor.data_ptr() == target[name].data_ptr():
            raise InputError(
                f"two networks share {name!r}, because the function does not build all layers anew; build "
                "them inside the function, or copy them with copy.deepcopy"
            )
    with torch.no_grad(), seeded(4):
        used.eval()
        stats = {name: buffer.clone() for name, buffer in used.named_buffers()}
        alone = used(x[:half])
        _check_inputs_kept(x, given)
        before = values_outside(used)
        again = used(x[:half])
        for name, buffer in used.named_buffers():
            if not torch.equal(buffer, stats[name]):
                raise InputError(
                    f"a forward pass in evaluation mode changes the buffer {name!r}; change it only if "
                    "self.training is true"
                )
        changed = changed or differing(before, values_outside(used))
        together = used(x)[:half]
        _check_same_trained(used, trained)
        if not _close(alone, again, TOLERANCE) and not changed:
            raise InputError(
                "in evaluation mode, the network gives other outputs for the same inputs each time: it draws "
                "random numbers, or keeps state somewhere. Draw only if self.training is true, as in "
                "functional.dropout(x, p, self.training)"
            )
        if alone.shape == together.shape and not changed and not _close(alone, together, TOLERANCE):
            raise InputError(
                "in evaluation mode, the output for an input depends on the other inputs of the batch: "
                "usually a BatchNorm without running statistics, or attention that takes the batch for the "
                "sequence (batch_first=False)"
            )
        _give(fresh, state)
        names = changed or differing(values_outside(used), values_outside(fresh), results=True)
        same = True
        for training in (False, True):
            outputs = []
            for module in (used, fresh):
                with seeded(3):
                    outputs.append(module.train(training)(x[half:] if len(x) > 1 else x))
            same = same and _close(outputs[0], outputs[1], TOLERANCE)
        if same and not changed:
            _check_other_parameters(build, used, x)
    if drawn := [name for name in GENERATORS if name in changed]:
        raise InputError(
            f"a forward pass draws random numbers from {drawn[0]}, which the seed of a model does not "
            "govern; use torch's, such as torch.rand or functional.dropout"
        )
    if changed or not same:
        where = " (or draws random numbers that are not torch's)"
        if names:
            where = f" (see {', '.join(names[:3])})"
        how = "a forward pass changes it" if changed else "with the same ones, two instances differ"
        raise InputError(
            f"the network keeps state outside its parameters and buffers{where}: {how}. Such state is not "
            "saved, and models that run side by side share it. Keep what belongs to a model as a tensor, "
            "with self.register_buffer(name, tensor), and remove what has no effect"
        )


def _check_seeded(module: nn.Module, build: Callable[[], nn.Module]) -> None:
    """Check that a new module, built with the same seed, is the same; raise InputError if not."""
    with seeded(1):
        twin = build()
    for (name, one), other in zip(tensors_of(module).items(), tensors_of(twin).values(), strict=False):
        if one.shape == other.shape and not torch.equal(one.nan_to_num(), other.nan_to_num()):
            raise InputError(
                f"with the same seed, two networks start with different {name!r}: the function draws random "
                "numbers that are not torch's, or uses what earlier calls have left; draw with torch"
            )


def _give(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a module's parameters and buffers the values of ``state``."""
    for name, tensor in tensors_of(module).items():
        assign(tensor, state[name])


@torch.no_grad()
def _changed_in_a_repetition(module: nn.Module, x: Tensor) -> list[str]:
    """Return what two passes over the same inputs leave different, from equal parameters and buffers."""
    start = {name: tensor.clone() for name, tensor in tensors_of(module).items()}
    values = []
    for _ in range(2):
        _give(module, start)
        with seeded(1):
            module(x)
        values.append(values_outside(module))
    return differing(*values, results=True)


def _check_same_trained(module: nn.Module, trained: dict[str, bool]) -> None:
    """Raise InputError if a forward pass has changed which parameters are trained."""
    for name, p in module.named_parameters():
        if p.requires_grad != trained.get(name, p.requires_grad):
            raise InputError(
                f"a forward pass changes requires_grad of {name!r}; freeze parameters when the network is "
                "built, since all steps train the same ones"
            )


def _check_inputs_kept(x: Tensor, given: Tensor) -> None:
    """Raise InputError if a forward pass has changed its inputs."""
    if not torch.equal(x, given):
        raise InputError(
            "a forward pass changes its inputs in place, and these are the data of all models; compute new "
            "ones, as in x = x - 1 in place of x -= 1, without inplace=True in the first layer"
        )


def _check_other_parameters(build: Callable[[], nn.Module], used: nn.Module, x: Tensor) -> None:
    """Check that a module in evaluation mode follows its parameters, which this changes.

    Raises:
        InputError: its outputs are not those of a new module with the same parameters and buffers.
    """
    used.eval()(x)
    for parameter in used.parameters():
        if parameter.is_floating_point():
            assign(parameter, 1.1 * parameter + 0.01)
    with seeded(2):
        fresh = build().eval()
    _give(fresh, tensors_of(used))
    if not _close(used(x), fresh(x), TOLERANCE):
        raise InputError(
            "in evaluation mode, the network keeps something that it has computed from its parameters, and "
            "uses it after these have changed; compute it in every forward pass, since models take turns in "
            "one network"
        )


def check_gradient(network: Rows, theta: Tensor, buffers: Tensor, x: Tensor, y: Tensor) -> None:
    """Check the loss and gradient of a batch, and what training mode does to the buffers, of two models.

    Args:
        theta, buffers: models (models, parameters), (models, numbers); the first and the last are checked.
        x: inputs (inputs, *shape); ``y``: targets (inputs, …); at most :data:`INPUTS` are used.

    Raises:
        Disagreement: they are not those of the module with plain automatic differentiation.
    """
    rows = sorted({0, len(theta) - 1})
    x, y = x[:INPUTS].to(theta.device), y[:INPUTS]
    # Random draws differ between one module and several, so a network with dropout is compared without.
    training = not draws_random_numbers(network, theta, buffers, x)
    point, after = theta[rows].clone(), buffers[rows].clone()
    if training:
        losses, gradients = network.loss_gradient(point, x[None], y[None], after)
    else:
        leaf = theta[rows].detach().requires_grad_()
        losses = network.task.loss(network(leaf, x[None], after), y[None])
        gradients = torch.autograd.grad(losses.sum(), leaf)[0]
    for place, row in enumerate(rows):
        module = network.to_module(theta[row], buffers[row]).train(training)
        loss = plain_loss(network.task, module(x), y)
        trained = [p for p in module.parameters() if p.requires_grad]
        loss.backward()  # as a training loop does, so that hooks of parameters run
        found = [p.grad.to_dense() if p.grad is not None and p.grad.is_sparse else p.grad for p in trained]
        without = [gradient is None for gradient in found]
        if any(without) and not training:  # some layers have gradients in training mode only
            with seeded(0, theta.device):
                trial = network.to_module(theta[row], buffers[row]).train()
                own = [p for p in trial.parameters() if p.requires_grad]
                again = torch.autograd.grad(plain_loss(network.task, trial(x), y), own, allow_unused=True)
            without = [none and gradient is None for none, gradient in zip(without, again, strict=True)]
        _check_trained(network, theta[row], buffers[row], x, without)
        pieces = [torch.zeros_like(p) if g is None else g for p, g in zip(trained, found, strict=True)]
        expected = torch.cat([piece.flatten() for piece in pieces])
        if not (loss.isfinite() and expected.isfinite().all()):
            continue  # the record will say that the model diverges
        if not _close(losses[place].detach(), loss.detach(), TOLERANCE):
            raise Disagreement(
                f"the loss of a batch is {losses[place].item():.6g}, and that of the module itself is "
                f"{loss.item():.6g}: usually the outputs depend on something besides "
                "parameters, buffers and inputs"
            )
        apart = (gradients[place] - expected).norm() / expected.norm().clamp_min(1e-12)
        if apart > GRADIENT_TOLERANCE and expected.norm() > 1e-6:
            raise Disagreement(
                f"the gradient differs from that of the module itself by {100 * apart.item():.3g} %: "
                "usually a hook changes the gradients of parameters, the backward pass runs code of its own "
                "(such as torch.utils.checkpoint with use_reentrant=True), or the forward pass changes "
                "parameters"
            )
        for what, mine, own in zip(
            ("parameters", "buffers"), (point[place], after[place]), network.row(module), strict=True
        ):
            if training and not _close(mine, own, TOLERANCE):
                raise Disagreement(
                    f"a forward pass in training mode leaves other {what} than in the module itself: usually "
                    "a tensor is changed in a way that its module does not show"
                )


def check_hessian(
    network: Rows, theta: Tensor, buffers: Tensor, x: Tensor, y: Tensor, product: Tensor
) -> None:
    """Check a product of the Hessian of one model with a vector of ones.

    The gradient's change along this vector, by differences in double precision, is compared with it. If
    differences of two sizes disagree (kinks; a network that computes in single precision), nothing is said.

    Args:
        theta, buffers: one model, (parameters,) and (numbers,).
        product: (parameters,).

    Raises:
        Disagreement: the product differs.
    """
    double, stats, inputs = theta.double(), buffers.double(), x.double() if x.is_floating_point() else x
    targets = y.double() if y.is_floating_point() else y

    def gradient(point: Tensor) -> Tensor:
        module = network.to_module(point, stats)
        trained = [p for p in module.parameters() if p.requires_grad]
        loss = plain_loss(network.task, module(inputs), targets)
        found = torch.autograd.grad(loss, trained, allow_unused=True)
        pieces = [torch.zeros_like(p) if g is None else g for p, g in zip(trained, found, strict=True)]
        return torch.cat([piece.flatten() for piece in pieces])

    try:
        with differentiable_attention():
            changes = [(gradient(double + size) - gradient(double - size)) / (2 * size) for size in SIZES]
    except Exception:  # the network takes no double precision
        return
    noise, expected = (changes[0] - changes[1]).norm(), changes[1]
    apart = (product.double() - expected).norm()
    if apart > max(10 * noise, HESSIAN_TOLERANCE * expected.norm(), 1e-4):
        raise Disagreement(
            f"its second derivatives are not those of its gradient: a product with the Hessian differs by "
            f"{100 * (apart / expected.norm().clamp_min(1e-12)).item():.3g} % from the change of the gradient"
        )


def runs_by_itself(network: Rows, theta: Tensor, buffers: Tensor, x: Tensor, y: Tensor) -> bool:
    """Return whether the module of a model, (parameters,) and (numbers,), gives a loss and a gradient."""
    module = network.to_module(theta, buffers).train()
    trained = [p for p in module.parameters() if p.requires_grad]
    try:
        torch.autograd.grad(plain_loss(network.task, module(x), y), trained, allow_unused=True)
    except Exception:  # of the user's code
        return False
    return True


def check_evaluation(network: Rows, theta: Tensor, buffers: Tensor, x: Tensor, y: Tensor) -> None:
    """Check that evaluation mode uses the trained parameters of a model, and no average of them.

    Raises:
        InputError: evaluation mode does not depend on a parameter that is trained, but on something of the
            same shape that a forward pass computes from parameters alone.
    """
    point = 1.1 * theta + 0.01  # an average may start equal to the parameters

    def used(*, training: bool) -> list[bool]:
        with seeded(0, theta.device):
            module = network.to_module(point, buffers).train(training)
            trained = [p for p in module.parameters() if p.requires_grad]
            loss = plain_loss(network.task, module(x), y)
            if not loss.requires_grad:
                return [False] * len(trained)
            return [g is not None for g in torch.autograd.grad(loss, trained, allow_unused=True)]

    by_mode = zip(network.layers, used(training=True), used(training=False), strict=True)
    only_trained = [
        (name, shape) for name, shape, *modes in ((*n, *m) for n, *m in by_mode) if modes == [True, False]
    ]
    if not only_trained:
        return
    after = [buffers[None].clone() for _ in range(2)]
    for stats, inputs in zip(after, (x, x.flip(0).roll(1, -1)), strict=True):
        with torch.no_grad(), seeded(0, theta.device):
            network(point[None].clone(), inputs[None], stats, training=True)
    before = network.split_buffers(buffers)
    pieces = zip(before, *(network.split_buffers(stats[0]) for stats in after), strict=True)
    averages = {
        start.shape for start, one, other in pieces if not torch.equal(start, one) and torch.equal(one, other)
    }
    names = [name for name, shape in only_trained if shape in averages]
    if names:
        raise InputError(
            f"in evaluation mode, the outputs do not depend on {', '.join(names[:3])}, but on an average of "
            "its values in training: Hessians, curves and distances would be those of other weights. Use the "
            "trained parameters in both modes"
        )


@torch.no_grad()
def check_order(network: Rows, theta: Tensor, buffers: Tensor, x: Tensor) -> None:
    """Check that outputs at a token depend on no later token of the target, which is an answer to give.

    Args:
        theta, buffers: one model, (parameters,) and (numbers,).
        x: tokens (inputs, length) or pairs of source and target (inputs, 2, length).

    Raises:
        InputError: they do.
    """
    seen, other = x.shape[-1] // 2, x.clone()
    target = other if x.dim() == 2 else other[:, -1]
    target[:, seen:] = target.roll(1, 0)[:, seen:]
    module = network.to_module(theta, buffers)
    if not _close(module(x)[:, :seen], module(other)[:, :seen], TOLERANCE):
        raise InputError(
            "the output at a token depends on later tokens of the target, which are the answers: it would "
            "copy them. Hide them, as with a causal mask"
        )


def check_statistics(network: Rows, theta: Tensor, buffers: Tensor, x: Tensor) -> None:
    """Check that the statistics of a model, which a path needs, can be estimated from inputs.

    Args:
        theta, buffers: one model, (parameters,) and (numbers,).

    Raises:
        InputError: the estimate depends on where the statistics start.
    """
    half = max(1, len(x) // 2)

    def after_passes(*scales: float) -> Tensor:
        # Parameters are scaled, and not inputs, which may be the places of rows in a table.
        stats = buffers[None].clone()
        with torch.no_grad(), seeded(0, theta.device):
            for scale in scales:
                for part in (x[:half], x[-half:]):
                    after = stats.clone()
                    network(scale * theta[None], part[None], after, training=True)
                    if torch.equal(after.isfinite(), stats.isfinite()):
                        stats = after
        return stats

    # The first batch may set a buffer that training then leaves as it is.
    if network.different_constants(theta, after_passes(0.5)[0], buffers, x):
        return  # then no path is fitted
    trained = after_passes(3.0, -2.0, 1.0)
    many = x.repeat(20, *[1] * (x.dim() - 1))  # as many batches as real data have
    outputs = [
        network(theta[None], x[None], network.estimate_buffers(theta[None], start, many))
        for start in (buffers[None], trained)
    ]
    if not _close(outputs[0], outputs[1], 10 * TOLERANCE):
        changing = network.changing(theta[None], buffers[None], x)
        names = [name for name, changes in zip(network.buffer_names, changing, strict=True) if changes]
        raise InputError(
            f"what it keeps of earlier batches ({', '.join(names[:3])}) cannot be estimated for the points "
            "of a path: passes over the data do not make it forget where it started. Let averages follow "
            "faster, or leave out the measures of paths (connectivity)"
        )


@torch.no_grad()
def _check_trained(network: Rows, theta: Tensor, buffers: Tensor, x: Tensor, without: Sequence[bool]) -> None:
    """Check that the outputs do not depend on the parameters ``without`` a gradient.

    PyTorch's optimisers leave such parameters as they are. In a matrix of parameters they would decay.

    Raises:
        Disagreement: they do.
    """
    names = [name for name, none in zip(network.names, without, strict=True) if none]
    if not names:
        return
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(theta.shape, generator=generator).to(theta)
    moved = [
        piece + noisy if none else piece
        for piece, noisy, none in zip(network.split(theta), network.split(noise), without, strict=True)
    ]
    other = torch.cat([piece.flatten() for piece in moved])
    outputs = [network.to_module(point, buffers)(x) for point in (theta, other)]
    if not torch.equal(*outputs):
        raise Disagreement(
            f"the outputs depend on {', '.join(names[:3])}, and training gives "
            f"{'it' if len(names) == 1 else 'them'} no gradient (torch.no_grad, detach, .data, or "
            "torch.utils.checkpoint with use_reentrant=True): freeze such parameters with "
            "requires_grad_(False)"
        )


def check_recorded_loss(
    network: Rows, theta: Tensor, buffers: Tensor, x: Tensor, y: Tensor, loss: float
) -> None:
    """Check the loss of a saved model, (parameters,) and (numbers,), on the inputs ``x`` it is recorded for.

    Raises:
        Disagreement: the module with these parameters and buffers has another loss.
    """
    expected = _loss_of(network, theta, buffers, x, y)
    if not _close(torch.tensor(loss), torch.tensor(expected), TOLERANCE):
        raise Disagreement(
            f"the recorded loss is {loss:.6g}, and that of the saved and reloaded model is {expected:.6g}: "
            "usually the network keeps state outside its parameters and buffers"
        )


def check_ends(
    network: Rows, ends: Sequence[tuple[Tensor, Tensor]], x: Tensor, y: Tensor, losses: Sequence[float]
) -> None:
    """Check that the losses at both ends of a curve are those of its two models.

    Args:
        ends: parameters (parameters,) and own buffers (numbers,) of each model.
        losses: mean losses on ``x`` (inputs, *shape) at t = 0 and t = 1.

    Raises:
        Disagreement: a model has another loss.
    """
    for t, ((theta, buffers), loss) in enumerate(zip(ends, losses, strict=True)):
        stats = network.estimate_buffers(theta[None], buffers[None], x)[0]
        expected = _loss_of(network, theta, stats, x, y)
        if not _close(torch.tensor(loss), torch.tensor(expected), TOLERANCE):
            raise Disagreement(
                f"the loss at the end t = {t} of a curve is {loss:.6g}, and that of its model is "
                f"{expected:.6g}: usually the two models differ in more than their parameters"
            )


@torch.no_grad()
def check_same_outputs(
    network: Rows, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], x: Tensor
) -> None:
    """Check that a model has the same outputs with its hidden units in another order.

    Args:
        before, after: parameters (parameters,) and buffers (numbers,).
        x: inputs (inputs, *shape), of which at most :data:`INPUTS` are used.

    Raises:
        Disagreement: the outputs differ.
    """
    x = x[:INPUTS].to(before[0].device)
    outputs = [network.to_module(*model)(x) for model in (before, after)]
    if not _close(outputs[0], outputs[1], TOLERANCE):
        apart = (outputs[0] - outputs[1]).abs().max().item()
        raise Disagreement(
            f"alignment changes the outputs of a model by up to {apart:.3g}: usually the network has an "
            "operation whose effect on the order of its channels is not followed; give the network a method "
            "symmetries(), or leave measures.alignment out"
        )


@torch.no_grad()
def _loss_of(network: Rows, theta: Tensor, buffers: Tensor, x: Tensor, y: Tensor) -> float:
    """Return the mean loss of the module itself in evaluation mode, in chunks of inputs."""
    module, total, count = network.to_module(theta, buffers), 0.0, 0.0
    for part in network.chunks(x):
        scored = network.task.count_items(y[None, part]).item()
        total += plain_loss(network.task, module(x[part].to(theta.device)), y[part]).item() * scored
        count += scored
    return total / max(1, count)


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Return whether tensors agree up to ``tolerance`` times the largest number (or 1); NaN equals NaN."""
    a, b = a.detach().double(), b.detach().double()
    if not torch.equal(a.isfinite(), b.isfinite()):
        return False
    a, b = a.nan_to_num(0, 0, 0), b.nan_to_num(0, 0, 0)
    scale = max(1.0, a.abs().max().item()) if a.numel() else 1.0
    return a.shape == b.shape and bool(((a - b).abs() <= tolerance * scale).all())
