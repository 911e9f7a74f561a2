"""Fashion-MNIST: 70,000 real 28×28 images of clothing (Xiao et al., 2017; MIT licence)."""

from __future__ import annotations

from pathlib import Path

from explorer.data.dataset import Arrays
from explorer.data.formats.files import Source, locate
from explorer.data.formats.idx import read_idx
from explorer.data.formats.images import ImageOptions, available_images, image_arrays

SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
SOURCE = Source(
    name="fashion-mnist",
    title="Fashion-MNIST",
    url="https://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    checksums={
        "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
    },
    page="https://github.com/zalandoresearch/fashion-mnist (on Debian: apt install dataset-fashion-mnist)",
)
INPUTS = (60_000, 10_000)
SHAPE, CLASSES = (1, 28, 28), 10  # of the original images


class Options(ImageOptions):
    """60,000 training inputs at most and 10,000 test inputs of shape (1, 28, 28), 10 classes."""


def available(options: Options) -> tuple[int, int]:
    """Return the numbers of training and test inputs."""
    return available_images(options, *INPUTS, load)


def load(options: Options) -> Arrays:
    """Return the images scaled to 0 … 1 and pooled as the options say."""
    files = locate(SOURCE, SYSTEM)
    x_train, y_train, x_test, y_test = (read_idx(files[name]) for name in SOURCE.checksums)
    return image_arrays(
        (x_train[:, None], y_train), (x_test[:, None], y_test), options,
        classes=CLASSES, expected=INPUTS, title=SOURCE.title,
    )  # fmt: skip
