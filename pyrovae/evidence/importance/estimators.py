"""The evidence lower bound and importance sampling, per datum, in nats, in the units of the data that was given."""

from __future__ import annotations

import math

import torch
from pyro.distributions import Distribution
from torch import Tensor

from pyrovae.contracts import Evidence
from pyrovae.errors import UserError, check_integer
from pyrovae.evidence import keyed
from pyrovae.evidence.importance.factorised import factorised
from pyrovae.evidence.importance.pareto import Tail
from pyrovae.evidence.importance.proposals import Guide, Proposal, check_proposal, choose_proposal, propose
from pyrovae.evidence.importance.weights import Weights
from pyrovae.evidence.scoring import (
    as_evidence,
    average,
    check_density,
    check_log_weights,
    preprocessing_draws,
    score,
)
from pyrovae.vae import VAE

ROWS = 2000
"""Samples x data that are decoded at a time: enough for the matrix products, few enough for the cache."""

ELEMENTS = 2**24
"""Parameters of the likelihood that are decoded at a time, at most: 64 MiB in float32."""


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
    repeats: int = 1,
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
        repeats: Independent runs of K samples each, whose mean is reported with the standard error over them.

    Returns:
        Per datum in nats, higher is better. ``monte_carlo_error`` is the standard error of the average, NaN for K = 1.
        Diagnostics: as ``importance``.

    Raises:
        UserError: If K is below 1, the data have no density under the likelihood, or a log-weight is NaN or +inf.

    Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes.
    """
    check_density(vae, "elbo")
    given = {"seed": seed, "index": index, "rows": rows, "dequantisations": dequantisations, "repeats": repeats}
    return as_evidence(_weigh(vae, x, c, samples=samples, proposal="guide", widen=None, **given), "elbo")


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
    repeats: int = 1,
    proposal: str = "auto",
    widen: float | None = None,
) -> Evidence:
    """log p(x) of each datum by importance sampling: log (1/K) sum_k p(x, z_k) / q(z_k|x), z_k ~ q(z|x).

    In expectation a lower bound that rises with K. The error is the delta method's, the standard error of the mean
    weight over the mean weight; it is too small itself where the effective sample size (sum w)^2 / sum w^2 is small or
    the k-hat large. A mode of p(z|x) that the proposal never visits is invisible to all three: annealing is the check.

    Args:
        vae: As in ``elbo``, likewise the other arguments.
        x: As in ``elbo``.
        c: As in ``elbo``.
        samples: K.
        seed: As in ``elbo``.
        index: As in ``elbo``.
        rows: As in ``elbo``.
        dequantisations: As in ``elbo``.
        repeats: As in ``elbo``.
        proposal: What z_k is drawn from: ``guide``; ``heavy``, the guide made of noise with heavier tails, see
            ``proposals.Heavy``; ``prior`` (p(z|c), where q is not to be relied on) or ``widened``, the guide stretched by
            ``widen`` about its mean, in the unconstrained space of the latents. ``auto`` is ``heavy`` where the prior's tails are
            heavier than the guide's, and ``guide`` elsewhere.
        widen: The factor of ``widened``; None for 1.5.

    Returns:
        Per datum in nats, higher is better. Diagnostics (N,): ``log_evidence`` with ``_error`` and the ``_degrees`` of freedom
        of that, ``effective_sample_size``, ``khat`` (the Pareto shape of the weights, see ``pareto.khat``), ``bound`` (N, rungs)
        at the numbers of samples of ``weights.ladder``; for ``guide``, and for ``heavy`` from as many samples of the guide, also
        ``elbo`` and ``gap`` (log evidence - elbo), each with ``_error`` and ``_degrees``, ``reconstruction`` and ``kl`` (elbo =
        reconstruction - kl), ``kl_per_dimension`` and ``posterior_mean`` (N, D).

    Raises:
        UserError: If K is below 1, the data have no density under the likelihood, or a log-weight is NaN or +inf.

    Source: Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders; Vehtari et al. (2024), Pareto Smoothed
    Importance Sampling.
    """
    check_density(vae, "importance")
    given = {"seed": seed, "index": index, "rows": rows, "dequantisations": dequantisations, "repeats": repeats}
    return as_evidence(_weigh(vae, x, c, samples=samples, proposal=proposal, widen=widen, **given))


def reconstruction(
    vae: VAE,
    x: Tensor,
    c: Tensor | None = None,
    *,
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
        seed: Of dequantisation or binarisation.
        index: As in ``elbo``.
        rows: Data that are decoded at a time.
        dequantisations: As in ``elbo``.

    Returns:
        Per datum in nats, higher is better; diagnostics ``reconstruction`` and ``posterior_mean``.

    Raises:
        UserError: If the posterior has a density, or as ``elbo``.
    """
    if vae.parts["posterior"].has_density:
        raise UserError(
            "--estimator reconstruction: is for the posterior delta; this one has an ELBO and evidence, which report the "
            "reconstruction too: use --estimator importance or elbo"
        )

    def measure(y: Tensor, c: Tensor | None, data: list[int], draw: int) -> dict[str, Tensor]:
        z = vae.parts["posterior"].mean(vae.posterior_of_preprocessed(y, c))
        log_likelihood = vae.likelihood(z, c).log_prob(y).double()
        check_log_weights(log_likelihood[None], data)
        found = log_likelihood + vae.transform.log_abs_det_jacobian()
        # A point: every sample is the same, and there is no error.
        return {"reconstruction": found, "reconstruction_error": torch.zeros_like(found), "posterior_mean": z.double()}

    found = score(
        vae, x, c, measure, index=index, seed=seed, dequantisations=dequantisations, data_rows=rows_at_a_time(vae, rows)
    )
    return as_evidence(found, "reconstruction")


