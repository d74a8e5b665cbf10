"""A normal density bent by autoregressive transforms that see the encoder's output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final

import pyro.distributions as dist
import torch
from pyro.distributions.transforms import ConditionalAffineAutoregressive, ConditionalSplineAutoregressive
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.distributions.transforms import AffineTransform, Transform

from pyrovae.contracts import DataSpec, Distribution, Family
from pyrovae.contracts.supports import REALS, Support
from pyrovae.errors import UserError, check_choice, check_integer, option
from pyrovae.families.elements import elements_of
from pyrovae.families.positive import bounded_exp

CONTEXT = 2
"""Numbers per latent, in addition to its mean and scale, through which the transforms see x."""

BINS = 8
BOUND = 4.0
"""A spline bends the standardised latent within [-4, 4] and is the identity outside."""

UNIT_SLOPE = math.log(math.expm1(1 - 1e-3))
"""The raw slope that Pyro makes 1: softplus(raw) + 1e-3."""

DRAWS = 128


@final
@dataclass(frozen=True, kw_only=True)
class Flow(Family):
    """z = m + s T(e; h), e ~ N(0, I), with m, s and h from the network: log q = log N(e; 0, I) - log|det dT/de| - sum log s.

    T is a chain of transforms, autoregressive in e, that start near the identity. A sample and its own density take one
    pass; the density of any other z takes D. Mean and scale for pictures and encodings are those of 128 fixed draws.

    Source: Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational Inference with Inverse
    Autoregressive Flow; Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows; Dolatabadi, Erfani and Leckie
    (2020), Invertible Generative Modeling using Linear Rational Splines.

    Args:
        transform: ``affine`` (inverse autoregressive flow) or ``spline`` (rational linear splines within 4 scales of the mean).
        layers: Number of transforms; every other one takes the latents in reverse order.
        hidden: Width of the hidden layer of each.

    Raises:
        UserError: If an option is out of range, or there is only one latent.
    """

    transform: Literal["affine", "spline"] = "affine"
    layers: int = 2
    hidden: int = 64

    reparametrised = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("posterior.transform", self.transform, ("affine", "spline"))
        check_integer("posterior.layers", self.layers, 1)
        check_integer("posterior.hidden", self.hidden, 1)

    def support(self, spec: DataSpec) -> Support:
        return REALS

    def n_params(self, spec: DataSpec) -> int:
        return 2 + CONTEXT

    def learned(self, spec: DataSpec) -> nn.Module:
        if spec.size < 2:
            raise UserError(
                "posterior", "flow", "needs at least 2 latents to bend one by another", f"use {option('latent_dim', 2)} or more"
            )
        if self.hidden < spec.size:
            raise UserError("posterior.hidden", self.hidden, f"needs at least one unit for each of the {spec.size} latents")
        module = nn.Module()
        module.transforms = nn.ModuleList(self._transform(spec.size, reverse=i % 2 == 1) for i in range(self.layers))
        return module

    def _transform(self, size: int, reverse: bool) -> nn.Module:
        order: Any = torch.arange(size).flip(0) if reverse else torch.arange(size)
        sizes = [1, 1] if self.transform == "affine" else [BINS, BINS, BINS - 1, BINS]
        network = ConditionalAutoRegressiveNN(size, CONTEXT * size, [self.hidden], param_dims=sizes, permutation=order)
        weight, bias = (network.layers[-1].get_parameter(name) for name in ("weight", "bias"))
        nn.init.zeros_(weight)
        nn.init.zeros_(bias)
        if self.transform == "affine":
            return ConditionalAffineAutoregressive(network)
        with torch.no_grad():
            bias.view(-1, size)[2 * BINS : 3 * BINS - 1] = UNIT_SLOPE
        return ConditionalSplineAutoregressive(size, network, count_bins=BINS, bound=BOUND, order="linear")

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        mean, scale = params[..., 0, :], bounded_exp(params[..., 1, :])
        context = params[..., 2:, :].flatten(-2)
        base = dist.Normal(torch.zeros_like(mean), torch.ones_like(mean)).to_event(1)
        transforms: list[Any] = list(learned.get_submodule("transforms").children())
        bends = [transform.condition(context) for transform in transforms]
        # Each keeps its last result, so that the density of a sample needs no inversion.
        bent: Distribution = dist.TransformedDistribution(base, [*bends, AffineTransform(mean, scale, event_dim=1, cache_size=1)])
        return bent

    def from_noise(self, distribution: Distribution, noise: Tensor) -> Tensor:
        for transform in _transforms(distribution):
            noise = transform(noise)
        return noise

    def log_stretch(self, distribution: Distribution, noise: Tensor) -> Tensor:
        total = noise.new_zeros(noise.shape[:-1])
        for transform in _transforms(distribution):
            bent = transform(noise)
            total, noise = total + transform.log_abs_det_jacobian(noise, bent), bent
        return total

    def _draws(self, distribution: Distribution) -> Tensor:
        batch, size = distribution.batch_shape, distribution.event_shape[0]
        like = elements_of(distribution).mean
        half = torch.randn(DRAWS // 2, size, generator=torch.Generator().manual_seed(0)).to(like)
        noise = torch.cat([half, -half]).reshape(DRAWS, *(1 for _ in batch), size).expand(DRAWS, *batch, size)
        return self.from_noise(distribution, noise)

    def mean(self, distribution: Distribution) -> Tensor:
        """E[z], shape (*, D), from 128 fixed draws."""
        return self._draws(distribution).mean(0)

    def stddev(self, distribution: Distribution) -> Tensor:
        """Standard deviation of each latent, shape (*, D), from 128 fixed draws."""
        return self._draws(distribution).std(0)


def _transforms(distribution: Any) -> list[Transform]:
    """From standard normal noise to z, in order."""
    return [*distribution.transforms]
