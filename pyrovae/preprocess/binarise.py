"""Grey levels -> bits: a different data set, and marked as such."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Preprocess, Transform
from pyrovae.errors import UserError, is_number, option
from pyrovae.preprocess.noise import needed

BINARISED = "binarised: not comparable with grey"
"""What a log-probability of binarised data refers to."""


@final
class ToBits(Transform):
    """Bits from levels, drawn at every access or by a threshold.

    Args:
        given: The data as they were given.
        made: Binary data.
        threshold: y = 1 where x > threshold; None draws y = 1 with probability x / (levels - 1).
    """

    number_kind = BINARISED

    def __init__(self, given: DataSpec, made: DataSpec, threshold: float | None) -> None:
        super().__init__(given, made)
        self.threshold = threshold
        self.top = 1.0 if given.levels is None else given.levels - 1.0
        self.needs_noise = threshold is None

    def exactly(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        bits = x > self.threshold if self.threshold is not None else needed(u) * self.top < x
        return bits.to(torch.get_default_dtype())

    def inverse(self, y: Tensor) -> Tensor:
        return y


@final
@dataclass(frozen=True, kw_only=True)
class Binarise(Preprocess):
    """Bits from grey: y = 1 with probability x / (levels - 1), drawn afresh at every access, or y = [x > threshold].

    Source of the dynamic kind: Salakhutdinov and Murray (2008), On the Quantitative Analysis of Deep Belief Networks.

    Args:
        threshold: A value in the units of the data; None draws the bits (levels, binary, or reals within [0, 1]).

    Raises:
        UserError: If the bits are to be drawn from data that are not probabilities.
    """

    threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None and not is_number(self.threshold):
            raise UserError("preprocess.threshold", self.threshold, "needs a finite number in the units of the data")

    def build(self, spec: DataSpec, x: Tensor | None) -> ToBits:
        remedy = f"use {option('preprocess.threshold', metavar='T')}, in the units of the data"
        if self.threshold is None and spec.kind == "counts":
            raise UserError("preprocess", "binarise", "counts are no probabilities of a bit", remedy)
        if self.threshold is None and spec.kind == "reals" and x is not None:
            outside = ((x < 0) | (x > 1)).nonzero()
            if len(outside):
                first = tuple(outside[0].tolist())
                raise UserError(
                    "preprocess", "binarise", f"value {x[first].item():.6g} at {first} is no probability of a bit", remedy
                )
        return ToBits(spec, replace(spec, kind="binary", levels=2), self.threshold)
