"""What every evaluation has, whatever the estimator."""

from __future__ import annotations

from pyrovae.evidence.reports.numbers import Number
from pyrovae.evidence.reports.report import Report


class Evaluation(Report):
    """What ``evaluate`` returns: per datum, in nats, higher is better. A number that was not estimated is None.

    Attributes:
        estimator: Its name.
        elbo: The evidence lower bound.
        log_evidence: The log evidence.
        gap: Log evidence - ELBO; of ``bdmc``, the upper bound less the lower.
        lower: Of ``bdmc``: the lower bound of simulated data, in expectation.
        upper: Of ``bdmc``: the upper bound of simulated data, in expectation.
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
