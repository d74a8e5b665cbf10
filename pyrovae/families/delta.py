"""A point mass: the plain autoencoder's encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Family
from pyrovae.contracts.supports import OPEN_UNIT, REALS, Support
from pyrovae.errors import check_choice
from pyrovae.families.elements import elements_of

MARGIN = 1e-6
"""A squashed point stays that far from 0 and 1: float32 would round it there."""


@final
@dataclass(frozen=True, kw_only=True)
class Delta(Family):
    """A point z = f(x): the plain autoencoder, with neither ELBO nor evidence, only a reconstruction log p(x|z).

    The prior's term is masked while training; the prior says where the latents live and is not learned.

    Args:
        squash: ``none`` (any real number) or ``sigmoid`` (between 0 and 1, for the priors ``uniform`` and ``beta``).

    Raises:
        UserError: If squash is none of these.
    """

    squash: Literal["none", "sigmoid"] = "none"

    reparametrised = True
    has_density = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("posterior.squash", self.squash, ("none", "sigmoid"))

    def support(self, spec: DataSpec) -> Support:
        return OPEN_UNIT if self.squash == "sigmoid" else REALS

    def n_params(self, spec: DataSpec) -> int:
        return 1

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        point = params.squeeze(-1 - len(spec.event_shape))
        if self.squash == "sigmoid":
            point = MARGIN + (1 - 2 * MARGIN) * torch.sigmoid(point)
        return dist.Delta(point, event_dim=len(spec.event_shape))

    def from_noise(self, distribution: Distribution, noise: Tensor) -> Tensor:
        point: Tensor = elements_of(distribution).v
        return point.expand(noise.shape)
