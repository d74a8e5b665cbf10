"""The log-normal density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution
from pyrovae.contracts.supports import POSITIVE, Support
from pyrovae.families.elements import joint
from pyrovae.families.location_scale import LocationScale


@final
@dataclass(frozen=True, kw_only=True)
class LogNormal(LocationScale):
    """Log-normal: log x is normal with mean m and scale s, so log p(x) = log N(log x; m, s) - log x, summed over elements.

    Its mean is exp(m + s^2 / 2). A scale that is not a fixed number is ``bounded_exp`` of a raw parameter, so within
    [3.4e-4, 2981], and starts near 1. The encoder sees log x.

    Args:
        scale: Standard deviation of log x: a fixed number above 0, ``learned`` (one for all elements), ``element`` (one
            learned for each element) or ``network`` (from the decoder).

    Raises:
        UserError: If the scale is none of these.
    """

    def support(self, spec: DataSpec) -> Support:
        return POSITIVE

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        location, scale = self.location_and_scale(params, spec, learned)
        return joint(dist.LogNormal(location, scale), spec)

    def features(self, x: Tensor, spec: DataSpec) -> Tensor:
        return x.log()
