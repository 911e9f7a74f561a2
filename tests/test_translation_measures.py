"""BLEU and perplexity: against sacrebleu, closed forms and what they are refused for."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import sacrebleu
import torch
from in_process import train
from torch import Tensor, nn

from explorer.data.formats.subwords import BOS, EOS, PAD, decode, encode, learn
from explorer.landscape.decoding import translate
from explorer.measures import bleu, perplexity
from explorer.measures.base import CellModels
from explorer.models import transformer
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows
from explorer.settings import InputError
from explorer.tasks import TASKS
from explorer.train.loop import Split

PAIRS = [
    ("Datei nicht gefunden", "File not found"),
    ("Die Datei wurde gelöscht", "The file was deleted"),
    ("Der Ordner ist leer", "The folder is empty"),
    ("Zugriff verweigert", "Access denied"),
    ("Der Ordner wurde gelöscht", "The folder was deleted"),
    ("Die Datei ist leer", "The file is empty"),
    ("Zugriff auf die Datei verweigert", "Access to the file denied"),
    ("Der Ordner wurde nicht gefunden", "The folder was not found"),
]
LENGTH = 24


def data() -> Split:
    """The same sentences for training and test."""
    vocabulary = learn([text for pair in PAIRS for text in pair], 80)
    x = torch.full((len(PAIRS), 2, LENGTH), PAD)
    y = torch.full((len(PAIRS), LENGTH), -100)
    for row, (source, target) in enumerate(
        zip(*(encode(vocabulary, p) for p in zip(*PAIRS, strict=True)), strict=True)
    ):
        x[row, 0, : len(source)] = torch.tensor(source)
        x[row, 1, : len(target) + 1] = torch.tensor([BOS, *target])
        y[row, : len(target) + 1] = torch.tensor([*target, EOS])
    return Split(x, y, x, y, classes=80, vocabulary=vocabulary)


@pytest.fixture(scope="module")
def trained() -> CellModels:
    """Two models: one that has learnt the sentences, one at its beginning."""
    split = data()
    options = transformer.Options(width=32, layers=1)
    build, rows = network("transformer", options, (2, LENGTH), split.classes, task="translation")
    theta, buffers = initial_rows(build, rows, [0, 1])
    end = train(
        rows, theta[:1], buffers[:1], split,
        seeds=[0], batch_size=4, steps=300, learning_rate=0.005, optimizer="adamw", history_points=2,
    )  # fmt: skip
    assert end.final[0]["train_error_percent"] == 0
    return CellModels("c", rows, torch.cat([end.theta, theta[1:]]), buffers, ["learnt", "new"], split, build)


@pytest.mark.parametrize("beam", [1, 3])
def test_bleu_of_sentences_learnt_by_heart_is_100(trained: CellModels, beam: int) -> None:
    found = bleu.measure(trained, ["new", "learnt"], bleu.Options(beam=beam)).rows
    assert [row["model_id"] for row in found] == ["new", "learnt"]
    assert found[1]["bleu"] == pytest.approx(100)
    assert found[0]["bleu"] < 20
    assert found[0]["bleu_copy"] == found[1]["bleu_copy"] < 20


def test_bleu_is_that_of_sacrebleu_on_the_words(trained: CellModels) -> None:
    theta = trained.theta.lerp(trained.theta.flip(0), 0.3)  # between the two, so that some words are wrong
    between = CellModels(
        "c", trained.network, theta, trained.buffers, ["a", "b"], trained.data, trained.build
    )
    rows = bleu.measure(between, ["a", "b"], bleu.Options(inputs=6, beam=2, length_penalty=0.5)).rows
    ids = translate(trained.network, theta, trained.data.x_test[:6, 0], beam=2, length_penalty=0.5)
    references = [target for _, target in PAIRS[:6]]
    for row, own in zip(rows, ids, strict=True):
        words = [decode(trained.data.vocabulary, sentence) for sentence in own.tolist()]
        assert row["bleu"] == pytest.approx(sacrebleu.corpus_bleu(words, [references]).score)
    assert 0 < max(row["bleu"] for row in rows) < 100
    copied = sacrebleu.corpus_bleu([source for source, _ in PAIRS[:6]], [references]).score
    assert rows[0]["bleu_copy"] == pytest.approx(copied)


def test_the_signature_in_the_documentation_is_the_one_used() -> None:
    from pathlib import Path

    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(force=True)
    metric.corpus_score(["a b c d"], [["a b c d"]])
    known = str(metric.get_signature()).rpartition("|version")[0]
    assert known in (Path(__file__).parents[1] / "docs" / "measures.md").read_text(encoding="utf-8")


def test_without_the_package_it_says_what_to_install(
    trained: CellModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(InputError, match=r"pip install 'explorer-landscapes\[text\]'"):
        bleu.measure(trained, ["new"], bleu.Options())


def test_perplexity_of_a_translation_is_the_exponential_of_its_loss(trained: CellModels) -> None:
    found = perplexity.measure(trained, ["learnt", "new"], perplexity.Options()).rows
    x, y = trained.data.x_test, trained.data.y_test
    for row, theta in zip(found, trained.theta, strict=True):
        logits = trained.network.to_module(theta, trained.buffers[0])(x)
        loss = nn.functional.cross_entropy(logits[y >= 0], y[y >= 0]).item()
        assert row["test_perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
        assert row["train_perplexity"] == row["test_perplexity"]
        assert "bits_per_character" not in row
    assert found[0]["test_perplexity"] < 1.1
    assert found[1]["test_perplexity"] > 40  # of 80 words


class Even(nn.Module):
    """Gives every character the same probability, but for one that is ``more`` times as likely."""

    def __init__(self, characters: int, more: float) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(characters, dtype=torch.float64))
        self.scores.data[1] = math.log(more)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores.expand(*x.shape, -1)


def language(more: float) -> Any:
    rows = Rows(Even(8, more), task=TASKS["language"])
    x = torch.randint(0, 8, (5, 6), generator=torch.Generator().manual_seed(0))
    split = Split(torch.ones(4, 6).long(), torch.ones(4, 6).long(), x, torch.zeros(5, 6).long(), classes=8)
    cell = CellModels("c", rows, rows.row()[0][None], torch.zeros(1, 0), ["m"], split, lambda: rows.module)
    return perplexity.measure(cell, ["m"], perplexity.Options()).rows[0]


def test_bits_per_character_by_hand() -> None:
    row = language(1.0)
    assert row["test_perplexity"] == pytest.approx(8)
    assert row["bits_per_character"] == pytest.approx(3)
    row = language(9.0)  # 9 of 16 for the character of the training text, 1 of 16 for that of the test
    assert row["train_perplexity"] == pytest.approx(16 / 9)
    assert row["test_perplexity"] == pytest.approx(16)
    assert row["bits_per_character"] == pytest.approx(4)
