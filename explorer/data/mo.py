"""Message catalogues as parallel text: program messages and their translations (``.mo``, GNU gettext).

Any Debian machine can provide these real translations without a data hub. The pairs depend on the installed
packages and their versions. The content of the files is part of a model's identity.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field

from explorer.data.formats.catalogue import read_catalogue, sentence_pair
from explorer.data.formats.own_text import OwnText
from explorer.data.formats.sequences import hash_content
from explorer.data.formats.translation import (
    Corpus,
    Encoded,
    Pair,
    SplitOptions,
    clean_pairs,
    encode_corpus,
    sentence_key,
    split_pairs,
)
from explorer.settings import InputError, suggest

TASKS = ("translation",)
PACKAGE = "libreoffice-l10n-de"  # an example with many pairs in a small file


class Options(SplitOptions):
    """Catalogues ``<language>/LC_MESSAGES/*.mo`` anywhere below a folder."""

    path: str = Field(default="/usr/share/locale", description="folder of the catalogues")
    language: str = Field(
        default="de", pattern=r"^[A-Za-z][\w@.-]*$", description="language of the translations (de, pt_BR)"
    )
    domains: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="names of the catalogues to read; default: all"
    )
    into: Literal["english", "language"] = Field(
        default="english", description="target language: English, or the language of the catalogues"
    )
    min_words: int = Field(default=2, ge=1, le=100, description="minimum number of words of the English text")


def _files(options: Options) -> list[Path]:
    """Return the catalogues to read, sorted by name."""
    root = Path(options.path)
    catalogues = sorted(
        root.rglob(f"{options.language}/LC_MESSAGES/*.mo"), key=lambda file: (file.stem, str(file))
    )
    if not catalogues:
        raise InputError(
            f"{options.path} holds no message catalogues {options.language}/LC_MESSAGES/*.mo. On Debian they "
            f"come with packages, but container images omit them. To get some in your own folder: "
            f"apt-get download {PACKAGE} && dpkg-deb -x {PACKAGE}_*.deb catalogues, then set path: catalogues"
        )
    names = {file.stem for file in catalogues}
    for domain in options.domains or ():
        if domain not in names:
            raise InputError(
                f"{options.path} has no catalogue {domain}.mo of language {options.language}; "
                f"known: {suggest(domain, sorted(names))}"
            )
    return [file for file in catalogues if options.domains is None or file.stem in options.domains]


def fingerprint(options: Options) -> str:
    """Return a hash of the contents of the catalogues."""
    return hash_content(_files(options))


def sentences(options: Options) -> tuple[list[Pair], Counter[str]]:
    """Return clean pairs (source, target), the first for each English sentence, and counts of the others."""
    pairs_read, left_out = [], Counter[str]()
    for file in _files(options):
        for message, translation in read_catalogue(file):
            pair = sentence_pair(message, translation)
            if pair is None:
                left_out["with markup, placeholders or code"] += 1
            elif len(pair[0].split()) < options.min_words:
                left_out["too short"] += 1
            else:
                pairs_read.append(pair)
    clean, more = clean_pairs(pairs_read)
    first: dict[str, Pair] = {}
    for pair in clean:
        first.setdefault(sentence_key(pair[0]), pair)
    left_out += more
    left_out["duplicate"] += len(clean) - len(first)
    pairs = list(first.values())
    return (pairs if options.into == "language" else [(b, a) for a, b in pairs]), left_out


def _encode(options: Options) -> Encoded:
    pairs, left_out = sentences(options)
    corpus = Corpus(*split_pairs(pairs, options), left_out)
    return encode_corpus(corpus, options, f"catalogues in {options.path}")


_own = OwnText(Options, fingerprint, _encode)
available, describe, load = _own.available, _own.describe, _own.load
