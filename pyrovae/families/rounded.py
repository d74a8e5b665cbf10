"""A density that is computed in float64 whatever the networks compute in."""

from __future__ import annotations

from typing import final

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions.constraints import Constraint

from pyrovae.contracts import Distribution, Shape


@final
class Rounded(TorchDistribution):
    """A distribution in float64 that gives and takes numbers of a narrower type.

    Log-probabilities of counts are differences of numbers that grow with the counts: log C(65535, 30000) is 45,000, of which
    float32 knows 0.002. They are rounded once, when they have been summed over the event.

    Args:
        exact: A distribution with parameters in float64.
        dtype: The type of samples, moments and log-probabilities.
        validate_args: As in torch; the exact distribution checks what it is given.
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, exact: Distribution, dtype: torch.dtype, validate_args: bool | None = None) -> None:
        self.exact, self.dtype, self.has_rsample = exact, dtype, exact.has_rsample
        super().__init__(exact.batch_shape, exact.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        support: Constraint = self.exact.support
        return support

    @property
    def mean(self) -> Tensor:
        return self.exact.mean.to(self.dtype)

    @property
    def variance(self) -> Tensor:
        return self.exact.variance.to(self.dtype)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Rounded:
        return Rounded(self.exact.expand(torch.Size(batch_shape)), self.dtype, self._validate_args)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        return self.exact.sample(torch.Size(sample_shape)).to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.exact.log_prob(value.double()).to(self.dtype)


def rounded(exact: Distribution, dtype: torch.dtype) -> Distribution:
    """The distribution with numbers of that type: itself where they are float64."""
    return exact if dtype == torch.float64 else Rounded(exact, dtype)
