"""The report of bidirectional Monte Carlo on the annealing sampler, for data simulated from the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.evidence.reports.numbers import Number, precision_notes
from pyrovae.evidence.reports.report import Line


@final
@dataclass(frozen=True, kw_only=True)
class Certificate(Evaluation):
    """The result of ``evaluate --estimator bdmc``: per simulated datum, in nats.

    Args:
        run: The run folder; None for a model in memory.
        n: Number of data that were simulated from the model.
        seed: Seed of the simulation and of the chains.
        options: Options of the annealing.
        estimator: ``bdmc``.
        quantity: The quantity bounded: ``log p(x)``, or ``log p(x|c)`` for a conditional model.
        units: Units of the numbers below.
        lower: Annealing from the start to the posterior, a lower bound in expectation.
        upper: Annealing from the exact latent to the start, an upper bound in expectation.
        gap: upper - lower.
        acceptance: Mean acceptance of the moves at each temperature after the first, upwards.
        reverse_acceptance: Downwards.
        precision: How exactly the products were computed, see ``precision.Precision``.
        seconds: Wall clock.
        model_sha256: Digest of the model: parts, options and weights.
        per_datum: Arrays (n,) by name: ``lower``, ``upper`` with their ``_error``, and effective numbers of chains.
    """

    ASKED: ClassVar = ("estimator", "n", "seed", "options")
    elbo = None
    log_evidence = None

    run: str | None
    n: int
    seed: int
    options: dict[str, Any]
    estimator: str
    quantity: str
    units: str
    lower: Number
    upper: Number
    gap: Number
    acceptance: list[float]
    reverse_acceptance: list[float]
    precision: dict[str, Any]
    seconds: float
    model_sha256: str

    def lines(self) -> list[Line]:
        """The numbers, then remarks on them."""
        settings = ", ".join(f"{name} {value}" for name, value in self.options.items())
        up, down = (sum(values) / len(values) for values in (self.acceptance, self.reverse_acceptance))
        rows = [
            ("data", f"{self.n} simulated from the model"),
            ("estimator", f"bdmc, {settings}, seed {self.seed}"),
            ("lower bound", f"{self.lower}  {self.quantity}"),
            ("upper bound", f"{self.upper}  {self.quantity}"),
            ("gap", str(self.gap)),
            ("acceptance", f"{up:.2f} on average, {down:.2f} on the way back"),
        ]
        notes = [
            "nats per datum, bounds in expectation; +- standard error over data, [Monte Carlo error]",
            "certifies the sampler with these settings on data simulated from the model; real data may be harder",
        ]
        notes += precision_notes(self.precision)
        return rows + [("", note) for note in notes]
