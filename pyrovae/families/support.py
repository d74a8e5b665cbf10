"""Supports that torch has no constraint for."""

from __future__ import annotations

from typing import final

from torch import Tensor
from torch.distributions import constraints


@final
class _OpenUnitInterval(constraints.Constraint):
    """0 < x < 1: at the ends a beta density is 0 or infinite."""

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)

    def __repr__(self) -> str:
        return "OpenUnitInterval()"


open_unit_interval = _OpenUnitInterval()
