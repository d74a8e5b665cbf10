"""Data as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from pyrovae.contracts import DataSpec, Preprocess, Transform
from pyrovae.preprocess.rounding import exact_floats


@final
class Identity(Transform):
    """y = x, as floats."""

    def exactly(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        return x if x.is_floating_point() else exact_floats(x)

    def inverse(self, y: Tensor) -> Tensor:
        return y


@final
@dataclass(frozen=True, kw_only=True)
class NoPreprocess(Preprocess):
    """The likelihood sees the data as they are."""

    def build(self, spec: DataSpec, x: Tensor | None) -> Identity:
        return Identity(spec, spec)
