"""Student's t density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae.contracts import DataSpec, Distribution, Shape
from pyrovae.errors import UserError, is_number
from pyrovae.families.elements import elements_of, joint
from pyrovae.families.location_scale import GAIN, LocationScale
from pyrovae.families.positive import bounded_exp

SMALLEST_DF, LARGEST_DF = 0.1, 1e6
"""Below, float32 cannot hold the samples; above, the density is the normal one to float32."""


@final
class _SharedStudentT(TorchDistribution):
    """Student's t whose elements share one number of degrees of freedom.

    The constant of the density is one number for all elements, so that its rounding error would add up over them: it is
    computed once, in float64.

    Args:
        df: Degrees of freedom, shape ().
        loc: Location, any shape.
        scale: Scale, the shape of ``loc``.
        validate_args: As in torch.
    """

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = df, loc, scale
        super().__init__(loc.shape, validate_args=validate_args)

    @property
    def _elements(self) -> Distribution:
        elements: Distribution = dist.StudentT(self.df.to(self.loc.dtype), self.loc, self.scale, validate_args=False)
        return elements

    @property
    def mean(self) -> Tensor:
        return self._elements.mean

    @property
    def variance(self) -> Tensor:
        return self._elements.variance

    def expand(self, batch_shape: Shape, _instance: object = None) -> _SharedStudentT:
        return _SharedStudentT(self.df, self.loc.expand(batch_shape), self.scale.expand(batch_shape), self._validate_args)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        return self._elements.rsample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        df = self.df.double()
        constant = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - torch.log(math.pi * df) / 2
        df, constant = df.to(self.loc.dtype), constant.to(self.loc.dtype)
        distance, width = (value - self.loc).abs(), self.scale * df.sqrt()
        # log(1 + (d / w)^2) of the larger and the smaller of d and w: the square of 10^20 has no float32.
        larger, smaller = torch.maximum(distance, width), torch.minimum(distance, width)
        stretch = 2 * (larger.log() - width.log()) + torch.log1p((smaller / larger).square())
        return constant - self.scale.log() - (df + 1) / 2 * stretch


@final
@dataclass(frozen=True, kw_only=True)
class StudentT(LocationScale):
    """Student's t with location m, scale s and v degrees of freedom, for data with outliers.

    log p(x) = log G((v + 1) / 2) - log G(v / 2) - log(pi v) / 2 - log s - (v + 1) / 2 log(1 + ((x - m) / s)^2 / v), summed
    over elements; G is the gamma function. A scale that is not a fixed number is ``bounded_exp`` of a raw parameter, so
    within [3.4e-4, 2981], and starts near 1. Learned degrees of freedom are 1 + 3 ``bounded_exp`` of a raw parameter: they
    start at 4 and stay within [1.001, 8944], so that there is a mean.

    Source: Lange, Little and Taylor (1989), Robust Statistical Modeling Using the t Distribution.

    Args:
        df: Degrees of freedom v, for all elements: a number from 0.1 to 1e6, or ``learned``. 4, the default, still has a
            variance, and gives an outlier little weight.
        scale: s: a fixed number above 0, ``learned`` (one for all elements), ``element`` (one learned for each element) or
            ``network`` (from the decoder in a likelihood, from the encoder in a posterior).

    Raises:
        UserError: If the scale or the degrees of freedom are none of these.
    """

    df: float | Literal["learned"] = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.df == "learned" or (is_number(self.df) and SMALLEST_DF <= self.df <= LARGEST_DF):
            return
        raise UserError("df", self.df, f"needs a number from {SMALLEST_DF:g} to {LARGEST_DF:g}, or learned")

    def learned(self, spec: DataSpec) -> nn.Module:
        module = super().learned(spec)
        if self.df == "learned":
            module.raw_df = nn.Parameter(torch.zeros(()))
        return module

    def _df(self, learned: nn.Module) -> Tensor:
        if self.df == "learned":
            return 1 + 3 * bounded_exp(GAIN * learned.get_parameter("raw_df"))
        return torch.tensor(float(self.df), dtype=torch.float64)

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        location, scale = self.location_and_scale(params, spec, learned)
        return joint(_SharedStudentT(self._df(learned).to(location.device), location, scale), spec)

    def tail_df(self, learned: nn.Module) -> float:
        return self._df(learned).item()

    def mean(self, distribution: Distribution) -> Tensor:
        """The location: E[x] where df is above 1, the median where it is not and there is no E[x]."""
        location: Tensor = elements_of(distribution).loc
        return location
