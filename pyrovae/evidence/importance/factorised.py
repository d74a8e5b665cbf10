"""Densities of the latents that are products over dimensions."""

from __future__ import annotations

from torch.distributions import Independent

from pyrovae.contracts import Distribution
from pyrovae.families.elements import elements_of


def factorised(distribution: Distribution) -> Distribution | None:
    """The densities of the single dimensions, batch shape (*, D) and event shape (); None where there is no such product."""
    base: Distribution | None = elements_of(distribution) if isinstance(distribution, Independent) else None
    return None if base is None or base.event_shape else base
