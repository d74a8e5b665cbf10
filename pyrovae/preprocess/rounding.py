"""What rounding to a narrower type does to data."""

from __future__ import annotations

import torch
from torch import Tensor

COARSE = 1e-3
"""Roundings that large, relative to the width of the data, move a log-density of standardised data in its third digit."""

MANY = 0.1
"""The share of the different values that must be rounded so; less is an outlier or two."""

NOISE_BITS = 48
"""Numbers that agree to so many bits are taken for one that was computed in two ways."""

COMPARED, VALUES = 1000, 2**20
"""At most so many data, and so many numbers of them, are compared."""


def exact_floats(x: Tensor) -> Tensor:
    """Numbers as floats that hold them and what is added to them: bytes in torch's default type, all else in float64."""
    return x.to(torch.get_default_dtype()) if x.dtype in (torch.uint8, torch.bool) else x.double()


def some(x: Tensor) -> Tensor:
    """Rows (n,) of data (N, *E), evenly over all of them, few enough to be compared."""
    count = min(len(x), COMPARED, max(2, VALUES // max(1, x[0].numel())))
    return torch.linspace(0, len(x) - 1, count, dtype=torch.float64).round().long()


def too_coarse(y: Tensor, dtype: torch.dtype) -> tuple[int, ...] | None:
    """Where data (n, *E) are rounded too much; None where they are not.

    That is, where more than a tenth of the different values of an element are rounded by more than 1e-3 of its width: the length
    of the shortest interval that holds more than half of them, that of where they crowd, whatever lies far away.

    Args:
        y: In a type that holds them.
        dtype: What they are rounded to.

    Returns:
        The position of the largest rounding, relative to the width, of such an element.
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
    """The different values of each column (n, M) in order, then infinity, of the same shape."""
    mantissa, exponent = torch.frexp(values)
    values = torch.ldexp((mantissa * 2**NOISE_BITS).round() / 2**NOISE_BITS, exponent.double()).sort(0).values
    again = torch.zeros_like(values, dtype=torch.bool)
    again[1:] = values[1:] == values[:-1]
    return values.masked_fill(again, torch.inf).sort(0).values


def _width(different: Tensor) -> Tensor:
    """Of each column, the length of the shortest interval that holds more than half of its different values; 0 with only one."""
    count = different.isfinite().sum(0)
    last = torch.arange(len(different), device=different.device).unsqueeze(-1) + count // 2
    reached = different.gather(0, last.clamp(max=len(different) - 1)).masked_fill(last >= count, torch.inf)
    return torch.where(count > 1, (reached - different).nan_to_num(torch.inf, torch.inf).amin(0), torch.zeros_like(different[0]))


def _rounding(values: Tensor, dtype: torch.dtype) -> Tensor:
    return (values - values.to(dtype).double()).abs().nan_to_num(0.0)
