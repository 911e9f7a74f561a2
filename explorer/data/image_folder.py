"""Image folders: ``train/<class>/*.png`` and ``test/<class>/*.png``, a common format of data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from explorer.data.dataset import Arrays
from explorer.data.formats.encoded import EncodedOptions, decode, hash_files, user_arrays
from explorer.data.formats.images import available_images
from explorer.settings import InputError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
TEST_NAMES = ("test", "val", "valid", "validation")


class Options(EncodedOptions):
    """A folder with ``train/`` and ``test/`` (or ``val/``), each with one folder of images per class."""


def _listed(path: str) -> tuple[list[str], list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Return the sorted class names, and the files of each part with their class numbers."""
    root = Path(path)
    test = next((root / name for name in TEST_NAMES if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or test is None:
        raise InputError(
            f"{path} should hold a folder train and a folder test (or {', '.join(TEST_NAMES[1:])})"
        )
    classes = sorted(entry.name for entry in (root / "train").iterdir() if entry.is_dir())
    unknown = sorted({entry.name for entry in test.iterdir() if entry.is_dir()} - set(classes))
    if unknown:
        raise InputError(f"{test} has classes that {root / 'train'} lacks: {', '.join(unknown)}")
    if len(classes) < 2:
        raise InputError(
            f"{root / 'train'} should hold one folder per class, at least two; it has {len(classes)}"
        )
    parts = []
    for part in (root / "train", test):
        files = [
            (file, number)
            for number, name in enumerate(classes)
            for file in sorted((part / name).rglob("*"))
            if file.suffix.lower() in SUFFIXES
        ]
        if not files:
            raise InputError(f"{part} holds no images ({', '.join(sorted(SUFFIXES))})")
        parts.append(files)
    empty = [name for number, name in enumerate(classes) if number not in {n for _, n in parts[0]}]
    if empty:
        raise InputError(
            f"{root / 'train'} holds no images of {', '.join(empty)}; delete folders that are not classes"
        )
    return classes, parts[0], parts[1]


def fingerprint(options: Options) -> str:
    """Return a hash of the names and contents of all images, which identifies the data set anywhere."""
    _, train, test = _listed(options.path)
    return hash_files(Path(options.path), [file for file, _ in train + test])


def available(options: Options) -> tuple[int, int]:
    """Return the numbers of training and test inputs."""
    _, train, test = _listed(options.path)
    return available_images(options, len(train), len(test), load)


def load(options: Options) -> Arrays:
    """Return the images scaled to 0 … 1. Classes are numbered in the order of their folder names."""
    classes, *parts = _listed(options.path)
    train, test = (
        (decode(((str(f), f.read_bytes()) for f, _ in part), options), np.array([n for _, n in part]))
        for part in parts
    )
    return user_arrays(train, test, options, classes)
