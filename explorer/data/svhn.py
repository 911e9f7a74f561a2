"""SVHN: 99,289 real 32×32 colour images of house numbers, cropped to one digit (Netzer et al., 2011)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from explorer.data.formats.files import Source
from explorer.data.formats.images import ImageOptions, LabelledImages, PublicImages
from explorer.settings import InputError


class Options(ImageOptions):
    """73,257 training inputs at most and 26,032 test inputs of shape (3, 32, 32), 10 classes."""


def read_mat(path: Path) -> LabelledImages:
    """Return uint8 images (inputs, 3, 32, 32) and labels (inputs,) from 0 to 9 (the file has 10 for 0).

    Raises:
        InputError: the file is not an SVHN file of cropped digits.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=["X", "y"])
        x, y = content["X"], content["y"].ravel()
    except KeyError as error:
        raise InputError(
            f"{path} has no variable {error}; it is not one of SVHN's cropped-digit files"
        ) from error
    except Exception as error:  # scipy raises many types for damaged files
        raise InputError(f"{path} cannot be read as a MATLAB file: {error}") from error
    if x.ndim != 4 or x.shape[:3] != (32, 32, 3) or x.dtype != np.uint8:
        raise InputError(
            f"{path} holds X of {x.shape} and {x.dtype}; (32, 32, 3, inputs) of uint8 is expected"
        )
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1)), y.astype(np.int64) % 10


SHAPE, CLASSES = (3, 32, 32), 10  # of the original images
SOURCE = Source(
    name="svhn",
    title="SVHN",
    url="http://ufldl.stanford.edu/housenumbers/",
    checksums={
        "train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
    },
    page="http://ufldl.stanford.edu/housenumbers/",
)
IMAGES = PublicImages(
    SOURCE,
    sizes=(73_257, 26_032),
    classes=CLASSES,
    read=lambda train, test: (read_mat(train), read_mat(test)),
)
available, load = IMAGES.available, IMAGES.load
