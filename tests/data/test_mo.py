"""Message catalogues: read like Python's gettext does, nothing of them is run, code is left out."""

from __future__ import annotations

import gettext
import struct
from pathlib import Path

import pytest
from conftest import ROOT

from explorer.data import mo
from explorer.data.formats import subwords
from explorer.data.mo import read_catalogue, sentence_pair
from explorer.settings import InputError

HEADER = "Content-Type: text/plain; charset={}\nPlural-Forms: nplurals=2; plural=n != 1;\n"


def compiled(
    messages: dict[str, str], *, order: str = "<", encoding: str = "utf-8", header: str = HEADER
) -> bytes:
    """A catalogue as msgfmt writes it: tables of lengths and places, then strings that end with a 0."""
    entries = sorted({"": header.format(encoding), **messages}.items())
    count, strings = len(entries), b""
    tables: list[list[int]] = [[], []]
    start = 28 + 16 * count
    for side in (0, 1):
        for entry in entries:
            raw = entry[side].encode(encoding)
            tables[side] += [len(raw), start + len(strings)]
            strings += raw + b"\0"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    return head + b"".join(struct.pack(f"{order}{2 * count}I", *table) for table in tables) + strings


MESSAGES = {
    "Open _file": "_Datei öffnen",
    "menu\x04Close": "Schließen",
    "one file\0many files": "eine Datei\0viele Dateien",
    "The disk is full": "Die Platte ist voll",
}


