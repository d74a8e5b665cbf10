"""What rounding to a narrower type does to data."""

from __future__ import annotations

import torch
from torch import Tensor

COARSE = 1e-3
"""Rounding errors this large, relative to the width of the data, change the third digit of a standardised log-density."""

MANY = 0.1
"""The share of distinct values that must be rounded this much; a smaller share is an outlier or two."""

NOISE_BITS = 48
"""Numbers that agree to this many bits are taken to be one number computed in two ways."""

COMPARED, VALUES = 1000, 2**20
"""The most data, and the most numbers in them, that are compared."""


def exact_floats(x: Tensor) -> Tensor:
    """Numbers as floats wide enough for them and anything added to them: bytes in torch's default type, all else in float64."""
    return x.to(torch.get_default_dtype()) if x.dtype in (torch.uint8, torch.bool) else x.double()


def some(x: Tensor) -> Tensor:
    """Indices (n,) of rows of data (N, *E), spread evenly over all rows and few enough to be compared."""
    count = min(len(x), COMPARED, max(2, VALUES // max(1, x[0].numel())))
    return torch.linspace(0, len(x) - 1, count, dtype=torch.float64).round().long()


def too_coarse(y: Tensor, dtype: torch.dtype) -> tuple[int, ...] | None:
    """Where data (n, *E) are rounded too much; None where they are not.

    That is, where more than a tenth of the distinct values of an element are rounded by more than 1e-3 of its width. The width
    is the length of the shortest interval that holds more than half of them: where they are densest, ignoring outliers.

    Args:
        y: In a type that holds them.
        dtype: What they are rounded to.

    Returns:
        The position of the largest rounding error relative to the width, among the elements that are rounded too much.
    """
    if y.dtype == dtype or len(y) < 2:
        return None
    values = y.double().flatten(1)
    different = _different(values)
    width = _width(different)
    coarse = _rounding(different, dtype) > COARSE * width
    bad = (width > 0) & (coarse.sum(0) > MANY * different.isfinite().sum(0))
    if not bad.any():
        return None
    worst = (_rounding(values, dtype) / width).masked_fill(~bad, -1).argmax()
    return tuple(int(i) for i in torch.unravel_index(worst, y.shape))


def _different(values: Tensor) -> Tensor:
    """The distinct values of each column (n, M) in order, padded with infinity to the same shape."""
    mantissa, exponent = torch.frexp(values)
    values = torch.ldexp((mantissa * 2**NOISE_BITS).round() / 2**NOISE_BITS, exponent.double()).sort(0).values
    again = torch.zeros_like(values, dtype=torch.bool)
    again[1:] = values[1:] == values[:-1]
    return values.masked_fill(again, torch.inf).sort(0).values


def _width(different: Tensor) -> Tensor:
    """For each column, the shortest length of an interval that holds more than half of its distinct values; 0 with only one."""
    count = different.isfinite().sum(0)
    last = torch.arange(len(different), device=different.device).unsqueeze(-1) + count // 2
    reached = different.gather(0, last.clamp(max=len(different) - 1)).masked_fill(last >= count, torch.inf)
    return torch.where(count > 1, (reached - different).nan_to_num(torch.inf, torch.inf).amin(0), torch.zeros_like(different[0]))


def _rounding(values: Tensor, dtype: torch.dtype) -> Tensor:
    return (values - values.to(dtype).double()).abs().nan_to_num(0.0)
