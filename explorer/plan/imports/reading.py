"""The weights of a checkpoint, read from its file and given to a module."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.data.formats.reading import read_bytes
from explorer.settings import InputError, in_a_line, listed, shown
from explorer.units import size

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
SHOWN = 5  # names of weights in a message
HOLDERS = ("state_dict", "model_state_dict", "model")  # keys of a checkpoint that may hold its weights
PREFIX = re.compile(r"^(module|model|_orig_mod)\.")  # of DataParallel, Lightning and torch.compile


def load_weights(module: nn.Module, path: Path, network: str) -> list[str]:
    """Give a module the weights in a file. A prefix in front of all their names does not matter.

    Return the names of weights that are left out because they lack this prefix.

    Args:
        network: what messages call the module.

    Raises:
        InputError: the file is missing, cannot be read, or has other weights. The message begins with its
            name.
    """
    from torch import no_grad, strided

    target, given = module.state_dict(), read_state(path)
    weights: dict[str, Tensor] = {}
    names = _names_in(target, given)
    for key, name in names.items():
        value = given[key]
        if name in weights:
            raise InputError(f"{path} has {name!r} under two names, {key!r} is one; save one of them alone")
        if name in target:
            if value.layout != strided or value.is_meta or value.is_nested:
                raise InputError(f"{path}: {key} is no plain tensor with all its numbers; save it as one")
            if value.dtype.is_floating_point != target[name].dtype.is_floating_point or value.is_complex():
                raise InputError(
                    f"{path}: {key} is of type {value.dtype}, and {network} has {target[name].dtype}; save "
                    "it as floating-point numbers, before it is quantised"
                )
            if value.shape != target[name].shape:
                raise InputError(
                    f"{path}: {key} has the shape {tuple(value.shape)}, and {network} has "
                    f"{tuple(target[name].shape)}; check the settings of this file, and --model"
                )
            weights[name] = value
        elif not name.endswith("num_batches_tracked"):
            raise InputError(
                f"{path} has {key!r}, which {network} does not have; it has {listed(target, most=SHOWN)}. "
                "Check --model"
            )
    shared = {target[name].data_ptr() for name in weights}  # of tied weights, a file may have one name only
    for name, value in target.items():
        if name not in weights and value.data_ptr() not in shared and "num_batches_tracked" not in name:
            raise InputError(
                f"{path} lacks {name!r}, which {network} has; it has {listed(given, most=SHOWN)}. "
                "Check --model"
            )
    with no_grad():
        for name, value in weights.items():
            target[name].copy_(value)
    return [key for key in given if key not in names]


def _names_in(target: Mapping[str, Any], given: Iterable[str]) -> dict[str, str]:
    """Return the name in a module of each weight of a file, without those that are left out.

    A file may have the network's weights under a prefix, and other weights beside them, such as those of a
    Lightning module. The prefix is the one with which most names are in the module, if there is only one.
    """
    names = {key: _name_in(target, key) for key in given}
    if all(name in target for name in names.values()):
        return names
    plain = {key: key.replace("_orig_mod.", "") for key in names}
    prefixes = Counter(
        name[:end]
        for name in plain.values()
        for end in [0, *(place.end() for place in re.finditer(r"\.", name))]
        if name[end:] in target
    )
    most = [prefix for prefix, count in prefixes.items() if count == max(prefixes.values())]
    if len(most) != 1 or not most[0]:
        return names
    (prefix,) = most
    levels = [name.split(".") for name in plain.values()]
    shared = next((n for n, parts in enumerate(zip(*levels, strict=False)) if len(set(parts)) > 1), 0)
    part = "".join(f"{one}." for one in prefix.split(".")[: shared + 1] if one)
    return {key: name.removeprefix(prefix) for key, name in plain.items() if name.startswith(part)}


def _name_in(target: Mapping[str, Any], key: str) -> str:
    """Return the name in a module of a weight of a file: without prefixes that the module does not have."""
    name = key
    while name not in target and (prefix := PREFIX.match(name)):
        name = name[prefix.end() :]
    return name if name in target else name.replace("_orig_mod.", "")


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the weights by name of a ``.safetensors`` file, or of a file that ``torch.save`` has written.

    Nothing is unpickled but tensors and plain values.

    Raises:
        InputError: the file is missing, or holds something else. The message begins with its name.
    """
    import torch

    if path.is_dir():
        raise InputError(f"{path} is a folder; name the checkpoint in it ({', '.join(SUFFIXES)})")
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} should be one of {', '.join(SUFFIXES)}; save weights with torch.save")
    content = read_bytes(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(content)
        except (SafetensorError, KeyError) as error:  # KeyError: a type of numbers that torch does not have
            raise InputError(f"{path} cannot be read as safetensors: {error}; save it again") from error
    if not content.startswith((b"PK", b"\x80")):  # a zip file, or a pickle of an older version
        what = f"begins with {shown(content[:20])}" if content else "is empty"
        raise InputError(f"{path} {what}, so torch.save has not written it; fetch or save it again")
    _check_zip(path, content)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise InputError(
                f"{path} is a pickle of Python objects, which would run code when read; save the weights "
                "alone: torch.save(model.state_dict(), path)"
            ) from error
        raise InputError(
            f"{path} cannot be read: {in_a_line(error)}; save it again with torch.save"
        ) from error
    for key in HOLDERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path} holds {type(state).__name__}, no weights by name; save model.state_dict()")
    if nameless := [key for key in state if not isinstance(key, str)]:
        raise InputError(f"{path} holds {shown(nameless[0])}, which is no name; save model.state_dict()")
    if wrong := [key for key, value in state.items() if not isinstance(value, torch.Tensor)]:
        raise InputError(
            f"{path} holds {wrong[0]!r}, which is no tensor; save model.state_dict(), or keep it under "
            f"{' or '.join(map(repr, HOLDERS))}"
        )
    return state


def _check_zip(path: Path, content: bytes) -> None:
    """Raise InputError if the parts of a zip file take more memory than the file: torch compresses none."""
    if not content.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            unpacked = sum(part.file_size for part in parts.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {in_a_line(error)}; save it again with torch.save"
        ) from None
    if unpacked > len(content):
        raise InputError(
            f"{path} has {size(len(content))} and would take {size(unpacked)} when unpacked; torch.save "
            "compresses nothing, so save it again with torch.save"
        )
