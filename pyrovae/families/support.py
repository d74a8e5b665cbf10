"""Supports that torch has no constraint for, and supports in words."""

from __future__ import annotations

import re
from typing import final

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to


@final
class _OpenUnitInterval(constraints.Constraint):
    """e <= x <= 1 - e with e half the spacing of floating-point numbers at 1 (6e-8 in float32).

    At 0 and 1 a beta density is 0 or infinite. No float32 below 1 is nearer to it than e; a value nearer to 0 is refused as well,
    so that data and what they lack to 1 are treated alike.
    """

    def check(self, value: Tensor) -> Tensor:
        edge = open_edge(value.dtype)
        return (value >= edge) & (value <= 1 - edge)

    def __repr__(self) -> str:
        return "OpenUnitInterval()"


@final
class _BetweenZeroAndOne(constraints.interval):
    """0 < x < 1: where a beta density is a number, however near to an end that is."""

    def __init__(self) -> None:
        super().__init__(0.0, 1.0)  # type: ignore[no-untyped-call]  # torch gives it no types

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)

    def __repr__(self) -> str:
        return "BetweenZeroAndOne()"


between_zero_and_one = _BetweenZeroAndOne()

for registry in (biject_to, transform_to):
    # Pyro's samplers and automatic guides look for the way there from the reals by the type of a distribution's support.
    registry.register(_BetweenZeroAndOne, lambda _, registry=registry: registry(constraints.unit_interval))


def open_edge(dtype: torch.dtype) -> float:
    """How near to 0 and 1 a number of the open unit interval may be; that of float32 for types that are no floats."""
    return torch.finfo(dtype if dtype.is_floating_point else torch.float32).eps / 2


open_unit_interval = _OpenUnitInterval()

WORDS = {
    "Real()": "the reals",
    "Boolean()": "0 or 1",
    "IntegerGreaterThan(lower_bound=0)": "integers from 0 up",
    "Interval(lower_bound=0.0, upper_bound=1.0)": "0 to 1",
    "OpenUnitInterval()": f"numbers above 0 and below 1 by at least {open_edge(torch.float32):.1g}",
    "GreaterThan(lower_bound=0.0)": "reals above 0",
}


def in_words(support: constraints.Constraint) -> str:
    """A support as a user calls it.

    Example:
        >>> in_words(constraints.real), in_words(constraints.integer_interval(0, 16))
        ('the reals', 'integers 0..16')
    """
    text = repr(support)
    integers = re.fullmatch(r"IntegerInterval\(lower_bound=(-?\d+), upper_bound=(-?\d+)\)", text)
    return f"integers {integers[1]}..{integers[2]}" if integers else WORDS.get(text, text)
