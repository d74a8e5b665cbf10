"""The role p(z) or p(z|c)."""

from __future__ import annotations

from pyrovae.contracts import Prior
from pyrovae.priors.normal import StandardNormal

PRIORS: dict[str, type[Prior]] = {"normal": StandardNormal}
