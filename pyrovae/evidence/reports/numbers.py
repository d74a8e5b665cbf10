"""How numbers with errors are written for people and for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from scipy import stats

from pyrovae.evidence.reports.trust import LOWER_BOUND

FEW_DEGREES = 20.0
"""Degrees of freedom below which the quantiles of Student's t differ from the normal ones by more than 7 %."""


def with_errors(number: Mapping[str, Any]) -> str:
    """``mean +- standard error  [Monte Carlo error]``, in nats; ``[at least ...]`` where the error is a lower bound.

    Example:
        >>> with_errors({"mean": -95.0334, "standard_error": 0.2471, "monte_carlo_error": None})
        '-95.033 +- 0.247'
    """
    over_data = "" if number["standard_error"] is None else f" +- {number['standard_error']:.3f}"
    least = "at least " if number.get("monte_carlo_error_is") == LOWER_BOUND else ""
    noise = "" if number["monte_carlo_error"] is None else f"  [{least}{number['monte_carlo_error']:.4f}]"
    return f"{number['mean']:.3f}{over_data}{noise}"


def few_degrees_note(numbers: Iterable[Mapping[str, float | None] | None]) -> str | None:
    """How wide an interval is where errors are known from few values, by Student's t; None where the normal quantiles will do.

    Args:
        numbers: With their ``degrees_of_freedom``, as ``Evidence.summary`` returns them; None for one that there is not.

    Example:
        >>> few_degrees_note([{"degrees_of_freedom": 3.0}, {"degrees_of_freedom": 400.0}, None])
        'Monte Carlo errors of few values: 95 % is within 3.18 of them (3 degrees of freedom), not 1.96'
    """
    known = [number["degrees_of_freedom"] for number in numbers if number is not None and number.get("degrees_of_freedom")]
    if not known or min(known) >= FEW_DEGREES:
        return None
    least = min(known)
    of = f"{stats.t.ppf(0.975, least):.2f} of them ({least:.3g} degrees of freedom)"
    return f"Monte Carlo errors of few values: 95 % is within {of}, not {stats.norm.ppf(0.975):.2f}"


def finite(value: Any) -> Any:
    """Plain data for JSON, in which a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def precision_notes(precision: Mapping[str, Any]) -> list[str]:
    """Why numbers were computed in another precision than was asked for; nothing where they were not.

    Args:
        precision: What ``Precision.summary`` returned.
    """
    notes = []
    if precision["refused"]:
        tried = ", ".join(f"{tried['path']} ({tried['difference']:.2g} nats off)" for tried in precision["refused"])
        notes.append(f"computed in {precision['path']}: {tried} would have moved the digits that are printed")
    # Evaluations that older versions wrote have no such number.
    if few := precision.get("rows_in_float64", 0):
        notes.append(f"{few:,} data computed in float64: {precision['path']} rounds each by 0.01 nats or more")
    return notes


def decomposition_rows(decomposition: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The split of the KL for a terminal, what is null left out.

    Args:
        decomposition: What ``Decomposition.summary`` returned.
    """
    parts = {name: number for name, number in decomposition.items() if isinstance(number, Mapping)}
    mutual = f"{_nats(parts['mutual_information'])} mutual information of datum and latent"
    of = "" if decomposition["n"] == decomposition["of"] else f" of {decomposition['of']:,}"
    # Where the prior depends on the context there is no one marginal KL, and what q(z) tells of c counts as information too.
    name = "KL, split" if "marginal_kl" in parts else "information"
    rows = [(name, f"{mutual} (at most log N = {decomposition['log_n']:.3f}, N = {decomposition['n']:,}{of})")]
    if "marginal_kl" not in parts:
        rows.append(("", "no part of the KL: the prior p(z|c) differs by context"))
    else:
        rows.append(("", f"and {_nats(parts['marginal_kl'])} KL(q(z) || p(z))"))
    if "total_correlation" in parts:
        rows.append(("", f"of that {_nats(parts['total_correlation'])} total correlation"))
    if "dimension_wise_kl" in parts:
        rows.append(("", f"and {_nats(parts['dimension_wise_kl'])} sum of the KLs of single latents"))
    return rows


def _nats(number: Mapping[str, float | None]) -> str:
    error = "" if number["monte_carlo_error"] is None else f"  [{number['monte_carlo_error']:.3f}]"
    return f"{number['mean']:.3f}{error}"
