"""Budgets of memory: fixed on a processor, a part of a process's share on a card."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from explorer.landscape.operator import GRAPH, HessianOperator, graph_inputs
from explorer.landscape.sharpness import sharpness
from explorer.measures import base
from explorer.models import cnn, memory
from explorer.models.rows import MEMORY, Rows, initial_rows
from explorer.train.loop import evaluate

CARD, CPU = torch.device("cuda", 0), torch.device("cpu")
SHAPE, CLASSES, INPUTS = (2, 6, 6), 3, 40


def test_a_processor_has_fixed_budgets_and_a_card_a_part_of_what_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    properties = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert memory.card_bytes(CPU) is None
    assert memory.card_bytes(CARD) == 80 * 2**30
    with memory.with_card_bytes(20 * 2**30):  # a quarter of it
        assert memory.card_bytes(CARD) == 20 * 2**30
        assert memory.floats_at_once(memory.card_bytes(CARD), GRAPH, memory.GRAPH) == 20 * 2**30 / 8 / 4
    assert memory.card_bytes(CARD) == 80 * 2**30
    assert memory.floats_at_once(None, GRAPH, memory.GRAPH) == GRAPH == 2**26


def test_all_that_a_process_holds_at_once_fits_into_its_share() -> None:
    data, alive = 1 / 2, 6  # layers' outputs at the same time
    assert data + memory.SIDE_BY_SIDE + max(memory.GRAPH, alive * memory.EVALUATION) < 1


def test_budgets_count_numbers_of_four_bytes() -> None:
    room = 1000 * 4 * 8  # 1000 numbers for a graph
    with memory.with_card_bytes(room):
        assert graph_inputs(Rows(torch.nn.Linear(3, 5)), torch.zeros(1, 3)) == 1000 // (6 * 8)
        assert graph_inputs(Rows(torch.nn.Linear(300, 500)), torch.zeros(1, 300)) == 1
    assert base.subjects_at_once(100, 4.0 * 16 * 300) == 3
    assert base.subjects_at_once(100, None) == base.FLOATS_AT_ONCE // 100


def test_results_do_not_hang_on_the_memory_beyond_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    options = cnn.Options(width=3)
    rows = Rows(cnn.build(options, SHAPE, CLASSES).double())
    theta, buffers = initial_rows(lambda: cnn.build(options, SHAPE, CLASSES), rows, [0, 1])
    theta, buffers = theta.double(), buffers.double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(INPUTS, *SHAPE, generator=generator, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (INPUTS,), generator=generator)
    vectors = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
    chunks, found = [], []
    for share in (None, 4e5, 1e4):
        with memory.with_card_bytes(share):
            operator = HessianOperator(rows, theta, x, y, buffers)
            chunks.append((len(operator.parts), len(rows.chunks(x))))
            stats = rows.estimate_buffers(theta, buffers, x)
            loss, _ = evaluate(rows, theta, stats, x, y)
            rise = sharpness(rows, theta, x, y, buffers=buffers).rise
            found.append([operator(vectors), stats, loss, rise])
    assert chunks[0] == (1, 1)
    assert chunks[1] != chunks[2]
    assert all(graph > 1 and evaluation > 1 for graph, evaluation in chunks[1:])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_statistics_are_the_same_whatever_rows_are_beside_them() -> None:
    options = cnn.Options(width=3)
    rows = Rows(cnn.build(options, SHAPE, CLASSES))
    theta, buffers = initial_rows(lambda: cnn.build(options, SHAPE, CLASSES), rows, range(4))
    inputs = MEMORY // rows.activations(torch.zeros(1, *SHAPE))  # just what one model may hold
    x = torch.randn(inputs, *SHAPE, generator=torch.Generator().manual_seed(0))
    together = rows.estimate_buffers(theta, buffers, x)
    alone = rows.estimate_buffers(theta[2:3], buffers[2:3], x)
    torch.testing.assert_close(together[2:3], alone, rtol=1e-5, atol=1e-6)
