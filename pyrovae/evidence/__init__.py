"""Estimators of log p(x) and their diagnostics."""

from __future__ import annotations

from pyrovae.evidence.estimators import ESTIMATORS, elbo, importance

__all__ = ["ESTIMATORS", "elbo", "importance"]
