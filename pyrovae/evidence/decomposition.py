"""Splits the KL term of the ELBO by the aggregate posterior: information about x in the latents, and their marginal KL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.contracts import Distribution, Evidence
from pyrovae.errors import check_integer, check_seed
from pyrovae.evidence import keyed
from pyrovae.evidence.importance.factorised import factorised
from pyrovae.evidence.reports.numbers import Number
from pyrovae.evidence.scoring import check_density, check_log_weights, estimating, preprocessed
from pyrovae.vae import VAE

MOST = 10_000
"""Maximum number of data scored: every sample is evaluated under the posterior of every datum."""

FEWER = 500
"""The maximum if q does not factorise: its density at another datum's latent needs a solve, or an inversion in D passes."""

ROWS = 1000
"""Data that are encoded at a time."""

ELEMENTS = {"cpu": 2**16, "cuda": 2**24}
"""Densities of single latents computed at a time: as many as fit a core's cache, or as keep a GPU busy."""

NEGLIGIBLE = -80.0
"""Log-ratio of densities that is negligible compared with 1; exp of much smaller values is slow on a CPU (subnormals)."""


NUMBERS = ("kl", "mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl")
"""The fields of a decomposition that are numbers with an error."""


@final
@dataclass(frozen=True, kw_only=True)
class Decomposition:
    """The mean KL of the data, in nats, and its parts: kl = mutual_information + marginal_kl.

    Where q and the prior are products over the latents, marginal_kl = total_correlation + dimension_wise_kl. Each number is a
    ``mean`` over the data with its ``monte_carlo_error``, the standard error over samples of z, the data held fixed.

    Args:
        n: N, data that were scored.
        of: Number of data given; if there were more than N, those scored are a seeded random subset.
        samples: S, samples of z per datum.
        seed: Of the samples and of the subset.
        estimator: How q(z) was computed.
        log_n: log N, which the mutual information cannot exceed. If it is near log N, there are too few data: with more, the
            mutual information would be higher, and the marginal KL and the total correlation lower.
        kl: E_q[log q(z|x) - log p(z)], of these samples.
        mutual_information: E_q[log q(z|x_n) - log q(z)], of z and the number n of the datum.
        marginal_kl: KL(q(z) || p(z)); None where p(z|c) depends on the context: there is no one prior to compare q(z) with.
            The two below, which split it, are None too.
        total_correlation: E_q[log q(z) - sum_d log q(z_d)]; None where q does not factorise over the latents.
        dimension_wise_kl: sum_d KL(q(z_d) || p(z_d)); None where q or the prior does not factorise.
    """

    n: int
    of: int
    samples: int
    seed: int
    estimator: str
    log_n: float
    kl: Number
    mutual_information: Number
    marginal_kl: Number | None
    total_correlation: Number | None
    dimension_wise_kl: Number | None

    def summary(self) -> dict[str, Any]:
        """The fields, ready for JSON; each number as its mean and Monte Carlo error."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name in NUMBERS}
        return {**asdict(self), **{name: None if each is None else _written(each) for name, each in numbers.items()}}

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Decomposition:
        """The inverse of ``summary``.

        Raises:
            TypeError: If ``written`` is not such a summary.
        """
        numbers = {name: None if written[name] is None else Number.read(written[name]) for name in NUMBERS if name in written}
        return cls(**{**written, **numbers})

    def lines(self) -> list[tuple[str, str]]:
        """The split of the KL for a terminal, without the parts that the model does not have."""
        of = "" if self.n == self.of else f" of {self.of:,}"
        mutual = f"{_nats(self.mutual_information)} mutual information of datum and latent"
        at_most = f"(at most log N = {self.log_n:.3f}, N = {self.n:,}{of})"
        if self.marginal_kl is None:
            # Information about the context in q(z) counts as mutual information too.
            lines = [("information", f"{mutual} {at_most}"), ("", "no part of the KL: the prior p(z|c) differs by context")]
        else:
            lines = [("KL, split", f"{mutual} {at_most}"), ("", f"and {_nats(self.marginal_kl)} KL(q(z) || p(z))")]
        if self.total_correlation is not None:
            lines.append(("", f"of that {_nats(self.total_correlation)} total correlation"))
        if self.dimension_wise_kl is not None:
            lines.append(("", f"and {_nats(self.dimension_wise_kl)} sum of the KLs of single latents"))
        return lines


def decompose(
    vae: VAE,
    x: Tensor,
    c: Tensor | None = None,
    *,
    index: Tensor | None = None,
    seed: int = 0,
    samples: int = 1,
    most: int | None = None,
) -> Decomposition:
    """Split the mean KL of data by their aggregate posterior q(z) = (1/N) sum_n q(z|x_n), z ~ q(z|x_n).

    kl = I(n; z) + KL(q(z) || p(z)) and KL(q(z) || p(z)) = total correlation + sum_d KL(q(z_d) || p(z_d)). The mixture covers
    all N data rather than a batch, so that, given these data, only the samples of z are random.

    Args:
        vae: The model.
        x: Data (N, *E) as they were given.
        c: Contexts, or None. The split of a conditional model is that of the mixture of q(z|x_n, c_n).
        index: Row of each datum in its data set, (N,); 0..N-1 where it is not given.
        seed: Of the samples, of the preprocessing noise (one draw per datum) and of the subset.
        samples: S, samples of z per datum. With one, the Monte Carlo error is taken from the spread over the data, and too large.
        most: Maximum number of data scored, a seeded random subset; None for 10,000, or 500 if q does not factorise.

    Returns:
        Means over the data, in nats.

    Raises:
        UserError: If an option is out of range, q has no density, contexts are unknown, or a density is NaN.

    Source: Hoffman and Johnson (2016), ELBO surgery: yet another way to carve up the variational evidence lower bound; Chen,
    Li, Grosse and Duvenaud (2018), Isolating Sources of Disentanglement in Variational Autoencoders.
    """
    check_density(vae, "elbo")
    check_seed("seed", seed)
    keyed.check_room(check_integer("samples", samples, 1), 1)
    most = (FEWER if factorised(vae.example()[0]) is None else MOST) if most is None else check_integer("most", most, 1)
    vae.check_support(x)
    vae.context_module.check(c)
    index = torch.arange(len(x)) if index is None else index
    given = len(x)
    if given > most:
        rows = torch.randperm(given, generator=torch.Generator().manual_seed(seed))[:most].sort().values
        x, c, index = x[rows], None if c is None else c[rows], index[rows]
    with estimating(vae):
        terms = _terms(vae, x, c, index.tolist(), seed, samples)
    numbers: dict[str, Any] = {name: None if each is None else _number(each) for name, each in terms.items()}
    n = len(x)
    return Decomposition(
        n=n,
        of=given,
        samples=samples,
        seed=seed,
        estimator=f"mixture of the {n} posteriors, {samples} {'sample' if samples == 1 else 'samples'} of each",
        log_n=math.log(n),
        **numbers,
    )


def _terms(vae: VAE, x: Tensor, c: Tensor | None, index: list[int], seed: int, samples: int) -> dict[str, Tensor | None]:
    """The terms to average, for each sample of z and each datum, (S, N); None for terms that the model does not have."""
    pieces = [slice(start, start + ROWS) for start in range(0, len(x), ROWS)]
    drawn = [_draw(vae, x[piece], None if c is None else c[piece], index[piece], seed, samples) for piece in pieces]
    params = torch.cat([found.params for found in drawn])
    z = torch.cat([found.z for found in drawn], 1)
    log_posterior = torch.cat([found.log_posterior for found in drawn], 1)
    log_prior = torch.cat([found.log_prior for found in drawn], 1)
    by_latent = [found.prior_each for found in drawn if found.prior_each is not None]
    prior_each = torch.cat(by_latent, 1) if by_latent else None
    log_ratio, ratio_each = _log_mixture(vae, params, z, log_posterior)
    own = log_posterior.double() if ratio_each is None else log_posterior.double().sum(-1)
    log_marginal = own + log_ratio
    check_log_weights(log_marginal, index, "densities of the aggregate posterior")
    check_log_weights(log_prior, index, "densities of the latents under the prior")
    found: dict[str, Tensor | None] = {"kl": own - log_prior, "mutual_information": -log_ratio}
    parts: dict[str, Tensor | None] = dict.fromkeys(("marginal_kl", "total_correlation", "dimension_wise_kl"))
    if vae.example()[1].batch_shape:
        return found | parts
    parts["marginal_kl"] = log_marginal - log_prior
    if ratio_each is not None:
        each = log_posterior.double() + ratio_each
        parts["total_correlation"] = log_marginal - each.sum(-1)
        parts["dimension_wise_kl"] = None if prior_each is None else (each - prior_each).sum(-1)
    return found | parts


@final
@dataclass(frozen=True)
class _Drawn:
    """Samples from the posteriors of some data.

    Args:
        params: Of q, (B, P, D).
        z: Samples, (S, B, D).
        log_posterior: log q(z|x) by latent, (S, B, D), or (S, B) where q does not factorise.
        log_prior: log p(z), (S, B).
        prior_each: The same by latent, or None where the prior does not factorise.
    """

    params: Tensor
    z: Tensor
    log_posterior: Tensor
    log_prior: Tensor
    prior_each: Tensor | None


def _draw(vae: VAE, x: Tensor, c: Tensor | None, index: list[int], seed: int, samples: int) -> _Drawn:
    y = preprocessed(vae, x, index, seed)
    c = None if c is None else c.to(y.device)
    params = vae.posterior_params(y, c)
    density, q, p = vae.posterior_density, vae.posterior_density(params), vae.prior(c)
    z = torch.cat(
        [
            keyed.posterior_samples(density, params, q, seed, index, block, min(keyed.BLOCK, samples - first))
            for block, first in enumerate(range(0, samples, keyed.BLOCK))
        ]
    )
    posterior, prior = factorised(q), factorised(p)
    log_posterior = q.log_prob(z) if posterior is None else posterior.log_prob(z)
    each = None if prior is None else prior.log_prob(z).double()
    return _Drawn(params, z, log_posterior, p.log_prob(z).double() if each is None else each.sum(-1), each)


def _log_mixture(vae: VAE, params: Tensor, z: Tensor, own: Tensor) -> tuple[Tensor, Tensor | None]:
    """log (1/N) sum_m q(z|x_m) / q(z|x_n) for z (S, N, D) of datum n, (S, N), and by latent, (S, N, D), where q factorises.

    Args:
        vae: The model.
        params: Of the N posteriors, (N, P, D).
        z: Samples of each.
        own: Their log-densities, by latent where q factorises.
    """
    count = max(1, math.isqrt(ELEMENTS["cpu" if z.device.type == "cpu" else "cuda"] // z.shape[-1]))
    # Posteriors along the first dimension: a sum over it is a sum of contiguous rows.
    posteriors = [vae.posterior_density(part.unsqueeze(1)) for part in params.split(count)]
    pairs = zip(z.flatten(0, 1).split(count), own.flatten(0, 1).split(count), strict=True)
    sums = [_ratios(posteriors, *pair) for pair in pairs]
    joint, by_latent = torch.cat([joint for joint, _ in sums]), [each for _, each in sums if each is not None]
    log_n, shape = math.log(len(params)), z.shape[:2]
    log_ratio: Tensor = (joint.log() - log_n).unflatten(0, shape)
    return log_ratio, (torch.cat(by_latent).log() - log_n).unflatten(0, shape) if by_latent else None


def _ratios(posteriors: list[Distribution], z: Tensor, own: Tensor) -> tuple[Tensor, Tensor | None]:
    """sum_m q(z|x_m) / q(z|x_n) of some z (R, D), (R,), and the same of each latent, (R, D), where q factorises."""
    # A ratio of densities at a sample of the lower one is 1 on average, so above e^80 with a probability below e^-80: these
    # sums need no largest term taken out, and they hold a 1, of the sample's own posterior.
    joint = z.new_zeros(len(z), dtype=torch.float64)
    each = None if own.dim() == 1 else torch.zeros_like(z, dtype=torch.float64)
    for q in posteriors:
        marginals = factorised(q)
        if each is None or marginals is None:
            log_ratio = q.log_prob(z.expand(*q.batch_shape[:1], *z.shape)) - own
        else:
            by_latent = marginals.log_prob(z) - own
            each += by_latent.clamp(min=NEGLIGIBLE).exp_().sum(0)
            log_ratio = by_latent.sum(-1)
        joint += log_ratio.clamp_(min=NEGLIGIBLE).exp_().sum(0)
    return joint, each


def _number(terms: Tensor) -> Number:
    """Mean of (S, N) and its error over samples."""
    samples, n = terms.shape
    if samples == 1:
        # The spread over data includes the spread over samples, so this error is too large rather than too small.
        error = (terms.std() / math.sqrt(n)).item() if n > 1 else None
        return Number(terms.mean().item(), monte_carlo_error=error)
    found = Evidence(estimate=terms.mean(0), monte_carlo_error=terms.std(0) / math.sqrt(samples))
    return Number(found.mean, monte_carlo_error=found.mean_monte_carlo_error)


def _written(number: Number) -> dict[str, float | None]:
    return {"mean": number.mean, "monte_carlo_error": number.monte_carlo_error}


def _nats(number: Number) -> str:
    error = "" if number.monte_carlo_error is None else f"  [{number.monte_carlo_error:.3f}]"
    return f"{number.mean:.3f}{error}"
