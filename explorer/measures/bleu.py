"""BLEU of each model's translations of the test sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from explorer.measures.base import CellModels, Kind, Measured, averaged
from explorer.measures.cost import FORWARD, Call, CellSize
from explorer.options import Options as Settings
from explorer.settings import InputError

if TYPE_CHECKING:
    from torch import Tensor

TASKS = ("translation",)
NEEDS = ("sacrebleu",)
KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "bleu": averaged(
        "corpus BLEU of the translations of the test sentences, 0 to 100 (sacrebleu)",
        title="BLEU",
        caption="Agreement of translated test sentences with their references, from 0 to 100.",
        map=11,
        digits=1,
    ),
    "bleu_copy": averaged(
        "the same for the source sentences copied as translations",
        title="BLEU of copying",
        caption="BLEU of the source copied as its translation: a score that needs no learning.",
    ),
}


class Options(Settings):
    """Settings of the translation of the test sentences."""

    inputs: int = Field(1000, ge=1, description="test sentences that are translated: the first so many")
    beam: int = Field(1, ge=1, le=100, description="hypotheses kept at a time; 1 is greedy decoding")
    length_penalty: float = Field(
        1.0, ge=0, description="power of the length that log-probabilities of a beam are divided by"
    )


def cost(options: Options, size: CellSize) -> list[Call]:
    return [(FORWARD * options.beam, size.subjects, min(options.inputs, size.test))]


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
    """Return the BLEU of the models named in ``subjects``, decoded together, and of copying the source.

    ``sacrebleu`` computes corpus BLEU of four-grams with its defaults (Papineni et al., 2002; Post, 2018) on
    the words that the tokens stand for. The references are also encoded and decoded with the vocabulary.

    Raises:
        InputError: the package sacrebleu is not installed.
    """
    from explorer.landscape.decoding import translate

    rows = cell.rows(subjects)
    source, targets = cell.data.x_test[: options.inputs, 0], cell.data.y_test[: options.inputs]
    translations = translate(
        cell.network,
        cell.theta[rows],
        source,
        cell.buffers[rows],
        length=targets.shape[1],
        beam=options.beam,
        length_penalty=options.length_penalty,
    )
    references = texts(cell.data.vocabulary, targets)
    scores = [corpus_bleu(texts(cell.data.vocabulary, tokens), references) for tokens in translations]
    copied = corpus_bleu(texts(cell.data.vocabulary, source), references)
    return Measured.of(subjects, {"bleu": scores, "bleu_copy": [copied] * len(subjects)})


def texts(vocabulary: str, tokens: Tensor) -> list[str]:
    """Return the sentences that tokens (sentences, length) stand for."""
    from explorer.data.formats.subwords import decode

    return [decode(vocabulary, ids) for ids in tokens.tolist()]


def corpus_bleu(translations: list[str], references: list[str]) -> float:
    """Return the BLEU, from 0 to 100, of a corpus with one reference for each sentence."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise InputError(
            f"the measure bleu needs the package sacrebleu: pip install 'explorer-landscapes[text]' ({error})"
        ) from error
    # force: suppresses the warning that the references look tokenised already.
    return BLEU(force=True).corpus_score(translations, [references]).score
