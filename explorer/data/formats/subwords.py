"""Subword units: byte-pair encoding (Sennrich et al., 2016) with the package ``tokenizers``, and decoding.

A vocabulary is a string: the JSON of a tokenizer, or the JSON list of characters of a language model.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from explorer.settings import InputError

PAD, BOS, EOS, UNK = range(4)
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
MISSING = "�"  # represents characters that are not in a character vocabulary


def learn(texts: Iterable[str], size: int) -> str:
    """Learn a vocabulary of at most ``size`` units: ``SPECIAL``, characters, and frequent pairs of units.

    Words are split at spaces, punctuation marks and digits. The same texts give the same vocabulary. At most
    half of the units are single characters, the most frequent ones.

    Raises:
        InputError: the package is not installed.
    """
    tokenizers = _package()
    split = tokenizers.pre_tokenizers
    splitter = split.Sequence([split.Metaspace(), split.Punctuation(), split.Digits(individual_digits=True)])
    learner = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=SPECIAL[UNK]))
    learner.pre_tokenizer = splitter
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        limit_alphabet=size // 2,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]
    # Rebuild without registering the special units; they would match text that contains "<eos>".
    merges = [tuple(merge) for merge in learned["merges"]]
    plain = tokenizers.Tokenizer(tokenizers.models.BPE(learned["vocab"], merges, unk_token=SPECIAL[UNK]))
    plain.pre_tokenizer = splitter
    plain.decoder = tokenizers.decoders.Metaspace()
    return plain.to_str()


def encode(vocabulary: str, texts: Sequence[str]) -> list[list[int]]:
    """Return the unit ids of each text, without beginning and end marks."""
    return [encoding.ids for encoding in _tokenizer(vocabulary).encode_batch(list(texts))]


def size(vocabulary: str) -> int:
    """Return the number of units."""
    return _tokenizer(vocabulary).get_vocab_size()


def decode(vocabulary: str, ids: Sequence[int]) -> str:
    """Return the text of ids.

    Ids below 0, which mark unscored positions, are skipped. For subword units, padding and beginning marks
    are skipped as well, and the text stops at the first end mark.
    """
    ids = [int(i) for i in ids if i >= 0]
    if vocabulary.startswith("["):
        characters = json.loads(vocabulary)
        return "".join(characters[i] for i in ids)
    if EOS in ids:
        ids = ids[: ids.index(EOS)]
    return _tokenizer(vocabulary).decode([i for i in ids if i not in (PAD, BOS)], skip_special_tokens=False)


@functools.lru_cache(maxsize=4)
def _tokenizer(vocabulary: str) -> Any:
    return _package().Tokenizer.from_str(vocabulary)


def _package() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise InputError(
            f"subword units need the package tokenizers: pip install tokenizers ({error})"
        ) from error
    return tokenizers
