"""Estimators of log p(x): the classes and their table, to which others can be added."""

from __future__ import annotations

from pyrovae.contracts import Estimator
from pyrovae.contracts.tables import Table
from pyrovae.evidence.annealing.annealed import Annealed
from pyrovae.evidence.annealing.bdmc import Bdmc
from pyrovae.evidence.exact.exact import Exact
from pyrovae.evidence.importance.elbo import Elbo
from pyrovae.evidence.importance.importance import Importance
from pyrovae.evidence.importance.reconstruction import Reconstruction
from pyrovae.evidence.side_by_side import All
from pyrovae.parts import open_role

ESTIMATORS = Table(
    "estimator",
    Estimator,
    "estimators",
    {
        "elbo": Elbo,
        "importance": Importance,
        "annealed": Annealed,
        "bdmc": Bdmc,
        "exact": Exact,
        "all": All,
        "reconstruction": Reconstruction,
    },
    flat=True,
)
open_role(ESTIMATORS)

__all__ = ["ESTIMATORS", "All", "Annealed", "Bdmc", "Elbo", "Exact", "Importance", "Reconstruction"]