@pytest.mark.parametrize(("order", "encoding"), [("<", "utf-8"), (">", "utf-8"), ("<", "latin-1")])
def test_a_catalogue_is_read_as_gettext_reads_it(order: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mo"
    path.write_bytes(compiled(MESSAGES, order=order, encoding=encoding))
    with path.open("rb") as file:
        known = gettext.GNUTranslations(file)
    found = dict(read_catalogue(path))
    assert found["Open _file"] == known.gettext("Open _file") == "_Datei öffnen"
    assert found["Close"] == known.pgettext("menu", "Close") == "Schließen"
    assert found["one file"] == known.ngettext("one file", "many files", 1) == "eine Datei"
    assert len(found) == len(MESSAGES)


def test_the_rule_of_plurals_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.mo"
    hostile = (
        "Content-Type: text/plain; charset={}\nPlural-Forms: nplurals=2; plural=__import__('os').abort();\n"
    )
    path.write_bytes(compiled(MESSAGES, header=hostile))
    assert len(read_catalogue(path)) == len(MESSAGES)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw[: len(raw) // 2], "is cut off"),
        (lambda raw: raw[:15], "is cut off"),
        (lambda raw: raw[:8] + b"\xff\xff\xff\xff" + raw[12:], "is cut off"),
        (lambda raw: b"PK\x03\x04" + raw[4:], "is not a message catalogue"),
        (lambda raw: b"", "is not a message catalogue"),
        (lambda raw: raw.replace(b"utf-8", b"ascii"), "is not in ascii"),
        (lambda raw: raw.replace(b"utf-8", b"utf-x"), "is not in utf-x"),
        (lambda raw: raw.replace(b"utf-8", b"rot13"), "is not in rot13"),
    ],
)
def test_a_damaged_catalogue_is_named(damage: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mo"
    path.write_bytes(damage(compiled(MESSAGES)))  # type: ignore[operator]
    with pytest.raises(InputError, match=rf"a\.mo {said}"):
        read_catalogue(path)


@pytest.mark.parametrize(
    ("message", "translation", "kept"),
    [
        ("_Open File…", "Datei ö_ffnen…", ("Open File", "Datei öffnen")),
        ("&Save as...", "S&peichern unter...", ("Save as", "Speichern unter")),
        ("Name:", "Name :", ("Name", "Name")),
        ("E_xit", "B_eenden", ("Exit", "Beenden")),
        (
            "It's the user’s file.",
            "Es ist die Datei des Benutzers.",
            ("It's the user’s file.", "Es ist die Datei des Benutzers."),
        ),
        ("Cut & paste", "Ausschneiden und Einfügen", None),
        ("%d files", "%d Dateien", None),
        ("{n} files", "{n} Dateien", None),
        ("<b>bold</b>", "<b>fett</b>", None),
        ("use --force", "mit --force", None),
        ("-v, be verbose", "-v, mehr ausgeben", None),
        ("two\nlines", "zwei\nZeilen", None),
        ("see file_name", "siehe file_name", None),
        ("see core_pattern here", "siehe core_pattern hier", None),
        ("in /etc", "in /etc", None),
        ("read config.ini", "config.ini lesen", None),
        ("call open() twice", "open() zweimal rufen", None),
        ("12", "12", None),
    ],
)
def test_what_is_no_sentence_is_left_out(
    message: str, translation: str, kept: tuple[str, str] | None
) -> None:
    assert sentence_pair(message, translation) == kept


def catalogues(root: Path) -> Path:
    """Two packages' catalogues of German, and one of French."""
    names = ["file", "disk", "list", "name", "page", "word", "line", "mail", "user", "group"]
    german = ["Datei", "Platte", "Liste", "Name", "Seite", "Wort", "Zeile", "Post", "Nutzer", "Gruppe"]
    verbs = {"Open the {}": "{} öffnen", "Close the {}": "{} schließen", "The {} is full": "{} ist voll"}
    messages = {
        english.format(a): other.format(b)
        for english, other in verbs.items()
        for a, b in zip(names, german, strict=True)
    }
    for language, domain, content in (
        ("de", "one", messages),
        ("de", "two", {**MESSAGES, "Open the file": "Öffne die Datei", "%s is full": "%s ist voll"}),
        ("fr", "one", {"Open the file": "Ouvrir le fichier"}),
    ):
        folder = root / "usr/share/locale" / language / "LC_MESSAGES"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{domain}.mo").write_bytes(compiled(content))
    return root


def test_pairs_of_all_catalogues_below_a_folder(tmp_path: Path) -> None:
    options = mo.Options(path=str(catalogues(tmp_path)), vocabulary=120, length=16)
    pairs, left_out = mo.sentences(options)
    assert len(pairs) == 32  # thirty, and "Open file" and "one file" of the other catalogue
    assert ("Datei öffnen", "Open the file") in pairs
    assert "Ouvrir le fichier" not in dict(pairs)
    assert left_out == {
        "with markup, placeholders or code": 1,
        "too short": 1,
        "duplicate": 2,  # "Open the file" otherwise, "The disk is full" otherwise
    }
    arrays = mo.load(options)
    texts = [subwords.decode(arrays.vocabulary, row) for y in (arrays.y_train, arrays.y_test) for row in y]
    assert sorted(texts) == sorted(english for _, english in pairs)
    assert mo.available(options) == (len(arrays.x_train), len(arrays.x_test))
    turned = mo.sentences(options.model_copy(update={"into": "language"}))[0]
    assert turned == [(english, german) for german, english in pairs]


def test_catalogues_are_chosen_by_name_and_a_wrong_name_is_told(tmp_path: Path) -> None:
    root = str(catalogues(tmp_path))
    assert len(mo.sentences(mo.Options(path=root, domains=("two",)))[0]) == 4
    with pytest.raises(InputError, match=r"no catalogue tow\.mo of language de; known: two, one"):
        mo.available(mo.Options(path=root, domains=("tow",)))


def test_where_there_are_none_the_message_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"apt-get download libreoffice-l10n-de && dpkg-deb -x .* catalogues"
    ):
        mo.available(mo.Options(path=str(tmp_path)))


def test_another_content_is_another_data_set(tmp_path: Path) -> None:
    options = mo.Options(path=str(catalogues(tmp_path)))
    before = mo.fingerprint(options)
    file = tmp_path / "usr/share/locale/de/LC_MESSAGES/two.mo"
    file.write_bytes(compiled({**MESSAGES, "The disk is new": "Die Platte ist neu"}))
    assert mo.fingerprint(options) != before
    assert mo.fingerprint(options.model_copy(update={"domains": ("one",)})) not in (
        before,
        mo.fingerprint(options),
    )


def test_real_catalogues_give_thousands_of_pairs() -> None:
    place = ROOT / "catalogues"
    if not place.is_dir():
        pytest.skip(f"{place} does not hold the files of the Debian package libreoffice-l10n-de")
    options = mo.Options(path=str(place))
    arrays = mo.load(options)
    assert len(arrays.x_train) > 5000
    assert arrays.classes == options.vocabulary
    share = len(arrays.x_test) / (len(arrays.x_train) + len(arrays.x_test))
    assert share == pytest.approx(options.test_size, abs=0.02)
