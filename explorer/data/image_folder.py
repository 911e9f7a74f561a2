"""Image folders: ``train/<class>/*.png`` and ``test/<class>/*.png``, or one of both, or ``<class>/*.png``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from explorer.data.dataset import Arrays
from explorer.data.formats.encoded import EncodedOptions, decode, hash_files, user_arrays
from explorer.data.formats.images import available_images
from explorer.data.formats.tables import seeded_split
from explorer.settings import InputError, listed

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
TEST_SHARE = 0.2
TEST_NAMES = ("test", "val", "valid", "validation")


class Options(EncodedOptions):
    """A folder with ``train/`` and ``test/`` (or ``val/``), each with one folder of images per class.

    Without a test folder, or with the folders of classes alone, a share of each class is the test set.
    """

    test_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of the images of each class used for testing, if there is no test folder; "
        "default: 0.2",
    )
    split_seed: int = Field(default=0, ge=0, description="seed of the choice of these images")


def _listed(options: Options) -> tuple[list[str], list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Return the sorted class names, and the files of each part with their class numbers."""
    root = Path(options.path)
    test = next((root / name for name in TEST_NAMES if (root / name).is_dir()), None)
    if not root.is_dir():
        raise InputError(f"{root} is no folder; name the folder that holds the folders of the classes")
    train = root / "train" if (root / "train").is_dir() else root
    if train == root and test is not None:
        raise InputError(f"{root} has a folder {test.name} and no folder train; add one")
    if test is not None and options.test_share is not None:
        raise InputError(f"test_share: {root} has its own test set, {test}; remove test_share")
    classes = sorted(entry.name for entry in train.iterdir() if entry.is_dir())
    unknown = sorted({e.name for e in test.iterdir() if e.is_dir()} - set(classes)) if test else []
    if unknown:
        raise InputError(f"{test} has classes that {train} lacks: {listed(unknown)}")
    if len(classes) < 2:
        both = "a folder train and a folder test, or " if train == root else ""
        raise InputError(
            f"{train} should hold {both}one folder per class, at least two; it has {len(classes)}"
        )
    parts = []
    for part in (train, test) if test else (train,):
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
        raise InputError(f"{train} holds no images of {listed(empty)}; delete folders that are not classes")
    if test is None:
        share = options.test_share or TEST_SHARE
        tested = seeded_split([n for _, n in parts[0]], share, options.split_seed)
        both = [[one for one, is_test in zip(parts[0], tested, strict=True) if is_test == k] for k in (0, 1)]
        if not both[1]:
            raise InputError(f"{train} has too few images for a test_share of {share}; give each class more")
        parts = both
    return classes, parts[0], parts[1]


def fingerprint(options: Options) -> str:
    """Return a hash of the names and contents of all images, which identifies the data set anywhere."""
    _, train, test = _listed(options)
    return hash_files(Path(options.path), [file for file, _ in train + test])


def available(options: Options) -> tuple[int, int]:
    _, train, test = _listed(options)
    return available_images(options, len(train), len(test), load)


def load(options: Options) -> Arrays:
    """Return the images scaled to 0 … 1. Classes are numbered in the order of their folder names."""
    classes, *parts = _listed(options)
    train, test = (
        (decode(((str(f), f.read_bytes()) for f, _ in part), options), np.array([n for _, n in part]))
        for part in parts
    )
    return user_arrays(train, test, options, classes)
