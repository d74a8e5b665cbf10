"""The attributes common to the evaluations of all estimators."""

from __future__ import annotations

from pyrovae.evidence.reports.numbers import Number
from pyrovae.evidence.reports.report import Report


class Evaluation(Report):
    """The result of ``evaluate``: per datum, in nats, higher is better. A number that was not estimated is None.

    Attributes:
        estimator: Name of the estimator.
        elbo: The evidence lower bound.
        log_evidence: The log evidence.
        gap: Log evidence - ELBO; for ``bdmc``, upper bound - lower bound.
        lower: For ``bdmc``: the lower bound on simulated data, in expectation.
        upper: For ``bdmc``: the upper bound on simulated data, in expectation.
    """

    estimator: str
    elbo: Number | None
    log_evidence: Number | None
    gap: Number | None
    lower: Number | None
    upper: Number | None

    def kept(self) -> list[Evaluation]:
        """The evaluations that a run keeps a file of each."""
        return [self]
