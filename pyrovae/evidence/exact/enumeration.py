"""The evidence of a model with a few bits as latents, by enumerating all states."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from pyrovae.evidence.exact.grouping import distinct
from pyrovae.evidence.scoring import check_log_weights
from pyrovae.vae import VAE

MOST_BITS = 12
"""Maximum number of latents to enumerate: 4096 states."""


def log_evidence(vae: VAE, y: Tensor, c: Tensor | None, index: list[int], rows: int) -> Tensor:
    """log p(y|c) = log sum_z p(z|c) p(y|z,c) over all 2^D states of the bits z, per datum in nats.

    Args:
        vae: The model, in float64.
        y: Data as the likelihood sees them, (B, *E).
        c: Contexts, or None.
        index: Row of each datum in its data set.
        rows: States x data at a time.
    """
    found = y.new_full((len(y),), -math.inf)
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=vae.latent_dim)), dtype=y.dtype, device=y.device)
    contexts, which = distinct(c, len(y), y.device)
    for number, one in enumerate(contexts):
        chosen = (which == number).nonzero().squeeze(-1)
        prior, given = vae.prior(one), y[chosen]
        for z in states.split(max(1, rows // len(chosen))):
            likelihood = vae.likelihood(z.unsqueeze(1), one)
            log_joint = prior.log_prob(z).unsqueeze(1) + likelihood.log_prob(given)
            check_log_weights(log_joint, [index[row] for row in chosen.tolist()], "log-densities")
            found[chosen] = torch.logaddexp(found[chosen], log_joint.logsumexp(0))
    return found
