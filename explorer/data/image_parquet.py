"""Parquet files with image bytes, as on data hubs: ``train-*.parquet`` and ``test-*.parquet``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from explorer.data.dataset import Arrays, check_classes
from explorer.data.formats.encoded import EncodedOptions, decode, hash_files, user_arrays
from explorer.data.formats.images import LabelledImages, available_images
from explorer.data.formats.reading import check_table_size, open_parquet
from explorer.data.targets import read_targets
from explorer.settings import InputError, listed

TEST_NAMES = ("test", "validation", "valid", "val")
IMAGE_NAMES = ("image", "img", "images")
LABEL_NAMES = ("label", "labels", "fine_label")


class Options(EncodedOptions):
    """A folder with files ``train*.parquet`` and ``test*.parquet`` (or ``validation*``), at any depth.

    An image is binary or a struct with ``bytes``. A label is a word or a whole number.
    """

    image_column: str | None = Field(
        default=None, description=f"column of the images; default: the first of {', '.join(IMAGE_NAMES)}"
    )
    label_column: str | None = Field(
        default=None, description=f"column of the labels; default: the first of {', '.join(LABEL_NAMES)}"
    )


def _files(path: str) -> tuple[list[Path], list[Path]]:
    parquet_files = sorted(Path(path).rglob("*.parquet"))

    def named(start: str) -> list[Path]:
        return [file for file in parquet_files if file.name.startswith(start) or file.parent.name == start]

    train, test = named("train"), next((files for name in TEST_NAMES if (files := named(name))), [])
    if not train or not test:
        raise InputError(
            f"{path} should hold train*.parquet and test*.parquet (or {', '.join(TEST_NAMES[1:])}); "
            f"it has {', '.join(file.name for file in parquet_files[:5]) or 'no .parquet file'}"
        )
    return train, test


def _rows(files: list[Path]) -> int:
    total = 0
    for file in files:
        with open_parquet(file) as parquet:
            total += parquet.metadata.num_rows
    return total


def _column(file: Path, names: list[str], wanted: str | None, usual: tuple[str, ...], option: str) -> str:
    candidates = [name for name in ((wanted,) if wanted else usual) if name in names]
    if not candidates:
        raise InputError(
            f"{file} has no column {wanted or ' or '.join(usual)}; set {option} to one of: {listed(names)}"
        )
    return candidates[0]


def _read(files: list[Path], options: Options) -> LabelledImages:
    labels: list[Any] = []

    def images() -> Iterator[tuple[str, bytes]]:
        for file in files:
            with open_parquet(file) as parquet:
                names = parquet.schema_arrow.names
                image = _column(file, names, options.image_column, IMAGE_NAMES, "image_column")
                label = _column(file, names, options.label_column, LABEL_NAMES, "label_column")
                try:
                    check_table_size(file, file.stat().st_size)
                except ValueError as error:
                    raise InputError(f"{file}: {error}") from error
                table = parquet.read(columns=[image, label])
            labels.extend(table.column(label).to_pylist())
            for row, value in enumerate(table.column(image)):
                content = value.as_py()
                raw = content.get("bytes") if isinstance(content, dict) else content
                if not isinstance(raw, bytes):
                    raise InputError(f"{file}, row {row}: column {image} holds no image bytes")
                yield f"{file}, row {row}", raw

    x = decode(images(), options)
    if None in labels:
        raise InputError(f"{files[0]}, row {labels.index(None)}: the label is missing; leave the row out")
    return x, np.array(labels)


def fingerprint(options: Options) -> str:
    """Return a hash of the names and contents of all files, which identifies the data set anywhere."""
    train, test = _files(options.path)
    return hash_files(Path(options.path), train + test)


def available(options: Options) -> tuple[int, int]:
    """Return the numbers of training and test inputs, read from the files' footers."""
    train, test = _files(options.path)
    return available_images(options, _rows(train), _rows(test), load)


def load(options: Options) -> Arrays:
    """Return the images scaled to 0 … 1. Classes are numbered in the order of their labels."""
    (x_train, y_train), (x_test, y_test) = (_read(files, options) for files in _files(options.path))
    targets = read_targets(options.path, y_train, y_test)
    if targets.labels is None:
        raise InputError(f"{options.path}: labels should be words or whole numbers; {targets.problem}")
    check_classes(options.path, len(targets.names), len(y_train))
    return user_arrays((x_train, targets.labels[0]), (x_test, targets.labels[1]), options, targets.names)
