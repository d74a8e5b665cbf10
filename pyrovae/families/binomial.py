"""The binomial density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Family
from pyrovae.contracts.supports import Support, integers
from pyrovae.errors import UserError, check_integer, option
from pyrovae.families.rounded import rounded


@final
@dataclass(frozen=True, kw_only=True)
class Binomial(Family):
    """Levels 0..n as n coin tosses with logits l: log p(x) = log C(n, x) + x l - n log(1 + e^l), summed over elements.

    In float64: at n = 65,535 the terms are 45,000 and cancel.

    Args:
        total_count: n; None takes it from the data, which then have n + 1 levels.

    Raises:
        UserError: If n is below 1, or neither given nor known from the data.
    """

    total_count: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.total_count is not None:
            check_integer("likelihood.total_count", self.total_count, 1)

    def _tosses(self, spec: DataSpec) -> int:
        if self.total_count is not None:
            return self.total_count
        if spec.levels is None:
            raise UserError(
                "likelihood",
                "binomial",
                f"{spec.kind} data have no number of levels",
                f"give {option('likelihood.total_count', metavar='N')} (the largest value)",
            )
        return spec.levels - 1

    def support(self, spec: DataSpec) -> Support:
        return integers(0, self._tosses(spec))

    def n_params(self, spec: DataSpec) -> int:
        return 1

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        logits = params.double().squeeze(-1 - len(spec.event_shape))
        tosses = torch.tensor(float(self._tosses(spec)), dtype=logits.dtype, device=logits.device)
        return rounded(dist.Binomial(tosses, logits=logits).to_event(len(spec.event_shape)), params.dtype)

    def features(self, x: Tensor, spec: DataSpec) -> Tensor:
        return x / self._tosses(spec)
