"""MNIST: 70,000 real 28×28 images of handwritten digits (LeCun, Cortes, Burges, 1998)."""

from __future__ import annotations

from explorer.data.dataset import Arrays
from explorer.data.formats.files import Source, locate
from explorer.data.formats.idx import read_idx
from explorer.data.formats.images import ImageOptions, available_images, image_arrays

SOURCE = Source(
    name="mnist",
    title="MNIST",
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    checksums={
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    },
    page="https://ossci-datasets.s3.amazonaws.com/mnist/",
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
    files = locate(SOURCE)
    x_train, y_train, x_test, y_test = (read_idx(files[name]) for name in SOURCE.checksums)
    return image_arrays(
        (x_train[:, None], y_train), (x_test[:, None], y_test), options,
        classes=CLASSES, expected=INPUTS, title=SOURCE.title,
    )  # fmt: skip
