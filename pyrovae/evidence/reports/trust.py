"""Which numbers are to be relied on, which are not, and of which their diagnostics cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.evidence.importance.pareto import limits

FEW_EFFECTIVE = 10.0
"""Effective samples below which a log evidence is not to be relied on."""

FEWEST_CHAINS, ENOUGH_CHAINS = 2.0, 4.0
"""Effective chains below which they tell nothing of each other, and from which they do."""

FEWEST_WEIGHTS = 50
"""Samples below which the tail has fewer than ten weights, from which no k-hat can be told."""

ESTIMATED, LOWER_BOUND = "estimate", "lower bound"
"""What a Monte Carlo error is: of data that are not to be trusted it is larger than can be seen."""


@final
@dataclass(frozen=True)
class Trust:
    """What the diagnostics of each datum say, (N,) each, bool.

    Args:
        few: Too few effective samples or chains.
        heavy: A k-hat above its upper limit.
        stopped: Quadrature that has not reached its tolerance.
        unclear: None of these, and yet it cannot be told.
    """

    few: Tensor
    heavy: Tensor
    stopped: Tensor
    unclear: Tensor

    @property
    def untrusted(self) -> Tensor:
        """Numbers that are not to be relied on."""
        return self.few | self.heavy | self.stopped

    @property
    def state(self) -> Tensor:
        """0 for trusted, 1 where it cannot be told, 2 for untrusted."""
        return 2 * self.untrusted.long() + self.unclear.long()

    @property
    def error_is(self) -> str:
        """What the Monte Carlo error of the mean over data is."""
        return LOWER_BOUND if (self.few | self.heavy).any() else ESTIMATED

    def summary(self) -> dict[str, Any]:
        """How many: ``untrusted``, ``untrusted_by`` reason (a datum may have two), and ``cannot_tell``."""
        reasons = {"effective_sample_size": self.few, "khat": self.heavy, "tolerance": self.stopped}
        by = {name: int(which.sum()) for name, which in reasons.items() if which.any()}
        return {"untrusted": int(self.untrusted.sum()), "untrusted_by": by, "cannot_tell": int(self.unclear.sum())}


def judge(estimator: str, arrays: Mapping[str, Tensor], options: Mapping[str, Any], looks: int = 1) -> Trust:
    """Judge the numbers of an evaluation by their diagnostics.

    Importance sampling: untrusted with fewer than 10 effective samples or with a k-hat above the upper one of ``pareto.limits``;
    it cannot be told between the limits, and with fewer than 50 samples. Annealing: untrusted with fewer effective chains than
    a quarter of them, or than 2; it cannot be told with fewer than half of them, or than 4. Quadrature: the tolerance.

    Args:
        estimator: ``importance``, ``annealed`` or ``exact``.
        arrays: Its diagnostics.
        options: Its options: ``samples``, or ``chains``.
        looks: Independent estimates whose mean a number is: draws of the dequantisation noise times repeated runs. k-hat is
            their mean too.
    """
    if estimator == "exact":
        no = torch.zeros_like(arrays["converged"], dtype=torch.bool)
        return Trust(few=no, heavy=no, stopped=arrays["converged"] == 0, unclear=no)
    effective = arrays["effective_sample_size"]
    no = torch.zeros_like(effective, dtype=torch.bool)
    if estimator == "annealed":
        few = effective < max(options["chains"] / 4, FEWEST_CHAINS)
        return Trust(few=few, heavy=no, stopped=no, unclear=~few & (effective < max(options["chains"] / 2, ENOUGH_CHAINS)))
    few, samples = effective < FEW_EFFECTIVE, options["samples"]
    if samples < FEWEST_WEIGHTS:
        return Trust(few=few, heavy=no, stopped=no, unclear=~few)
    low, high = limits(samples, looks)
    heavy = arrays["khat"] > high
    return Trust(few=few, heavy=heavy, stopped=no, unclear=~few & ~heavy & (arrays["khat"] > low))
