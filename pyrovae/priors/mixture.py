"""A learned mixture of normals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Encode, Prior, PriorModule
from pyrovae.errors import check_integer
from pyrovae.families.normal import Normal
from pyrovae.priors.context import check_context, linear_from_zero, used_embedding
from pyrovae.priors.mixtures import mixture


@final
class GaussianMixture(PriorModule):
    """Learned weights, means and scales, plus a linear map of the embedding where p(z) depends on the context.

    Args:
        components: K.
        spec: Event shape (D,) of the latents.
        embedding_dim: C, 0 where p(z) is the same for every context.
    """

    def __init__(self, components: int, spec: DataSpec, embedding_dim: int) -> None:
        super().__init__()
        self.density = Normal(scale="network").build(spec)
        self.support = self.density.support
        self.logits = nn.Parameter(torch.zeros(components))
        means = torch.randn(components, 1, *spec.event_shape)
        self.params = nn.Parameter(torch.cat([means, torch.zeros_like(means)], 1))
        size = self.logits.numel() + self.params.numel()
        self.shift = linear_from_zero(embedding_dim, size) if embedding_dim else None

    def forward(self, embedding: Tensor | None, encode: Encode) -> Distribution:
        """Batch shape (), or (*,) of the embedding where p(z) depends on it; event shape (D,)."""
        logits, params = self.logits, self.params
        if self.shift is not None:
            by_logits, by_params = self.shift(embedding).split([logits.numel(), params.numel()], -1)
            logits, params = logits + by_logits, params + by_params.unflatten(-1, params.shape)
        return mixture(logits, self.density(params))


@final
@dataclass(frozen=True, kw_only=True)
class LearnedMixture(Prior):
    """p(z) = sum_k pi_k N(z; m_k, s_k^2): K normals with learned weights, means and scales.

    The means start as draws of N(0, I), the scales at 1 (within [3.4e-4, 2981]), the weights equal. K = 1 is a learned normal.

    Args:
        context: ``none`` (the same for every context) or ``learned``: a linear map of the embedding of c, 0 at the start, is
            added to log-weights, means and log-scales.
        components: K.

    Raises:
        UserError: If K is below 1, the context neither of these, or learned without a context.

    Source: Dilokthanakul et al. (2016), Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders; Tomczak
    and Welling (2018), VAE with a VampPrior, who compare with it.
    """

    context: Literal["none", "learned"] = "none"
    components: int = 10

    natural_posterior = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_context(self.context)
        check_integer("prior.components", self.components, 1)

    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        return GaussianMixture(self.components, latent, used_embedding(self.context, embedding_dim))
