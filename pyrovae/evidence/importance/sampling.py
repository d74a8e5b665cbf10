"""Computes the evidence, the ELBO, their errors and diagnostics from importance weights, per datum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.contracts import Distribution
from pyrovae.evidence import keyed
from pyrovae.evidence.importance.factorised import factorised
from pyrovae.evidence.importance.pareto import Tail
from pyrovae.evidence.importance.proposals import Guide, Proposal, choose_proposal, propose
from pyrovae.evidence.importance.weights import Weights
from pyrovae.evidence.rows import rows_at_a_time
from pyrovae.evidence.scoring import average, check_log_weights, preprocessing_draws, score
from pyrovae.vae import VAE


def weigh(
    vae: VAE,
    x: Tensor,
    c: Tensor | None,
    *,
    samples: int,
    proposal: str,
    widen: float | None,
    dequantisations: int,
    repeats: int,
    seed: int,
    index: Tensor | None,
    rows: int,
) -> dict[str, Tensor]:
    """Numbers and diagnostics of each datum by name, see ``Importance.measure``.

    Args:
        vae: The model.
        x: Data as they were given, (N, *E).
        c: Their contexts, or None.
        samples: K, samples of each datum.
        proposal: The density they are drawn from, see ``Importance``.
        widen: Factor of the proposal ``widened``, or None.
        dequantisations: Draws of the uniform noise if levels are dequantised, each with K samples.
        repeats: Independent runs of K samples, which are averaged.
        seed: Of the noise.
        index: Row of each datum in its data set, or None.
        rows: Samples x data that are decoded at a time.

    Raises:
        UserError: If there are too many samples for the noise keys, data have no density, or a log-weight is NaN or +inf.
    """
    proposal = choose_proposal(proposal, vae)
    draws = preprocessing_draws(vae, dequantisations)
    keyed.check_room(samples, draws)
    blocks = math.ceil(samples / keyed.BLOCK)

    def measure(y: Tensor, c: Tensor | None, index: list[int], draw: int) -> dict[str, Tensor]:
        params = vae.posterior_params(y, c)
        q = vae.posterior_density(params)
        runs = []
        for repeat in range(repeats):
            drawn = propose(proposal, widen, vae, q, params, c, keyed.repeated(seed, repeat), index)
            found = _measure(drawn, y, samples, draw * blocks)
            runs.append(found | _guides_own(drawn, y, samples, draw * blocks, found) if proposal == "heavy" else found)
        return runs[0] if repeats == 1 else average(runs)

    data_rows = max(1, rows_at_a_time(vae, rows) // min(samples, keyed.BLOCK))
    return score(vae, x, c, measure, index=index, seed=seed, dequantisations=dequantisations, data_rows=data_rows)


def _measure(proposal: Proposal, y: Tensor, samples: int, first_block: int) -> dict[str, Tensor]:
    """All numbers and diagnostics of some data from K samples of each."""
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
        check_log_weights(log_weight, proposal.index)
        weights.add(log_weight)
    tail = weights.tail()
    found = _evidence(weights, tail, vae.transform.log_abs_det_jacobian())
    return found if log_q is not None else found | _parts(found, weights, tail, reconstruction, kl_per_dimension, mean, vae)


def _guides_own(drawn: Proposal, y: Tensor, samples: int, first_block: int, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Numbers that need samples of the guide itself: the ELBO and its parts; the evidence is from other samples."""
    guide = Guide(drawn.vae, drawn.q, drawn.params, drawn.c, drawn.seed, drawn.index)
    own = {name: values for name, values in _measure(guide, y, samples, first_block).items() if name not in found}
    # The two are correlated because they share much of their noise, so this error is conservative.
    gap_error = torch.hypot(found["log_evidence_error"], own["elbo_error"])
    degrees = torch.minimum(found["log_evidence_degrees"], own["elbo_degrees"])
    return own | {"gap": found["log_evidence"] - own["elbo"], "gap_error": gap_error, "gap_degrees": degrees}


def _log_ratio(q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, Tensor]:
    """log q(z|x) - log p(z), (K, B), and its parts by dimension summed over samples, (B, D); NaN if there are none."""
    posterior, prior = factorised(q), factorised(p)
    if posterior is None or prior is None:
        return (q.log_prob(z) - p.log_prob(z)).double(), torch.full(z.shape[1:], math.nan, dtype=torch.float64, device=z.device)
    each = posterior.log_prob(z) - prior.log_prob(z)
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