def rows_at_a_time(vae: VAE, rows: int) -> int:
    """At most ``rows``, and fewer where their parameters would not fit the memory that is set apart for them."""
    return max(1, min(rows, ELEMENTS // math.prod(vae.likelihood_density.params_shape)))


def _weigh(
    vae: VAE,
    x: Tensor,
    c: Tensor | None,
    *,
    samples: int,
    seed: int,
    index: Tensor | None,
    rows: int,
    dequantisations: int,
    repeats: int,
    proposal: str,
    widen: float | None,
) -> dict[str, Tensor]:
    check_integer("samples", samples, 1)
    check_integer("repeats", repeats, 1)
    check_proposal(proposal, widen)
    proposal = choose_proposal(proposal, vae)
    draws = preprocessing_draws(vae, dequantisations)
    keyed.check_room(samples, draws)
    blocks = math.ceil(samples / keyed.BLOCK)

    def measure(y: Tensor, c: Tensor | None, data: list[int], draw: int) -> dict[str, Tensor]:
        params = vae.posterior_params(y, c)
        q = vae.posterior_density(params)
        runs = []
        for repeat in range(repeats):
            drawn = propose(proposal, widen, vae, q, params, c, keyed.repeated(seed, repeat), data)
            found = _measure(drawn, y, samples, draw * blocks)
            runs.append(found | _guides_own(drawn, y, samples, draw * blocks, found) if proposal == "heavy" else found)
        return runs[0] if repeats == 1 else average(runs)

    data_rows = max(1, rows_at_a_time(vae, rows) // min(samples, keyed.BLOCK))
    return score(vae, x, c, measure, index=index, seed=seed, dequantisations=dequantisations, data_rows=data_rows)


def _measure(proposal: Proposal, y: Tensor, samples: int, first_block: int) -> dict[str, Tensor]:
    """Everything that is known of some data from K samples of each."""
    vae, q, c = proposal.vae, proposal.q, proposal.c
    p, mean = vae.prior(c), vae.parts["posterior"].mean(q).double()
    weights = Weights(samples, mean[:, 0])
    reconstruction, kl_per_dimension = torch.zeros_like(mean[:, 0]), torch.zeros_like(mean)
    for block, first in enumerate(range(0, samples, keyed.BLOCK), first_block):
        z, log_q = proposal.draw(block, min(keyed.BLOCK, samples - first))
        log_likelihood = vae.likelihood(z, c).log_prob(y).double()
        if log_q is None:
            log_ratio, per_dimension = _log_ratio(q, p, z)
            reconstruction = reconstruction + log_likelihood.sum(0)
            kl_per_dimension = kl_per_dimension + per_dimension
        else:
            log_ratio = (log_q - p.log_prob(z)).double()
        log_weight = log_likelihood - log_ratio
        check_log_weights(log_weight, proposal.data)
        weights.add(log_weight)
    tail = weights.tail()
    found = _evidence(weights, tail, vae.transform.log_abs_det_jacobian())
    return found if log_q is not None else found | _parts(found, weights, tail, reconstruction, kl_per_dimension, mean, vae)


def _guides_own(drawn: Proposal, y: Tensor, samples: int, first_block: int, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """What only samples of the guide itself tell: the ELBO and its parts, beside an evidence that others gave."""
    guide = Guide(drawn.vae, drawn.q, drawn.params, drawn.c, drawn.seed, drawn.data)
    own = {name: values for name, values in _measure(guide, y, samples, first_block).items() if name not in found}
    # The two are correlated, for much of their noise is the same: this error is on the safe side.
    gap_error = torch.hypot(found["log_evidence_error"], own["elbo_error"])
    degrees = torch.minimum(found["log_evidence_degrees"], own["elbo_degrees"])
    return own | {"gap": found["log_evidence"] - own["elbo"], "gap_error": gap_error, "gap_degrees": degrees}


def _log_ratio(q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, Tensor]:
    """log q(z|x) - log p(z), (K, B), and its parts by dimension summed over samples, (B, D); NaN where they are none."""
    marginals = [factorised(q), factorised(p)]
    if None in marginals:
        return (q.log_prob(z) - p.log_prob(z)).double(), torch.full(z.shape[1:], math.nan, dtype=torch.float64, device=z.device)
    each = marginals[0].log_prob(z) - marginals[1].log_prob(z)
    return each.sum(-1).double(), each.sum(0).double()


def _evidence(weights: Weights, tail: Tail, log_det: float | Tensor) -> dict[str, Tensor]:
    error = weights.log_mean_error(tail)
    return {
        "log_evidence": weights.log_mean + log_det,
        "log_evidence_error": error.error,
        "log_evidence_degrees": error.degrees,
        "effective_sample_size": weights.effective_sample_size,
        "khat": tail.khat,
        "bound": weights.bound + log_det,
    }


def _parts(
    found: dict[str, Tensor],
    weights: Weights,
    tail: Tail,
    reconstruction: Tensor,
    kl_per_dimension: Tensor,
    mean: Tensor,
    vae: VAE,
) -> dict[str, Tensor]:
    log_det, samples = vae.transform.log_abs_det_jacobian(), weights.seen
    elbo, reconstruction, gap_error = weights.mean_log, reconstruction / samples, weights.gap_error(tail)
    return {
        "elbo": elbo + log_det,
        "elbo_error": weights.mean_log_error,
        "elbo_degrees": torch.full_like(elbo, max(samples - 1, 1)),
        "gap": found["log_evidence"] - (elbo + log_det),
        "gap_error": gap_error.error,
        "gap_degrees": gap_error.degrees,
        "reconstruction": reconstruction + log_det,
        "kl": reconstruction - elbo,
        "kl_per_dimension": kl_per_dimension / samples,
        "posterior_mean": mean,
    }
