"""The grid of a sweep: every combination of the options that are given as lists."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, final

from pyrovae.comparison import choice_in_words
from pyrovae.errors import NOT_GIVEN, UserError, check_each_once, check_integer, check_seed, in_python, one_line, plain_option
from pyrovae.parts import describe, make

LISTED = ("likelihood", "prior", "posterior", "network", "context", "preprocess", "objective", "latent_dim", "seed")
"""Options that may be lists: the axes of the grid."""

SIZES: dict[str, Callable[[str, object], int]] = {"latent_dim": partial(check_integer, minimum=1), "seed": check_seed}
"""Axes whose values are numbers rather than parts."""

UNNAMED = {"posterior": "natural", "preprocess": "auto", "objective": "auto"}
"""The name of the automatic choice."""

QUIET = {"posterior": "natural", "network": "mlp", "context": "none", "preprocess": "auto", "objective": "auto"}
QUIET_SIZES = {"latent_dim": (20, "z"), "seed": (0, "seed")}
"""Axes that are left out of the name of a run."""


@final
@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A grid point that is left out of the league.

    Args:
        choice: Axis -> the value chosen, as text.
        name: The same for the axes that vary.
        said: The reason, in one line whose options are not spelled out yet, see ``pyrovae.errors.option``.
    """

    choice: Mapping[str, str]
    name: str
    said: str

    @property
    def reason(self) -> str:
        """The reason, with options spelled as in Python."""
        return one_line(in_python(self.said))


@final
@dataclass(frozen=True, kw_only=True)
class Point:
    """A grid point.

    Args:
        values: Axis -> the value chosen.
        texts: The same as text.
        varying: The axes that have several values.
    """

    values: Mapping[str, Any]
    texts: Mapping[str, str]
    varying: tuple[str, ...]

    @property
    def name(self) -> str:
        """The values chosen on the axes that vary."""
        return " ".join(f"{axis}={self.texts[axis]}" for axis in self.varying)

    def refused(self, error: UserError) -> Refusal:
        """Why it has no place in the league."""
        return Refusal(choice=self.texts, name=self.name, said=error.said())

    @property
    def folder(self) -> str:
        """A name that depends only on this point's values, so that the grid can be extended later."""
        words = [self.texts["likelihood"], self.texts["prior"]]
        words += [self.texts[axis] for axis, usual in QUIET.items() if self.texts[axis] != usual]
        words += [f"{mark}{self.values[axis]}" for axis, (usual, mark) in QUIET_SIZES.items() if self.values[axis] != usual]
        return "-".join(re.sub(r"[^\w.=+]+", ",", word) for word in words)


def grid_of(axes: Mapping[str, Any]) -> list[Point]:
    """Every combination; each value is validated first, so that a typing error is not reported as an impossible combination.

    Args:
        axes: Axis -> one value or a list of several.

    Raises:
        UserError: If a value is wrong or repeated, or an axis has no value.
    """
    values, texts = {}, {}
    for axis, given in axes.items():
        given = plain_option(axis, given)
        values[axis] = [_value(axis, one) for one in (given if isinstance(given, list | tuple) else [given])]
        texts[axis] = [_text(axis, value) for value in values[axis]]
        if not values[axis]:
            raise UserError(axis, NOT_GIVEN, "needs at least one value")
        check_each_once(axis, texts[axis])
    varying = tuple(axis for axis in axes if len(values[axis]) > 1) or ("likelihood", "prior")
    combinations = itertools.product(*(zip(values[axis], texts[axis], strict=True) for axis in axes))
    return [
        Point(
            values={axis: value for axis, (value, _) in zip(axes, point, strict=True)},
            texts={axis: text for axis, (_, text) in zip(axes, point, strict=True)},
            varying=varying,
        )
        for point in combinations
    ]


def _value(axis: str, value: Any) -> Any:
    return SIZES[axis](axis, value) if axis in SIZES else value


def _text(axis: str, value: Any) -> str:
    if axis in SIZES:
        return str(value)
    if value in (None, "auto") and axis in UNNAMED:
        return UNNAMED[axis]
    return choice_in_words(axis, describe(axis, make(axis, value)))
