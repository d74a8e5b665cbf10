"""The standard normal prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from pyrovae.contracts import DataSpec, Prior, PriorModule
from pyrovae.families.normal import Normal
from pyrovae.priors.context import check_context
from pyrovae.priors.fixed import family_prior


@final
@dataclass(frozen=True, kw_only=True)
class StandardNormal(Prior):
    """p(z) = N(0, I) (Kingma and Welling, 2014, Auto-Encoding Variational Bayes).

    Args:
        context: ``none`` (the same for every context) or ``learned``: p(z|c) = N(m(c), s(c)^2), mean and log-scale linear in
            the embedding of c (the scale within [3.4e-4, 2981]), from N(0, I) at the start.

    Raises:
        UserError: If the context is none of these, or learned without a context.

    Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes; Sohn, Lee and Yan (2015), Learning Structured Output
    Representation using Deep Conditional Generative Models, for p(z|c).
    """

    context: Literal["none", "learned"] = "none"

    natural_posterior = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_context(self.context)

    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        return family_prior(Normal(scale="network"), latent, self.context, embedding_dim)
