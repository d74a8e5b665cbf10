"""Every estimator on the same data, beside each other and, where there is one, beside the exact evidence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.contracts import Evidence
from pyrovae.evidence.reports.certificate import Certificate
from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.evidence.reports.numbers import finite, with_errors
from pyrovae.evidence.reports.trust import ESTIMATED, LOWER_BOUND

BY_DRAW = "log_evidence_by_draw"


def _difference(of: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Evidence:
    """Of each datum; where both were computed for the same draws of the dequantisation noise, draw by draw."""
    if BY_DRAW in of and BY_DRAW in reference:
        by_draw = of[BY_DRAW] - reference[BY_DRAW]
        draws = by_draw.shape[-1]
        return Evidence(
            estimate=by_draw.mean(-1),
            monte_carlo_error=by_draw.std(-1) / math.sqrt(draws),
            degrees_of_freedom=torch.full_like(by_draw[:, 0], draws - 1),
        )
    error = torch.hypot(of["monte_carlo_error"], reference["monte_carlo_error"])
    known = [arrays["degrees_of_freedom"] for arrays in (of, reference) if "degrees_of_freedom" in arrays]
    degrees = torch.stack(known).amin(0) if known else None
    return Evidence(estimate=of["estimate"] - reference["estimate"], monte_carlo_error=error, degrees_of_freedom=degrees)


@final
@dataclass(frozen=True)
class Agreement:
    """What ``evaluate --estimator all`` reports: how far the estimators of log p(x) are apart on the same data, in nats.

    Args:
        evaluations: By estimator; ``exact`` where it exists.
        certificate: Of the annealing sampler, on simulated data.
        no_exact: Why there is no exact evidence; None where there is.
    """

    evaluations: Mapping[str, Evaluation]
    certificate: Certificate
    no_exact: str | None = None
    estimator: str = field(default="all", init=False)

    @property
    def reference(self) -> str:
        """What the others are compared with: ``exact``, or else ``annealed``."""
        return "exact" if "exact" in self.evaluations else "annealed"

    def differences(self) -> dict[str, dict[str, float | None]]:
        """Estimator -> mean of (its log p - the reference's) with both errors, and the ``largest`` difference of a datum."""
        reference = self.evaluations[self.reference]
        found = {}
        for name, evaluation in self.evaluations.items():
            if evaluation is reference:
                continue
            difference = _difference(evaluation.per_datum, reference.per_datum)
            errors_are = {each.log_evidence["monte_carlo_error_is"] for each in (evaluation, reference)}
            found[name] = {
                **difference.summary(),
                "monte_carlo_error_is": LOWER_BOUND if LOWER_BOUND in errors_are else ESTIMATED,
                "largest": difference.estimate.abs().max().item(),
            }
        return found

    def identity(self) -> dict[str, Any]:
        """What was asked: equal for two of which the later may replace the earlier."""
        asked = {name: evaluation.identity() for name, evaluation in self.evaluations.items()}
        return {"estimator": self.estimator, "asked": asked | {"bdmc": self.certificate.identity()}}

    @property
    def per_datum(self) -> dict[str, Tensor]:
        """``index``, and ESTIMATOR and ESTIMATOR_error of each datum."""
        arrays = {"index": self.evaluations[self.reference].per_datum["index"]}
        for name, evaluation in self.evaluations.items():
            arrays |= {name: evaluation.per_datum["estimate"], f"{name}_error": evaluation.per_datum["monte_carlo_error"]}
        return arrays

    def to_json(self) -> str:
        """Every evaluation, and the differences, as JSON; a number that is not finite becomes null."""
        summary = {
            **self.identity(),
            "reference": self.reference,
            "no_exact": self.no_exact,
            "differences": self.differences(),
            "evaluations": {name: json.loads(evaluation.to_json()) for name, evaluation in self.evaluations.items()},
            "certificate": json.loads(self.certificate.to_json()),
        }
        return json.dumps(finite(summary), indent=2) + "\n"

    def table(self) -> str:
        """The numbers for a terminal: each estimator's table, then how far they are apart."""
        tables = [evaluation.table() for evaluation in self.evaluations.values()]
        lines = [f"minus {self.reference}, of the same data, nats per datum; +- standard error over data, [Monte Carlo error]"]
        for name, difference in self.differences().items():
            largest = f"{difference['largest']:.3f} at the most for a datum"
            lines.append(f"{name:<18} {with_errors(difference)}, {largest}")
        if self.no_exact is not None:
            lines.append(f"{'exact':<18} {self.no_exact}")
        return "\n\n".join([*tables, self.certificate.table(), "\n".join(lines)])
