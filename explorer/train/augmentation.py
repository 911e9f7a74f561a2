"""Augmentation of image batches: a random shift and a random mirror image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from explorer.models.draws import seed_of_step

PAD = 4  # largest shift in pixels, each way (He et al., 2016); an eighth of the side for small images


def crop_and_flip(x: Tensor, seeds: Sequence[int], step: int) -> Tensor:
    """Shift each image, filling with zeros, and mirror it with probability 1/2.

    Images are (models, batch, channels, height, width).

    The draws of a model depend only on its seed and the step, so training resumed from a saved state makes
    the same draws.
    """
    rows, batch, channels, height, width = x.shape
    pad = min(PAD, max(1, min(height, width) // 8))
    streams = [seed_of_step(seed, step) for seed in seeds]
    if x.device.type == "cpu":
        generators = [torch.Generator().manual_seed(stream) for stream in streams]
        draws = torch.stack([torch.rand(3, batch, generator=generator) for generator in generators], 1)
    else:
        draws = _uniform(torch.tensor(streams).to(x.device, non_blocking=True), 3 * batch)
        draws = draws.view(rows, 3, batch).transpose(0, 1)
    down, right, flip = draws  # each (models, batch)
    down, right = (down * (2 * pad + 1)).long(), (right * (2 * pad + 1)).long()
    i = torch.arange(height, device=x.device) + down[..., None]  # (models, batch, height)
    j = torch.arange(width, device=x.device)
    j = torch.where(flip[..., None] < 0.5, j.flip(0), j) + right[..., None]  # (models, batch, width)
    padded = functional.pad(x, (pad, pad, pad, pad))
    which = torch.arange(rows, device=x.device)[:, None, None, None, None]
    image = torch.arange(batch, device=x.device)[None, :, None, None, None]
    channel = torch.arange(channels, device=x.device)[None, None, :, None, None]
    return padded[which, image, channel, i[:, :, None, :, None], j[:, :, None, None, :]]


def _uniform(streams: Tensor, count: int) -> Tensor:
    """Return numbers (streams, count) from 0 to 1 by SplitMix64 (Steele et al., 2014), on the device.

    A generator of the device would need a call, and the host's time, for each stream.
    """
    z = streams[:, None] + torch.arange(1, count + 1, device=streams.device) * -0x61C8864680B583EB
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        z = (z ^ (z >> shift & (1 << 64 - shift) - 1)) * factor
    return ((z ^ (z >> 31 & (1 << 33) - 1)) >> 40 & (1 << 24) - 1) * 2.0**-24
