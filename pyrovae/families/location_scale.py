"""What densities with a location and a scale share: where the scale comes from."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Family
from pyrovae.contracts.supports import REALS, Support
from pyrovae.errors import UserError, is_number
from pyrovae.families.positive import bounded_exp

SCALES = ("learned", "element", "network")

SMALLEST, LARGEST = 1e-15, 1e15
"""A fixed scale whose square float32 can hold."""

GAIN = 5.0
"""A learned scale is bounded_exp(GAIN raw): one number must move as fast under Adam as a layer of many weights does."""


@dataclass(frozen=True, kw_only=True)
class LocationScale(Family, ABC):
    """A density of (x - m) / s, where the location m is from the network; all raw parameters 0 are m = 0, s = 1.

    A scale that is not a fixed number is ``bounded_exp`` of a raw parameter, so within [3.4e-4, 2981], and starts near 1.

    Args:
        scale: A fixed number above 0, ``learned`` (one for all elements), ``element`` (one learned for each element) or
            ``network`` (from the decoder in a likelihood, from the encoder in a posterior).

    Raises:
        UserError: If the scale is none of these.
    """

    scale: float | Literal["learned", "element", "network"] = "network"

    reparametrised = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale in SCALES or (is_number(self.scale) and SMALLEST <= self.scale <= LARGEST):
            return
        raise UserError(
            "scale",
            self.scale,
            f"needs a positive number ({SMALLEST:g} to {LARGEST:g}) or one of {', '.join(SCALES)}",
        )

    def support(self, spec: DataSpec) -> Support:
        return REALS

    def n_params(self, spec: DataSpec) -> int:
        return 2 if self.scale == "network" else 1

    def learned(self, spec: DataSpec) -> nn.Module:
        shapes = {"learned": (), "element": spec.event_shape}
        module = nn.Module()
        if self.scale in shapes:
            module.raw_scale = nn.Parameter(torch.zeros(shapes[self.scale]))
        return module

    def location_and_scale(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> tuple[Tensor, Tensor]:
        """m and s, both (*, *E), from raw parameters (*, P, *E)."""
        location, *raw = params.unbind(-1 - len(spec.event_shape))
        if raw:
            return location, bounded_exp(raw[0])
        if hasattr(learned, "raw_scale"):
            return location, bounded_exp(GAIN * learned.get_parameter("raw_scale")).expand_as(location)
        return location, torch.full_like(location, float(self.scale))
