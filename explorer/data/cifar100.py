"""CIFAR-100: 60,000 real 32×32 colour images in 100 fine classes (Krizhevsky, 2009)."""

from __future__ import annotations

from explorer.data.dataset import Arrays
from explorer.data.formats.archives import read_members
from explorer.data.formats.cifar import HINT, read_records
from explorer.data.formats.files import Source, locate
from explorer.data.formats.images import ImageOptions, available_images, image_arrays

ARCHIVE = "cifar-100-binary.tar.gz"
SOURCE = Source(
    name="cifar100",
    title="CIFAR-100",
    url="https://www.cs.toronto.edu/~kriz/",
    checksums={ARCHIVE: "md5:03b5dce01913d631647c71ecec9e9cb8"},
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
)
MEMBERS = ["train.bin", "test.bin"]
INPUTS = (50_000, 10_000)
SHAPE, CLASSES = (3, 32, 32), 100  # of the original images


class Options(ImageOptions):
    """50,000 training inputs at most and 10,000 test inputs of shape (3, 32, 32), 100 classes."""


def available(options: Options) -> tuple[int, int]:
    """Return the numbers of training and test inputs."""
    return available_images(options, *INPUTS, load)


def load(options: Options) -> Arrays:
    """Return the images scaled to 0 … 1 and pooled as the options say."""
    archive = locate(SOURCE)[ARCHIVE]
    *train, test = read_members(archive, MEMBERS, HINT)
    return image_arrays(
        read_records(train, label_bytes=2, archive=archive),
        read_records([test], label_bytes=2, archive=archive),
        options,
        classes=CLASSES,
        expected=INPUTS,
        title=SOURCE.title,
    )
