"""Factory with which each trial and actor creates its worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.runs.store import Store

if TYPE_CHECKING:
    from explorer.engine.worker import Worker

# Without this, the last bits of MKL's matrix products depend on the memory alignment of a model's row, and
# therefore on the other models of the stack. MKL reads the variable at its first product.
ARITHMETIC = {"MKL_CBWR": "AUTO,STRICT"}


@dataclass(frozen=True)
class WorkerFactory:
    """Factory of workers. Called in a process that Ray has started, it creates that process's worker.

    Args:
        location: location of the run folder.
        refs: references of the clean arrays in the object store, by data source.
        execution: how rows of an architecture run, by :func:`~explorer.plan.units.step_key`.
        threads: number of torch threads.
        card_share: share of a GPU's memory that determines a worker's chunk size.
        arithmetic: environment variables that affect the last bits of results. All nodes use the driver's
            values.
    """

    location: str
    refs: dict[str, Any]
    execution: dict[str, str]
    threads: int
    card_share: float
    arithmetic: dict[str, str]

    @classmethod
    def of(
        cls, store: Store, refs: dict[str, Any], *, execution: dict[str, str], cpus: float, card_share: float
    ) -> WorkerFactory:
        location = str(Path(store.location).absolute()) if store.files.local else store.location
        arithmetic = {name: os.environ.get(name, value) for name, value in ARITHMETIC.items()}
        return cls(location, refs, execution, max(1, int(cpus)), card_share, arithmetic)

    def __call__(self, gpus: float) -> Worker:
        """Return a worker with this number of GPUs, usually a fraction."""
        import ray

        fix_arithmetic(self.arithmetic)
        from explorer.engine.worker import Worker

        return Worker(
            self.location,
            lambda source: ray.get(self.refs[source]),
            self.execution,
            threads=self.threads,
            gpus=gpus,
            card_share=self.card_share,
        )


def fix_arithmetic(variables: Mapping[str, str]) -> None:
    """Set these variables in this process, because results must not depend on the process.

    Raises:
        RuntimeError: torch was imported with other values and may have read them.
    """
    other = {name for name, value in variables.items() if os.environ.get(name) != value}
    if other and "torch" in sys.modules:
        raise RuntimeError(
            f"torch was imported before {', '.join(sorted(other))} could be set in this process"
        )
    os.environ.update(variables)
