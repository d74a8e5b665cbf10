"""Student's t as a prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from pyrovae.contracts import DataSpec, Prior, PriorModule
from pyrovae.families.student_t import StudentT
from pyrovae.priors.context import check_context
from pyrovae.priors.fixed import family_prior


@final
@dataclass(frozen=True, kw_only=True)
class StandardStudentT(Prior):
    """log p(z) = sum_d -(df + 1)/2 log(1 + z_d^2 / df) + constants: like a standard normal, with heavier tails.

    Args:
        context: ``none`` (the same for every context) or ``learned``: location and log-scale of p(z|c) are linear in the
            embedding of c (the scale within [3.4e-4, 2981]), 0 at the start.
        df: Degrees of freedom, for all latents: a number from 0.1 (moments below that order exist) to 1e6 (nearly the
            normal), or ``learned``: from 4, within [1.001, 8944].

    Raises:
        UserError: If df is none of these, the context neither of these, or learned without a context.

    Source: Mathieu, Rainforth, Siddharth and Teh (2019), Disentangling Disentanglement in Variational Autoencoders, who
    compare such priors.
    """

    context: Literal["none", "learned"] = "none"
    df: float | Literal["learned"] = 4.0

    natural_posterior = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_context(self.context)
        self._family()

    def _family(self) -> StudentT:
        return StudentT(scale="network", df=self.df)

    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        return family_prior(self._family(), latent, self.context, embedding_dim)
