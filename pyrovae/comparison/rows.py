"""A run in a league, and the runs that are ranked together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """A run in a league: nats per datum, in the units of the data that was given.

    Args:
        group: Title of the group that it is ranked in.
        rank: From 1, by log evidence.
        name: The end of the folder's path that tells it from the other runs.
        run: The run's folder.
        likelihood: Name and options that differ from the defaults; the same holds for the other parts.
        prior: As above.
        posterior: As above.
        context: As above.
        network: As above.
        preprocess: As above.
        objective: As above.
        latent_dim: Number of latents.
        seed: Of the training.
        n: Number of data that were scored.
        log_evidence: Mean over data, higher is better.
        standard_error: Of that mean over data; None for one datum.
        monte_carlo_error: Of the estimator, the data held fixed; None where it is undefined.
        difference: log_evidence - that of the group's best, 0 for the best.
        difference_error: Standard error of that mean of paired differences, s / sqrt(n); None for one datum and for the best.
        bits_per_dim: -log_evidence / (elements log 2), lower is better.
        bits_per_dim_kind: ``exact``, ``density``, ``dequantisation bound`` or ``binarised``.
        is_bound: Whether log_evidence is a lower bound by dequantisation.
        elbo: Mean over data.
        elbo_gap: log_evidence - elbo.
        active_units: Number of latents whose posterior mean has a variance over the data above 0.01.
        parameters: Number of trained parameters.
        epochs: Of training.
        seconds: Of training; None where no epoch is recorded.
        monte_carlo_error_is: ``estimate``, or ``lower bound`` if some data are not to be trusted, as their error is larger.
        untrusted: Data whose log evidence is not to be trusted.
        untrusted_because: Why, in words; empty where there are none.
        cannot_tell: Number of data whose diagnostics are undecided.
    """

    group: str
    rank: int
    name: str
    run: str
    likelihood: str
    prior: str
    posterior: str
    context: str
    network: str
    preprocess: str
    objective: str
    latent_dim: int
    seed: int
    n: int
    log_evidence: float
    standard_error: float | None
    monte_carlo_error: float | None
    difference: float
    difference_error: float | None
    bits_per_dim: float
    bits_per_dim_kind: str
    is_bound: bool
    elbo: float
    elbo_gap: float
    active_units: int
    parameters: int
    epochs: int
    seconds: float | None
    monte_carlo_error_is: str
    untrusted: int
    untrusted_because: str
    cannot_tell: int


@final
@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs whose numbers are the same quantity of the same data.

    Args:
        title: The quantity.
        why: Why these are ranked together and others are not.
        rows: The runs, best first.
    """

    title: str
    why: str
    rows: tuple[Row, ...]


def told_apart(row: Row) -> bool:
    """Whether a run is over two standard errors behind the best of its group; True for the best itself and for one datum."""
    return row.difference_error is None or abs(row.difference) > 2 * row.difference_error
