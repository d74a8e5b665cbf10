"""The Pareto k-hat of importance weights from the largest of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

FEWEST = 25
"""Samples below which the tail has fewer than five weights, and so there is no k-hat."""

TIED = 1e-9
"""Log-weights closer to each other than this are equal up to rounding."""

PRIOR_SHAPE, PRIOR_WEIGHT = 0.5, 10
"""The prior of k-hat: its shape, and its strength as a number of additional weights (Vehtari et al., 2024)."""

_UNDERFLOW = 745.0
"""exp of less than minus this is 0 in float64."""

_SMALLEST = math.log(1e-300)
"""Log of the smallest weight, relative to the largest, from which a fit can start."""


def tail_length(samples: int) -> int:
    """Number of largest weights used in the fit: min(K / 5, 3 sqrt K), rounded down."""
    return min(samples // 5, int(3 * math.sqrt(samples)))


def threshold(samples: int) -> float:
    """k-hat above which K samples are not enough: min(1 - 1 / log10 K, 0.7).

    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto Smoothed Importance Sampling.

    Example:
        >>> round(threshold(500), 2), threshold(100_000)
        (0.63, 0.7)
    """
    return min(1 - 1 / math.log10(samples), 0.7) if samples > 10 else 0.0


def limits(samples: int, looks: int = 1) -> tuple[float, float]:
    """Limits of k-hat: below the first a shape under ``threshold(samples)`` is likely, above the second one over it.

    Of M weights in a tail of shape k, k-hat has a mean of (M k + 5) / (M + 10) and a standard error of (1 + k) / sqrt M, times
    M / (M + 10): the limits are that mean for the threshold, plus and minus one standard error. So one in six data whose shape
    equals the threshold lies beyond each limit.

    Args:
        samples: K, at least 25.
        looks: Number of independent k-hats whose mean is judged.

    Example:
        >>> [round(limit, 2) for limit in limits(100)], [round(limit, 2) for limit in limits(5000)]
        ([0.28, 0.72], [0.58, 0.8])

    Source: the error is that of maximum likelihood, Smith (1987), Estimating Tails of Probability Distributions; the prior's
    pull, Vehtari et al. (2024).
    """
    m, shape = tail_length(samples), threshold(samples)
    share = m / (m + PRIOR_WEIGHT)
    mean = share * shape + (1 - share) * PRIOR_SHAPE
    error = share * (1 + shape) / math.sqrt(m * looks)
    return mean - error, mean + error


@final
@dataclass(frozen=True)
class Tail:
    """The largest weights of each datum, and the generalised Pareto density fitted to them.

    Args:
        khat: Its shape k, (B,); see ``khat``.
        largest: The log-weights of the tail, (M, B), rising.
        smoothed: In their place the quantiles (i - 1/2) / M of the fit without the prior of k-hat, (M, B), not cut at the largest
            weight that was drawn; the tail itself where there is no fit.
    """

    khat: Tensor
    largest: Tensor
    smoothed: Tensor


def khat(largest: Tensor, samples: int) -> Tensor:
    """The shape of the generalised Pareto density that fits the tail of the weights of each datum, as ArviZ' PSIS has it.

    Weights have as many moments as 1 / k; below ``threshold(samples)`` their mean, and its error, can be relied on.

    Args:
        largest: The ``tail_length(samples) + 1`` largest log-weights of each datum, (M + 1, B), in any order.
        samples: K, of which they are the largest.

    Returns:
        (B,). +inf where one weight outweighs the others beyond float64, -inf where the largest are equal (bounded weights); NaN
        with fewer than 25 samples, and where too many weights are tied for a fit (a few discrete latents).

    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto Smoothed Importance Sampling.
    """
    return fit_tail(largest, samples).khat


def summarise_khat(values: Tensor, samples: int, looks: int = 1) -> dict[str, Any] | None:
    """A summary of the k-hats of data; None if none is known.

    Args:
        values: Of each datum, (N,).
        samples: K.
        looks: Number of independent k-hats averaged in each.

    Returns:
        ``median`` and ``maximum``, the ``threshold``, the ``limits`` (None for fewer than 25 samples), the number ``above`` the
        threshold and its ``share`` of the data.
    """
    known = values[~values.isnan()]
    if not len(known):
        return None
    above = int((known > threshold(samples)).sum())
    between = list(limits(samples, looks)) if samples >= FEWEST else None
    spread = {"median": median(known), "maximum": known.max().item(), "threshold": threshold(samples)}
    return {**spread, "limits": between, "above": above, "share": above / len(values)}


def median(values: Tensor) -> float:
    """The median, also for infinite values, for which ``torch.quantile`` returns NaN.

    Args:
        values: (N,).
    """
    low, high = (values.sort().values[i].item() for i in ((len(values) - 1) // 2, len(values) // 2))
    return low if low == high else (low + high) / 2


def fit_tail(largest: Tensor, samples: int) -> Tail:
    """Fit the tail of the weights of each datum.

    Args:
        largest: As in ``khat``.
        samples: As in ``khat``.
    """
    ordered = largest.double().sort(0).values
    tail = ordered[1:]
    if samples < FEWEST:
        return Tail(torch.full_like(ordered[0], math.nan), tail, tail)
    top = ordered[-1]
    relative = (ordered - torch.where(top.isinf(), torch.zeros_like(top), top)).clamp(min=-_UNDERFLOW)
    # The fit starts from the lower quartile of the tail's excess over the largest weight outside it.
    quartile = relative[1 + int((len(relative) - 1) / 4 + 0.5) - 1]
    found = torch.full_like(top, math.nan)
    found = torch.where(quartile < _SMALLEST, math.inf, found)
    found = torch.where(relative[1] > -TIED, -math.inf, found)
    found = torch.where(top == -math.inf, math.nan, found)
    fits = (quartile - relative[0] >= TIED) & (quartile >= _SMALLEST) & (relative[1] <= -TIED) & (top > -math.inf)
    smoothed = tail.clone()
    if fits.any():
        weight = relative[:, fits].exp()
        shape, scale = _fit((weight[1:] - weight[0]).T)
        below = (torch.arange(len(tail), dtype=weight.dtype, device=weight.device) + 0.5) / len(tail)
        excess = scale * torch.expm1(-shape * torch.log1p(-below)[:, None]) / shape
        # The prior steadies k-hat; in the quantiles it would make the error of good weights too large.
        found[fits] = (len(tail) * shape + PRIOR_WEIGHT * PRIOR_SHAPE) / (len(tail) + PRIOR_WEIGHT)
        smoothed[:, fits] = (weight[0] + excess).log() + top[fits]
    return Tail(found, tail, smoothed)


def _fit(excess: Tensor) -> tuple[Tensor, Tensor]:
    """Shape and scale (B,) of the generalised Pareto density of rising excesses (B, M).

    Source: Zhang and Stephens (2009), A New and Efficient Estimation Method for the Generalized Pareto Distribution.
    """
    m = excess.shape[-1]
    count = 30 + int(math.sqrt(m))
    place = torch.arange(1, count + 1, dtype=excess.dtype, device=excess.device)
    slopes = (1 - torch.sqrt(count / (place - 0.5))) / (3 * excess[:, int(m / 4 + 0.5) - 1, None]) + 1 / excess[:, -1:]
    shapes = torch.log1p(-slopes.unsqueeze(-1) * excess.unsqueeze(1)).mean(-1)
    chance = torch.softmax(m * (torch.log(-slopes / shapes) - shapes - 1), -1)
    chance = torch.where(chance >= 10 * torch.finfo(excess.dtype).eps, chance, 0.0)
    slope = (slopes * chance).sum(-1) / chance.sum(-1)
    shape = torch.log1p(-slope.unsqueeze(-1) * excess).mean(-1)
    return shape, -shape / slope
