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
from torch.distributions import Independent

from pyrovae.contracts import Evidence
from pyrovae.errors import UserError, check_integer
from pyrovae.evidence import keyed
from pyrovae.preprocess.dequantise import DEQUANTISED
from pyrovae.vae import VAE

ROWS = 4000
"""Samples x data that are decoded at a time: enough for the matrix products, few enough for the cache."""

ELEMENTS = 2**24
"""Parameters of the likelihood that are decoded at a time, at most: 64 MiB in float32."""


@final
@dataclass
class _Sums:
    """Running sums over the samples of each datum, in float64; weights are relative to e^top, log-weights to shift.

    Shapes: (B,), and (B, D) for ``kl_per_dimension``, which is NaN where q or p does not factorise. For a posterior without
    a density the log-weights are the reconstructions.
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
    marginals = [d.base_dist for d in (q, p) if isinstance(d, Independent) and d.base_dist.event_dim == 0]
    if len(marginals) == 2:
        return marginals[0].log_prob(z) - marginals[1].log_prob(z)
    return torch.full_like(z, math.nan)


def _chunks(
    vae: VAE, x: Tensor, c: Tensor | None, index: Tensor, samples: int, seed: int, rows: int, draws: int
) -> Iterator[dict]:
    """Estimates for a few data at a time, as per-datum tensors by name."""
    rows = min(rows, ELEMENTS // math.prod(vae.likelihood_density.params_shape))
    data_rows = max(1, rows // min(samples, keyed.BLOCK))
    device = next(vae.parameters()).device
    for start in range(0, len(x), data_rows):
        part = slice(start, start + data_rows)
        data = index[part].tolist()
        chunk_c = None if c is None else c[part].to(device)
        found = []
        for draw in range(draws):
            u = keyed.uniform(seed, data, tuple(x.shape[1:]), draw).to(device) if vae.transform.needs_noise else None
            y = vae.transform(x[part].to(device), u)
            sums = _sum_over_samples(vae, y, chunk_c, data, samples, seed, draw)
            found.append(_finish(sums, samples, vae))
        yield found[0] if draws == 1 else _average(found)


def _average(draws: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Over draws of the preprocessing noise: means, their standard errors, and the fewest effective samples."""
    stacked = {key: torch.stack([found[key] for found in draws]) for key in draws[0]}
    means = {key: values.mean(0) for key, values in stacked.items()}
    errors = {f"{key}_error": stacked[key].std(0) / math.sqrt(len(draws)) for key in means if f"{key}_error" in means}
    fewest = {key: stacked[key].amin(0) for key in means if key == "effective_sample_size"}
    return means | errors | fewest


def _sum_over_samples(vae: VAE, y: Tensor, c: Tensor | None, data: list[int], samples: int, seed: int, draw: int) -> _Sums:
    params = vae.posterior_params(y, c)
    q, p = vae.posterior_density(params), vae.prior(c)
    sums = None
    first_block = draw * math.ceil(samples / keyed.BLOCK)
    for block, first in enumerate(range(0, samples, keyed.BLOCK), first_block):
        count = min(keyed.BLOCK, samples - first)
        z = keyed.posterior_samples(vae.posterior_density, params, q, seed, data, block, count)
        log_likelihood = vae.likelihood(z, c).log_prob(y).double()
        log_ratio = (q.log_prob(z) - p.log_prob(z)).double() if vae.parts["posterior"].has_density else 0.0
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


def _finish(sums: _Sums, samples: int, vae: VAE) -> dict[str, Tensor]:
    log_det = vae.transform.log_abs_det_jacobian()
    elbo = sums.shift + sums.log_weight / samples
    spread = (sums.log_weight_squared - sums.log_weight**2 / samples).clamp(min=0)
    relative = sums.weight_squared / sums.weight**2 - 1 / samples
    unbiased = samples - 1 if samples > 1 else math.nan
    reconstruction = sums.reconstruction / samples
    error = torch.sqrt(spread / unbiased / samples)
    if not vae.parts["posterior"].has_density:
        # A point: every sample is the same, and there is no error.
        found = {"reconstruction": reconstruction + log_det, "reconstruction_error": torch.zeros_like(error)}
        return found | {"posterior_mean": sums.posterior_mean}
    return {
        "elbo": elbo + log_det,
        "elbo_error": error,
        "log_evidence": sums.top + torch.log(sums.weight / samples) + log_det,
        "log_evidence_error": torch.sqrt(relative.clamp(min=0) * samples / unbiased),
        "effective_sample_size": torch.where(sums.weight > 0, sums.weight**2 / sums.weight_squared, 0.0),
        "reconstruction": reconstruction + log_det,
        "kl": reconstruction - elbo,
        "kl_per_dimension": sums.kl_per_dimension / samples,
        "posterior_mean": sums.posterior_mean,
    }


