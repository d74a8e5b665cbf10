"""The report of several estimators on the same data, compared with each other and with the exact evidence if known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.contracts import ESTIMATED, LOWER_BOUND, Evidence
from pyrovae.errors import in_python
from pyrovae.evidence.reports.certificate import Certificate
from pyrovae.evidence.reports.data_evaluation import DataEvaluation
from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.evidence.reports.numbers import Number
from pyrovae.evidence.reports.report import Line, Report

BY_DRAW = "log_evidence_by_draw"


def _difference(found: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Evidence:
    """Per-datum differences; if both used the same draws of the dequantisation noise, draw by draw."""
    if BY_DRAW in found and BY_DRAW in reference:
        by_draw = found[BY_DRAW] - reference[BY_DRAW]
        draws = by_draw.shape[-1]
        return Evidence(
            estimate=by_draw.mean(-1),
            monte_carlo_error=by_draw.std(-1) / math.sqrt(draws),
            degrees_of_freedom=torch.full_like(by_draw[:, 0], draws - 1),
        )
    error = torch.hypot(found["monte_carlo_error"], reference["monte_carlo_error"])
    known = [arrays["degrees_of_freedom"] for arrays in (found, reference) if "degrees_of_freedom" in arrays]
    degrees = torch.stack(known).amin(0) if known else None
    return Evidence(estimate=found["estimate"] - reference["estimate"], monte_carlo_error=error, degrees_of_freedom=degrees)


@final
@dataclass(frozen=True)
class Difference:
    """The difference of an estimator from the reference, in nats.

    Args:
        number: Mean over data of (its log p - the reference's).
        largest: The largest absolute per-datum difference.
    """

    number: Number
    largest: float

    def summary(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {**self.number.summary(), "largest": self.largest}


@final
@dataclass(frozen=True, kw_only=True)
class Agreement(Evaluation):
    """The result of ``evaluate --estimator all``: differences between the estimators of log p(x) on the same data, in nats.

    Args:
        evaluations: Estimator -> its evaluation; with ``exact`` if it exists.
        certificate: Certificate of the annealing sampler, on simulated data.
        no_exact: Why there is no exact evidence; None if there is.
        per_datum: ``index``, and ESTIMATOR and ESTIMATOR_error of each datum.
    """

    elbo = None
    log_evidence = None
    gap = None
    lower = None
    upper = None

    evaluations: Mapping[str, DataEvaluation]
    certificate: Certificate
    no_exact: str | None = None
    estimator: str = field(default="all", init=False)
    per_datum: Mapping[str, Tensor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arrays = {"index": self.evaluations[self.reference].per_datum["index"]}
        for name, evaluation in self.evaluations.items():
            arrays |= {name: evaluation.per_datum["estimate"], f"{name}_error": evaluation.per_datum["monte_carlo_error"]}
        object.__setattr__(self, "per_datum", arrays)

    def kept(self) -> list[Evaluation]:
        """Those of the estimators, and then how they agree."""
        return [*self.evaluations.values(), self.certificate, self]

    @property
    def reference(self) -> str:
        """The reference of the comparison: ``exact``, or else ``annealed``."""
        return "exact" if "exact" in self.evaluations else "annealed"

    @property
    def differences(self) -> dict[str, Difference]:
        """The difference of each estimator but the reference."""
        reference = self.evaluations[self.reference]
        found = {}
        for name, evaluation in self.evaluations.items():
            if evaluation is reference:
                continue
            difference = _difference(evaluation.per_datum, reference.per_datum)
            numbers = (evaluation.log_evidence, reference.log_evidence)
            errors_are = {each.monte_carlo_error_is for each in numbers if each is not None}
            number = Number.of(difference, LOWER_BOUND if LOWER_BOUND in errors_are else ESTIMATED)
            found[name] = Difference(number, difference.estimate.abs().max().item())
        return found

    def identity(self) -> dict[str, Any]:
        """The settings; a later report with equal settings may replace an earlier one."""
        asked = {name: evaluation.identity() for name, evaluation in self.evaluations.items()}
        return {"estimator": self.estimator, "asked": asked | {"bdmc": self.certificate.identity()}}

    def summary(self) -> dict[str, Any]:
        """All evaluations and differences, as plain data."""
        return {
            **self.identity(),
            "reference": self.reference,
            "no_exact": None if self.no_exact is None else in_python(self.no_exact),
            "differences": {name: difference.summary() for name, difference in self.differences.items()},
            "evaluations": {name: evaluation.summary() for name, evaluation in self.evaluations.items()},
            "certificate": self.certificate.summary(),
        }

    def lines(self) -> list[Line]:
        """How far the estimators are apart."""
        of = f"minus {self.reference}, of the same data, nats per datum; +- standard error over data, [Monte Carlo error]"
        lines = [("difference", of)]
        for name, difference in self.differences.items():
            lines.append((name, f"{difference.number}, {difference.largest:.3f} at the most for a datum"))
        return lines if self.no_exact is None else [*lines, ("exact", self.no_exact)]

    def table(self, spell: Callable[[str], str] = in_python) -> str:
        """The numbers for a terminal: the table of each estimator, then the differences."""
        return "\n\n".join([*(each.table(spell) for each in self._each()), super().table(spell)])

    def _repr_html_(self) -> str:
        return "".join([*(each._repr_html_() for each in self._each()), super()._repr_html_()])

    def _each(self) -> list[Report]:
        return [*self.evaluations.values(), self.certificate]
