"""The Bernoulli density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyrovae.contracts import DataSpec, Distribution, Family
from pyrovae.contracts.supports import BITS, Support
from pyrovae.families.elements import elements_of

LONGEST_PRODUCT = 120
"""Factors between 1 and 2 whose product float32 holds."""


@final
class _Bits(dist.Independent):
    """Independent bits: sum of x l - log(1 + e^l), in few passes over the logits.

    With s = 1 - 2 x that is -max(s l, 0) - log(1 + e^-|l|), whose sums stay small compared with those of x l and
    log(1 + e^l); log(1 + e^-|l|) is summed as the logarithm of products of many factors.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        dims = self.reinterpreted_batch_ndims
        if not dims:
            elements: Tensor = self.base_dist.log_prob(value)
            return elements
        logits: Tensor = self.base_dist.logits.flatten(-dims)
        value = value.flatten(-dims)
        if torch.is_grad_enabled():
            return (value * logits - softplus(logits)).sum(-1)
        wrong = (1 - 2 * value) * logits
        terms: Tensor = (
            torch.copysign(wrong, wrong.new_tensor(-1.0)).exp_().add_(1).unflatten(-1, (-1, _factors(logits.shape[-1])))
        )
        return -wrong.clamp_(min=0).sum(-1) - terms.prod(-1).log().sum(-1)


def _factors(size: int) -> int:
    """The largest divisor of a size that is no longer than a product may be."""
    return max(n for n in range(1, LONGEST_PRODUCT + 1) if size % n == 0)


@final
@dataclass(frozen=True, kw_only=True)
class Bernoulli(Family):
    """Bits from logits l: log p(x) = x l - log(1 + e^l), summed over elements; x is 0 or 1, nothing between."""

    def support(self, spec: DataSpec) -> Support:
        return BITS

    def n_params(self, spec: DataSpec) -> int:
        return 1

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        logits = params.squeeze(-1 - len(spec.event_shape))
        return _Bits(dist.Bernoulli(logits=logits), len(spec.event_shape))

    def from_noise(self, distribution: Distribution, noise: Tensor) -> Tensor:
        """1 where Phi(noise) < p, compared as logits, which do not saturate; there is no gradient through it."""
        logits: Tensor = elements_of(distribution).logits
        ones: Tensor = torch.special.log_ndtr(noise) - torch.special.log_ndtr(-noise) < logits
        return ones.to(logits.dtype)
