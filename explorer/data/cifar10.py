"""CIFAR-10: 60,000 real 32×32 colour images of animals and vehicles (Krizhevsky, 2009)."""

from __future__ import annotations

import functools

from explorer.data.formats.files import Source
from explorer.data.formats.images import ImageOptions, PublicImages
from explorer.data.formats.readers import read_cifar

SHAPE, CLASSES = (3, 32, 32), 10  # of the original images
MEMBERS = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
SOURCE = Source(
    name="cifar10",
    title="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz/",
    checksums={"cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530"},
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
)
IMAGES = PublicImages(
    SOURCE,
    sizes=(50_000, 10_000),
    classes=CLASSES,
    read=functools.partial(read_cifar, members=MEMBERS, label_bytes=1),
)
available, load = IMAGES.available, IMAGES.load


class Options(ImageOptions):
    """50,000 training inputs at most and 10,000 test inputs of shape (3, 32, 32), 10 classes."""
