"""The Poisson density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Family
from pyrovae.contracts.supports import NONNEGATIVE_INTEGERS, Support
from pyrovae.families.positive import COUNTS, bounded_exp
from pyrovae.families.rounded import rounded


@final
@dataclass(frozen=True, kw_only=True)
class Poisson(Family):
    """Poisson with rate r: log p(x) = x log r - r - log x!, summed over elements.

    In float64: at a count of 10^6 the terms are 10^7 and cancel. r = exp(b tanh(raw / b)), b = log 2^24: 1 at 0, like exp near
    it, and within [6e-8, 1.7e7], the largest count that float32 tells from its neighbours. The encoder sees log(1 + x).
    """

    def support(self, spec: DataSpec) -> Support:
        return NONNEGATIVE_INTEGERS

    def n_params(self, spec: DataSpec) -> int:
        return 1

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        raw = params.double().squeeze(-1 - len(spec.event_shape))
        return rounded(dist.Poisson(bounded_exp(raw, COUNTS)).to_event(len(spec.event_shape)), params.dtype)

    def features(self, x: Tensor, spec: DataSpec) -> Tensor:
        return x.log1p()
