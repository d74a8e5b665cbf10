"""The normal density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution
from pyrovae.families.elements import elements_of, joint
from pyrovae.families.location_scale import LocationScale


@final
@dataclass(frozen=True, kw_only=True)
class Normal(LocationScale):
    """Normal with mean and scale: log N(x; m, s) = -((x - m) / s)^2 / 2 - log s - log(2 pi) / 2, summed over elements.

    A scale that is not a fixed number is ``bounded_exp`` of a raw parameter, so within [3.4e-4, 2981], and starts near 1.

    Args:
        scale: Standard deviation: a fixed number above 0, ``learned`` (one for all elements), ``element`` (one learned
            for each element) or ``network`` (from the decoder in a likelihood, from the encoder in a posterior).

    Raises:
        UserError: If the scale is none of these.
    """

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        mean, scale = self.location_and_scale(params, spec, learned)
        return joint(dist.Normal(mean, scale), spec)

    def from_noise(self, distribution: Distribution, noise: Tensor) -> Tensor:
        marginals = elements_of(distribution)
        x: Tensor = marginals.loc + marginals.scale * noise
        return x

    def log_stretch(self, distribution: Distribution, noise: Tensor) -> Tensor:
        scale: Tensor = elements_of(distribution).scale
        return scale.log().flatten(-len(distribution.event_shape)).sum(-1)
