"""Translation memories (TMX 1.4): pairs of sentences in two of the file's languages.

The file is read in pieces. Entities that it declares are refused: a few lines of them can stand for
gigabytes, or for other files. A document type alone is only a name and is passed over.
"""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

from explorer.settings import InputError

CODES = {"bpt", "ept", "ph", "it", "ut", "sub"}  # their content is codes of a program, not text


def read_tmx(path: Path, source: str, target: str) -> list[tuple[str, str]]:
    """The units that have both languages (``de`` stands for ``de-AT``, too), in the file's order.

    Raises:
        InputError: the file is no XML, declares entities, or has no such pair; the message then lists its
            languages.
    """
    reader = _Reader(source.casefold(), target.casefold())
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.text

    def refuse(name: str, *_: object) -> None:
        raise InputError(f"{path} declares the entity {name!r}; files with entities are not read")

    parser.EntityDeclHandler = refuse
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except expat.ExpatError as error:
        raise InputError(f"{path} cannot be read as TMX: {error}") from error
    if not reader.pairs:
        found = ", ".join(sorted(reader.languages)) or "none: is it a TMX file?"
        raise InputError(f"{path} has no unit with the languages {source} and {target}; it has {found}")
    return reader.pairs


class _Reader:
    """What expat calls at each element; ``pairs`` is what it has found."""

    def __init__(self, source: str, target: str):
        self.source, self.target = source, target
        self.pairs: list[tuple[str, str]] = []
        self.languages: set[str] = set()
        self._unit: dict[str, str] = {}
        self._language, self._parts, self._codes = "", None, 0

    _parts: list[str] | None  # of the segment that is being read

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "tu":
            self._unit = {}
        elif name == "tuv":
            self._language = (attributes.get("xml:lang") or attributes.get("lang") or "").casefold()
            self.languages.add(self._language)
        elif name == "seg":
            self._parts, self._codes = [], 0
        elif name in CODES:
            self._codes += 1

    def end(self, name: str) -> None:
        if name == "seg" and self._parts is not None:
            self._unit.setdefault(self._language, "".join(self._parts))
            self._parts = None
        elif name in CODES:
            self._codes -= 1
        elif name == "tu":
            both = [self._of(language) for language in (self.source, self.target)]
            if both[0] is not None and both[1] is not None:
                self.pairs.append((both[0], both[1]))

    def text(self, content: str) -> None:
        if self._parts is not None and not self._codes:
            self._parts.append(content)

    def _of(self, language: str) -> str | None:
        exact = self._unit.get(language)
        regions = (text for found, text in self._unit.items() if found.split("-")[0] == language)
        return exact if exact is not None else next(regions, None)
