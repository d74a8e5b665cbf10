"""Numbers with errors, and how they are written as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

from scipy import stats

from pyrovae.contracts import LOWER_BOUND, Evidence

FEW_DEGREES = 20.0
"""Degrees of freedom below which the quantiles of Student's t differ from the normal ones by more than 7 %."""


@final
@dataclass(frozen=True, repr=False)
class Number:
    """The mean of a quantity over data, with its errors; in nats unless it says otherwise.

    Args:
        mean: Mean over data; NaN if a file does not contain it.
        standard_error: Standard error of the mean, over data; None for one datum.
        monte_carlo_error: Standard error over the estimator's noise, the data held fixed; None where it is undefined.
        degrees_of_freedom: Of the Monte Carlo error, for intervals with Student's t quantiles; None for normal quantiles.
        monte_carlo_error_is: ``estimate``, or ``lower bound`` where some data are untrusted, so that the error is larger than can
            be seen; None where that is not judged.
    """

    mean: float
    standard_error: float | None = None
    monte_carlo_error: float | None = None
    degrees_of_freedom: float | None = None
    monte_carlo_error_is: str | None = None

    @classmethod
    def of(cls, evidence: Evidence, error_is: str | None = None) -> Number:
        """The mean over data of what an estimator returned, with its errors.

        Args:
            evidence: Per datum.
            error_is: What its Monte Carlo error is.
        """
        return cls(
            evidence.mean,
            evidence.standard_error,
            evidence.mean_monte_carlo_error,
            evidence.mean_degrees_of_freedom,
            error_is,
        )

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Number:
        """Read a number from its summary; null, which stands for a mean that is not finite, becomes NaN.

        Raises:
            TypeError: If it is not such a number.
        """
        return cls(**{**written, "mean": math.nan if written["mean"] is None else written["mean"]})

    def summary(self) -> dict[str, Any]:
        """As plain data for JSON."""
        found = asdict(self)
        # Numbers that are not judged, such as bounds on simulated data, lack this key.
        return found if self.monte_carlo_error_is is not None else {k: v for k, v in found.items() if k != "monte_carlo_error_is"}

    def __float__(self) -> float:
        """The mean."""
        return float(self.mean)

    def __repr__(self) -> str:
        """In one line, with four digits.

        Example:
            >>> Number(-5.70351, standard_error=0.041, monte_carlo_error=0.0021)
            Number(-5.7035 +- 0.0410 [0.0021])
        """
        return f"Number({' '.join(self._written(4))})"

    def __str__(self) -> str:
        """``mean +- standard error  [Monte Carlo error]``; ``[at least ...]`` where the error is a lower bound.

        Example:
            >>> print(Number(-95.0334, standard_error=0.2471))
            -95.033 +- 0.247
        """
        return "  ".join(self._written(3))

    def _written(self, digits: int) -> list[str]:
        """The mean with its standard error, and the Monte Carlo error where it is defined."""
        over_data = "" if self.standard_error is None else f" +- {self.standard_error:.{digits}f}"
        least = "at least " if self.monte_carlo_error_is == LOWER_BOUND else ""
        noise = [] if self.monte_carlo_error is None else [f"[{least}{self.monte_carlo_error:.4f}]"]
        return [f"{self.mean:.{digits}f}{over_data}", *noise]


def few_degrees_note(found: Iterable[Number | None]) -> str | None:
    """A note on Student's t quantiles for errors known from few values; None if normal quantiles are accurate enough.

    Args:
        found: Numbers, None for those that were not estimated.

    Example:
        >>> few_degrees_note([Number(-9.0, degrees_of_freedom=3.0), Number(-8.0, degrees_of_freedom=400.0), None])
        'Monte Carlo errors of few values: 95 % is within 3.18 of them (3 degrees of freedom), not 1.96'
    """
    known = [number.degrees_of_freedom for number in found if number is not None and number.degrees_of_freedom]
    if not known or min(known) >= FEW_DEGREES:
        return None
    least = min(known)
    of = f"{stats.t.ppf(0.975, least):.2f} of them ({least:.3g} degrees of freedom)"
    return f"Monte Carlo errors of few values: 95 % is within {of}, not {stats.norm.ppf(0.975):.2f}"


def finite(value: Any) -> Any:
    """Plain data for JSON, with null in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def precision_notes(precision: Mapping[str, Any]) -> list[str]:
    """Notes on numbers computed in a different precision than requested; empty if there are none.

    Args:
        precision: What ``Precision.summary`` returned.
    """
    notes = []
    if precision["refused"]:
        tried = ", ".join(f"{tried['path']} ({tried['difference']:.2g} nats off)" for tried in precision["refused"])
        notes.append(f"computed in {precision['path']}: {tried} would have moved the digits that are printed")
    # Evaluations written by older versions lack this number.
    if few := precision.get("rows_in_float64", 0):
        notes.append(f"{few:,} data computed in float64: {precision['path']} rounds each by 0.01 nats or more")
    return notes
