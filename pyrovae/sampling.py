"""Draws from the model, in the units of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pyrovae.opening import inference
from pyrovae.training import seed_all
from pyrovae.vae import VAE


@final
@dataclass(frozen=True)
class Samples:
    """Draws from the model.

    Args:
        z: Draws of p(z), shape (N, D).
        mean: E[x|z], shape (N, *E), in the units of the data.
        x: Draws of p(x|z), shape (N, *E), in the units of the data.
    """

    z: Tensor
    mean: Tensor
    x: Tensor


def draw_samples(vae: VAE, count: int, seed: int) -> Samples:
    """z ~ p(z), x ~ p(x|z); the caller's random state is left as it was."""
    device = next(vae.parameters()).device
    with inference(vae), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_all(seed, device)
        z = vae.prior().expand((count,)).sample()
        x = _in_units(vae, vae.likelihood(z).sample())
        return Samples(z.cpu(), vae.decode(z).cpu(), x.cpu())


def _in_units(vae: VAE, y: Tensor) -> Tensor:
    """Draws of the likelihood in the units of the data: whole numbers where the data are."""
    x = vae.transform.inverse(y)
    if vae.spec.kind == "reals" or vae.transform.made.kind == "binary":
        return x
    return x.round().clamp(min=0, max=None if vae.spec.levels is None else vae.spec.levels - 1)


def value_range(vae: VAE) -> tuple[float, float] | None:
    """Black and white of a picture in the units of the data; None where the data set no bounds."""
    if vae.transform.made.kind == "binary":
        return 0.0, 1.0
    return None if vae.spec.levels is None else (0.0, vae.spec.levels - 1.0)
