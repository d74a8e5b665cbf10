"""The beta density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Family, Shape
from pyrovae.contracts.supports import OPEN_UNIT, Support, between_zero_and_one, open_edge
from pyrovae.errors import UserError, check_number
from pyrovae.families.elements import joint
from pyrovae.families.positive import bounded_exp

EDGE = 1e-4
"""A mean stays that far from 0 and 1, lest a concentration be 0 in float32."""


@final
class OpenBeta(dist.Beta):
    """A beta distribution whose samples are never exactly 0 or 1, and right for concentrations far below 1.

    Samples are kept within [e, 1 - e], e half the spacing of floating-point numbers at 1 (6e-8 in float32); the density is that
    of any value between, and 0 and 1 are outside of the support. torch's sampler underflows there: two thirds of its float32
    samples of Beta(3e-4, 3e-4) are exactly 1/2.
    """

    support = between_zero_and_one

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """sigmoid(log G_a - log G_b), where the gamma variable G_c = G_(c+1) U^(1/c) is taken by its logarithm."""
        shape = self._extended_shape(sample_shape)
        logs = []
        for concentration in (self.concentration1.expand(shape), self.concentration0.expand(shape)):
            minus_log_uniform = torch.empty_like(concentration).exponential_()
            logs.append(torch._standard_gamma(concentration + 1).log() - minus_log_uniform / concentration)
        edge = open_edge(self.concentration1.dtype)
        return torch.sigmoid(logs[0] - logs[1]).clamp(edge, 1 - edge)

    def log_prob(self, value: Tensor) -> Tensor:
        """In float64 inside: the terms are as large as the concentration and cancel."""
        if self._validate_args:
            self._validate_sample(value)
        one, zero = self.concentration1.double(), self.concentration0.double()
        x = value.double()
        constant = torch.lgamma(one + zero) - torch.lgamma(one) - torch.lgamma(zero)
        log_prob = (one - 1) * torch.log(x) + (zero - 1) * torch.log1p(-x) + constant
        return log_prob.to(self.concentration1.dtype)


@final
@dataclass(frozen=True, kw_only=True)
class Beta(Family):
    """Beta with mean m and concentration k: log p(x) = (m k - 1) log x + ((1 - m) k - 1) log(1 - x) - log B(m k, (1 - m) k).

    Summed over elements. m = 1e-4 + (1 - 2e-4) sigmoid(raw 0) and k = 2 ``bounded_exp``(raw 1), so m is within
    [1e-4, 1 - 1e-4] and k within [6.7e-4, 5962]; raw parameters 0 are the uniform density. With a least concentration l
    the two, m k and (1 - m) k, become l + (1 - l) m k and l + (1 - l) (1 - m) k.

    Args:
        least: No concentration is below it, from 0 to below 1. Latents need one, such as 0.5: below it, samples crowd together
            nearer to 0 or 1 than a float32 can be, and importance weights of them would be wrong.

    Raises:
        UserError: If it is out of range.
    """

    least: float = 0.5

    reparametrised = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if check_number("least", self.least) >= 1:
            raise UserError("least", self.least, "needs a number from 0 to below 1")

    def support(self, spec: DataSpec) -> Support:
        return OPEN_UNIT

    def n_params(self, spec: DataSpec) -> int:
        return 2

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        raw_mean, raw_concentration = params.unbind(-1 - len(spec.event_shape))
        concentration = 2 * bounded_exp(raw_concentration)
        # 1 - m would lose the digits of a mean near 1.
        shares = (concentration * (EDGE + (1 - 2 * EDGE) * torch.sigmoid(sign * raw_mean)) for sign in (1, -1))
        one, zero = (self.least + (1 - self.least) * share for share in shares)
        return joint(OpenBeta(one, zero), spec)
