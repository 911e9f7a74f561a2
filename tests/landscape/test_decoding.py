"""Decoding: against literal searches, and with and without memory of the places before."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from explorer.landscape.decoding import BOS, EOS, PAD, translate
from explorer.models import transformer
from explorer.models.rows import Rows, initial_rows, seeded

WORDS, LENGTH = 7, 5


class Plain(nn.Module):
    """A Transformer that decoding does not know as one."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


def transformers(
    count: int = 3, *, plain: bool = False, words: int = WORDS, spread: float = 0.7
) -> tuple[Rows, Tensor]:
    """Random models in float64, of outputs far from even."""
    options = transformer.Options(width=8, layers=2, heads=2, feed_forward=2, tied=False)

    def build() -> nn.Module:
        module = transformer.build(options, (2, LENGTH), words).double()
        return Plain(module) if plain else module

    network = Rows(build(), execution="loop")
    theta, _ = initial_rows(build, network, range(count))
    with seeded(1):
        return network, theta + spread * torch.randn_like(theta)


def sources(sentences: int, *, length: int = LENGTH, words: int = WORDS, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(3, words, (sentences, length), generator=generator)
    ends = torch.randint(1, length + 1, (sentences, 1), generator=generator)
    return source.masked_fill(torch.arange(length) >= ends, PAD)


def log_p(module: nn.Module, source: Tensor, begun: list[int]) -> Tensor:
    """Log-probabilities (words,) of what follows the tokens ``begun``."""
    x = torch.zeros(1, 2, max(len(source), len(begun) + 1), dtype=torch.long)
    x[0, 0, : len(source)] = source
    x[0, 1, : len(begun) + 1] = torch.tensor([BOS, *begun])
    return module(x)[0, len(begun)].log_softmax(-1)


def padded(tokens: list[int], length: int) -> list[int]:
    return [*tokens, *[PAD] * (length - len(tokens))]


def literal_greedy(module: nn.Module, source: Tensor, length: int) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < length - 1:
        scores = log_p(module, source, tokens)
        tokens.append(
            max((t for t in range(len(scores)) if t not in (PAD, BOS)), key=lambda t: scores[t].item())
        )
        if tokens[-1] == EOS:
            return padded(tokens, length)
    return [*tokens, EOS]


def literal_beam(module: nn.Module, source: Tensor, length: int, beam: int, penalty: float) -> list[int]:
    """Beam search with lists: until so many have ended, or at the longest length."""
    alive: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    for place in range(length):
        candidates = []
        for score, tokens in alive:
            scores = log_p(module, source, tokens)
            words = [EOS] if place == length - 1 else [t for t in range(len(scores)) if t not in (PAD, BOS)]
            candidates += [(score + scores[t].item(), [*tokens, t]) for t in words]
        candidates.sort(key=lambda c: -c[0])
        ended += [(s / len(t) ** penalty, t) for s, t in candidates[:beam] if t[-1] == EOS]
        alive = [c for c in candidates if c[1][-1] != EOS][:beam]
        if len(ended) >= beam:
            break
    return padded(max(ended, key=lambda e: e[0])[1], length)


def modules(network: Rows, theta: Tensor) -> list[nn.Module]:
    return [network.to_module(t, t.new_zeros(0)) for t in theta]


@torch.no_grad()
def test_beam_of_one_is_greedy_decoding() -> None:
    network, theta = transformers()
    source = sources(6)
    found = translate(network, theta, source, beam=1, length_penalty=0.3)
    expected = [[literal_greedy(m, s, LENGTH) for s in source] for m in modules(network, theta)]
    assert found.tolist() == expected
    lengths = {t.index(EOS) for row in expected for t in row}
    assert len(lengths) > 2  # sentences end at different places


@torch.no_grad()
@pytest.mark.parametrize("beam", [2, 3, 5])
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
def test_beam_search_is_the_literal_one(beam: int, penalty: float) -> None:
    network, theta = transformers(2)
    source = sources(6)
    found = translate(network, theta, source, beam=beam, length_penalty=penalty)
    expected = [[literal_beam(m, s, LENGTH, beam, penalty) for s in source] for m in modules(network, theta)]
    assert found.tolist() == expected
    assert found.tolist() != translate(network, theta, source).tolist()


@torch.no_grad()
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_a_wide_beam_finds_the_best_of_all_sentences(penalty: float) -> None:
    network, theta = transformers(2, words=6)
    source, length = sources(5, words=6), 4
    found = translate(network, theta, source, length=length, beam=200, length_penalty=penalty)
    for row, module in enumerate(modules(network, theta)):
        for place, sentence in enumerate(source):
            scores = {}
            for count in range(length):
                for words in itertools.product(range(3, 6), repeat=count):
                    tokens = [*words, EOS]
                    total = sum(log_p(module, sentence, tokens[:i])[t].item() for i, t in enumerate(tokens))
                    scores[tuple(tokens)] = total / len(tokens) ** penalty
            best = max(scores, key=scores.__getitem__)
            assert found[row, place].tolist() == padded(list(best), length)


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("length", [2, LENGTH, 9])
def test_memory_of_the_places_before_changes_nothing(beam: int, length: int) -> None:
    source = sources(8)
    with_memory, without = (
        translate(*transformers(plain=plain), source, length=length, beam=beam) for plain in (False, True)
    )
    assert torch.equal(with_memory, without)
    assert with_memory.shape == (3, 8, length)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("budget", [1, 3000])
def test_chunks_change_nothing(plain: bool, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, theta = transformers(plain=plain)
    source = sources(20)
    whole = translate(network, theta, source, beam=2)
    monkeypatch.setattr("explorer.models.rows.MEMORY", budget)
    assert torch.equal(translate(network, theta, source, beam=2), whole)


def test_each_model_is_decoded_on_its_own_and_nothing_is_changed() -> None:
    network, theta = transformers()
    source, before = sources(6), theta.clone()
    held = [p.clone() for p in network.module.parameters()]
    state = torch.random.get_rng_state()
    found = translate(network, theta, source, beam=2)
    for row in range(3):
        assert torch.equal(translate(network, theta[row : row + 1], source, beam=2)[0], found[row])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(theta, before)
    assert all(torch.equal(a, b) for a, b in zip(held, network.module.parameters(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


class Fixed(nn.Module):
    """Scores that depend on the place alone; counts its calls."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(1)
        return self.scores[: x.shape[-1]].expand(len(x), -1, -1)


def fixed(scores: Tensor) -> tuple[Rows, Tensor, Any]:
    network = Rows(Fixed(scores), execution="loop")
    network.module.calls = []  # type: ignore[assignment]
    return network, network.row()[0][None], network.module


@pytest.mark.parametrize("beam", [1, 3])
def test_padding_and_beginning_are_never_given_out(beam: int) -> None:
    scores = torch.zeros(LENGTH, WORDS)
    scores[:, [PAD, BOS]] = 50.0
    scores[:, EOS] = -50.0
    network, theta, _ = fixed(scores)
    found = translate(network, theta, sources(4), beam=beam)[0]
    assert (found[:, :-1] > EOS).all()
    assert (found[:, -1] == EOS).all()


def test_it_stops_when_every_sentence_has_ended() -> None:
    for place in range(LENGTH):
        scores = torch.zeros(LENGTH, WORDS)
        scores[:, 3], scores[place, EOS] = 5.0, 50.0
        network, theta, module = fixed(scores)
        translate(network, theta, sources(4))  # at its first calls, a network is tried out
        module.calls.clear()
        found = translate(network, theta, sources(4))
        assert found[0].tolist() == [padded([3] * place + [EOS], LENGTH)] * 4
        assert len(module.calls) == place + 1


def test_a_higher_length_penalty_gives_longer_sentences() -> None:
    network, theta = transformers(1, spread=0.4)
    source = sources(30)
    lengths = [
        (translate(network, theta, source, beam=6, length_penalty=penalty) != PAD).sum().item()
        for penalty in (0.0, 1.0, 3.0)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_wrong_budgets_are_refused() -> None:
    network, theta = transformers(1)
    for wrong in ({"beam": 0}, {"length": 0}, {"length_penalty": -1.0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            translate(network, theta, sources(2), **wrong)


class Packed(nn.Module):
    """A recurrent encoder that takes no empty sentence, as packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.out = nn.Embedding(WORDS, 4), nn.Linear(4, WORDS)
        self.encoder, self.decoder = nn.GRU(4, 4, batch_first=True), nn.GRU(4, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        used, tokens = (x[:, 0] != PAD).sum(1), self.tokens(x[:, 0])
        packed = nn.utils.rnn.pack_padded_sequence(tokens, used, batch_first=True, enforce_sorted=False)
        return self.out(self.decoder(self.tokens(x[:, 1]), self.encoder(packed)[1])[0])


def test_a_network_gets_no_empty_sentence() -> None:
    rows = Rows(Packed().double(), execution="loop")
    theta, source = rows.row()[0][None], sources(6)
    found = translate(rows, theta, source)
    for place, sentence in enumerate(source):
        assert found[0, place].tolist() == literal_greedy(rows.module, sentence, LENGTH)
