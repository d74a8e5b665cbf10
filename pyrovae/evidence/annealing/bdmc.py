"""Bidirectional Monte Carlo: tests how accurate annealing is, on data simulated from the model."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from torch import Tensor

from pyrovae.contracts import Evidence
from pyrovae.errors import UserError, check_integer, option
from pyrovae.evidence.annealing.route import Annealing
from pyrovae.evidence.annealing.sandwich import sandwich, simulate
from pyrovae.evidence.digests import model_digest
from pyrovae.evidence.precision import guard
from pyrovae.evidence.reports.certificate import Certificate
from pyrovae.evidence.reports.numbers import Number
from pyrovae.evidence.resumable import in_pieces
from pyrovae.evidence.scoring import check_density, estimating
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.evidence.task import Task


@final
@dataclass(frozen=True, kw_only=True)
class Bdmc(Annealing):
    """Bounds on the evidence of data simulated from the model: annealing from below and annealing from above.

    x ~ p(x|z*), z* ~ p(z): the latent is an exact sample of p(z|x), so that chains from z* back to the start have weights with
    E[1 / p(x)] = E[w], and -log (1/M) sum_m w_m is an upper bound on log p(x) in expectation; annealed gives a lower bound in
    the same sense. Their gap bounds the error of both. It certifies the sampler, with these settings, on SIMULATED data: on
    real data, which the model may not resemble, annealing can be harder.

    Args:
        temperatures: Number of inverse temperatures from the start to the posterior, including both.
        chains: Annealed chains per datum and direction; all reverse chains start at z*.
        leapfrog: Leapfrog steps of a move, one gradient each (of Bernoulli latents: bits visited at a temperature, in turn).
        schedule: Spacing of the inverse temperatures: sigmoid (most of them near the two ends) or linear.
        start: Where annealing starts: prior, p(z|c), or guide, q(z|x,c).
        simulated: Number of data to simulate; for a conditional model, with labels as frequent as in its training data.

    Raises:
        UserError: If a number is out of range, or schedule or start is unknown.

    Source: Grosse, Ghahramani and Adams (2015), Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo; Grosse,
    Ancha and Roy (2016), Measuring the Reliability of MCMC Inference with Bidirectional Monte Carlo.
    """

    takes_data: ClassVar[bool] = False

    simulated: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("simulated", self.simulated, 1)

    def check(self, vae: VAE) -> None:
        """Refuse a plain autoencoder, and a model that is not ready to simulate data."""
        check_density(vae, "bdmc")
        if not vae.prepared:
            raise UserError("estimator", "bdmc", "the VAE has met no data yet", "call vae.prepare, or train it")

    def measure(self, vae: VAE, x: Tensor, c: Tensor | None = None, *, seed: int = 0, index: Tensor | None = None) -> Evidence:
        """Refuse data: the upper bound needs the latents from which the data were generated.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "estimator", "bdmc", "simulates its own data and cannot take others", f"use {option('estimator', 'annealed')}"
        )

    def evaluate(self, task: Task) -> Certificate:
        """Simulate data, and bound the evidence of each."""
        vae, seed, simulated = task.vae, task.seed, self.simulated
        self.check(vae)
        began = time.perf_counter()
        digest = model_digest(vae)

        def compute(model: VAE, chosen: Tensor) -> dict[str, Tensor]:
            found = sandwich(model, self, simulated, seed=seed, index=chosen)
            bounds = {name: getattr(found, name) for name in ("lower", "upper", "lower_error", "upper_error")}
            return {**bounds, **found.diagnostics}

        contexts, index = vae.context_module.draw(simulated, seed), list(range(simulated))
        with estimating(vae):
            y = simulate(vae, contexts, seed, index)[1]

        def seen(model: VAE, part: slice) -> Tensor:
            return y[part].to(next(model.parameters()))

        with guard(vae, seen, contexts, index, matmul=task.matmul, seed=seed) as guarded:
            asked = {"estimator": "bdmc", "seed": seed, **asdict(self), "model": digest, "path": guarded.precision.path}
            arrays = in_pieces(lambda part: guarded.measure(compute, part), simulated, task.kept(asked), "bdmc", task.progress)
        return Certificate(
            run=task.run,
            n=simulated,
            seed=seed,
            options=self.settings(),
            estimator="bdmc",
            quantity="log p(x)" if vae.parts["context"].reads is None else "log p(x|c)",
            units=vae.units_of_draws,
            **_bounds(arrays),
            acceptance=arrays["acceptance"].double().mean(0).tolist(),
            reverse_acceptance=arrays["reverse_acceptance"].double().mean(0).tolist(),
            precision=guarded.precision.summary(),
            seconds=time.perf_counter() - began,
            model_sha256=digest,
            per_datum={name: values for name, values in arrays.items() if not name.endswith("acceptance")},
        )


def _bounds(arrays: dict[str, Tensor]) -> dict[str, Any]:
    lower, upper, lower_error, upper_error = (arrays[name] for name in ("lower", "upper", "lower_error", "upper_error"))
    gap_error = torch.hypot(lower_error, upper_error)
    return {
        "lower": Number.of(Evidence(estimate=lower, monte_carlo_error=lower_error)),
        "upper": Number.of(Evidence(estimate=upper, monte_carlo_error=upper_error)),
        "gap": Number.of(Evidence(estimate=upper - lower, monte_carlo_error=gap_error)),
    }
