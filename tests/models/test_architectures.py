"""The larger architectures: sizes against their papers, and that each option is used."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import explorer.data
import explorer.measures
import explorer.models
import explorer.train.optimisers
from explorer.models import densenet40, resnet18, resnet50, vgg11, vit
from explorer.models.blocks import normalisation
from explorer.models.rows import seeded
from explorer.models.vision import ImageAttention
from explorer.settings import InputError

WIDTHS = [1, 2, 6, 11, 64]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def built(
    package: ModuleType, shape: tuple[int, ...] = (3, 32, 32), classes: int = 10, **options: Any
) -> nn.Module:
    """Without memory: only the shapes are made."""
    with torch.device("meta"):
        return package.build(package.Options(**options), shape, classes)


@pytest.mark.parametrize(
    ("package", "shape", "classes", "options", "parameters"),
    [
        # As PyTorch users know them for CIFAR-10, and as torchvision's for ImageNet (the last is ViT-B/16).
        (resnet18, (3, 32, 32), 10, {}, 11_173_962),
        (resnet50, (3, 32, 32), 10, {}, 23_520_842),
        (resnet18, (3, 224, 224), 1000, {}, 11_689_512),
        (resnet50, (3, 224, 224), 1000, {}, 25_557_032),
        # VGG11 for CIFAR-10 with BatchNorm is 9,231,114; 2,752 of them are biases that we leave out.
        (vgg11, (3, 32, 32), 10, {}, 9_231_114 - 2_752),
        (densenet40, (3, 32, 32), 10, {}, 1_019_722),  # "1.0M" in the paper's table 2
        (vit, (3, 224, 224), 1000, {"width": 768, "depth": 12, "heads": 12, "patch": 16}, 86_567_656),
    ],
)  # fmt: skip
def test_published_sizes(
    package: ModuleType, shape: tuple[int, ...], classes: int, options: dict[str, Any], parameters: int
) -> None:
    assert count(built(package, shape, classes, **options)) == parameters


def batch_norm(channels: int) -> int:
    return 2 * channels


def resnet18_size(k: int, inputs: int, classes: int) -> int:
    total, before = 9 * inputs * k + batch_norm(k), k
    for stage in range(4):
        m = k * 2**stage
        total += 9 * before * m + 27 * m * m + 4 * batch_norm(m)
        total += before * m + batch_norm(m) if stage else 0
        before = m
    return total + (before + 1) * classes


def resnet50_size(k: int, inputs: int, classes: int) -> int:
    total, before = 9 * inputs * k + batch_norm(k), k
    for stage, blocks in enumerate((3, 4, 6, 3)):
        m = k * 2**stage
        for block in range(blocks):
            total += before * m + 9 * m * m + m * 4 * m + 2 * batch_norm(m) + batch_norm(4 * m)
            total += before * 4 * m + batch_norm(4 * m) if block == 0 else 0
            before = 4 * m
    return total + (before + 1) * classes


def vgg11_size(k: int, inputs: int, classes: int) -> int:
    channels = [inputs, k, 2 * k, 4 * k, 4 * k, 8 * k, 8 * k, 8 * k, 8 * k]
    layers = sum(9 * a * b + batch_norm(b) for a, b in itertools.pairwise(channels))
    return layers + (8 * k + 1) * classes


def densenet40_size(k: int, inputs: int, classes: int) -> int:
    total, channels = 9 * inputs * 16, 16
    for block in range(3):
        total += channels * channels + batch_norm(channels) if block else 0
        for _ in range(12):
            total += 9 * channels * k + batch_norm(channels)
            channels += k
    return total + batch_norm(channels) + (channels + 1) * classes


def vit_size(k: int, inputs: int, classes: int) -> int:
    tokens = 16 * inputs * k + k + k + 65 * k  # patches, class token, positions of 8 · 8 patches and it
    block = 2 * 2 * k + 3 * (k + 1) * k + (k + 1) * k + (k + 1) * 4 * k + (4 * k + 1) * k
    return tokens + 6 * block + 2 * k + (k + 1) * classes


SIZES = {
    resnet18: resnet18_size,
    resnet50: resnet50_size,
    vgg11: vgg11_size,
    densenet40: densenet40_size,
    vit: vit_size,
}
ALL = pytest.mark.parametrize("package", SIZES, ids=lambda p: p.__name__.rsplit(".", 1)[-1])
CONVOLUTIONAL = pytest.mark.parametrize(
    "package", [resnet18, resnet50, vgg11, densenet40], ids=lambda p: p.__name__.rsplit(".", 1)[-1]
)


@ALL
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("inputs", "classes"), [(3, 10), (1, 100)])
def test_sizes_by_formula(package: ModuleType, width: int, inputs: int, classes: int) -> None:
    assert count(built(package, (inputs, 32, 32), classes, width=width)) == SIZES[package](
        width, inputs, classes
    )


@pytest.mark.parametrize("package", [resnet18, resnet50])
def test_stages_have_k_2k_4k_8k_channels(package: ModuleType) -> None:
    module = package.build(package.Options(width=3), (3, 32, 32), 10)
    shapes: list[torch.Size] = []
    for layer in module:
        layer.register_forward_hook(lambda _m, _i, out: shapes.append(out.shape[1:]))
    module(torch.zeros(2, 3, 32, 32))
    expansion = 4 if package is resnet50 else 1
    expected = [(3 * expansion * 2**stage, 32 // 2**stage, 32 // 2**stage) for stage in range(4)]
    seen = list(dict.fromkeys(tuple(s) for s in shapes if len(s) == 3 and s[1] > 1))
    assert [s for s in seen if s != (3, 32, 32) or expansion == 1] == expected


@ALL
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 12, 16)])
def test_small_images_are_classified(package: ModuleType, shape: tuple[int, ...]) -> None:
    with seeded(0):
        module = package.build(package.Options(width=2), shape, 7)
        logits = module(torch.randn(3, *shape))
    assert logits.shape == (3, 7)
    assert torch.isfinite(logits).all()
    assert logits.std(0).min() > 0  # the answer depends on the input


@ALL
def test_inputs_that_are_no_images_are_refused(package: ModuleType) -> None:
    with pytest.raises(InputError, match=r"needs images.*\(40,\)"):
        package.build(package.Options(), (40,), 10)


def norms(module: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(layer, kind) for layer in module.modules())


@CONVOLUTIONAL
def test_the_normalisation_asked_for_is_used(package: ModuleType) -> None:
    batch, group, none = (built(package, norm=norm, width=8) for norm in ("batch", "group", "none"))
    layers = norms(batch, nn.BatchNorm2d)
    assert layers > 7
    assert norms(group, nn.GroupNorm) == layers
    assert norms(none, nn.BatchNorm2d) == norms(none, nn.GroupNorm) == norms(batch, nn.GroupNorm) == 0
    assert count(batch) == count(group)
    convolutions = [layer for layer in none.modules() if isinstance(layer, nn.Conv2d)]
    assert all(layer.bias is not None for layer in convolutions)
    assert not list(group.buffers())


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (8, 1), (16, 1), (64, 4), (184, 8), (512, 32), (2048, 32)]
)
def test_groups_have_sixteen_channels_or_more_where_there_are_so_many(channels: int, groups: int) -> None:
    layer = normalisation("group", channels)
    assert isinstance(layer, nn.GroupNorm)
    assert layer.num_groups == groups


@pytest.mark.parametrize("package", [resnet18, resnet50])
def test_without_normalisation_each_branch_starts_at_zero(package: ModuleType) -> None:
    with seeded(0):
        module = package.build(package.Options(width=4, norm="none"), (3, 32, 32), 10)
    blocks = [m for m in module if hasattr(m, "body")]
    assert all(torch.count_nonzero(b.body[-2].weight) == 0 for b in blocks)
    assert len(blocks) == (16 if package is resnet50 else 8)


def test_the_stem_follows_the_image_or_the_option() -> None:
    def first(side: int, stem: str) -> tuple[int, ...]:
        return tuple(next(iter(built(resnet18, (3, side, side), stem=stem).parameters())).shape[2:])

    assert [first(side, "auto") for side in (32, 64, 65, 224)] == [(3, 3), (3, 3), (7, 7), (7, 7)]
    assert [first(side, stem) for side, stem in ((32, "large"), (224, "small"))] == [(7, 7), (3, 3)]


def test_options_of_the_transformer_are_used() -> None:
    shallow, deep = (count(built(vit, depth=depth)) for depth in (1, 3))
    assert deep - shallow == 2 * (count(built(vit, depth=2)) - shallow)
    assert built(vit, patch=8)[0].position.shape == (1, 17, 64)  # type: ignore[index]
    for width, heads in ((64, 2), (16, 1), (96, 3), (67, 1), (100, 2)):
        module = built(vit, width=width)
        assert {m.heads for m in module.modules() if isinstance(m, ImageAttention)} == {heads}
    assert {m.heads for m in built(vit, heads=8).modules() if isinstance(m, ImageAttention)} == {8}
    with pytest.raises(InputError, match="heads 3 does not divide the width 64"):
        built(vit, heads=3)
    with pytest.raises(InputError, match="patch 5 does not divide images of 32×32"):
        built(vit, patch=5)


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_pytorchs(heads: int) -> None:
    with seeded(0):
        own, theirs = (
            ImageAttention(12, heads).double(),
            nn.MultiheadAttention(12, heads, batch_first=True).double(),
        )
        x = torch.randn(2, 5, 12, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(own.queries_keys_values.weight)
        theirs.in_proj_bias.copy_(own.queries_keys_values.bias)
        theirs.out_proj.weight.copy_(own.project.weight)
        theirs.out_proj.bias.copy_(own.project.bias)
    torch.testing.assert_close(own(x), theirs(x, x, x, need_weights=False)[0])


def test_names_and_settings_are_known_without_torch() -> None:
    """A wrong space file is answered at once: nothing heavy is imported for it."""
    code = (
        "import sys, explorer.data, explorer.models\n"
        "from explorer.settings import plugin\n"
        "for package in (explorer.data, explorer.models):\n"
        "    for name in package.NAMES: plugin(package, name, 'thing').Options.model_json_schema()\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'pooch', 'PIL', 'pyarrow', 'requests'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", [explorer.data, explorer.models, explorer.measures])
def test_each_file_with_options_has_a_name_and_each_name_a_file(package: ModuleType) -> None:
    found = set()
    for file in Path(package.__path__[0]).glob("*.py"):
        module = importlib.import_module(f"{package.__name__}.{file.stem}")
        if getattr(getattr(module, "Options", None), "__module__", None) == module.__name__:
            found.add(file.stem.replace("_", "-"))
    assert set(package.NAMES) == found
    assert len(package.NAMES) == len(found)


def test_each_file_of_an_optimiser_has_a_name_and_each_name_a_file() -> None:
    package = explorer.train.optimisers
    files = {file.stem for file in Path(package.__path__[0]).glob("*.py")} - {"__init__", "base"}
    assert {name.replace("-", "_") for name in package.NAMES} == files
    assert set(package.VERSIONS) <= set(package.NAMES)
