"""What data sets of a user's own parallel text share: a corpus is encoded once, until its files change."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Generic, TypeVar

from explorer.data.dataset import Arrays
from explorer.data.translation import Encoded, SplitOptions

Settings = TypeVar("Settings", bound=SplitOptions)


class OwnText(Generic[Settings]):
    """``available``, ``describe`` and ``load`` of such a data set.

    Args:
        options: its class of settings.
        fingerprint: gives the hash of the files' contents.
        encode: reads, splits and encodes the corpus.
    """

    def __init__(
        self,
        options: type[Settings],
        fingerprint: Callable[[Settings], str],
        encode: Callable[[Settings], Encoded],
    ):
        @functools.lru_cache(maxsize=2)
        def kept(source: str, content: str) -> Encoded:
            # ``content`` is there to notice that the files have changed.
            return encode(options.model_validate(json.loads(source)))

        self._encoded = lambda own: kept(json.dumps(own.source()), fingerprint(own))

    def available(self, options: Settings) -> tuple[int, int]:
        """Numbers of training and test pairs that are left after cleaning."""
        return self.load(options).sizes

    def describe(self, options: Settings) -> str:
        """Numbers of pairs and of units, and what was left out."""
        return self._encoded(options).describe()

    def load(self, options: Settings) -> Arrays:
        """The pairs as arrays of tokens (see :func:`explorer.data.translation.encode_corpus`).

        Raises:
            InputError: a file is missing or cannot be read as what it should be, or too few pairs are left.
        """
        return self._encoded(options).arrays
