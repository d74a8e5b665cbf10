"""Estimators of log p(x) and their diagnostics."""

from __future__ import annotations

from pyrovae.evidence.annealing.route import annealed
from pyrovae.evidence.exact.estimator import exact
from pyrovae.evidence.importance.estimators import elbo, importance, reconstruction

__all__ = ["annealed", "elbo", "exact", "importance", "reconstruction"]
