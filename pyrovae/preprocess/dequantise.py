"""Integers -> reals by uniform noise: a lower bound on the probability of the integers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from pyrovae.contracts import DataSpec, Preprocess, Transform
from pyrovae.errors import UserError, option
from pyrovae.preprocess.noise import needed
from pyrovae.preprocess.rounding import exact_floats

DEQUANTISED = "dequantisation bound"
"""What a log-probability of integers is when it was computed through the density of dequantised data."""


@final
class AddUniform(Transform):
    """y = (x + u) / L with u uniform on [0, 1).

    Args:
        given: Levels, binary data or counts.
        made: Reals.
        width: L.
    """

    needs_noise = True
    number_kind = DEQUANTISED

    def __init__(self, given: DataSpec, made: DataSpec, width: int) -> None:
        super().__init__(given, made)
        self.width = width

    def exactly(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        return (exact_floats(x) + needed(u)) / self.width

    def inverse(self, y: Tensor) -> Tensor:
        return y * self.width - 0.5

    def log_abs_det_jacobian(self) -> float:
        """-(number of elements) log L."""
        return -self.given.size * math.log(self.width)


@final
@dataclass(frozen=True, kw_only=True)
class Dequantise(Preprocess):
    """y = (x + u) / L, u uniform, L the number of levels (1 for counts): log P(x) >= E_u[log p(y)] - size log L.

    Source: Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models.

    Raises:
        UserError: If the data are reals already.
    """

    finer = f"train with {option('data.kind', 'reals')} {option('preprocess', 'standardise')}"

    def build(self, spec: DataSpec, x: Tensor | None) -> AddUniform:
        if spec.kind == "reals":
            raise UserError("preprocess", "dequantise", "the data are reals already", f"use {option('preprocess', 'none')}")
        return AddUniform(spec, replace(spec, kind="reals", levels=None), spec.levels or 1)
