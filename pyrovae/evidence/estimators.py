"""The evidence lower bound and importance sampling, per datum, in nats, in the units of the data that was given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import pyro
import torch
from pyro.distributions import Distribution
from torch import Tensor

from pyrovae.contracts import Evidence
from pyrovae.errors import UserError, check_integer
from pyrovae.evidence import keyed
from pyrovae.vae import VAE

ROWS = 4000
"""Samples x data that are decoded at a time: enough for the matrix products, few enough for the cache."""


@final
@dataclass
class _Sums:
    """Running sums over the samples of each datum, in float64; weights are relative to e^top, log-weights to shift.

    Shapes: (B,), and (B, D) for ``kl_per_dimension``, which is NaN where q or p does not factorise.
    """

    shift: Tensor
    top: Tensor
    weight: Tensor
    weight_squared: Tensor
    log_weight: Tensor
    log_weight_squared: Tensor
    reconstruction: Tensor
    kl_per_dimension: Tensor
    posterior_mean: Tensor

    @classmethod
    def empty(cls, shift: Tensor, posterior_mean: Tensor) -> _Sums:
        zero = torch.zeros(len(posterior_mean), dtype=torch.float64, device=posterior_mean.device)
        per_dimension = torch.zeros_like(posterior_mean, dtype=torch.float64)
        shift = torch.where(shift.isinf(), zero, shift)
        return cls(shift, zero - math.inf, zero, zero, zero, zero, zero, per_dimension, posterior_mean.double())

    def add(self, log_weight: Tensor, reconstruction: Tensor, kl_per_dimension: Tensor) -> None:
        """Merge a block of samples: log-weights (K, B) and the like."""
        top = torch.maximum(self.top, log_weight.amax(0))
        finite = torch.where(top.isinf(), torch.zeros_like(top), top)
        old = torch.exp(self.top - finite)
        new = torch.exp(log_weight - finite)
        self.top = top
        self.weight = self.weight * old + new.sum(0)
        self.weight_squared = self.weight_squared * old**2 + (new**2).sum(0)
        self.log_weight = self.log_weight + (log_weight - self.shift).sum(0)
        self.log_weight_squared = self.log_weight_squared + ((log_weight - self.shift) ** 2).sum(0)
        self.reconstruction = self.reconstruction + reconstruction.sum(0)
        self.kl_per_dimension = self.kl_per_dimension + kl_per_dimension.sum(0)


def _per_dimension(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """log q(z_d|x) - log p(z_d), (K, B, D); NaN where either does not factorise over dimensions."""
    if hasattr(q, "base_dist") and hasattr(p, "base_dist") and q.base_dist.event_dim == p.base_dist.event_dim == 0:
        return q.base_dist.log_prob(z) - p.base_dist.log_prob(z)
    return torch.full_like(z, math.nan)


def _chunks(vae: VAE, x: Tensor, c: Tensor | None, index: Tensor, samples: int, seed: int, rows: int) -> Iterator[dict]:
    """Estimates for a few data at a time, as per-datum tensors by name."""
    data_rows = max(1, rows // min(samples, keyed.BLOCK))
    device = next(vae.parameters()).device
    for start in range(0, len(x), data_rows):
        part = slice(start, start + data_rows)
        data = index[part].tolist()
        u = keyed.uniform(seed, data, tuple(x.shape[1:])).to(device) if vae.transform.needs_noise else None
        y = vae.transform(x[part].to(device), u)
        chunk_c = None if c is None else c[part].to(device)
        sums = _sum_over_samples(vae, y, chunk_c, data, samples, seed)
        yield _finish(sums, samples, vae.transform.log_abs_det_jacobian())


def _sum_over_samples(vae: VAE, y: Tensor, c: Tensor | None, data: list[int], samples: int, seed: int) -> _Sums:
    params = vae.posterior_params(y, c)
    q, p = vae.posterior_density(params), vae.prior(c)
    sums = None
    for block, first in enumerate(range(0, samples, keyed.BLOCK)):
        z = keyed.posterior_samples(vae.posterior_density, params, seed, data, block)[: samples - first]
        log_likelihood = vae.likelihood(z, c).log_prob(y).double()
        log_ratio = (q.log_prob(z) - p.log_prob(z)).double()
        log_weight = log_likelihood - log_ratio
        bad = (log_weight.isnan() | (log_weight == math.inf)).any(0)
        if bad.any():
            raise UserError(
                f"{int(bad.sum())} data have log-weights that are NaN or +inf, the first is row "
                f"{data[int(bad.nonzero()[0])]}: the model has diverged, train it with a lower --learning-rate"
            )
        if sums is None:
            sums = _Sums.empty(log_weight[0], vae.parts["posterior"].mean(q))
        sums.add(log_weight, log_likelihood, _per_dimension(q, p, z).double())
    return sums


def _finish(sums: _Sums, samples: int, log_det: float | Tensor) -> dict[str, Tensor]:
    elbo = sums.shift + sums.log_weight / samples
    spread = (sums.log_weight_squared - sums.log_weight**2 / samples).clamp(min=0)
    relative = sums.weight_squared / sums.weight**2 - 1 / samples
    unbiased = samples - 1 if samples > 1 else math.nan
    reconstruction = sums.reconstruction / samples
    return {
        "elbo": elbo + log_det,
        "elbo_error": torch.sqrt(spread / unbiased / samples),
        "log_evidence": sums.top + torch.log(sums.weight / samples) + log_det,
        "log_evidence_error": torch.sqrt(relative.clamp(min=0) * samples / unbiased),
        "effective_sample_size": torch.where(sums.weight > 0, sums.weight**2 / sums.weight_squared, 0.0),
        "reconstruction": reconstruction + log_det,
        "kl": reconstruction - elbo,
        "kl_per_dimension": sums.kl_per_dimension / samples,
        "posterior_mean": sums.posterior_mean,
    }


def _estimate(
    name: str, vae: VAE, x: Tensor, c: Tensor | None, samples: int, seed: int, index: Tensor | None, rows: int
) -> Evidence:
    check_integer("samples", samples, 1)
    vae.check_support(x)
    index = torch.arange(len(x)) if index is None else index
    was_training = vae.training
    vae.eval()
    try:
        with torch.no_grad(), pyro.validation_enabled(False):
            parts = list(_chunks(vae, x, c, index, samples, seed, rows))
    finally:
        vae.train(was_training)
    found = {key: torch.cat([part[key].cpu() for part in parts]) for key in parts[0]}
    return Evidence(estimate=found[name], monte_carlo_error=found[f"{name}_error"], diagnostics=found)


def elbo(
    vae: VAE,
    x: Tensor,
    c: Tensor | None = None,
    *,
    samples: int = 500,
    seed: int = 0,
    index: Tensor | None = None,
    rows: int = ROWS,
) -> Evidence:
    """The evidence lower bound of each datum: E_q[log p(x|z) + log p(z) - log q(z|x)] <= log p(x), by simple averaging.

    Args:
        vae: The model; its weights decide, a KL weight that it was trained with does not.
        x: Data (N, *E) as they were given; preprocessing and its Jacobian are applied here.
        c: Context, or None.
        samples: K, samples of q(z|x) for each datum.
        seed: Noise is keyed by (seed, datum, block of samples): ``rows`` and the company of a datum cannot move it.
        index: Row of each datum in its data set, (N,); 0..N-1 where it is not given.
        rows: Samples x data that are decoded at a time.

    Returns:
        Per datum in nats, higher is better. ``monte_carlo_error`` is the standard error of the average, NaN for K = 1.
        Diagnostics: ``elbo`` and ``log_evidence`` with ``_error``, ``effective_sample_size``,
        ``reconstruction`` and ``kl`` (elbo = reconstruction - kl),
        ``kl_per_dimension`` and ``posterior_mean`` (N, D).

    Raises:
        UserError: If K is below 1, the data have no density under the likelihood, or a log-weight is NaN or +inf.

    Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes.
    """
    return _estimate("elbo", vae, x, c, samples, seed, index, rows)


def importance(
    vae: VAE,
    x: Tensor,
    c: Tensor | None = None,
    *,
    samples: int = 500,
    seed: int = 0,
    index: Tensor | None = None,
    rows: int = ROWS,
) -> Evidence:
    """log p(x) of each datum by importance sampling: log (1/K) sum_k p(x, z_k) / q(z_k|x), z_k ~ q(z|x).

    In expectation a lower bound that rises with K. The error is the delta method's, the standard error of the mean
    weight over the mean weight; it is too small itself where the effective sample size (sum w)^2 / sum w^2 is small,
    and a mode of p(z|x) that q never visits is invisible to both.

    Args:
        vae: As in ``elbo``, likewise the other arguments.
        x: As in ``elbo``.
        c: As in ``elbo``.
        samples: K.
        seed: As in ``elbo``.
        index: As in ``elbo``.
        rows: As in ``elbo``.

    Returns:
        Per datum in nats, higher is better; diagnostics as in ``elbo``.

    Raises:
        UserError: If K is below 1, the data have no density under the likelihood, or a log-weight is NaN or +inf.

    Source: Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders.
    """
    return _estimate("log_evidence", vae, x, c, samples, seed, index, rows)


ESTIMATORS: dict[str, Callable[..., Evidence]] = {"elbo": elbo, "importance": importance}
