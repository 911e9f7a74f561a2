"""Context of training and measuring."""

from __future__ import annotations

from dataclasses import dataclass

from explorer.engine.attempts import Attempts
from explorer.engine.cancel import Cancellation
from explorer.engine.choose import Choice
from explorer.engine.cluster import Cluster
from explorer.engine.factory import WorkerFactory
from explorer.engine.session import Session


@dataclass(frozen=True)
class Context:
    """Context of training and measuring: the Ray cluster, the choice of execution, and the session."""

    cluster: Cluster
    choice: Choice
    factory: WorkerFactory
    attempts: Attempts
    session: Session
    cancel: Cancellation
