"""Supports: the values of one element that have a density."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform


def open_edge(dtype: torch.dtype) -> float:
    """How near to 0 and 1 a number of the open unit interval may be; that of float32 for types that are no floats."""
    return torch.finfo(dtype if dtype.is_floating_point else torch.float32).eps / 2


@final
class _OpenUnitInterval(Constraint):
    """e <= x <= 1 - e with e half the spacing of floating-point numbers at 1 (6e-8 in float32).

    At 0 and 1 a beta density is 0 or infinite. No float32 below 1 is nearer to it than e; a value nearer to 0 is refused as well,
    so that x and 1 - x are treated alike.
    """

    def check(self, value: Tensor) -> Tensor:
        edge = open_edge(value.dtype)
        return (value >= edge) & (value <= 1 - edge)


@final
class _BetweenZeroAndOne(constraints.interval):
    """0 < x < 1: where a beta density is a number, however near to an end that is."""

    def __init__(self) -> None:
        super().__init__(0.0, 1.0)  # type: ignore[no-untyped-call]  # torch gives it no types

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)


between_zero_and_one = _BetweenZeroAndOne()
"""For torch's distributions; what a family says of its values is ``OPEN_UNIT``."""

for registry in (biject_to, transform_to):
    # Pyro's samplers and automatic guides look for the way there from the reals by the type of a distribution's support.
    for kind in (_BetweenZeroAndOne, _OpenUnitInterval):
        registry.register(kind, lambda _, registry=registry: registry(constraints.unit_interval))


@final
@dataclass(frozen=True)
class Support:
    """The values of one element that have a density; two of the same name are equal.

    Args:
        name: In words, as a user calls it.
        constraint: As torch's distributions have it.

    Example:
        >>> integers(0, 16) == as_support(constraints.integer_interval(0, 16)), str(integers(0, 16))
        (True, 'integers 0..16')
    """

    name: str
    constraint: Constraint = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.name

    def check(self, value: Tensor) -> Tensor:
        """Whether each value is in it: bool, of the shape of the values."""
        inside: Tensor = self.constraint.check(value)
        return inside

    def from_reals(self) -> Transform:
        """The differentiable map of the real line onto it, with an inverse.

        Raises:
            NotImplementedError: If it has none, as for integers.
        """
        found: Transform = biject_to(self.constraint)
        return found


REALS = Support("the reals", constraints.real)
POSITIVE = Support("reals above 0", constraints.positive)
UNIT = Support("0 to 1", constraints.unit_interval)
OPEN_UNIT = Support(f"numbers above 0 and below 1 by at least {open_edge(torch.float32):.1g}", _OpenUnitInterval())
BITS = Support("0 or 1", constraints.boolean)
NONNEGATIVE_INTEGERS = Support("integers from 0 up", constraints.nonnegative_integer)

SUPPORTS = (REALS, POSITIVE, UNIT, OPEN_UNIT, BITS, NONNEGATIVE_INTEGERS)


def integers(lowest: int, highest: int) -> Support:
    """The integers lowest, ..., highest."""
    return Support(f"integers {lowest}..{highest}", constraints.integer_interval(lowest, highest))


def as_support(given: Support | Constraint) -> Support:
    """A support from one of torch's constraints, which a user's own family may return; a support is returned unchanged.

    A constraint has no equality of its own: two are taken to be the same set if torch prints them alike.

    Example:
        >>> as_support(constraints.real) is REALS
        True
        >>> as_support(constraints.interval(-1.0, 1.0)).name
        'Interval(lower_bound=-1.0, upper_bound=1.0)'
    """
    if isinstance(given, Support):
        return given
    if isinstance(given, constraints.integer_interval):
        return integers(int(given.lower_bound), int(given.upper_bound))
    printed = repr(given)
    return next((known for known in SUPPORTS if repr(known.constraint) == printed), Support(printed, given))
