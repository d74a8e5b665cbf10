"""The standard normal prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pyrovae.contracts import DataSpec, Prior
from pyrovae.families import Normal
from pyrovae.priors.fixed import FixedPrior


@final
@dataclass(frozen=True, kw_only=True)
class StandardNormal(Prior):
    """p(z) = N(0, I) (Kingma and Welling, 2014, Auto-Encoding Variational Bayes)."""

    natural_posterior = "normal"

    def build(self, spec: DataSpec, embedding_dim: int) -> FixedPrior:
        return FixedPrior(Normal(scale="network"), spec)
