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
    draws = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed_of_step(seed, step))
        draws.append(torch.rand(3, batch, generator=generator))
    down, right, flip = torch.stack(draws, 1).to(x.device)  # each (models, batch)
    down, right = (down * (2 * pad + 1)).long(), (right * (2 * pad + 1)).long()
    i = torch.arange(height, device=x.device) + down[..., None]  # (models, batch, height)
    j = torch.arange(width, device=x.device)
    j = torch.where(flip[..., None] < 0.5, j.flip(0), j) + right[..., None]  # (models, batch, width)
    padded = functional.pad(x, (pad, pad, pad, pad))
    which = torch.arange(rows, device=x.device)[:, None, None, None, None]
    image = torch.arange(batch, device=x.device)[None, :, None, None, None]
    channel = torch.arange(channels, device=x.device)[None, None, :, None, None]
    return padded[which, image, channel, i[:, :, None, :, None], j[:, :, None, None, :]]
