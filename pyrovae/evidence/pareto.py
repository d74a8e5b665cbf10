"""The Pareto k-hat of importance weights from the largest of them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

FEWEST = 25
"""Samples below which there are no five weights in the tail, and so no k-hat."""

TIED = 1e-9
"""Log-weights nearer to each other than this are one weight, up to rounding."""

_UNDERFLOW = 745.0
"""exp of less than minus this is 0 in float64."""


def tail_length(samples: int) -> int:
    """How many of the largest weights the fit is to: min(K / 5, 3 sqrt K), rounded down."""
    return min(samples // 5, int(3 * math.sqrt(samples)))


def threshold(samples: int) -> float:
    """k-hat above which K samples are not enough: min(1 - 1 / log10 K, 0.7).

    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto Smoothed Importance Sampling.

    Example:
        >>> round(threshold(500), 2), threshold(100_000)
        (0.63, 0.7)
    """
    return min(1 - 1 / math.log10(samples), 0.7) if samples > 10 else 0.0


def khat(largest: Tensor, samples: int) -> Tensor:
    """The shape of the generalised Pareto density that fits the tail of the weights of each datum, by ArviZ' PSIS.

    Weights have as many moments as 1 / k; below ``threshold(samples)`` their mean, and its error, can be relied on.

    Args:
        largest: The ``tail_length(samples) + 1`` largest log-weights of each datum, (M + 1, B), in any order.
        samples: K, of which they are the largest.

    Returns:
        (B,). +inf where one weight outweighs the others beyond float64, -inf where the largest are equal (bounded weights); NaN
        with fewer than 25 samples, and where too many weights are tied for a fit (a few discrete latents).

    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto Smoothed Importance Sampling.
    """
    if samples < FEWEST:
        return torch.full(largest.shape[1:], math.nan, dtype=torch.float64)
    ordered = np.sort(largest.double().cpu().numpy().T, -1)
    return torch.tensor([_khat(row, samples) for row in ordered], dtype=torch.float64)


def _khat(ordered: np.ndarray, samples: int) -> float:
    from arviz_stats.base import array_stats

    if ordered[-1] == -math.inf:
        return math.nan
    relative = np.maximum(ordered - ordered[-1], -_UNDERFLOW)
    if relative[1] > -TIED:
        return -math.inf
    # The fit starts from the lower quartile of the tail's excess over the largest weight outside it.
    quartile = relative[1 + int((len(relative) - 1) / 4 + 0.5) - 1]
    if math.exp(quartile) < 1e-300:
        return math.inf
    if quartile - relative[0] < TIED:
        return math.nan
    everything = np.full(samples, relative[0])
    everything[-len(relative) :] = relative
    # ArviZ takes log-likelihoods left out, whose weights are their inverses.
    return float(array_stats.psislw(-everything)[1])
