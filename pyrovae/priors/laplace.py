"""The Laplace prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from pyrovae.contracts import DataSpec, Prior, PriorModule
from pyrovae.families.laplace import Laplace
from pyrovae.priors.context import check_context
from pyrovae.priors.fixed import family_prior


@final
@dataclass(frozen=True, kw_only=True)
class StandardLaplace(Prior):
    """log p(z) = sum_d -|z_d| - log 2: independent latents, many of them near 0.

    Args:
        context: ``none`` (the same for every context) or ``learned``: location and log-scale of p(z|c) are linear in the
            embedding of c (the scale within [3.4e-4, 2981]), 0 at the start.

    Raises:
        UserError: If the context is none of these, or learned without a context.

    Source: Barello, Charles and Pillow (2018), Sparse-Coding Variational Auto-Encoders.
    """

    context: Literal["none", "learned"] = "none"

    natural_posterior = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_context(self.context)

    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        return family_prior(Laplace(scale="network"), latent, self.context, embedding_dim)
