"""The evidence of a linear Gaussian model in closed form."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.contracts import Distribution
from pyrovae.evidence.exact.grouping import distinct
from pyrovae.evidence.importance.factorised import factorised
from pyrovae.vae import VAE

FAR = 1e6
"""Distance of test latents for whether the noise depends on them: far enough to show any slope, saturated or not."""


def is_linear_gaussian(vae: VAE) -> bool:
    """Whether the latents are normal, the decoder is affine, and the likelihood is normal with noise that ignores the latents."""
    if not vae.parts["network"].affine:
        return False
    _, prior = vae.example()
    c = vae.context_module.draw(1, 0)
    c = None if c is None else c[0].to(vae.device)
    with torch.no_grad():
        noise = _marginal_normals(vae.likelihood(FAR * _corners(vae, both_sides=True), c))
    return _normal(prior) is not None and noise is not None and bool((noise.scale == noise.scale[:1]).all())


def log_evidence(vae: VAE, y: Tensor, c: Tensor | None) -> Tensor:
    """log p(y|c) = log N(y; W m + b, W S W' + N) for z ~ N(m, S), y ~ N(W z + b, N) with N diagonal, per datum in nats.

    In units of the noise, with r = N^(-1/2) (y - W m - b) and the singular values s and left vectors U of N^(-1/2) W L, S = L L':
    -2 log p = |r - U U' r|^2 + sum_j (U' r)_j^2 / (1 + s_j^2) + sum_j log(1 + s_j^2) + log|N| + (number of elements) log 2 pi.
    Nothing cancels: Woodbury's identity subtracts numbers of size (weight / noise)^2 from each other, which leaves no digit at
    10^8. The cost is that of a matrix as wide as there are latents.

    Args:
        vae: The model, in float64.
        y: Data as the likelihood sees them, (B, *E).
        c: Contexts, or None.

    Source: Tipping and Bishop (1999), Probabilistic Principal Component Analysis.
    """
    found = y.new_zeros(len(y))
    contexts, which = distinct(c, len(y), y.device)
    for number, one in enumerate(contexts):
        rows = which == number
        found[rows] = _log_marginal(vae, one, y[rows].flatten(1))
    return found


def _log_marginal(vae: VAE, c: Tensor | None, y: Tensor) -> Tensor:
    """log p(y|c) of flattened data."""
    prior, likelihood = _normal(vae.prior(c)), _marginal_normals(vae.likelihood(_corners(vae), c))
    assert prior is not None
    assert likelihood is not None  # is_linear_gaussian
    mean, factor = prior
    bias, columns = likelihood.loc[0].flatten(), likelihood.loc[1:].flatten(1)
    weight = (columns - bias).T
    noise = likelihood.scale[0].flatten()
    vectors, values, _ = torch.linalg.svd((weight @ factor) / noise.unsqueeze(-1), full_matrices=False)
    residual = (y - (bias + weight @ mean)) / noise
    along = residual @ vectors
    rest = residual - along @ vectors.T
    # Once more: what rounding left of the vectors' directions is as large as what is looked for.
    left = rest @ vectors
    along, rest = along + left, rest - left @ vectors.T
    square = rest.square().sum(-1) + (along / torch.hypot(values, torch.ones_like(values))).square().sum(-1)
    log_det = 2 * noise.log().sum() + torch.log1p(values.square()).sum()
    log_density: Tensor = -(square + log_det + y.shape[-1] * math.log(2 * math.pi)) / 2
    return log_density


def _corners(vae: VAE, both_sides: bool = False) -> Tensor:
    """The origin and a unit step along each latent, in both directions if both sides are wanted."""
    steps = torch.eye(vae.latent_dim, dtype=vae.dtype, device=vae.device)
    return torch.cat([torch.zeros_like(steps[:1]), steps, *([-steps] if both_sides else [])])


def _marginal_normals(distribution: Distribution) -> dist.Normal | None:
    """The normal densities of the single elements; None for other densities."""
    base = getattr(distribution, "base_dist", None)
    return base if isinstance(base, dist.Normal) else None


def _normal(distribution: Distribution) -> tuple[Tensor, Tensor] | None:
    """Mean (D,) and a factor L (D, D) of the covariance L L'; None where the density is not normal."""
    if isinstance(distribution, dist.MultivariateNormal):
        return distribution.loc, distribution.scale_tril
    marginals = factorised(distribution)
    if not isinstance(marginals, dist.Normal):
        return None
    return marginals.loc, torch.diag_embed(marginals.scale)
