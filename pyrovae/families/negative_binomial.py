"""The negative binomial density."""

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
class NegativeBinomial(Family):
    """Negative binomial with mean r and size n: counts of variance r + r^2 / n, summed over elements.

    log p(x) = log G(x + n) - log G(n) - log x! + n log(n / (n + r)) + x log(r / (n + r)), G the gamma function; a large n is
    the Poisson density. In float64, for the terms grow with the counts and cancel. r = exp(b tanh(raw 0 / b)), b = log 2^24,
    is within [6e-8, 1.7e7]; n = ``bounded_exp``(raw 1) is within [3.4e-4, 2981]. Raw parameters 0 are r = n = 1. The encoder
    sees log(1 + x).
    """

    def support(self, spec: DataSpec) -> Support:
        return NONNEGATIVE_INTEGERS

    def n_params(self, spec: DataSpec) -> int:
        return 2

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        raw_mean, raw_size = params.double().unbind(-1 - len(spec.event_shape))
        mean, size = bounded_exp(raw_mean, COUNTS), bounded_exp(raw_size)
        exact = dist.NegativeBinomial(size, logits=mean.log() - size.log()).to_event(len(spec.event_shape))
        return rounded(exact, params.dtype)

    def features(self, x: Tensor, spec: DataSpec) -> Tensor:
        return x.log1p()
