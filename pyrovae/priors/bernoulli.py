"""The prior of bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Family, Prior, PriorModule
from pyrovae.contracts.supports import BITS, Support
from pyrovae.errors import UserError, is_number
from pyrovae.families.elements import joint
from pyrovae.priors.context import check_context
from pyrovae.priors.fixed import family_prior


@final
@dataclass(frozen=True, kw_only=True)
class BitsFrom(Family):
    """Bits whose logits are raw + log(p / (1 - p)).

    Args:
        p: The probability of a 1 where raw is 0.
    """

    p: float

    def support(self, spec: DataSpec) -> Support:
        return BITS

    def n_params(self, spec: DataSpec) -> int:
        return 1

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        logits = params.squeeze(-1 - len(spec.event_shape)) + math.log(self.p) - math.log1p(-self.p)
        return joint(dist.Bernoulli(logits=logits), spec)


@final
@dataclass(frozen=True, kw_only=True)
class FixedBernoulli(Prior):
    """p(z) = prod_d p^z_d (1 - p)^(1 - z_d): independent bits.

    Args:
        context: ``none`` (the same for every context) or ``learned``: the logits of p(z|c) are log(p / (1 - p)) plus a linear
            map of the embedding of c that starts at 0.
        p: The probability of a 1, between 0 and 1.

    Raises:
        UserError: If p is not between 0 and 1, the context neither of these, or learned without a context.

    Source: Mnih and Gregor (2014), Neural Variational Inference and Learning in Belief Networks.
    """

    context: Literal["none", "learned"] = "none"
    p: float = 0.5

    natural_posterior = "bernoulli"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_context(self.context)
        if not (is_number(self.p) and 0 < self.p < 1):
            raise UserError("p", self.p, "needs a probability above 0 and below 1")

    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        return family_prior(BitsFrom(p=float(self.p)), latent, self.context, embedding_dim)
