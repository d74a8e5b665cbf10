"""Importance-sampling evaluations that were read from files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyrovae.evidence.importance.importance import Importance, in_words
from pyrovae.evidence.importance.pareto import limits
from pyrovae.evidence.reports.data_evaluation import DataEvaluation


def judged(evaluation: DataEvaluation) -> DataEvaluation:
    """An evaluation with ``cannot_tell``, computed from its arrays if its file does not contain it.

    Args:
        evaluation: By importance sampling, with its arrays.

    Raises:
        KeyError: If its arrays have no k-hat.
    """
    if evaluation.cannot_tell is not None or evaluation.samples is None:
        return evaluation
    # In such files k-hat is the largest over the draws of the noise, and is judged as if there were one draw.
    arrays = {name: evaluation.per_datum[name] for name in ("effective_sample_size", "khat")}
    trust = Importance(samples=evaluation.samples).untrusted(arrays)
    numbers = {"log_evidence": evaluation.log_evidence, "gap": evaluation.gap}
    known: dict[str, Any] = {
        name: number and replace(number, monte_carlo_error_is=trust.error_is) for name, number in numbers.items()
    }
    khat = None if evaluation.khat is None else {**evaluation.khat, "limits": list(limits(evaluation.samples))}
    return replace(evaluation, **known, khat=khat, **trust.summary())


def why_untrusted(evaluation: DataEvaluation) -> str:
    """The reasons why data are untrusted, each with its number of data if that differs from the total.

    Args:
        evaluation: By importance sampling, with such data.
    """
    by = evaluation.untrusted_by or {}
    high = evaluation.khat["limits"][1] if evaluation.khat is not None and "khat" in by else 0.0
    return in_words(by, evaluation.untrusted or 0, high)
