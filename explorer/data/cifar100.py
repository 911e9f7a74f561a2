"""CIFAR-100: 60,000 real 32×32 colour images in 100 fine classes (Krizhevsky, 2009)."""

from __future__ import annotations

import functools

from explorer.data.formats.files import Source
from explorer.data.formats.images import ImageOptions, PublicImages
from explorer.data.formats.readers import read_cifar

SHAPE, CLASSES = (3, 32, 32), 100  # of the original images
MEMBERS = ["train.bin", "test.bin"]
SOURCE = Source(
    name="cifar100",
    title="CIFAR-100",
    url="https://www.cs.toronto.edu/~kriz/",
    checksums={"cifar-100-binary.tar.gz": "md5:03b5dce01913d631647c71ecec9e9cb8"},
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
)
IMAGES = PublicImages(
    SOURCE,
    sizes=(50_000, 10_000),
    classes=CLASSES,
    read=functools.partial(read_cifar, members=MEMBERS, label_bytes=2),
)
available, load = IMAGES.available, IMAGES.load


class Options(ImageOptions):
    """50,000 training inputs at most and 10,000 test inputs of shape (3, 32, 32), 100 classes."""
