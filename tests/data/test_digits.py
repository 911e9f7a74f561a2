"""Digits are read without importing scikit-learn, and are its own."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.datasets import load_digits

from explorer.data import digits


@pytest.mark.parametrize("moved", [False, True], ids=["from the file", "by scikit-learn"])
def test_the_images_are_scikit_learns(moved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if moved:  # as if a later version kept its data elsewhere
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    images, labels = digits._images()
    theirs, their_labels = load_digits(return_X_y=True)
    assert images.dtype == theirs.dtype
    np.testing.assert_array_equal(images, theirs)
    np.testing.assert_array_equal(labels, their_labels)
