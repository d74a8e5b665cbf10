"""Reals -> reals of mean 0 and standard deviation 1 over the training data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Preprocess, Transform
from pyrovae.errors import UserError, check_choice, option

LAST_BITS = 4 * torch.finfo(torch.float64).eps
"""A standard deviation this small, relative to the largest number, comes from rounding."""


@final
class Affine(Transform):
    """y = (x - mean) / scale, in float64: the differences between large numbers may be small.

    Mean and scale stay in float64 in a model of float32; those read from a file stay as they were when it was written.

    Args:
        given: Reals; the result is of the same kind.
        mean: Shape E, in the units of x.
        scale: Shape E, above 0.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, given: DataSpec, mean: Tensor, scale: Tensor) -> None:
        super().__init__(given, given)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Affine:
        # The method that moves a module to another device changes its precision too.
        kept = dict(self.named_buffers())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch gives it no types
        for name, buffer in kept.items():
            setattr(self, name, buffer.to(getattr(self, name).device))
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        for name, buffer in self.named_buffers():
            setattr(self, name, buffer.to(state_dict.get(prefix + name, buffer).dtype))
        super()._load_from_state_dict(state_dict, prefix, *others)

    def exactly(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        return (x.double() - self.mean.double()) / self.scale.double()

    def inverse(self, y: Tensor) -> Tensor:
        """In float64, which can represent 1,700,000,001."""
        return y.double() * self.scale.double() + self.mean.double()

    def log_abs_det_jacobian(self) -> Tensor:
        """-sum log scale."""
        return -self.scale.double().log().sum()


@final
@dataclass(frozen=True, kw_only=True)
class Standardise(Preprocess):
    """y = (x - mean) / scale, both of the training data; log p(x) = log p(y) - sum log scale.

    Computed in float64, whatever the networks are. An element that is constant in the training data keeps scale 1.

    Args:
        over: ``data`` (a mean and scale for each element) or ``everything`` (one for all elements, as for images).

    Raises:
        UserError: If the data are not reals.
    """

    over: Literal["data", "everything"] = "data"

    @property
    def finer(self) -> str:  # type: ignore[override]  # it depends on an option
        if self.over == "everything":
            return f"train with {option('preprocess.over', 'data')}"
        return "remove what is far from the rest, or take logarithms of the data"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("preprocess.over", self.over, ("data", "everything"))

    def build(self, spec: DataSpec, x: Tensor | None) -> Affine:
        if spec.kind != "reals":
            raise UserError(
                "preprocess",
                "standardise",
                f"{spec.kind} data have probabilities, which scaling does not keep",
                f"use {option('preprocess', 'dequantise')}, or {option('data.kind', 'reals')} to take them for reals",
            )
        shape = spec.event_shape
        if x is None:
            return Affine(spec, torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64))
        values = x.double()
        dims = (0,) if self.over == "data" else tuple(range(values.dim()))
        scale, mean = torch.std_mean(values, dims, correction=0)
        # Numbers computed in two ways differ in their last bits, which carry no information.
        constant = scale <= LAST_BITS * values.abs().amax(dims)
        scale = torch.where(constant, torch.ones_like(scale), scale)
        return Affine(spec, *(torch.zeros(shape, dtype=torch.float64) + each for each in (mean, scale)))
