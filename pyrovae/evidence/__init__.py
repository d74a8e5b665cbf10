"""Estimators of log p(x) and their diagnostics."""

from __future__ import annotations

from pyrovae.evidence.annealing import annealed
from pyrovae.evidence.exact import exact
from pyrovae.evidence.importance import elbo, importance, reconstruction

__all__ = ["annealed", "elbo", "exact", "importance", "reconstruction"]
