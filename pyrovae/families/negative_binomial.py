"""The negative binomial density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from pyrovae.contracts import DataSpec, Family
from pyrovae.families.positive import COUNTS, bounded_exp


@final
class _NegativeBinomial(dist.NegativeBinomial):
    """Negative binomial with its log-probability in float64 inside: its terms grow with the counts and cancel."""

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        size, logits, x = self.total_count.double(), self.logits.double(), value.double()
        choices = torch.lgamma(x + size) - torch.lgamma(size) - torch.lgamma(x + 1)
        return (choices + size * logsigmoid(-logits) + x * logsigmoid(logits)).to(self.logits.dtype)


@final
@dataclass(frozen=True, kw_only=True)
class NegativeBinomial(Family):
    """Negative binomial with mean r and size n: counts of variance r + r^2 / n, summed over elements.

    log p(x) = log G(x + n) - log G(n) - log x! + n log(n / (n + r)) + x log(r / (n + r)), G the gamma function; a large n is
    the Poisson density. r = exp(b tanh(raw 0 / b)), b = log 2^24, is within [6e-8, 1.7e7]; n = ``bounded_exp``(raw 1) is
    within [3.4e-4, 2981]. Raw parameters 0 are r = n = 1. The encoder sees log(1 + x).
    """

    def support(self, spec: DataSpec) -> constraints.Constraint:
        return constraints.nonnegative_integer

    def n_params(self, spec: DataSpec) -> int:
        return 2

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> dist.Distribution:
        raw_mean, raw_size = params.unbind(-1 - len(spec.event_shape))
        mean, size = bounded_exp(raw_mean, COUNTS), bounded_exp(raw_size)
        return _NegativeBinomial(size, logits=mean.log() - size.log()).to_event(len(spec.event_shape))

    def features(self, x: Tensor, spec: DataSpec) -> Tensor:
        return x.log1p()
