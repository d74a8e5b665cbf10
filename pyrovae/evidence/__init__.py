"""Estimators of log p(x) and their diagnostics."""

from __future__ import annotations

from pyrovae.evidence.estimators import ESTIMATORS, elbo, importance, reconstruction

__all__ = ["ESTIMATORS", "elbo", "importance", "reconstruction"]
