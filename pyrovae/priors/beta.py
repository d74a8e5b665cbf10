"""The beta prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Family, Prior, PriorModule
from pyrovae.contracts.supports import OPEN_UNIT, Support
from pyrovae.errors import UserError, is_number
from pyrovae.families.beta import OpenBeta
from pyrovae.families.elements import joint
from pyrovae.families.positive import bounded_exp
from pyrovae.priors.context import check_context
from pyrovae.priors.fixed import family_prior

SMALLEST, LARGEST = 0.5, 1e6
"""The smallest concentration float32 can represent: below it, much of the mass is nearer to 0 or 1 than float32 numbers get."""


@final
@dataclass(frozen=True, kw_only=True)
class BetaFrom(Family):
    """Beta(max(1/2, a bounded_exp(raw 0)), max(1/2, b bounded_exp(raw 1))): exactly Beta(a, b) where both are 0.

    Args:
        concentration1: a.
        concentration0: b.
    """

    concentration1: float
    concentration0: float

    reparametrised = True

    def support(self, spec: DataSpec) -> Support:
        return OPEN_UNIT

    def n_params(self, spec: DataSpec) -> int:
        return 2

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        factors = bounded_exp(params).unbind(-1 - len(spec.event_shape))
        given = (self.concentration1, self.concentration0)
        one, zero = ((c * factor).clamp(min=SMALLEST) for c, factor in zip(given, factors, strict=True))
        return joint(OpenBeta(one, zero), spec)


@final
@dataclass(frozen=True, kw_only=True)
class FixedBeta(Prior):
    """p(z) = prod_d Beta(z_d; a, b), latents between 0 and 1; a = b = 1 is the uniform density.

    Args:
        context: ``none`` (the same for every context) or ``learned``: p(z|c) = Beta(a s(c), b t(c)), where log s and log t are
            linear in the embedding of c, 0 at the start; neither concentration falls below 0.5.
        concentration1: a, from 0.5 to 1e6; above b the latents are nearer to 1.
        concentration0: b, from 0.5 to 1e6.

    Raises:
        UserError: If a or b are out of range, the context neither of these, or learned without a context.

    Source: Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, who train a model with this prior.
    """

    context: Literal["none", "learned"] = "none"
    concentration1: float = 1.0
    concentration0: float = 1.0

    natural_posterior = "beta"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_context(self.context)
        for name in ("concentration1", "concentration0"):
            value = getattr(self, name)
            if not (is_number(value) and SMALLEST <= value <= LARGEST):
                raise UserError(name, value, f"needs a number from {SMALLEST:g} to {LARGEST:g}")

    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        family = BetaFrom(concentration1=float(self.concentration1), concentration0=float(self.concentration0))
        return family_prior(family, latent, self.context, embedding_dim)
