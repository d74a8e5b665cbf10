"""The estimators of log p(x) of data by name; ``bdmc`` has a command of its own, for it simulates its data."""

from __future__ import annotations

from collections.abc import Callable

from pyrovae.contracts import Evidence
from pyrovae.evidence.annealing.route import annealed
from pyrovae.evidence.exact.estimator import exact
from pyrovae.evidence.importance.estimators import elbo, importance, reconstruction

ESTIMATORS: dict[str, Callable[..., Evidence]] = {
    "elbo": elbo,
    "importance": importance,
    "annealed": annealed,
    "exact": exact,
    "reconstruction": reconstruction,
}
