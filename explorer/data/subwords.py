"""Subword units: byte-pair encoding (Sennrich et al., 2016) by the package ``tokenizers``, and back to text.

A vocabulary travels as text: the JSON of a tokenizer, or the JSON list of characters of a language model.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from explorer.settings import InputError

PAD, BOS, EOS, UNK = range(4)
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
MISSING = "�"  # stands for characters that a character vocabulary does not have


def learn(texts: Iterable[str], size: int) -> str:
    """A vocabulary of at most ``size`` units: those of ``SPECIAL``, characters, frequent pairs of units.

    Words are split at spaces, punctuation marks and digits; the same texts give the same vocabulary. Of the
    characters, the most frequent ones take at most half of the units.

    Raises:
        InputError: the package is not installed.
    """
    tokenizers = _package()
    learner = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=SPECIAL[UNK]))
    learner.pre_tokenizer = _splitting(tokenizers)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        limit_alphabet=size // 2,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]
    # Made anew without marking the special units, which would be found in text that holds "<eos>".
    merges = [tuple(merge) for merge in learned["merges"]]
    plain = tokenizers.Tokenizer(tokenizers.models.BPE(learned["vocab"], merges, unk_token=SPECIAL[UNK]))
    plain.pre_tokenizer = _splitting(tokenizers)
    plain.decoder = tokenizers.decoders.Metaspace()
    return plain.to_str()


def encode(vocabulary: str, texts: Sequence[str]) -> list[list[int]]:
    """Ids of the units of each text, without beginning and end."""
    return [found.ids for found in _tokenizer(vocabulary).encode_batch(list(texts))]


def size(vocabulary: str) -> int:
    """Number of units, or of characters."""
    return (
        len(_characters(vocabulary))
        if vocabulary.startswith("[")
        else _tokenizer(vocabulary).get_vocab_size()
    )


def decode(vocabulary: str, ids: Sequence[int]) -> str:
    """The text of ids.

    Of subword units, padding and beginning are left out and the text stops at the first end; ids below 0,
    which mark places that are not scored, are left out everywhere.
    """
    ids = [int(i) for i in ids if i >= 0]
    if vocabulary.startswith("["):
        characters = _characters(vocabulary)
        return "".join(characters[i] for i in ids)
    if EOS in ids:
        ids = ids[: ids.index(EOS)]
    return _tokenizer(vocabulary).decode([i for i in ids if i not in (PAD, BOS)], skip_special_tokens=False)


def _splitting(tokenizers: Any) -> Any:
    split = tokenizers.pre_tokenizers
    return split.Sequence([split.Metaspace(), split.Punctuation(), split.Digits(individual_digits=True)])


@functools.lru_cache(maxsize=4)
def _tokenizer(vocabulary: str) -> Any:
    return _package().Tokenizer.from_str(vocabulary)


@functools.lru_cache(maxsize=4)
def _characters(vocabulary: str) -> list[str]:
    return json.loads(vocabulary)


def _package() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise InputError(
            f"subword units are made by the package tokenizers: pip install tokenizers ({error})"
        ) from error
    return tokenizers
