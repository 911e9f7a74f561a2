"""The GPU of a process: whether torch can use it, what it is, and how it computes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from explorer.settings import InputError

# Bytes of a card that CUDA itself takes in each process, 300 to 500 MB, which torch's limit does not include.
CONTEXT = 2**29
# With it, the sums of cuBLAS do not depend on what ran before. cuBLAS reads it at its first product.
REPEATABLE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
UNREPEATABLE = re.compile(
    r"(\S+) does not have a deterministic implementation|(\S.*) defaults to a non-deterministic algorithm"
)


def why_not() -> str:
    """Return why torch cannot compute on the GPUs of this process, in torch's own words; empty if it can."""
    import torch

    try:
        for place in range(max(1, torch.cuda.device_count())):
            torch.ones(1, device=f"cuda:{place}").add(1).item()
    except Exception as error:  # CUDA's start raises several kinds
        return " ".join(str(error).partition("\nCUDA kernel errors")[0].split()) or type(error).__name__
    return ""


def unusable(reason: str) -> str:
    """Return the error of a GPU that torch cannot use, for a reason in torch's words."""
    return (
        f"resources.gpus_per_trial: torch cannot use the GPU: {reason.rstrip('.')}. Install a driver and a "
        "torch that fit the GPU, or set gpus_per_trial to 0; with --logical-gpus, GPUs are only counted, and "
        "CPUs compute"
    )


def describe(gpus: int = 1) -> dict[str, Any]:
    """Return what the GPUs of this process are, or why torch cannot use all ``gpus`` of them.

    If they differ, ``card`` names all kinds, and the rest is of the GPU with the least memory.
    """
    if reason := why_not():
        return {"unusable": reason}
    import torch

    if (found := torch.cuda.device_count()) < gpus:
        return {"unusable": f"Ray counts {gpus} GPUs, and torch finds {found}"}
    cards = [torch.cuda.get_device_properties(place) for place in range(found)]
    card = min(cards, key=lambda card: card.total_memory)
    return {
        "card": ", ".join(sorted({card.name for card in cards})),
        "memory_gb": round(card.total_memory / 2**30, 1),
        "capability": f"{card.major}.{card.minor}",
        "driver": _driver(),
        "cuda": str(torch.version.cuda),
        "torch": torch.__version__,
        "mps": Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control").exists(),
    }


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        found = []
    return found[0] if found else "unknown"


def usable_bytes(card_bytes: float, share: float) -> float:
    """Return the bytes that torch may use of a share of a card: the rest is CUDA's."""
    own = min(1.0, share) * card_bytes
    return max(own - CONTEXT, own / 2)


def check_share(card_bytes: float, share: float) -> None:
    """Raise InputError if CUDA itself needs a whole share of a card."""
    if share * card_bytes <= CONTEXT:
        raise InputError(
            f"resources.gpus_per_trial: {share:g} of a GPU of {card_bytes / 2**30:.1f} GiB is no more than "
            f"the {CONTEXT / 2**30:g} GiB that CUDA itself takes in each process; use "
            f"{2 * CONTEXT / card_bytes:.2g} or more"
        )


def limit_memory(share: float) -> None:
    """Limit this process to its share of the card's memory; Ray's fractions do not.

    Raises:
        InputError: CUDA itself needs the whole share.
    """
    import torch

    whole = torch.cuda.get_device_properties(0).total_memory
    check_share(whole, share)
    if share < 1:
        torch.cuda.set_per_process_memory_fraction(usable_bytes(whole, share) / whole)


@contextlib.contextmanager
def repeatable(unrepeatable: set[str]) -> Iterator[None]:
    """Choose kernels that give the same bits each time within this block.

    Adds the names of the operations that have no such kernel to ``unrepeatable``.
    """
    import torch

    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    deterministic: Any = torch.utils.deterministic  # its attributes are properties, which have no types
    filling, cudnn = deterministic.fill_uninitialized_memory, torch.backends.cudnn.deterministic
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        torch.use_deterministic_algorithms(True, warn_only=True)
        deterministic.fill_uninitialized_memory = False  # a kernel for each new tensor
        torch.backends.cudnn.deterministic = True
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            deterministic.fill_uninitialized_memory = filling
            torch.backends.cudnn.deterministic = cudnn
            found = [(warning, UNREPEATABLE.search(str(warning.message))) for warning in caught]
    for warning, match in found:
        if match:
            unrepeatable.add(match[1] or match[2])
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
