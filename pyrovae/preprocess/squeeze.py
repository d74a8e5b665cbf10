"""The closed unit interval -> the open one, for densities that are 0 or infinite at its ends."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from pyrovae.contracts import DataSpec, Preprocess, Transform
from pyrovae.errors import Note, UserError, option
from pyrovae.preprocess.dequantise import DEQUANTISED
from pyrovae.preprocess.noise import needed
from pyrovae.preprocess.rounding import exact_floats

MARGIN = 1e-6
"""y stays this far from 0 and 1: (255 + u) / 256 can be 1 in float32, where the spacing is 6e-8, and u can be 0."""

SPAN = 1 - 2 * MARGIN

MOST_AT_AN_END = 11.1
"""The highest log-density, in nats, that the likelihood ``beta`` can have at y = e, whatever its parameters."""


@final
class SqueezeLevels(Transform):
    """y = e + (1 - 2 e) (x + u) / L with u uniform on [0, 1).

    Args:
        given: Levels or binary data.
        made: Reals.
        width: L.
    """

    needs_noise = True
    number_kind = DEQUANTISED

    def __init__(self, given: DataSpec, made: DataSpec, width: int) -> None:
        super().__init__(given, made)
        self.width = width

    def exactly(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        return MARGIN + (exact_floats(x) + needed(u)) * (SPAN / self.width)

    def inverse(self, y: Tensor) -> Tensor:
        return (y - MARGIN) * (self.width / SPAN) - 0.5

    def log_abs_det_jacobian(self) -> float:
        """(number of elements) (log(1 - 2 e) - log L)."""
        return self.given.size * math.log(SPAN / self.width)


@final
class SqueezeReals(Transform):
    """y = e + (1 - 2 e) x, for x within [0, 1]."""

    def exactly(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        return MARGIN + SPAN * exact_floats(x)

    def inverse(self, y: Tensor) -> Tensor:
        return (y - MARGIN) / SPAN

    def log_abs_det_jacobian(self) -> float:
        """(number of elements) log(1 - 2 e)."""
        return self.given.size * math.log(SPAN)


@final
@dataclass(frozen=True, kw_only=True)
class Squeeze(Preprocess):
    """Into the open unit interval: y = e + (1 - 2 e) (x + u) / L of levels, u uniform, or e + (1 - 2 e) x of reals in [0, 1].

    e = 1e-6. log P(x) >= E_u[log p(y)] + size log((1 - 2 e) / L) of levels; log p(x) = log p(y) + size log(1 - 2 e) of reals.
    Reals that are exactly 0 or 1 have no density of their own: how high the density gets at y = e depends on e. Each of these
    values may add up to 11.1 nats to a beta's log-likelihood, and a warning says how many there are.

    Raises:
        UserError: If the data are counts, which have no upper end, or reals outside [0, 1].
    """

    def build(self, spec: DataSpec, x: Tensor | None) -> SqueezeLevels | SqueezeReals:
        made = replace(spec, kind="reals", levels=None)
        if spec.levels is not None:
            return SqueezeLevels(spec, made, spec.levels)
        if spec.kind == "counts":
            raise UserError(
                "preprocess",
                "squeeze",
                "counts have no upper end",
                f"use {option('data.levels', metavar='L')} where they have one",
            )
        if x is not None:
            outside = ((x < 0) | (x > 1)).nonzero()
            if len(outside):
                first = tuple(outside[0].tolist())
                raise UserError(
                    "preprocess",
                    "squeeze",
                    f"value {x[first].item():.6g} at {first} is outside [0, 1]",
                    f"scale the data, or use {option('likelihood', 'normal')} with {option('preprocess', 'none')}",
                )
            _note_ends(x)
        return SqueezeReals(spec, made)


def _note_ends(x: Tensor) -> None:
    """Warn of values that are exactly 0 or 1."""
    # The count is left out: it differs between the training data and all data, so there would be two notes.
    if ((x == 0) | (x == 1)).any():
        warnings.warn(
            Note(
                f"{option('preprocess', 'squeeze')}: there are values that are exactly 0 or 1, which it moves inside "
                f"by {MARGIN:g}; each may add up to {MOST_AT_AN_END:g} nats to a beta's log-likelihood, which tells "
                f"nothing of the data. {option('likelihood', 'continuous_bernoulli')} models 0 and 1 as they are; "
                "of grey levels, give the bytes"
            ),
            UserWarning,
            stacklevel=2,
        )
