"""Autoregressive maps from latents to standard normal noise, and the distribution that such maps define."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F  # noqa: N812
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.distributions.transforms.spline import ConditionedSpline
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae.contracts import Distribution, Shape
from pyrovae.families.positive import bounded_exp

BINS = 8
BOUND = 5.0
"""A spline bends z_d within [-5, 5], in 8 bins, and is the identity outside."""

UNIT_SLOPE = math.log(math.expm1(1 - 1e-3))
"""The raw slope that Pyro makes 1: softplus(raw) + 1e-3."""


class Bend(ABC):
    """An increasing function of each latent: u_d = f(z_d; parameters).

    Attributes:
        sizes: How many raw parameters of each kind a latent takes.
    """

    sizes: ClassVar[tuple[int, ...]]

    def start(self, bias: Tensor) -> None:  # noqa: B027  (raw parameters 0 are the identity unless overridden)
        """Set raw parameters (sum of sizes, D), all 0, to those of the identity."""

    @abstractmethod
    def forward(self, z: Tensor, params: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """u and log du/dz, both (*, D)."""

    @abstractmethod
    def inverse(self, u: Tensor, params: Sequence[Tensor]) -> Tensor:
        """z (*, D)."""


@final
class Affine(Bend):
    """u = (z - m) / s, so that one layer says p(z_d|z_<d) = N(m, s^2); s = bounded_exp(raw)."""

    sizes = (1, 1)

    def forward(self, z: Tensor, params: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        mean, scale = params[0], bounded_exp(params[1])
        return (z - mean) / scale, -scale.log()

    def inverse(self, u: Tensor, params: Sequence[Tensor]) -> Tensor:
        return params[0] + bounded_exp(params[1]) * u


@final
class Spline(Bend):
    """A monotone rational linear spline within a box, the identity outside (Pyro's, of order ``linear``)."""

    sizes = (BINS, BINS, BINS - 1, BINS)

    def start(self, bias: Tensor) -> None:
        bias[2 * BINS : 3 * BINS - 1] = UNIT_SLOPE

    def _spline(self, params: Sequence[Tensor]) -> ConditionedSpline:
        widths, heights, slopes, splits = (p.mT for p in params)
        shape = F.softmax(widths, -1), F.softmax(heights, -1), F.softplus(slopes), torch.sigmoid(splits)
        return ConditionedSpline(shape, bound=BOUND)

    def forward(self, z: Tensor, params: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        u, log_slope = self._spline(params).spline_op(z)
        return u, log_slope

    def inverse(self, u: Tensor, params: Sequence[Tensor]) -> Tensor:
        z: Tensor = self._spline(params).spline_op(u, inverse=True)[0]
        return z


BENDS: dict[str, type[Bend]] = {"spline": Spline, "affine": Affine}


@final
class AutoregressiveLayer(nn.Module):
    """u_d = f(z_d; parameters), with parameters that a masked network computes from the latents before d and the embedding.

    Args:
        size: D.
        embedding_dim: C, 0 without a context.
        hidden: Width of the network's hidden layer, at least D.
        bend: f.
        reverse: Whether the latents come in reverse order.
    """

    def __init__(self, size: int, embedding_dim: int, hidden: int, bend: Bend, reverse: bool) -> None:
        super().__init__()
        self.bend = bend
        self.order = list(range(size))[:: -1 if reverse else 1]
        permutation: Any = torch.tensor(self.order)
        with warnings.catch_warnings():
            # A single latent is bent by constants, or by the embedding, and that is intended here.
            warnings.filterwarnings("ignore", message=".*input_dim = 1")
            self.network = ConditionalAutoRegressiveNN(
                size,
                embedding_dim,
                [hidden],
                param_dims=list(bend.sizes),
                permutation=permutation,
                nonlinearity=nn.SiLU(),
            )
        weight, bias = (self.network.layers[-1].get_parameter(name) for name in ("weight", "bias"))
        nn.init.zeros_(weight)
        nn.init.zeros_(bias)
        with torch.no_grad():
            bend.start(bias.view(-1, size))

    def _params(self, z: Tensor, embedding: Tensor | None) -> Sequence[Tensor]:
        params: Sequence[Tensor] = self.network(z, z[..., :0] if embedding is None else embedding)
        return params

    def forward(self, z: Tensor, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        """u (*, D) and log|det du/dz| (*,) of z (*, D) and an embedding (*, C), in one pass."""
        u, log_slope = self.bend.forward(z, self._params(z, embedding))
        return u, log_slope.sum(-1)

    def inverse(self, u: Tensor, embedding: Tensor | None) -> Tensor:
        """z (*, D) of u (*, D), in D passes: each latent is computed from those before it."""
        z = torch.zeros_like(u)
        for d in self.order:
            found = self.bend.inverse(u, self._params(z, embedding))
            z = torch.cat([z[..., :d], found[..., d : d + 1], z[..., d + 1 :]], -1)
        return z


@final
class FlowDistribution(TorchDistribution):
    """The distribution of z for which f(z) follows a base distribution: log p(z) = log base(f(z)) + log|det df/dz|.

    Unlike a ``TransformedDistribution`` it caches nothing: a density always uses the current parameters and has their gradient.

    Args:
        layers: f applies them in order, the first layer first.
        base: Batch shape ``*``, event shape (D,).
        embedding: The embedding of the context that the layers see, (*, C), or None.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, layers: Iterable[AutoregressiveLayer], base: Distribution, embedding: Tensor | None) -> None:
        self.layers = tuple(layers)
        self.base = base
        self.embedding = embedding
        super().__init__(base.batch_shape, base.event_shape)

    def expand(self, batch_shape: Shape, _instance: None = None) -> FlowDistribution:
        """The same with more batch dimensions."""
        embedding = None if self.embedding is None else self.embedding.expand(*batch_shape, self.embedding.shape[-1])
        return FlowDistribution(self.layers, self.base.expand(torch.Size(batch_shape)), embedding)

    def log_prob(self, value: Tensor) -> Tensor:
        """Shape (*,) of values (*, D), in one pass through the layers."""
        if self._validate_args:
            self._validate_sample(value)
        u = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape))
        total = u.new_zeros(u.shape[:-1])
        for layer in self.layers:
            u, log_det = layer(u, self.embedding)
            total = total + log_det
        return total + self.base.log_prob(u)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Shape (*sample_shape, *, D), in D passes through each layer."""
        z = self.base.rsample(torch.Size(sample_shape))
        for layer in reversed(self.layers):
            z = layer.inverse(z, self.embedding)
        return z
