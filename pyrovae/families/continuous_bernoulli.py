"""The continuous Bernoulli density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae.contracts import DataSpec, Distribution, Family, Shape
from pyrovae.contracts.supports import UNIT, Support
from pyrovae.families.elements import joint

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
"""Bernoulli numbers B_2, B_4, ..., B_14: what is left out of the series below at |l| < SMALL is less than 1e-16."""

SMALL = 0.5
"""Below it the closed forms are differences of large numbers, above it the series end too early."""


def _power_series(square: Tensor, coefficients: list[float]) -> Tensor:
    total = torch.zeros_like(square)
    for coefficient in reversed(coefficients):
        total = total * square + coefficient
    return total


def _split(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the series hold, l there, and |l| elsewhere, with harmless numbers in between so that gradients do not become NaN."""
    small = logits.abs() < SMALL
    return small, torch.where(small, logits, torch.zeros_like(logits)), torch.where(small, torch.ones_like(logits), logits.abs())


def _log_sinhc(logits: Tensor) -> Tensor:
    """log(sinh(l / 2) / (l / 2)) near 0: sum_n B_2n l^2n / (2n (2n)!)."""
    coefficients = [b / (2 * n * math.factorial(2 * n)) for n, b in enumerate(BERNOULLI, 1)]
    return logits.square() * _power_series(logits.square(), coefficients)


def _mean(logits: Tensor) -> Tensor:
    """E[x] = 1 / (1 - e^-l) - 1 / l, which is 1/2 + sum_n B_2n l^(2n-1) / (2n)! near 0."""
    small, near, size = _split(logits)
    series = 0.5 + near * _power_series(near.square(), [b / math.factorial(2 * n) for n, b in enumerate(BERNOULLI, 1)])
    from_the_end = 1 / size - torch.exp(-size) / -torch.expm1(-size)
    return torch.where(small, series, torch.where(logits > 0, 1 - from_the_end, from_the_end))


def _variance(logits: Tensor) -> Tensor:
    """1 / l^2 - 1 / (4 sinh^2(l / 2)), which is the derivative of the mean's series near 0."""
    small, near, size = _split(logits)
    coefficients = [(2 * n - 1) * b / math.factorial(2 * n) for n, b in enumerate(BERNOULLI, 1)]
    closed = size**-2 - torch.exp(-size) / torch.expm1(-size).square()
    return torch.where(small, _power_series(near.square(), coefficients), closed)


@final
class ContinuousBernoulliOfLogits(TorchDistribution):
    """The continuous Bernoulli distribution, right for all logits in float32 and float64.

    torch's own normalises through probabilities: at logit 20 its float32 density integrates to 0.80.

    Args:
        logits: l, any shape, which is the batch shape.
        validate_args: As in torch.
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return _mean(self.logits)

    @property
    def variance(self) -> Tensor:
        return _variance(self.logits)

    def expand(self, batch_shape: Shape, _instance: object = None) -> ContinuousBernoulliOfLogits:
        return ContinuousBernoulliOfLogits(self.logits.expand(batch_shape), self._validate_args)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """The quantile of a uniform number; its gradient is -(dF/dl) / p, which needs no inverse near l = 0.

        With mu(l) the mean, d log F(x; l) / dl = x mu(l x) - mu(l) and F / p = (1 - e^(-l x)) / l.
        """
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            l = self.logits.expand(shape)  # noqa: E741
            size, uniform = l.abs(), torch.rand(shape, dtype=l.dtype, device=l.device)
            # Distance from the favoured end: exponential with rate |l|, cut off at 1.
            away = torch.where(size > 0, -torch.log1p(uniform * torch.expm1(-size)) / size, uniform).clamp(0, 1)
            x = torch.where(l > 0, 1 - away, away)
            per_density = torch.where(size * away > 0, torch.expm1(size * away) / size, away)
            slope = per_density * (_mean(-size) - away * _mean(-size * away))
        return x + slope * (self.logits - self.logits.detach())

    def log_prob(self, value: Tensor) -> Tensor:
        """(x - c) l - g(l), with the part of the normaliser that is linear in l taken into c lest it cancel x l."""
        if self._validate_args:
            self._validate_sample(value)
        small, near, size = _split(self.logits)
        linear = torch.where(small, torch.full_like(near, 0.5), (self.logits > 0).to(near.dtype))
        rest = torch.where(small, _log_sinhc(near), torch.log(-torch.expm1(-size) / size))
        return (value - linear) * self.logits - rest


@final
@dataclass(frozen=True, kw_only=True)
class ContinuousBernoulli(Family):
    """Numbers in [0, 1] from logits l: log p(x) = x l + log(l / (e^l - 1)), summed over elements; at l = 0 the uniform one.

    The normaliser, the mean and the quantiles are computed from the logits without cancellation.

    Source: Loaiza-Ganem and Cunningham (2019), The continuous Bernoulli: fixing a pervasive error in variational autoencoders.
    """

    reparametrised = True

    def support(self, spec: DataSpec) -> Support:
        return UNIT

    def n_params(self, spec: DataSpec) -> int:
        return 1

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        logits = params.squeeze(-1 - len(spec.event_shape))
        return joint(ContinuousBernoulliOfLogits(logits), spec)
