"""A family as a prior: with fixed parameters, or with parameters that the context gives."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Distribution, Encode, Family, PriorModule
from pyrovae.priors.context import linear_from_zero, used_embedding


@final
class FixedPrior(PriorModule):
    """A family whose raw parameters are all 0, whatever the context.

    Args:
        family: The density; its raw parameters at 0 are the prior's.
        spec: Event shape (D,) of the latents.
    """

    params: Tensor

    def __init__(self, family: Family, spec: DataSpec) -> None:
        super().__init__()
        self.density = family.build(spec)
        self.support = self.density.support
        self.register_buffer("params", torch.zeros(self.density.params_shape), persistent=False)

    @property
    def tail_df(self) -> float | None:
        return self.density.family.tail_df(self.density.learned)

    def forward(self, embedding: Tensor | None, encode: Encode) -> Distribution:
        """Batch shape (), event shape (D,)."""
        return self.density(self.params)


@final
class ConditionalPrior(PriorModule):
    """A family whose raw parameters are a linear map of the context's embedding, 0 before training: p(z|c) starts fixed.

    Args:
        family: The density.
        spec: Event shape (D,) of the latents.
        embedding_dim: C, at least 1.
    """

    def __init__(self, family: Family, spec: DataSpec, embedding_dim: int) -> None:
        super().__init__()
        self.density = family.build(spec)
        self.support = self.density.support
        self.params = linear_from_zero(embedding_dim, math.prod(self.density.params_shape))

    @property
    def tail_df(self) -> float | None:
        return self.density.family.tail_df(self.density.learned)

    def forward(self, embedding: Tensor | None, encode: Encode) -> Distribution:
        """Batch shape (*,), that of the embedding; event shape (D,)."""
        return self.density(self.params(embedding).unflatten(-1, self.density.params_shape))


def family_prior(family: Family, spec: DataSpec, context: str, embedding_dim: int) -> PriorModule:
    """p(z) of a family at raw parameters 0, or p(z|c) that starts there.

    Args:
        family: The density; its raw parameters at 0 are the prior's.
        spec: Event shape (D,) of the latents.
        context: ``none`` or ``learned``.
        embedding_dim: C, 0 without a context.

    Raises:
        UserError: If ``context`` is ``learned`` but the model has no context.
    """
    size = used_embedding(context, embedding_dim)
    return ConditionalPrior(family, spec, size) if size else FixedPrior(family, spec)
