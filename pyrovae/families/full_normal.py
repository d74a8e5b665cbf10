"""The normal density with a full covariance matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Family
from pyrovae.contracts.supports import REALS, Support
from pyrovae.families.elements import elements_of
from pyrovae.families.positive import bounded_exp


@final
@dataclass(frozen=True, kw_only=True)
class FullNormal(Family):
    """Normal with a full covariance L L^T from its Cholesky factor: log N(z; m, L L^T) = log N(L^-1 (z - m); 0, I) - log|det L|.

    The network gives D + 1 numbers per element: the mean, and a row of a matrix whose strict lower triangle is L's and whose
    diagonal gives L's by ``bounded_exp``; at 0 the density is the standard normal. (The upper triangle is not used.)

    Source: Kingma and Welling (2019), An Introduction to Variational Autoencoders, section 2.5.1.
    """

    reparametrised = True

    def support(self, spec: DataSpec) -> Support:
        return REALS

    def n_params(self, spec: DataSpec) -> int:
        return 1 + spec.size

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        mean, rows = params[..., 0, :], params[..., 1:, :].mT
        diagonal = bounded_exp(rows.diagonal(dim1=-2, dim2=-1))
        factor = torch.tril(rows, diagonal=-1) + torch.diag_embed(diagonal)
        return dist.MultivariateNormal(mean, scale_tril=factor)

    def from_noise(self, distribution: Distribution, noise: Tensor) -> Tensor:
        normal = elements_of(distribution)
        z: Tensor = normal.loc + (normal.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
        return z

    def log_stretch(self, distribution: Distribution, noise: Tensor) -> Tensor:
        factor: Tensor = elements_of(distribution).scale_tril
        return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
