"""The Bernoulli density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae.contracts import DataSpec, Family


@final
@dataclass(frozen=True, kw_only=True)
class Bernoulli(Family):
    """Bits from logits l: log p(x) = x l - log(1 + e^l), summed over elements; x is 0 or 1, nothing between."""

    def support(self, spec: DataSpec) -> constraints.Constraint:
        return constraints.boolean

    def n_params(self, spec: DataSpec) -> int:
        return 1

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> dist.Distribution:
        logits = params.squeeze(-1 - len(spec.event_shape))
        return dist.Bernoulli(logits=logits).to_event(len(spec.event_shape))

    def from_noise(self, distribution: dist.Distribution, noise: Tensor) -> Tensor:
        """1 where Phi(noise) < p, compared as logits, which do not saturate; there is no gradient through it."""
        logits = distribution.base_dist.logits
        return (torch.special.log_ndtr(noise) - torch.special.log_ndtr(-noise) < logits).to(logits.dtype)
