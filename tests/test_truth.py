"""Small versions of the simulations in ``benchmarks/truth.py``: rates in worlds whose truth is known."""

from __future__ import annotations

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import truth
from worlds import Promise


@pytest.mark.parametrize("promise", truth.PROMISES, ids=lambda promise: promise.says)
def test_a_promise_is_kept_in_few_worlds(promise: Promise) -> None:
    slack = 0.1 if 0 < promise.low < 1 or 0 < promise.high < 1 else 0  # few worlds
    assert promise.low - slack <= promise.rate(promise.few) <= promise.high + slack
