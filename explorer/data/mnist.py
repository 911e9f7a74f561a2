"""MNIST: 70,000 real 28×28 images of handwritten digits (LeCun, Cortes, Burges, 1998)."""

from __future__ import annotations

from explorer.data.formats.files import Source
from explorer.data.formats.images import ImageOptions, PublicImages
from explorer.data.formats.readers import read_images

SHAPE, CLASSES = (1, 28, 28), 10  # of the original images
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
IMAGES = PublicImages(SOURCE, sizes=(60_000, 10_000), classes=CLASSES, read=read_images)
available, load = IMAGES.available, IMAGES.load


class Options(ImageOptions):
    """60,000 training inputs at most and 10,000 test inputs of shape (1, 28, 28), 10 classes."""
