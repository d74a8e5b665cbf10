"""Reals -> reals of mean 0 and standard deviation 1 over the training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Preprocess, Transform
from pyrovae.errors import UserError, check_choice


@final
class Affine(Transform):
    """y = (x - mean) / scale.

    Args:
        given: Reals; the result is of the same kind.
        mean: Shape E, in the units of x.
        scale: Shape E, above 0.
    """

    def __init__(self, given: DataSpec, mean: Tensor, scale: Tensor) -> None:
        super().__init__(given, given)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        return (x.to(self.mean.dtype) - self.mean) / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        return y * self.scale + self.mean

    def log_abs_det_jacobian(self) -> Tensor:
        """-sum log scale."""
        return -self.scale.double().log().sum()


@final
@dataclass(frozen=True, kw_only=True)
class Standardise(Preprocess):
    """y = (x - mean) / scale, both of the training data; log p(x) = log p(y) - sum log scale.

    An element that is constant in the training data keeps scale 1.

    Args:
        over: ``data`` (a mean and scale for each element) or ``everything`` (one for all elements, as for images).

    Raises:
        UserError: If the data are not reals.
    """

    over: Literal["data", "everything"] = "data"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("preprocess.over", self.over, ("data", "everything"))

    def build(self, spec: DataSpec, x: Tensor | None) -> Affine:
        if spec.kind != "reals":
            raise UserError(
                f"--preprocess standardise: {spec.kind} data have probabilities, which scaling does not keep; "
                "use --preprocess dequantise, or --data.kind reals to take them for reals"
            )
        dtype = torch.get_default_dtype()
        if x is None:
            return Affine(spec, torch.zeros(spec.event_shape, dtype=dtype), torch.ones(spec.event_shape, dtype=dtype))
        values = x.double()
        dims = (0,) if self.over == "data" else tuple(range(values.dim()))
        scale, mean = torch.std_mean(values, dims, correction=0)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        shape = spec.event_shape
        return Affine(spec, mean.expand(shape).to(dtype).clone(), scale.expand(shape).to(dtype).clone())
