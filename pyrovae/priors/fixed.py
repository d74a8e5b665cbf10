"""A family with fixed parameters as a prior."""

from __future__ import annotations

from typing import final

import torch
from pyro.distributions import Distribution
from torch import Tensor

from pyrovae.contracts import DataSpec, Family, PriorModule


@final
class FixedPrior(PriorModule):
    """A family whose raw parameters are all 0, whatever the context.

    Args:
        family: The density; its raw parameters at 0 are the prior's.
        spec: Event shape (D,) of the latents.
    """

    def __init__(self, family: Family, spec: DataSpec) -> None:
        super().__init__()
        self.density = family.build(spec)
        self.support = self.density.support
        self.register_buffer("params", torch.zeros(self.density.params_shape), persistent=False)

    def forward(self, embedding: Tensor | None) -> Distribution:
        """Batch shape (), event shape (D,)."""
        return self.density(self.params)
