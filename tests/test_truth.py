"""Small versions of the simulations in ``benchmarks/truth.py``: rates in worlds whose truth is known."""

from __future__ import annotations

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import truth
import truth_measures

SMALL = {"noise": 8, "CKA": 2, "sign": 300, "barrier": 300}  # worlds, by the first word of a promise


@pytest.mark.parametrize("promise", truth_measures.PROMISES, ids=lambda promise: promise.says)
def test_a_measure_keeps_its_promise_in_few_worlds(promise: truth.Promise) -> None:
    rate = promise.rate(SMALL[promise.says.split()[0]])
    slack = 0.1  # few worlds
    assert promise.low - slack <= rate <= promise.high + slack
