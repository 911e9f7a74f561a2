"""Common part of data sets of a user's own parallel text. Encodes a corpus again only if its files change."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Generic, TypeVar

from explorer.data.dataset import Arrays
from explorer.data.formats.translation import Encoded, SplitOptions

Settings = TypeVar("Settings", bound=SplitOptions)


class OwnText(Generic[Settings]):
    """The functions ``available``, ``describe`` and ``load`` of such a data set.

    Args:
        options: class of the settings.
        fingerprint: function that returns a hash of the files' contents.
        encode: function that reads, splits and encodes the corpus.
    """

    def __init__(
        self,
        options: type[Settings],
        fingerprint: Callable[[Settings], str],
        encode: Callable[[Settings], Encoded],
    ):
        @functools.lru_cache(maxsize=2)
        def kept(source: str, content: str) -> Encoded:
            # ``content`` is part of the cache key: it changes with the files.
            return encode(options.model_validate(json.loads(source)))

        self._encoded = lambda own: kept(json.dumps(own.source()), fingerprint(own))

    def available(self, options: Settings) -> tuple[int, int]:
        """Return the numbers of training and test pairs after cleaning."""
        return self.load(options).sizes

    def describe(self, options: Settings) -> str:
        """Return the numbers of pairs, of subword units and of removed pairs as text."""
        return self._encoded(options).describe()

    def load(self, options: Settings) -> Arrays:
        """Return the pairs as arrays of tokens (see :func:`explorer.data.formats.translation.encode_corpus`).

        Raises:
            InputError: a file is missing or cannot be read, or too few pairs are left.
        """
        return self._encoded(options).arrays
