"""Streaming statistics of the importance weights of each datum: O(sqrt K) numbers, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.evidence.importance.pareto import Tail, fit_tail, tail_length

TOGETHER = 1000
"""Samples of a datum merged at a time."""

RUNGS = (1, 5, 50, 500, 5_000, 50_000)


def ladder(samples: int) -> list[int]:
    """Numbers of samples at which the bound is kept: 1, 5, 50, 500, ... and K itself.

    Example:
        >>> ladder(300)
        [1, 5, 50, 300]
    """
    return [rung for rung in RUNGS if rung < samples] + [samples]


def summarise_bounds(bound: Tensor, samples: int) -> list[dict[str, Any]]:
    """Mean over data, with its standard error, of the bound at each number of ``samples`` of the ladder.

    Args:
        bound: Of each datum, (N, rungs).
        samples: K.
    """
    found = []
    for rung, values in zip(ladder(samples), bound.T, strict=True):
        error = (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else None
        found.append({"samples": rung, "mean": values.mean().item(), "standard_error": error})
    return found


@final
@dataclass(frozen=True)
class Spread:
    """The Monte Carlo error of an estimate.

    Args:
        error: Its standard error, (B,); NaN for one sample.
        degrees: Degrees of freedom of that error, for Student's t quantiles in place of normal ones, (B,).
    """

    error: Tensor
    degrees: Tensor


@final
class Weights:
    """The importance weights of B data: their sums, their largest, and the bound at fewer samples.

    Merged a thousand at a time as (largest, sum of w, sum of w^2), relative to the largest, and as sums of log w.

    Args:
        samples: K, the number of samples to come.
        zero: A tensor (B,) on the device to use.
    """

    def __init__(self, samples: int, zero: Tensor) -> None:
        zero = torch.zeros_like(zero, dtype=torch.float64)
        self.samples = samples
        self.waiting: list[Tensor] = []
        self.seen = 0
        self.shift: Tensor | None = None
        self.top = zero - math.inf
        self.weight = self.weight_squared = self.log_weight = self.log_weight_squared = self.weight_log_weight = zero
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
        self.weight_log_weight = self.weight_log_weight * old + torch.where(new > 0, new * beyond, 0.0).sum(0)
        known = torch.cat([self.largest, log_weight])
        self.largest = known.topk(min(len(known), tail_length(self.samples) + 1), 0, sorted=False).values
        if self.seen in ladder(self.samples):
            self.bounds[self.seen] = self.log_mean

    def _bounds_of(self, log_weight: Tensor) -> None:
        """Bounds of few samples, each averaged over as many groups as fit into the first samples."""
        for rung in ladder(self.samples):
            if rung <= len(log_weight):
                groups = log_weight[: len(log_weight) // rung * rung].unflatten(0, (-1, rung))
                self.bounds[rung] = (groups.logsumexp(1) - math.log(rung)).mean(0)

    @property
    def log_mean(self) -> Tensor:
        """log (1/K) sum of w over the samples seen so far, (B,)."""
        return self.top + torch.log(self.weight / self.seen)

    @property
    def mean_log(self) -> Tensor:
        """(1/K) sum of log w, (B,)."""
        assert self.shift is not None  # set with the first weights
        return self.shift + self.log_weight / self.seen

    @property
    def mean_log_error(self) -> Tensor:
        """Standard error of the average of log w, (B,); NaN for one sample."""
        spread = (self.log_weight_squared - self.log_weight**2 / self.seen).clamp(min=0)
        return torch.sqrt(spread / self._unbiased / self.seen)

    @property
    def _unbiased(self) -> float:
        return self.seen - 1 if self.seen > 1 else math.nan

    @property
    def effective_sample_size(self) -> Tensor:
        """Effective sample size (sum w)^2 / sum w^2, (B,), from 1 to K; 0 if all weights are 0."""
        return torch.where(self.weight > 0, self.weight**2 / self.weight_squared, 0.0)

    def tail(self) -> Tail:
        """The largest weights, the density fitted to them, and the k-hat."""
        return fit_tail(self.largest, self.seen)

    def log_mean_error(self, tail: Tail) -> Spread:
        """Standard error of the mean weight over the mean weight, by the delta method; see ``_spread``.

        Args:
            tail: What ``tail`` returned.
        """
        return self._spread(tail, log_share=0)

    def gap_error(self, tail: Tail) -> Spread:
        """Standard error of log mean - mean log, by the delta method: that of the mean of w / E[w] - log w; see ``_spread``.

        Args:
            tail: What ``tail`` returned.
        """
        return self._spread(tail, log_share=1)

    def _spread(self, tail: Tail, log_share: int) -> Spread:
        """Standard error of the mean of f = w / E[w] - g log w over the samples, g = ``log_share`` 0 or 1.

        The sample variance is too small if the sample has missed part of the tail. It is therefore computed twice, with the
        largest weights as drawn and as expected from the fit, and the larger value is used.
        """
        drawn, fitted = self._moments(tail, tail.largest, log_share), self._moments(tail, tail.smoothed, log_share)
        error = torch.sqrt(torch.maximum(drawn[0], fitted[0]) / self._unbiased / self.seen)
        return Spread(error=error, degrees=self._degrees(*fitted))

    def _moments(self, tail: Tail, instead: Tensor, log_share: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of (f - mean f)^2 over all samples and the tail, and of (f - mean f)^4 over the tail, with the tail replaced."""
        largest = tail.largest
        finite = torch.where(self.top.isinf(), torch.zeros_like(self.top), self.top)
        w, new = torch.exp(largest - finite), torch.exp(instead - finite)
        mean = (self.weight - w.sum(0) + new.sum(0)) / self.seen
        squares = (self.weight_squared - (w**2).sum(0) + (new**2).sum(0)) / mean**2 - self.seen
        inside = new / mean - 1
        if log_share:  # not multiplied by 0: a weight of zero has a logarithm of -inf
            assert self.shift is not None
            log, log_new = largest - self.shift, instead - self.shift
            mean_log = (self.log_weight - log.sum(0) + log_new.sum(0)) / self.seen
            spread = self.log_weight_squared - (log**2).sum(0) + (log_new**2).sum(0) - self.seen * mean_log**2
            shared = (self.weight_log_weight - (w * log).sum(0) + (new * log_new).sum(0)) / mean - self.seen * mean_log
            squares, inside = squares + spread - 2 * shared, inside - (log_new - mean_log)
        return squares.clamp(min=0), (inside**2).sum(0), (inside**4).sum(0)

    def _degrees(self, squares: Tensor, tail_squares: Tensor, tail_fourth: Tensor) -> Tensor:
        """Degrees of freedom 2 n / (kurtosis - 1) of a variance, at most n - 1; values outside the tail are treated as normal."""
        n, rest = self.seen, (squares - tail_squares).clamp(min=0)
        kurtosis = n * (tail_fourth + 3 * rest**2 / max(n - len(self.largest) + 1, 1)) / squares**2
        found = 2 * n / (kurtosis - 1 + 2 / n).clamp(min=2 / n)
        return torch.where(squares > 0, found.clamp(1, max(n - 1, 1)), float(max(n - 1, 1)))

    @property
    def bound(self) -> Tensor:
        """The bound at each rung of ``ladder(samples)``, (B, rungs)."""
        return torch.stack([self.bounds[rung] for rung in ladder(self.samples)], -1)
