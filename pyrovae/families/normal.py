"""The normal density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae.contracts import DataSpec, Family
from pyrovae.errors import UserError
from pyrovae.families.positive import bounded_exp

SCALES = ("learned", "element", "network")

SMALLEST, LARGEST = 1e-15, 1e15
"""A fixed scale whose square float32 can hold."""

GAIN = 5.0
"""A learned scale is bounded_exp(GAIN raw): one number must move as fast under Adam as a layer of many weights does."""


@final
@dataclass(frozen=True, kw_only=True)
class Normal(Family):
    """Normal with mean and scale: log N(x; m, s) = -((x - m) / s)^2 / 2 - log s - log(2 pi) / 2, summed over elements.

    A scale that is not a fixed number is ``bounded_exp`` of a raw parameter, so within [3.4e-4, 2981], and starts near 1.

    Args:
        scale: Standard deviation: a fixed number above 0, ``learned`` (one for all elements), ``element`` (one learned
            for each element) or ``network`` (from the decoder in a likelihood, from the encoder in a posterior).

    Raises:
        UserError: If the scale is none of these.
    """

    scale: float | Literal["learned", "element", "network"] = "network"

    reparametrised = True

    def __post_init__(self) -> None:
        number = isinstance(self.scale, int | float) and not isinstance(self.scale, bool)
        if self.scale in SCALES or (number and SMALLEST <= self.scale <= LARGEST):
            return
        raise UserError(
            f"scale {self.scale}: needs a positive number ({SMALLEST:g} to {LARGEST:g}) or one of {', '.join(SCALES)}"
        )

    def support(self, spec: DataSpec) -> constraints.Constraint:
        return constraints.real

    def n_params(self, spec: DataSpec) -> int:
        return 2 if self.scale == "network" else 1

    def learned(self, spec: DataSpec) -> nn.Module:
        shapes = {"learned": (), "element": spec.event_shape}
        module = nn.Module()
        if self.scale in shapes:
            module.raw_scale = nn.Parameter(torch.zeros(shapes[self.scale]))
        return module

    def _mean_and_scale(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> tuple[Tensor, Tensor]:
        mean, *raw = params.unbind(-1 - len(spec.event_shape))
        if raw:
            return mean, bounded_exp(raw[0])
        if hasattr(learned, "raw_scale"):
            return mean, bounded_exp(GAIN * learned.raw_scale).expand_as(mean)
        return mean, torch.full_like(mean, self.scale)

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> dist.Distribution:
        mean, scale = self._mean_and_scale(params, spec, learned)
        return dist.Normal(mean, scale).to_event(len(spec.event_shape))

    def from_noise(self, params: Tensor, spec: DataSpec, learned: nn.Module, noise: Tensor) -> Tensor:
        mean, scale = self._mean_and_scale(params, spec, learned)
        return mean + scale * noise
