"""What the driver hands to every trial and actor so that it can make its worker."""

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

# MKL's matrix products otherwise depend, in their last bits, on where in memory a model's row begins, and so
# on the models beside it. MKL reads the variable at its first product.
ARITHMETIC = {"MKL_CBWR": "AUTO,STRICT"}


@dataclass(frozen=True)
class WorkerFactory:
    """Makes a worker in the process that calls it, which is one that Ray has started.

    Args:
        location: of the run folder.
        refs: of the clean arrays in the object store, by data source.
        execution: how rows of an architecture run, by :func:`~explorer.plan.units.step_key`.
        threads: of torch.
        card_share: share of a GPU by whose memory a worker sizes its chunks.
        arithmetic: variables that decide the last bits of results; the driver's own values, so that all nodes
            have the same.
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
        """Return a worker that has so many GPUs, mostly a share of one."""
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
    """Set these variables in this process, where results must not depend on the process that computes them.

    Raises:
        RuntimeError: torch has been imported with other values, and may have read them.
    """
    other = {name for name, value in variables.items() if os.environ.get(name) != value}
    if other and "torch" in sys.modules:
        raise RuntimeError(
            f"torch was imported before {', '.join(sorted(other))} could be set in this process"
        )
    os.environ.update(variables)
