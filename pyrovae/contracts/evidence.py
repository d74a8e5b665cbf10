"""The result of an estimator, and whether to trust it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What an estimator returns, per datum, in nats and in the units of the data that was given.

    Args:
        estimate: Shape (N,), float64.
        monte_carlo_error: Standard error of the estimator for each datum, shape (N,).
        degrees_of_freedom: Of that error, shape (N,): intervals have the quantiles of Student's t; None for those of the normal.
        diagnostics: Further per-datum tensors by name, shape (N,) or (N, D).
    """

    estimate: Tensor
    monte_carlo_error: Tensor
    degrees_of_freedom: Tensor | None = None
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean over data."""
        return self.estimate.mean().item()

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean over data; None for one datum."""
        n = len(self.estimate)
        return (self.estimate.std() / math.sqrt(n)).item() if n > 1 else None

    @property
    def mean_monte_carlo_error(self) -> float | None:
        """Standard error of the mean over the estimator's noise, the data held fixed; None where it is undefined."""
        error = torch.linalg.vector_norm(self.monte_carlo_error) / len(self.monte_carlo_error)
        return error.item() if torch.isfinite(error) else None

    @property
    def mean_degrees_of_freedom(self) -> float | None:
        """Degrees of freedom of ``mean_monte_carlo_error``, (sum_n v_n)^2 / sum_n v_n^2 / (f_n + 2) - 2 of variances v_n with f_n
        degrees each; None where they are without limit, or there is no error.

        Source: Welch (1947), The Generalization of Student's Problem when Several Different Population Variances are Involved.
        """
        if self.degrees_of_freedom is None:
            return None
        variance = self.monte_carlo_error**2
        found = variance.sum() ** 2 / (variance**2 / (self.degrees_of_freedom + 2)).sum() - 2
        return found.item() if torch.isfinite(found) else None


ESTIMATED, LOWER_BOUND = "estimate", "lower bound"
"""What a Monte Carlo error is: with untrusted data among the others it is larger than can be seen."""


@final
@dataclass(frozen=True, kw_only=True)
class Trust:
    """Reliability of an estimator's numbers by its diagnostics: each datum is trusted, untrusted or undecided.

    Args:
        reasons: Name of a diagnostic -> the data that are untrusted because of it, (N,), bool; a datum may have two reasons.
        unclear: Undecided data, (N,), bool, none of them untrusted.
        error_is_known: Whether the error of untrusted data is reliable nevertheless, as with quadrature.
    """

    reasons: Mapping[str, Tensor]
    unclear: Tensor
    error_is_known: bool = False

    @property
    def untrusted(self) -> Tensor:
        """Unreliable numbers, (N,), bool."""
        return torch.stack([torch.zeros_like(self.unclear), *self.reasons.values()]).any(0)

    @property
    def state(self) -> Tensor:
        """0 for trusted, 1 for undecided, 2 for untrusted, (N,)."""
        return 2 * self.untrusted.long() + self.unclear.long()

    @property
    def error_is(self) -> str:
        """What the Monte Carlo error of the mean over data is: an estimate, or a lower bound."""
        return ESTIMATED if self.error_is_known or not self.untrusted.any() else LOWER_BOUND

    def summary(self) -> dict[str, Any]:
        """How many: ``untrusted``, ``untrusted_by`` reason, and ``cannot_tell``."""
        by = {name: int(which.sum()) for name, which in self.reasons.items() if which.any()}
        return {"untrusted": int(self.untrusted.sum()), "untrusted_by": by, "cannot_tell": int(self.unclear.sum())}
