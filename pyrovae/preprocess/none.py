"""Data as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Preprocess, Transform


@final
class Identity(Transform):
    """y = x, as floats."""

    def forward(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        return x.to(torch.get_default_dtype())

    def inverse(self, y: Tensor) -> Tensor:
        return y


@final
@dataclass(frozen=True, kw_only=True)
class NoPreprocess(Preprocess):
    """The likelihood sees the data as they are."""

    def build(self, spec: DataSpec, x: Tensor | None) -> Identity:
        return Identity(spec, spec)
