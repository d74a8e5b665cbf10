"""What is kept of the importance weights of each datum while they stream by: O(sqrt K) numbers, in float64."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from pyrovae.evidence.pareto import khat, tail_length

TOGETHER = 1000
"""Samples of a datum that are merged at a time."""

RUNGS = (1, 5, 50, 500, 5_000, 50_000)


def ladder(samples: int) -> list[int]:
    """Numbers of samples at which the bound is kept: 1, 5, 50, 500, ... and K itself.

    Example:
        >>> ladder(300)
        [1, 5, 50, 300]
    """
    return [rung for rung in RUNGS if rung < samples] + [samples]


@final
class Weights:
    """The importance weights of B data: their sums, their largest, and the bound at fewer samples.

    Merged a thousand at a time as (largest, sum of w, sum of w^2), relative to the largest, beside sums of log w.

    Args:
        samples: K, how many there will be.
        zero: A tensor (B,) on the device to use.
    """

    def __init__(self, samples: int, zero: Tensor) -> None:
        zero = torch.zeros_like(zero, dtype=torch.float64)
        self.samples = samples
        self.waiting: list[Tensor] = []
        self.seen = 0
        self.shift: Tensor | None = None
        self.top = zero - math.inf
        self.weight = self.weight_squared = self.log_weight = self.log_weight_squared = self.both = zero
        self.largest = zero.new_empty(0, *zero.shape)
        self.bounds: dict[int, Tensor] = {}

    def add(self, log_weight: Tensor) -> None:
        """Merge log-weights (k, B)."""
        self.waiting.append(log_weight)
        if sum(map(len, self.waiting)) >= TOGETHER or self.seen + sum(map(len, self.waiting)) >= self.samples:
            self._merge(torch.cat(self.waiting))
            self.waiting = []

    def _merge(self, log_weight: Tensor) -> None:
        if self.shift is None:
            self.shift = torch.where(log_weight[0].isinf(), torch.zeros_like(self.top), log_weight[0])
            self._bounds_of(log_weight)
        self.seen += len(log_weight)
        top = torch.maximum(self.top, log_weight.amax(0))
        finite = torch.where(top.isinf(), torch.zeros_like(top), top)
        old, new = torch.exp(self.top - finite), torch.exp(log_weight - finite)
        self.top = top
        self.weight = self.weight * old + new.sum(0)
        self.weight_squared = self.weight_squared * old**2 + (new**2).sum(0)
        beyond = log_weight - self.shift
        self.log_weight = self.log_weight + beyond.sum(0)
        self.log_weight_squared = self.log_weight_squared + (beyond**2).sum(0)
        self.both = self.both * old + torch.where(new > 0, new * beyond, 0.0).sum(0)
        known = torch.cat([self.largest, log_weight])
        self.largest = known.topk(min(len(known), tail_length(self.samples) + 1), 0, sorted=False).values
        if self.seen in ladder(self.samples):
            self.bounds[self.seen] = self.log_mean

    def _bounds_of(self, log_weight: Tensor) -> None:
        """Bounds of few samples, each averaged over as many groups of them as there are in the first samples."""
        for rung in ladder(self.samples):
            if rung <= len(log_weight):
                groups = log_weight[: len(log_weight) // rung * rung].unflatten(0, (-1, rung))
                self.bounds[rung] = (groups.logsumexp(1) - math.log(rung)).mean(0)

    @property
    def log_mean(self) -> Tensor:
        """log (1/K) sum of w of those seen, (B,)."""
        return self.top + torch.log(self.weight / self.seen)

    @property
    def log_mean_error(self) -> Tensor:
        """Standard error of the mean weight over the mean weight (the delta method), (B,); NaN for one sample."""
        relative = self.weight_squared / self.weight**2 - 1 / self.seen
        return torch.sqrt(relative.clamp(min=0) * self.seen / self._unbiased)

    @property
    def mean_log(self) -> Tensor:
        """(1/K) sum of log w, (B,)."""
        return self.shift + self.log_weight / self.seen

    @property
    def mean_log_error(self) -> Tensor:
        """Standard error of the average of log w, (B,); NaN for one sample."""
        spread = (self.log_weight_squared - self.log_weight**2 / self.seen).clamp(min=0)
        return torch.sqrt(spread / self._unbiased / self.seen)

    @property
    def gap_error(self) -> Tensor:
        """Standard error of log mean - mean log, (B,), by the delta method: that of the mean of w / E[w] - log w; NaN for one."""
        n, mean = self.seen, self.weight / self.seen
        relative = self.weight_squared / mean**2 - n
        spread = self.log_weight_squared - self.log_weight**2 / n
        shared = self.both / mean - self.log_weight
        return torch.sqrt((relative + spread - 2 * shared).clamp(min=0) / self._unbiased / n)

    @property
    def _unbiased(self) -> float:
        return self.seen - 1 if self.seen > 1 else math.nan

    @property
    def effective_sample_size(self) -> Tensor:
        """(sum w)^2 / sum w^2, (B,), from 1 to K; 0 where all weights are."""
        return torch.where(self.weight > 0, self.weight**2 / self.weight_squared, 0.0)

    @property
    def khat(self) -> Tensor:
        """Pareto k-hat of the weights, (B,)."""
        return khat(self.largest, self.seen).to(self.top.device)

    @property
    def bound(self) -> Tensor:
        """The bound at each rung of ``ladder(samples)``, (B, rungs)."""
        return torch.stack([self.bounds[rung] for rung in ladder(self.samples)], -1)
