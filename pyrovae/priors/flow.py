"""A standard normal bent by learned autoregressive layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Encode, Prior, PriorModule
from pyrovae.contracts.supports import REALS
from pyrovae.errors import UserError, check_choice, check_integer
from pyrovae.priors.autoregressive import BENDS, AutoregressiveLayer, FlowDistribution
from pyrovae.priors.context import check_context, used_embedding


@final
class FlowPrior(PriorModule):
    """Layers that map latents to standard normal noise; every second one sees the latents in reverse order.

    Args:
        transform: Name in ``BENDS``.
        layers: Number of layers.
        hidden: Width of the hidden layer of each one's network.
        spec: Event shape (D,) of the latents.
        embedding_dim: C, 0 where p(z) is the same for every context.
    """

    support = REALS
    zero: Tensor

    def __init__(self, transform: str, layers: int, hidden: int, spec: DataSpec, embedding_dim: int) -> None:
        super().__init__()
        bend = BENDS[transform]()
        self.conditional = embedding_dim > 0
        self.layers = nn.ModuleList(
            AutoregressiveLayer(spec.size, embedding_dim, hidden, bend, reverse=i % 2 == 1) for i in range(layers)
        )
        self.register_buffer("zero", torch.zeros(spec.event_shape), persistent=False)

    def forward(self, embedding: Tensor | None, encode: Encode) -> Distribution:
        """Batch shape (), or (*,) of the embedding where p(z) depends on it; event shape (D,)."""
        seen = embedding if self.conditional else None
        batch = () if seen is None else seen.shape[:-1]
        base = dist.Normal(self.zero, torch.ones_like(self.zero)).to_event(1).expand(batch)
        layers = [layer for layer in self.layers if isinstance(layer, AutoregressiveLayer)]
        return FlowDistribution(layers, base, seen)


@final
@dataclass(frozen=True, kw_only=True)
class Flow(Prior):
    """log p(z) = log N(f(z); 0, I) + log|det df/dz| with f learned, increasing in each latent given those before it.

    f starts as the identity (within 0.002 nats a latent and layer for splines). A density takes one pass, a sample D.

    Args:
        context: ``none`` (the same for every context) or ``learned``: the networks of f see the embedding of c.
        transform: ``spline`` (rational linear splines of 8 bins on [-5, 5], the identity outside) or ``affine`` (one layer is a
            normal for each latent whose mean and scale depend on the latents before it).
        layers: Number of layers; every other one takes the latents in reverse order.
        hidden: Width of the hidden layer of each one's network, at least the number of latents.

    Raises:
        UserError: If an option is none of these, a layer narrower than the latents, or the context learned without one.

    Source: Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow for Density Estimation; Durkan, Bekasov,
    Murray and Papamakarios (2019), Neural Spline Flows; Dolatabadi, Erfani and Leckie (2020), Invertible Generative Modeling
    using Linear Rational Splines.
    """

    context: Literal["none", "learned"] = "none"
    transform: Literal["spline", "affine"] = "spline"
    layers: int = 2
    hidden: int = 64

    natural_posterior = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_context(self.context)
        check_choice("prior.transform", self.transform, tuple(BENDS))
        check_integer("prior.layers", self.layers, 1)
        check_integer("prior.hidden", self.hidden, 1)

    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        if self.hidden < latent.size:
            raise UserError("prior.hidden", self.hidden, f"needs at least one unit for each of the {latent.size} latents")
        size = used_embedding(self.context, embedding_dim)
        return FlowPrior(self.transform, self.layers, self.hidden, latent, size)
