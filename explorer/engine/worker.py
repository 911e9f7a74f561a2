"""Worker of a Tune trial or of an actor of the pool: trains stacks and measures cells.

A worker writes its own records. Finished work is therefore kept even if the driver has died. Nothing here
imports Ray.
"""

from __future__ import annotations

import math
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

import explorer.measures
from explorer.data.base import prepare
from explorer.data.dataset import Arrays
from explorer.engine import card
from explorer.measures import own
from explorer.measures.base import CellModels, take
from explorer.models import memory
from explorer.models.agreement import SAMPLE, check_gradient, check_recorded_loss
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows
from explorer.plan.units import MeasureTask, Stack, architecture_key, data_source, settings_of_row, step_key
from explorer.runs.store import Store, Written
from explorer.settings import Disagreement, InputError, digest, listed, seed_for
from explorer.space.model import Cell
from explorer.space.training import Use, names_of
from explorer.space.trust import changed_sources
from explorer.train.loop import Recipe, Split, State, Trained, evaluate, judge, train
from explorer.train.stopping import Stopping


class Worker:
    """Worker with a store, access to the clean data, and the last prepared data.

    Args:
        clean: returns the clean arrays of a data source (:func:`data_source`) from the object store.
        execution: how rows of an architecture run, by :func:`step_key`.
        gpus: number of GPUs, usually a fraction.
        card_share: share of a GPU's memory that determines the chunk size.
        logical: GPUs are only counted, and the CPU computes.
        deterministic: on a GPU, use kernels that give the same bits each time, where they exist.

    Raises:
        InputError: torch cannot use the GPU, or the share is too small for CUDA.
    """

    def __init__(
        self,
        location: str,
        clean: Callable[[str], Arrays],
        execution: dict[str, str],
        *,
        threads: int,
        gpus: float,
        card_share: float = 1.0,
        logical: bool = False,
        deterministic: bool = True,
    ):
        self.threads = threads
        torch.set_num_threads(threads)
        self.store = Store(location)
        self.store.files.has_answered = True  # the driver has already written to it
        self.clean, self.execution, self.gpus = clean, execution, gpus
        self.device = torch.device("cuda" if gpus and not logical else "cpu")
        self.deterministic = deterministic
        if self.device.type == "cuda":
            if reason := card.why_not():
                raise InputError(card.unusable(reason))
            card.limit_memory(gpus)
        whole = self._card_bytes()
        memory.set_card_bytes(None if whole is None else card.usable_bytes(whole, card_share))
        self._cached: tuple[str, Split | None] = ("", None)
        self._sources_checked = False
        self._verified: set[tuple[str, str]] = set()  # architectures, and what was compared with the module

    def split(self, cell: Cell, seed: int = 0) -> Split:
        """Return the prepared data of replicate ``seed`` of a cell, on the device. The last one is cached."""
        options = cell.data.of_replicate(seed)
        key = digest([cell.data_name, options.model_dump()])
        if self._cached[0] != key:
            arrays = prepare(self.clean(data_source(cell)), options, cell.data_name)
            self._cached = (key, Split.of(arrays, self.device, limit=self._data_bytes()))
        assert self._cached[1] is not None
        return self._cached[1]

    def _data_bytes(self) -> float | None:
        """Return the GPU bytes for data: half of its room. The rest is for weights and activations."""
        whole = self._card_bytes()
        return None if whole is None else card.usable_bytes(whole, self.gpus) / 2

    def _card_bytes(self) -> int | None:
        """Return the bytes of the GPU, or None without one."""
        cuda = self.device.type == "cuda"
        return torch.cuda.get_device_properties(0).total_memory if cuda else None

    def train(
        self,
        stack: Stack,
        save_every_s: float = 300.0,
        tell: Callable[[list[dict[str, Any]]], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Train a stack, write its record and return the record's rows.

        If the record exists already (a retry after a late fault), do nothing and return no rows. Training
        continues from the state that an earlier try has saved, and saves its own state periodically.

        Args:
            tell: see :func:`explorer.train.loop.train`.
        """
        if self.store.has_record("models", stack.id):
            self.store.drop_record("failures", stack.id)
            return []
        self._check_sources(stack.cell)
        torch.set_num_threads(self.threads)  # of this thread, which may not be that of the start
        if stack.cell.imported:
            return self._judge_imported(stack)
        kept = self.store.read_state(stack.id)
        state = State({k: torch.tensor(v) for k, v in kept[0].items()}, kept[1]) if kept else None

        def save(state: State) -> None:
            arrays = {name: tensor.cpu().numpy() for name, tensor in state.tensors.items()}
            self.store.write_state(stack.id, arrays, state.meta)

        with self._explained("training", stack.cell, stack.id) as verify:
            rows, theta, buffers, data = self.start(stack)
            targets = self._targets(stack)
            if verify:
                initial = theta.to(self.device), buffers.to(self.device)
                check_gradient(rows, *initial, data.x_train, data.y_train)
            trained = train(
                rows,
                theta,
                buffers,
                data,
                recipe_of(stack),
                seeds=[seed_for("order", name) for name in stack.streams],
                targets=targets,
                state=state,
                save=save,
                save_every_s=save_every_s,
                tell=tell,
            )
            written = self._write_weights(stack, rows, trained)
            if verify:
                self._check_saved(stack, rows, trained, written.sha256, data, targets)
        records = self._record(stack, rows, trained, written)
        self.store.drop_state(stack.id)
        self.store.drop_record("failures", stack.id)
        return records

    def _judge_imported(self, stack: Stack) -> list[dict[str, Any]]:
        """Compute losses and errors of imported models, write their record and return its rows."""
        files = self.store.by_key("imports")[stack.id].to_pylist()
        cell, sha256 = stack.cell, files[0]["sha256"]
        with self._explained("importing", cell, stack.id) as verify:
            data = self.split(cell, stack.models[0].seed)
            _, rows = network_of(cell, data, self.execution, cell.training.batch_size)
            weights = self.store.read_weights(stack.id, sha256, rows.matrices)
            theta, buffers = (torch.tensor(weights[name]).to(self.device) for name in ("theta", "buffers"))
            final = judge(rows.to(self.device), theta, buffers, data, cell.steps or None)
            if verify and final[0]["status"] == "ok":
                x, y = data.x_train[:SAMPLE], data.y_train[:SAMPLE]
                loss = evaluate(rows, theta[:1], buffers[:1], x, y)[0].item()
                check_recorded_loss(rows, theta[0], buffers[0], x, y, loss)
        of_stack = {
            "stack": stack.id,
            "weights_sha256": sha256,
            "weights_bytes": self.store.weights_bytes(stack.id),
        }
        of_stack |= {"parameters": rows.parameters, "wall_s": None, "peak_memory_mb": self._peak_mb()}
        records = [
            {**settings, **f, **of_stack, "imported": file["file"], **cell.at}
            for settings, f, file in zip(stack.records(), final, files, strict=True)
        ]
        self.store.write_record("models", stack.id, records)
        self.store.drop_record("failures", stack.id)
        return records

    def start(self, stack: Stack) -> tuple[Rows, torch.Tensor, torch.Tensor, Split]:
        """Return the initial state of a stack: network, models with their buffers, and data."""
        cell, data = stack.cell, self.split(stack.cell, stack.rows[0][1])
        build, rows = network_of(cell, data, self.execution, cell.training.batch_size)
        theta, buffers = initial_rows(build, rows, [seed_for("init", name) for name in stack.streams])
        return rows.to(self.device), theta, buffers, data

    def _targets(self, stack: Stack) -> torch.Tensor | None:
        """Return training targets per row (rows, inputs, …) if the cells differ in label noise, else None."""
        rows = [(digest(part.cell.plain_data.model_dump()), part.cell) for part, _ in stack.rows]
        cells = dict(rows)
        if len(cells) == 1:
            return None
        targets = {key: self.split(cell).y_train for key, cell in cells.items()}
        return torch.stack([targets[key] for key, _ in rows])

    def _check_saved(
        self,
        stack: Stack,
        rows: Rows,
        trained: Trained,
        checksum: str,
        data: Split,
        targets: torch.Tensor | None,
    ) -> None:
        """Compare the recorded losses of the first and last usable model with those of the saved models."""
        saved, models = self.store.read_weights(stack.id, checksum), stack.models
        finals = [trained.models[model.cell.checkpoint_step].final[model.row] for model in models]
        usable = [place for place, final in enumerate(finals) if final["status"] == "ok"]
        for place in sorted({*usable[:1], *usable[-1:]}):
            model, final = models[place], finals[place]
            theta, buffers = (
                torch.tensor(saved[name][place]).to(self.device) for name in ("theta", "buffers")
            )
            x, y = data.x_train, data.y_train if targets is None else targets[model.row].to(self.device)
            loss = final["train_loss"]
            if len(x) > SAMPLE:  # a part of the inputs, whose loss is computed in the same way
                x, y = x[:SAMPLE], y[:SAMPLE]
                loss = evaluate(rows, theta[None], buffers[None], x, y)[0].item()
            check_recorded_loss(rows, theta, buffers, x, y, loss)

    def _write_weights(self, stack: Stack, rows: Rows, trained: Trained) -> Written:
        """Write the weights of a stack; return their checksum and size."""
        at = [(trained.models[model.cell.checkpoint_step], model.row) for model in stack.models]
        return self.store.write_weights(
            stack.id,
            {
                "theta": torch.stack([models.theta[row] for models, row in at]).cpu().numpy(),
                "buffers": torch.stack([models.buffers[row] for models, row in at]).cpu().numpy(),
            },
            {"model_ids": stack.model_ids, "layers": [[name, list(shape)] for name, shape in rows.layers]},
        )

    def _record(self, stack: Stack, rows: Rows, trained: Trained, written: Written) -> list[dict[str, Any]]:
        """Write the histories and rows of a stack. The rows come last and mark it as complete."""
        points: dict[int, list[dict[str, Any]]] = {}
        for point in trained.history:
            points.setdefault(point["row"], []).append(point)
        history = [
            {"model_id": model.id, **{k: v for k, v in point.items() if k != "row"}}
            for model in stack.models
            for point in points[model.row]
            if point["step"] <= model.cell.checkpoint_step
        ]
        self.store.write_record("epochs", stack.id, history)
        cost = {
            "parameters": rows.parameters,
            "wall_s": trained.wall_s / len(stack.models),
            "peak_memory_mb": self._peak_mb(),
            "stack": stack.id,
            "weights_sha256": written.sha256,
            "weights_bytes": written.bytes,
        }
        final = [trained.models[model.cell.checkpoint_step].final[model.row] for model in stack.models]
        # The axes come last: a column of an axis ``steps`` has the planned steps, not those of an early stop.
        records = [
            {**settings, **f, **cost, **model.cell.at}
            for model, settings, f in zip(stack.models, stack.records(), final, strict=True)
        ]
        self.store.write_record("models", stack.id, records)
        return records

    def measure(self, task: MeasureTask) -> None:
        """Take the measure of a task and write its record."""
        self._check_sources(task.cell)
        if ":" in task.measure and task.measure not in explorer.measures.USERS:
            own.check(task.measure, dict(task.options.model_extra or {}))
        cell = task.cell
        batch_size = getattr(task.options, "batch_size", cell.training.batch_size)
        with self._explained(task.measure, cell, task.id) as verify:
            data = self.split(cell, task.seed)
            build, rows = network_of(cell, data, self.execution, batch_size)
            if rows.execution == "vmap":  # its last bits depend on the number of models measured together
                rows.execution = "loop"
            rows.to(self.device)
            weights = [
                (self.store.read_weights(m.stack, m.sha256, rows.matrices), m.rows) for m in task.members
            ]
            theta, buffers = (
                torch.cat([torch.tensor(w[name][take]) for w, take in weights]).to(self.device)
                for name in ("theta", "buffers")
            )
            subject = CellModels(cell.id, rows, theta, buffers, task.model_ids, data, build, verify)
            measured = take(task.measure, subject, task.subjects, task.options)
        for kind, extra in measured.extra.items():
            self.store.write_record(kind, task.id, extra)
        self.store.write_record(task.measure, task.id, measured.rows)
        self.store.drop_record("failures", task.id)  # from an earlier try

    def _check_sources(self, cell: Cell) -> None:
        """Raise Disagreement if the user's code has changed since the run started or was continued."""
        if cell.sources and not self._sources_checked and self.store.exists():
            if found := changed_sources(self.store.read_info(), self.store):
                raise Disagreement(
                    f"{listed(found.values(), '; ')}. Source files must not change while a run is at work, "
                    "and must be the same on all machines; restore them, then resume"
                )
            self._sources_checked = True

    @contextmanager
    def _explained(self, what: str, cell: Cell, work: str) -> Iterator[bool]:
        """Say in errors of this block what failed; for GPU memory, also how much is needed.

        Yields whether the block should compare its results with the module itself. It should until ``what``
        has succeeded once in this worker for the cell's architecture. Operations that a GPU may compute with
        other bits next time are written to a record of the ``work``.
        """
        key, unrepeatable = (what, architecture_key(cell)), set[str]()
        try:
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            with self.kernels(unrepeatable):
                yield key not in self._verified
            self._verified.add(key)
            if unrepeatable:
                rows = [{"operation": name} for name in sorted(unrepeatable)]
                self.store.write_record("unrepeatable", work, rows)
        except Disagreement as error:
            raise Disagreement(f"{what} of {cell.model_name} at {cell.at}: {error}") from error
        except torch.cuda.OutOfMemoryError as error:
            used, whole = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
            needed = out_of_memory(cell, used + card.CONTEXT, str(error), whole, self.gpus)
            raise MemoryError(f"{what} of {cell.at}: {needed}") from error

    def kernels(self, unrepeatable: set[str]) -> AbstractContextManager[None]:
        """Choose the kernels of training and measuring in a block; see :func:`card.repeatable`."""
        chosen = self.device.type == "cuda" and self.deterministic
        return card.repeatable(unrepeatable) if chosen else nullcontext()

    def _peak_mb(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return peak_process_bytes() / 2**20


def peak_process_bytes() -> int:
    """Return the peak bytes of main memory since the start of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def recipe_of(stack: Stack) -> Recipe:
    """Return the training recipe of a stack."""
    training, rows = stack.cell.training, [settings_of_row(part.cell.training) for part, _ in stack.rows]
    return Recipe(
        steps=stack.cell.steps,
        checkpoints=[cell.checkpoint_step for cell in stack.parts[0].cells],
        stopping=Stopping(**{name: getattr(training, name) for name in names_of(Use.STOP)}),
        **{name: [row[name] for row in rows] for name in rows[0]},
        **training.model_dump(include=set(names_of(Use.STEP | Use.HISTORY))),
    )


def network_of(cell: Cell, data: Split, execution: dict[str, str], batch_size: int) -> Any:
    """Return the builder and the rows of a cell's architecture for this batch size."""
    chosen = execution.get(step_key(cell, batch_size))
    shape = tuple(data.x_train.shape[1:])
    return network(cell.model_name, cell.model, shape, data.classes, chosen, cell.task)  # pyright: ignore[reportArgumentType]


def out_of_memory(cell: Cell, used: int, said: str, whole: int, gpus: float) -> str:
    """Return a message about a cell that ran out of GPU memory: how much it needs and how to provide it.

    Args:
        used: bytes at the peak, with those that CUDA itself takes.
        said: torch's message, which has the size of the failed allocation.
        whole: bytes of the GPU.
        gpus: the trial's share of the GPU.
    """
    asked = re.search(r"Tried to allocate ([\d.]+) ([KMG])iB", said)
    more = float(asked[1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[asked[2]] if asked else 0.0
    needed, has = used + more, min(1.0, gpus) * whole
    what = f"width {cell.columns.get('width')} at batch size {cell.training.batch_size}"
    if needed <= has:
        return (
            f"no room on the GPU: {what} takes {needed / 2**30:.2f} GiB of its share of "
            f"{has / 2**30:.2f} GiB, and the rest was in pieces or used by another program. Keep other "
            "programs off the GPU, or raise resources.gpus_per_trial."
        )
    share = math.ceil(100 * needed / whole) / 100
    advice = f"Raise resources.gpus_per_trial to {share:g} or more, or lower"
    return (
        f"not enough GPU memory: {what} needs at least {needed / 2**30:.2f} GiB and has "
        f"{has / 2**30:.2f} GiB. {advice if needed <= whole else 'Lower the batch size,'} "
        "resources.replicates_per_trial or resources.cells_per_trial."
    )
