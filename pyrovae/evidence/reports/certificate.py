"""What bidirectional Monte Carlo says of the annealing sampler, on data simulated from the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from pyrovae.contracts import Evidence
from pyrovae.errors import UserError, check_integer, check_seed
from pyrovae.evidence.annealing.bdmc import bdmc, simulate
from pyrovae.evidence.digests import model_digest
from pyrovae.evidence.options import checked
from pyrovae.evidence.precision import guard
from pyrovae.evidence.reports.numbers import Number, precision_notes
from pyrovae.evidence.reports.report import Line, Report
from pyrovae.evidence.resumable import Kept, in_pieces
from pyrovae.evidence.scoring import check_density, estimating
from pyrovae.vae import VAE

SIMULATED = 100
"""Data that are simulated unless another number is given."""


@final
@dataclass(frozen=True, kw_only=True)
class Certificate(Report):
    """What ``evaluate --estimator bdmc`` reports: per simulated datum, in nats.

    Args:
        run: The run folder; None for a model in memory.
        n: Number of data that were simulated from the model.
        seed: Of the simulation and of the chains.
        options: Those of the annealing.
        estimator: ``bdmc``.
        quantity: What is bounded: ``log p(x)``, or ``log p(x|c)`` of a conditional model.
        units: What the numbers below are measured in.
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
        """The numbers, then the remarks on them."""
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


def certify(
    vae: VAE,
    *,
    simulated: int = SIMULATED,
    seed: int = 0,
    matmul: str | None = None,
    run: str | None = None,
    kept: Callable[[Mapping[str, Any]], Kept] | None = None,
    **options: Any,
) -> Certificate:
    """Sandwich the evidence of data simulated from the model between annealing in both directions.

    Args:
        vae: The model, prepared, on the device to use.
        simulated: Number of data.
        seed: Of the simulation and of the chains.
        matmul: How float32 products may be rounded, see ``precision.guard``.
        run: Name to report.
        kept: Settings and digests -> where results of a run that is interrupted are kept.
        options: Those of ``bdmc``.

    Raises:
        UserError: If an option is out of range or unknown, the model has no density, or its preprocessing is not known yet.

    Source: Grosse, Ancha and Roy (2016), Measuring the reliability of MCMC inference with bidirectional Monte Carlo.
    """
    chosen = checked("bdmc", bdmc, options, but=("data",), also=("simulated",))
    check_integer("simulated", simulated, 1)
    check_seed("seed", seed)
    check_density(vae, "bdmc")
    if not vae.prepared:
        raise UserError("--estimator bdmc: the VAE has met no data yet; call vae.prepare, or train it")
    began = time.perf_counter()
    digest = model_digest(vae)

    def of(model: VAE, index: Tensor) -> dict[str, Tensor]:
        found = bdmc(model, data=simulated, index=index, seed=seed, **chosen)
        bounds = {name: getattr(found, name) for name in ("lower", "upper", "lower_error", "upper_error")}
        return {**bounds, **found.diagnostics}

    contexts, data = vae.context_module.draw(simulated, seed), list(range(simulated))
    with estimating(vae):
        y = simulate(vae, contexts, seed, data)[1]

    def seen(model: VAE, part: slice) -> Tensor:
        return y[part].to(model.device, model.dtype)

    with guard(vae, seen, contexts, data, matmul=matmul, seed=seed) as guarded:
        path = guarded.precision.path
        asked = {"estimator": "bdmc", "simulated": simulated, "seed": seed, **chosen, "model": digest, "path": path}
        keeper = None if kept is None else kept(asked)
        arrays = in_pieces(lambda part: guarded.measure(of, part), simulated, keeper, "bdmc")
    gap_error = torch.hypot(arrays["lower_error"], arrays["upper_error"])
    return Certificate(
        run=run,
        n=simulated,
        seed=seed,
        options=chosen,
        estimator="bdmc",
        quantity="log p(x)" if vae.parts["context"].reads is None else "log p(x|c)",
        units=vae.units_of_draws,
        lower=Number.of(Evidence(estimate=arrays["lower"], monte_carlo_error=arrays["lower_error"])),
        upper=Number.of(Evidence(estimate=arrays["upper"], monte_carlo_error=arrays["upper_error"])),
        gap=Number.of(Evidence(estimate=arrays["upper"] - arrays["lower"], monte_carlo_error=gap_error)),
        acceptance=arrays["acceptance"].double().mean(0).tolist(),
        reverse_acceptance=arrays["reverse_acceptance"].double().mean(0).tolist(),
        precision=guarded.precision.summary(),
        seconds=time.perf_counter() - began,
        model_sha256=digest,
        per_datum={name: values for name, values in arrays.items() if not name.endswith("acceptance")},
    )
