"""The numbers of runs -> a league: numbers of the same quantity are ranked together, by log evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from pyrovae.comparison.entries import Entry, Quantity, Settings
from pyrovae.comparison.league import League
from pyrovae.comparison.rows import Group, Row
from pyrovae.contracts import ESTIMATED, Evidence
from pyrovae.evidence.importance.recorded import why_untrusted

KINDS = ("probability", "density", "bits")
"""The kinds of quantities, in the order of their groups."""

WHAT = {
    "probability": "probability of the data as they were given",
    "density": "density of real data, in their units",
    "bits": "probability of bits that were made of the data",
}
WHY = {
    "probability": (
        "exact probabilities and bounds by dequantisation are of the same data: a bound that is ahead is really ahead, "
        "one that is behind (<=) may not be"
    ),
    "density": "densities of reals are no probabilities, and change with the units: compared among themselves only",
    "bits": (
        "binarised data are another data set than the levels: compared among themselves only, every run on the same bits, "
        "drawn by seed and datum"
    ),
}
WHY_GIVEN = "log p(x|c) is told what c is: another quantity than log p(x), compared among models that are told the same"


def rank(entries: Sequence[Entry], settings: Settings) -> League:
    """The league of runs on the same data.

    Args:
        entries: The runs.
        settings: How they were evaluated.
    """
    names = _names([entry.folder for entry in entries])
    quantities = sorted({entry.quantity for entry in entries}, key=lambda q: (KINDS.index(q.kind), q.symbol, q.detail))
    groups = []
    for quantity in quantities:
        members = [(name, entry) for name, entry in zip(names, entries, strict=True) if entry.quantity == quantity]
        members.sort(key=lambda member: -_evidence(member[1]).mean)
        best, title = members[0][1], _title(quantity)
        rows = tuple(_row(title, place, name, entry, best) for place, (name, entry) in enumerate(members, 1))
        groups.append(Group(title=title, why=_why(quantity, rows), rows=rows))
    first = entries[0].evaluation
    return League(
        data=first.data, split=first.split, n=first.n, samples=settings.samples, seed=settings.seed, groups=tuple(groups)
    )


def _evidence(entry: Entry) -> Evidence:
    arrays = entry.evaluation.per_datum
    return Evidence(estimate=arrays["estimate"], monte_carlo_error=arrays["monte_carlo_error"])


def paired_error(first: Tensor, second: Tensor) -> float | None:
    """Standard error of the mean of first - second over the same data, s / sqrt(n); None for one datum.

    Args:
        first: A number a datum, (n,).
        second: Of the same data in the same order, (n,).
    """
    differences = first - second
    return (differences.std() / math.sqrt(len(differences))).item() if len(differences) > 1 else None


def _row(title: str, place: int, name: str, entry: Entry, best: Entry) -> Row:
    found, top, evaluation = _evidence(entry), _evidence(best), entry.evaluation
    error_is = None if evaluation.log_evidence is None else evaluation.log_evidence.monte_carlo_error_is
    elbo = evaluation.per_datum["elbo"].mean().item()
    return Row(
        group=title,
        rank=place,
        name=name,
        run=str(entry.folder),
        **entry.parts,
        latent_dim=entry.latent_dim,
        seed=entry.seed,
        n=evaluation.n,
        log_evidence=found.mean,
        standard_error=found.standard_error,
        monte_carlo_error=found.mean_monte_carlo_error,
        difference=0.0 if entry is best else found.mean - top.mean,
        difference_error=None if entry is best else paired_error(found.estimate, top.estimate),
        bits_per_dim=-found.mean / entry.size / math.log(2),
        bits_per_dim_kind=evaluation.bits_per_dim_kind,
        is_bound=entry.is_bound,
        elbo=elbo,
        elbo_gap=found.mean - elbo,
        active_units=evaluation.active_units or 0,
        parameters=entry.parameters,
        epochs=entry.epochs,
        seconds=entry.seconds,
        monte_carlo_error_is=error_is or ESTIMATED,
        untrusted=evaluation.untrusted or 0,
        untrusted_because=why_untrusted(evaluation) if evaluation.untrusted else "",
        cannot_tell=evaluation.cannot_tell or 0,
    )


def _title(quantity: Quantity) -> str:
    return f"{quantity.symbol}: {WHAT[quantity.kind]}" + (f" ({quantity.detail})" if quantity.detail else "")


def _why(quantity: Quantity, rows: Sequence[Row]) -> str:
    reasons = [WHY_GIVEN] if quantity.symbol != "log p(x)" else []
    if quantity.kind != "probability" or any(row.is_bound for row in rows):
        reasons.append(WHY[quantity.kind])
    return "; ".join(reasons)


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as are needed to tell all of them apart."""
    paths = [folder.resolve().parts for folder in folders]
    depth = next(k for k in range(1, max(map(len, paths)) + 1) if len({path[-k:] for path in paths}) == len(paths))
    return ["/".join(path[-depth:]) for path in paths]
