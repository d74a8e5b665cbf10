"""Densities of the latents that are products over dimensions."""

from __future__ import annotations

from pyro.distributions import Distribution
from torch.distributions import Independent


def factorised(distribution: Distribution) -> Distribution | None:
    """The densities of the single dimensions, batch shape (*, D) and event shape (); None where there is no such product."""
    is_product = isinstance(distribution, Independent) and distribution.base_dist.event_dim == 0
    return distribution.base_dist if is_product else None
