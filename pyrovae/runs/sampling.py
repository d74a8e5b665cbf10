"""Draws from the model, in the units of the data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import final

from torch import Tensor

from pyrovae.errors import Note, enough_memory, option
from pyrovae.runs.opening import inference
from pyrovae.system.devices import own_noise, seed_all
from pyrovae.vae import VAE


@final
@dataclass(frozen=True)
class Samples:
    """Draws from the model.

    Args:
        z: Draws of p(z) or p(z|c), shape (N, D).
        mean: E[x|z,c], shape (N, *E), in the units of the data.
        x: Draws of p(x|z,c), shape (N, *E), in the units of the data.
        c: The contexts, (N,) or (N, A); None without a context.
    """

    z: Tensor
    mean: Tensor
    x: Tensor
    c: Tensor | None = None


def draw_samples(vae: VAE, count: int, seed: int, given: str | None = None) -> Samples:
    """Draw z ~ p(z|c), x ~ p(x|z,c); the caller's random state is not changed.

    Args:
        vae: The model.
        count: N.
        seed: Seed of the draws.
        given: None draws each one's context from p(c), as often as in the training data, ``uniform`` equally often; another text
            is the one context of all.

    A plain autoencoder never fits its codes to the prior: its draws are made all the same, with a warning.
    """
    if not vae.parts["posterior"].has_density:
        warnings.warn(
            Note(
                f"a plain autoencoder ({option('posterior', 'delta')}) does not fit its codes to the prior: these draws show the "
                "decoder where it may never have been trained, and no model of the data; "
                f"{option('posterior', 'normal')} trains one that can be drawn from"
            ),
            stacklevel=2,
        )
    device = vae.device
    every = vae.context_module.draw(count, seed, given)
    remark = vae.context_module.remark()
    if remark and given is None:
        warnings.warn(Note(remark), stacklevel=2)
    c = None if every is None else every.to(device)
    with enough_memory("count", count, "draw fewer at a time"), inference(vae), own_noise(device):
        seed_all(seed, device)
        z = prior_samples(vae, count, c)
        x = _in_units(vae, vae.likelihood(z, c).sample())
        return Samples(z.cpu(), vae.decode(z, c).cpu(), x.cpu(), every)


def prior_samples(vae: VAE, count: int, c: Tensor | None) -> Tensor:
    """Draws z (count, D) of p(z), or of p(z|c) for contexts c of that number."""
    return vae.prior(c).expand((count,)).sample()


def _in_units(vae: VAE, y: Tensor) -> Tensor:
    """Draws of the likelihood in the units of the data, as whole numbers if the data are."""
    x = vae.transform.inverse(y)
    if vae.spec.kind == "reals" or vae.transform.made.kind == "binary":
        return x
    return x.round().clamp(min=0, max=None if vae.spec.levels is None else vae.spec.levels - 1)


def value_range(vae: VAE) -> tuple[float, float] | None:
    """The values of black and white in the units of the data; None if the data have no bounds."""
    if vae.transform.made.kind == "binary":
        return 0.0, 1.0
    return None if vae.spec.levels is None else (0.0, vae.spec.levels - 1.0)
