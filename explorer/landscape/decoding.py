"""Translations by greedy decoding and beam search, for many models and sentences at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from explorer.models.rows import Rows, tensors_replaced
from explorer.models.seq2seq import Seq2Seq

PAD, BOS, EOS = 0, 1, 2
# Two functions on a batch of ``beam`` hypotheses for each sentence. The first appends tokens (models or 1,
# batch) and returns scores (models, batch, vocabulary) of the next tokens. The second keeps the entries of
# the batch that an index (models, batch) names.
StepFunctions = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], None]]


@torch.no_grad()
def translate(
    network: Rows,
    theta: Tensor,
    source: Tensor,
    buffers: Tensor | None = None,
    *,
    length: int | None = None,
    beam: int = 1,
    length_penalty: float = 1.0,
) -> Tensor:
    """Translate source tokens (sentences, source length) into tokens (models, sentences, length).

    Each translation is a sequence of tokens with EOS at its end, followed by PAD. Beam search keeps the
    ``beam`` most probable hypotheses at each position. It ends when ``beam`` hypotheses have ended, or when
    no other hypothesis can become better. The answer is the ended hypothesis with the highest log-probability
    / tokens^``length_penalty``; EOS counts as a token. ``beam`` = 1 is greedy decoding. PAD and BOS are never
    produced. At the last position, only EOS is produced.

    The Transformer of this package caches keys and values of earlier positions. Any other network computes
    the whole target again for each token. Sentences are decoded in chunks of similar length.

    Args:
        theta: (models, parameters); ``buffers`` (models, numbers).
        length: maximum number of tokens of a translation, including EOS; by default that of the source.

    Raises:
        ValueError: ``beam`` or ``length`` is below 1, or ``length_penalty`` below 0.
    """
    length, source = source.shape[1] if length is None else length, source.to(theta.device)
    if beam < 1 or length < 1 or length_penalty < 0:
        raise ValueError(
            f"beam is {beam}, length {length} and length_penalty {length_penalty}; "
            "beam and length must be at least 1, length_penalty at least 0"
        )
    rows = theta.shape[0]
    # The chunk of sentences is sized for one model: its padded length must not depend on the number of
    # models.
    size = max(1, network.budget() // (beam * _numbers(network, source, length)))
    some = max(1, size // max(1, len(source)))  # models at once
    used = (source != PAD).sum(1).clamp_min(1)
    found = source.new_zeros(rows, len(source), length)
    parts = used.argsort(stable=True).split(size)
    for start, part in itertools.product(range(0, rows, some), parts):
        models = slice(start, min(start + some, rows))
        sentences = source[part, : int(used[part].max())]
        stats = None if buffers is None else buffers[models]
        with _decoder(network, theta[models], stats, sentences, beam, length) as decoder:
            shape = models.stop - models.start, len(part), beam, length
            found[models, part] = _search(decoder, shape, length_penalty, source.device)
    return found


def _numbers(network: Rows, source: Tensor, length: int) -> int:
    """Return how many numbers the decoding of one hypothesis of one model holds."""
    module = network.module
    if isinstance(module, Seq2Seq):
        vocabulary, width = module.output.weight.shape
        return 3 * vocabulary + 2 * (length + source.shape[1]) * width * len(module.decoder)
    return network.activations(_inputs(source[:1], length))


def _inputs(source: Tensor, length: int) -> Tensor:
    """Return inputs (sentences, 2, tokens) of a network: the source, and an empty target."""
    x = source.new_full((len(source), 2, max(length, source.shape[1])), PAD)
    x[:, 0, : source.shape[1]] = source
    return x


@contextmanager
def _decoder(
    network: Rows, theta: Tensor, buffers: Tensor | None, source: Tensor, beam: int, length: int
) -> Iterator[StepFunctions]:
    """Start to decode source tokens (sentences, source length), with ``beam`` hypotheses of each."""
    module = network.module
    if isinstance(module, Seq2Seq):
        with tensors_replaced(network.places[: len(network.names)], network.split(theta)):
            state = module.start(source[None], beam)
            yield lambda tokens: module.step(tokens, state), state.pick
    else:
        x = _inputs(source.repeat_interleave(beam, 0), length).repeat(len(theta), 1, 1, 1)
        whole = _WholeTarget(network, theta, buffers, x)
        yield whole.step, whole.pick


class _WholeTarget:
    """Decoding with any network: each token computes the whole target again."""

    def __init__(self, network: Rows, theta: Tensor, buffers: Tensor | None, x: Tensor):
        self.network, self.theta, self.buffers, self.x, self.place = network, theta, buffers, x, 0

    def step(self, tokens: Tensor) -> Tensor:
        self.x[:, :, 1, self.place] = tokens
        self.place += 1
        return self.network(self.theta, self.x, self.buffers)[:, :, self.place - 1]

    def pick(self, index: Tensor) -> None:
        self.x = torch.take_along_dim(self.x, index[:, :, None, None], 1)


def _search(
    decoder: StepFunctions, shape: tuple[int, int, int, int], length_penalty: float, device: torch.device
) -> Tensor:
    """Search translations (models, sentences, length); ``shape`` is (models, sentences, beam, length)."""
    step, pick = decoder
    rows, sentences, beam, length = shape
    scores = step(torch.full((1, sentences * beam), BOS, device=device))
    alive = scores.new_full((rows, sentences, beam), -torch.inf)  # log-probability of each hypothesis
    alive[:, :, 0] = 0  # at first, all hypotheses are equal
    tokens = torch.full(shape, PAD, device=scores.device)
    answer, best = tokens[:, :, 0].clone(), scores.new_full((rows, sentences), -torch.inf)
    ended, going_on = torch.zeros_like(best), torch.ones_like(best, dtype=torch.bool)
    first = beam * torch.arange(sentences, device=scores.device).unsqueeze(1)
    for place in range(length):
        log_p, word, origin = _candidates(alive, scores, last=place == length - 1)
        ends = (word == EOS) & log_p.isfinite()
        # Hypotheses that end compete with the current answer; only the first ``beam`` candidates may end.
        value = (log_p / (place + 1) ** length_penalty).masked_fill(~ends, -torch.inf)[:, :, :beam]
        top, which = value.max(2)
        better = going_on & (top > best)
        ending = _pick(tokens, _pick(origin, which.unsqueeze(2))).squeeze(2)
        ending[:, :, place] = EOS
        answer = torch.where(better.unsqueeze(2), ending, answer)
        best = torch.where(better, top, best)
        ended += ends[:, :, :beam].sum(2)
        alive, which = log_p.masked_fill(word == EOS, -torch.inf).topk(beam)
        origin, word = _pick(origin, which), _pick(word, which)
        # Upper bound on the final value: no further loss of log-probability, divided by the longest length.
        going_on &= (ended < beam) & (alive[:, :, 0] / length**length_penalty > best)
        if not going_on.any():
            break
        tokens = _pick(tokens, origin)
        tokens[:, :, :, place] = word
        pick((first + origin).flatten(1))
        scores = step(word.flatten(1))
    return answer


def _candidates(alive: Tensor, scores: Tensor, *, last: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best 2·beam continuations of hypotheses with log-probability ``alive``, in descending order.

    ``alive`` is (models, sentences, beam), ``scores`` (models, sentences · beam, vocabulary). The result is
    log-probability, word and hypothesis of each continuation. Each hypothesis has one continuation that ends,
    so 2·beam continuations include at least ``beam`` that go on.
    """
    beam, vocabulary = alive.shape[2], scores.shape[2]
    log_p = scores.log_softmax(2).unflatten(1, alive.shape[1:])
    allowed = torch.ones(vocabulary, dtype=torch.bool, device=scores.device)
    allowed[[PAD, BOS]] = False
    if last:
        allowed &= torch.arange(vocabulary, device=scores.device) == EOS
    total = (alive.unsqueeze(3) + log_p).masked_fill(~allowed, -torch.inf)
    best, index = total.flatten(2).topk(2 * beam)
    return best, index % vocabulary, index // vocabulary


def _pick(of: Tensor, index: Tensor) -> Tensor:
    """Return entries ``index`` (models, sentences, kept) of the third dimension."""
    return torch.take_along_dim(of, index.view(*index.shape, *[1] * (of.dim() - 3)), 2)
