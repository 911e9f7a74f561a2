"""Fashion-MNIST: 70,000 real 28×28 images of clothing (Xiao et al., 2017; MIT licence)."""

from __future__ import annotations

from pathlib import Path

from explorer.data.formats.files import Source
from explorer.data.formats.images import ImageOptions, PublicImages
from explorer.data.formats.readers import read_images

SHAPE, CLASSES = (1, 28, 28), 10  # of the original images
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
    system=SYSTEM,
)
IMAGES = PublicImages(SOURCE, sizes=(60_000, 10_000), classes=CLASSES, read=read_images)
available, load = IMAGES.available, IMAGES.load


class Options(ImageOptions):
    """60,000 training inputs at most and 10,000 test inputs of shape (1, 28, 28), 10 classes."""
