"""The Laplace density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution
from pyrovae.families.elements import elements_of, joint
from pyrovae.families.location_scale import LocationScale

TAIL_DF = 4.0
"""Degrees of freedom of a Student t with heavier tails than the Laplace density's, at any scale, and not much heavier."""


@final
@dataclass(frozen=True, kw_only=True)
class Laplace(LocationScale):
    """Laplace with location m and scale b: log p(x) = -|x - m| / b - log(2 b), summed over elements.

    A scale that is not a fixed number is ``bounded_exp`` of a raw parameter, so within [3.4e-4, 2981], and starts near 1.

    Args:
        scale: b, the mean of |x - m| (the standard deviation is b sqrt(2)): a fixed number above 0, ``learned`` (one for
            all elements), ``element`` (one learned for each element) or ``network`` (from the decoder in a likelihood,
            from the encoder in a posterior).

    Raises:
        UserError: If the scale is none of these.
    """

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        location, scale = self.location_and_scale(params, spec, learned)
        return joint(dist.Laplace(location, scale), spec)

    def tail_df(self, learned: nn.Module) -> float:
        return TAIL_DF

    def from_noise(self, distribution: Distribution, noise: Tensor) -> Tensor:
        """The quantile of Phi(noise): |x - m| / b = -log(2 Phi(-|noise|))."""
        marginals = elements_of(distribution)
        distance = -(math.log(2) + torch.special.log_ndtr(-noise.abs()))
        x: Tensor = marginals.loc + marginals.scale * noise.sign() * distance
        return x