def _estimate(
    name: str,
    vae: VAE,
    x: Tensor,
    c: Tensor | None,
    samples: int,
    seed: int,
    index: Tensor | None,
    rows: int,
    dequantisations: int,
) -> Evidence:
    check_integer("samples", samples, 1)
    check_integer("dequantisations", dequantisations, 1)
    has_density = vae.parts["posterior"].has_density
    if has_density and name == "reconstruction":
        raise UserError(
            "--estimator reconstruction: is for the posterior delta; this one has an ELBO and evidence, which report the "
            "reconstruction too: use --estimator importance or elbo"
        )
    if not has_density and name != "reconstruction":
        estimator = "elbo" if name == "elbo" else "importance"
        raise UserError(
            f"--estimator {estimator}: the posterior delta is a point without a density, so there is neither ELBO nor "
            "evidence; use --estimator reconstruction"
        )
    vae.check_support(x)
    vae.context_module.check(c)
    index = torch.arange(len(x)) if index is None else index
    draws = dequantisations if vae.transform.number_kind == DEQUANTISED else 1
    keyed.check_room(samples, draws)
    was_training = vae.training
    vae.eval()
    try:
        # torch lets convolutions round to 10 bits on some GPUs; a reported number is not to depend on it.
        with torch.no_grad(), pyro.validation_enabled(False), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            parts = list(_chunks(vae, x, c, index, samples, seed, rows, draws))
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
    dequantisations: int = 1,
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
        dequantisations: Draws of the uniform noise for each datum where levels are dequantised, each with K samples: the
            bound's mean over them, and their standard error as the Monte Carlo error.

    Returns:
        Per datum in nats, higher is better. ``monte_carlo_error`` is the standard error of the average, NaN for K = 1.
        Diagnostics: ``elbo`` and ``log_evidence`` with ``_error``, ``effective_sample_size``,
        ``reconstruction`` and ``kl`` (elbo = reconstruction - kl),
        ``kl_per_dimension`` and ``posterior_mean`` (N, D).

    Raises:
        UserError: If K is below 1, the data have no density under the likelihood, or a log-weight is NaN or +inf.

    Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes.
    """
    return _estimate("elbo", vae, x, c, samples, seed, index, rows, dequantisations)


def importance(
    vae: VAE,
    x: Tensor,
    c: Tensor | None = None,
    *,
    samples: int = 500,
    seed: int = 0,
    index: Tensor | None = None,
    rows: int = ROWS,
    dequantisations: int = 1,
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
        dequantisations: As in ``elbo``.

    Returns:
        Per datum in nats, higher is better; diagnostics as in ``elbo``.

    Raises:
        UserError: If K is below 1, the data have no density under the likelihood, or a log-weight is NaN or +inf.

    Source: Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders.
    """
    return _estimate("log_evidence", vae, x, c, samples, seed, index, rows, dequantisations)


def reconstruction(
    vae: VAE,
    x: Tensor,
    c: Tensor | None = None,
    *,
    samples: int = 1,
    seed: int = 0,
    index: Tensor | None = None,
    rows: int = ROWS,
    dequantisations: int = 1,
) -> Evidence:
    """log p(x|z) at the point z = f(x) of the posterior ``delta``: no bound on log p(x), and not comparable with one.

    Args:
        vae: A plain autoencoder; the other arguments as in ``elbo``.
        x: As in ``elbo``.
        c: As in ``elbo``.
        samples: Has no influence: all samples of a point are the same.
        seed: Of dequantisation or binarisation.
        index: As in ``elbo``.
        rows: As in ``elbo``.
        dequantisations: As in ``elbo``.

    Returns:
        Per datum in nats, higher is better; diagnostics ``reconstruction`` and ``posterior_mean``.

    Raises:
        UserError: If the posterior has a density, or as ``elbo``.
    """
    check_integer("samples", samples, 1)
    return _estimate("reconstruction", vae, x, c, 1, seed, index, rows, dequantisations)


ESTIMATORS: dict[str, Callable[..., Evidence]] = {"elbo": elbo, "importance": importance, "reconstruction": reconstruction}
