"""The user's own images, in folders and in Parquet files."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from explorer.data import image_folder, image_parquet
from explorer.data.formats.encoded import decode
from explorer.settings import InputError

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (6, 5, 4, 3), np.uint8)  # (inputs, height, width, channels)
TEST = RNG.integers(0, 256, (4, 5, 4, 3), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def folders(root: Path, test: str = "test") -> image_folder.Options:
    """Inputs 0, 2, 4 are cats, the others dogs."""
    for part, x in (("train", TRAIN), (test, TEST)):
        for i, pixels in enumerate(x):
            file = root / part / ("cat", "dog")[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(pixels))
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    return image_folder.Options(path=str(root))


def tables(
    root: Path, *, nested: bool = True, image: str = "image", label: str = "label"
) -> image_parquet.Options:
    root.mkdir(exist_ok=True)
    for name, x, start in (
        ("train-00000-of-00002", TRAIN[:4], 0),
        ("train-00001-of-00002", TRAIN[4:], 4),
        ("test-00000", TEST, 0),
    ):
        values: list[Any] = [{"bytes": png(p), "path": None} if nested else png(p) for p in x]
        table = pyarrow.table({image: values, label: [(start + i) % 2 for i in range(len(x))]})
        pyarrow.parquet.write_table(table, root / f"{name}.parquet")
    return image_parquet.Options(path=str(root))


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_folders_are_read_class_by_class(test: str, tmp_path: Path) -> None:
    options = folders(tmp_path, test)
    read = image_folder.load(options)
    assert image_folder.available(options) == (6, 4)
    assert read.y_train.tolist() == [0, 0, 0, 1, 1, 1]
    expected = TRAIN[[0, 2, 4, 1, 3, 5]].transpose(0, 3, 1, 2) / np.float32(255)
    assert np.array_equal(read.x_train, expected)
    assert read.y_test.tolist() == [0, 0, 1, 1]
    assert read.classes == 2


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(("image", "label"), [("image", "label"), ("img", "fine_label"), ("picture", "kind")])
def test_parquet_is_read_in_the_order_of_files_and_rows(
    nested: bool, image: str, label: str, tmp_path: Path
) -> None:
    options = tables(tmp_path, nested=nested, image=image, label=label)
    if image == "picture":
        with pytest.raises(InputError, match="image_column to one of: picture, kind"):
            image_parquet.load(options)
        options = options.model_copy(update={"image_column": "picture", "label_column": "kind"})
    read = image_parquet.load(options)
    assert image_parquet.available(options) == (6, 4)
    assert np.array_equal(read.x_train, TRAIN.transpose(0, 3, 1, 2) / np.float32(255))
    assert read.y_train.tolist() == [0, 1, 0, 1, 0, 1]
    assert np.array_equal(read.x_test, TEST.transpose(0, 3, 1, 2) / np.float32(255))


def test_images_are_resized_and_made_grey_on_request(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "train" / "cat" / "0.png").write_bytes(png(np.full((9, 9, 3), 51, np.uint8)))
    with pytest.raises(InputError, match="5×4, others are 9×9"):
        image_folder.load(image_folder.Options(path=str(tmp_path)))
    read = image_folder.load(image_folder.Options(path=str(tmp_path), side=3, colour="grey"))
    assert read.shape == (1, 3, 3)
    assert read.x_train[0] == pytest.approx(np.full((1, 3, 3), 0.2))


@pytest.mark.parametrize("make", [folders, tables])
def test_the_fingerprint_follows_the_content_not_the_place(make: Any, tmp_path: Path) -> None:
    module = image_folder if make is folders else image_parquet
    first, second = (module.fingerprint(make(tmp_path / name)) for name in ("a", "b"))
    assert first == second
    options = make(tmp_path / "b")
    changed = next(
        file for file in sorted((tmp_path / "b").rglob("*")) if file.suffix in (".png", ".parquet")
    )
    changed.write_bytes(changed.read_bytes() + b" ")
    assert module.fingerprint(options) != first


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder train and a folder test"):
        image_folder.available(image_folder.Options(path=str(tmp_path)))
    options = folders(tmp_path)
    (tmp_path / "test" / "horse").mkdir()
    with pytest.raises(InputError, match="lacks: horse"):
        image_folder.available(options)
    (tmp_path / "test" / "horse").rmdir()
    damaged = tmp_path / "test" / "dog" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    with pytest.raises(InputError, match=r"1\.png cannot be read as an image"):
        image_folder.load(options)


@pytest.mark.parametrize("layout", ["train alone", "classes alone"])
def test_without_a_test_folder_a_share_of_each_class_is_the_test_set(layout: str, tmp_path: Path) -> None:
    folders(tmp_path)
    shutil.rmtree(tmp_path / "test")
    root = tmp_path if layout == "train alone" else tmp_path / "train"
    options = image_folder.Options(path=str(root), test_share=0.4)
    read = image_folder.load(options)
    assert image_folder.available(options) == read.sizes == (4, 2)
    assert read.y_test.tolist() == [0, 1]
    other = [image_folder.load(options.model_copy(update={"split_seed": seed})).x_test for seed in range(6)]
    assert not all(np.array_equal(x, read.x_test) for x in other)


def test_a_share_of_images_is_for_folders_without_a_test_set(tmp_path: Path) -> None:
    options = folders(tmp_path).model_copy(update={"test_share": 0.4})
    with pytest.raises(InputError, match=r"test_share: .* has its own test set, .*test; remove test_share"):
        image_folder.load(options)
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(InputError, match="has a folder test and no folder train; add one"):
        image_folder.load(options)
    with pytest.raises(InputError, match="is no folder; name the folder that holds the folders of the clas"):
        image_folder.load(image_folder.Options(path=str(tmp_path / "nothing")))


def test_a_class_without_training_images_is_named(tmp_path: Path) -> None:
    options = folders(tmp_path)
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    with pytest.raises(InputError, match=r"train holds no images of \.ipynb_checkpoints; delete"):
        image_folder.available(options)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_read_by_their_upper_byte_and_32_refused(kind: str, tmp_path: Path) -> None:
    def of(pixels: np.ndarray, kind: str) -> tuple[str, bytes]:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind)
        return "one", stream.getvalue()

    pixels = np.array([[0, 255, 256], [4660, 65279, 65535]], np.uint16)
    for colour, channels in (("grey", 1), ("rgb", 3)):
        read = decode([of(pixels, kind)], image_folder.Options(path="", colour=colour))
        assert np.array_equal(read[0], [[[0, 0, 1], [18, 254, 255]]] * channels)
    for wide in (np.int32, np.float32):
        with pytest.raises(
            InputError, match="one cannot be read as an image: its pixels are numbers of 32 bits"
        ):
            decode([of(pixels.astype(wide), "TIFF")], image_folder.Options(path=""))


def test_wrong_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.parquet file"):
        image_parquet.available(image_parquet.Options(path=str(tmp_path)))
    options = tables(tmp_path)
    test = tmp_path / "test-00000.parquet"
    for column, message in (
        ({"image": ["x"] * 2}, "holds no image bytes"),
        ({"image": [png(TEST[0])] * 2}, "whole numbers"),
    ):
        pyarrow.parquet.write_table(pyarrow.table({**column, "label": [0.5, 1.0]}), test)
        with pytest.raises(InputError, match=message):
            image_parquet.load(options)
    pyarrow.parquet.write_table(pyarrow.table({"image": [png(TEST[0])] * 2, "label": [0, 99]}), test)
    with pytest.raises(InputError, match="99 is a label of test inputs"):
        image_parquet.load(options)
    test.write_bytes(b"PAR1 it is not")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        image_parquet.available(options)


def test_without_pillow_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = folders(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match="pip install pillow"):
        image_folder.load(options)


@pytest.mark.parametrize("sets", [folders, tables])
def test_a_part_of_the_test_images_has_all_classes(
    sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (40, 5, 4, 3), np.uint8)
    monkeypatch.setitem(globals(), "TEST", images)
    module = image_folder if sets is folders else image_parquet
    whole = module.load(sets(tmp_path))
    some, few = (module.load(sets(tmp_path).model_copy(update={"test_size": n})) for n in (20, 10))
    assert 5 <= some.y_test.sum() <= 15
    assert np.array_equal(few.x_test, some.x_test[:10])  # smaller parts are in larger ones
    label = {image.tobytes(): y for image, y in zip(whole.x_test, whole.y_test, strict=True)}
    assert [label[image.tobytes()] for image in some.x_test] == some.y_test.tolist()
