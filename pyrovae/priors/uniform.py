"""The uniform prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Family, Prior, PriorModule, Shape
from pyrovae.contracts.supports import OPEN_UNIT, Support, between_zero_and_one
from pyrovae.families.elements import joint
from pyrovae.priors.fixed import FixedPrior


@final
class OpenUniform(dist.Uniform):
    """The uniform distribution on 0 < x < 1; samples are never exactly 0 or 1, as 0 has no density under a beta posterior."""

    support = between_zero_and_one

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Samples, which come no closer to 0 and 1 than one rounding step."""
        sample = super().rsample(sample_shape)
        step = torch.finfo(sample.dtype).eps * (self.high - self.low)
        return torch.minimum(torch.maximum(sample, self.low + step), self.high - step)


@final
@dataclass(frozen=True, kw_only=True)
class UnitInterval(Family):
    """Uniform between 0 and 1, without parameters: log p(x) = 0."""

    reparametrised = True

    def support(self, spec: DataSpec) -> Support:
        return OPEN_UNIT

    def n_params(self, spec: DataSpec) -> int:
        return 0

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        low = params.sum(-1 - len(spec.event_shape))
        return joint(OpenUniform(low, low + 1), spec)  # type: ignore[no-untyped-call]  # Pyro gives it no types


@final
@dataclass(frozen=True, kw_only=True)
class StandardUniform(Prior):
    """p(z) = 1 on 0 < z_d < 1: every latent uniform between 0 and 1, independent of the others and of any context."""

    natural_posterior = "beta"

    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        return FixedPrior(UnitInterval(), latent)
