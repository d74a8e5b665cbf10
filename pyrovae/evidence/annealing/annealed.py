"""The evidence by annealed importance sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from pyrovae.contracts import Evidence, Trust
from pyrovae.errors import check_integer, option
from pyrovae.evidence import keyed
from pyrovae.evidence.annealing.route import Annealing, Route, anneal, log_mean_weight
from pyrovae.evidence.purposes import Purpose
from pyrovae.evidence.rows import ROWS
from pyrovae.evidence.scoring import as_evidence, check_density, score
from pyrovae.vae import VAE

FEWEST_CHAINS, ENOUGH_CHAINS = 2.0, 4.0
"""Numbers of effective chains below which chains are certainly too few to agree, and from which they are enough."""


@final
@dataclass(frozen=True, kw_only=True)
class Annealed(Annealing):
    """Evidence by annealed importance sampling: log (1/M) sum_m w_m over chains from the start to the posterior.

    In expectation a lower bound on log p(x), tighter with more temperatures and chains. It does not rely on the guide: a mode
    of p(z|x) that the guide misses is found if chains from the prior reach it. The moves are Hamiltonian in the unconstrained
    space of the latents, with its Jacobian; their step sizes, per datum, temperature and latent, come from a pilot run of at
    most 200 temperatures, are interpolated (as logarithms) along the schedule, and then fixed. Bits are flipped one at a
    time.

    Args:
        temperatures: Number of inverse temperatures from the start to the posterior, including both.
        chains: Annealed chains per datum.
        leapfrog: Leapfrog steps of a move, one gradient each (of Bernoulli latents: bits visited at a temperature, in turn).
        schedule: Spacing of the inverse temperatures: sigmoid (most of them near the two ends) or linear.
        start: Where annealing starts: prior, p(z|c), or guide, q(z|x,c).
        dequantisations: Draws of the uniform noise per datum, where levels are dequantised; each has its own chains. The bound is
            their mean, and the Monte Carlo error is their standard error.

    Raises:
        UserError: If a number is out of range, or schedule or start is unknown.

    Source: Neal (2001), Annealed Importance Sampling; Wu, Burda, Salakhutdinov and Grosse (2017), On the Quantitative
    Analysis of Decoder-Based Generative Models.
    """

    effective: ClassVar[str] = "chains"
    bound: ClassVar[str] = "lower bound in expectation"
    unwritten: ClassVar[tuple[str, ...]] = ("acceptance",)

    dequantisations: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("dequantisations", self.dequantisations, 1)

    def check(self, vae: VAE) -> None:
        """Refuse a plain autoencoder."""
        check_density(vae, "annealed")

    def measure(
        self,
        vae: VAE,
        x: Tensor,
        c: Tensor | None = None,
        *,
        seed: int = 0,
        index: Tensor | None = None,
        rows: int = ROWS,
    ) -> Evidence:
        """log p(x) of each datum, see ``Estimator.measure``; ``rows`` and the other data change it only by rounding.

        Args:
            vae: The model.
            x: Data as they were given, (N, *E).
            c: Their contexts, or None.
            seed: Of the noise.
            index: Row of each datum in its data set, (N,).
            rows: Chains x data that are moved at a time.

        Returns:
            The error is the delta method's over chains, NaN for one, with as many degrees of freedom as there are effective
            chains, less one. Diagnostics: ``log_evidence`` with ``_error`` and ``_degrees``, ``effective_sample_size`` of the
            chains (N,), ``acceptance`` (N, T - 1), the mean over chains at each temperature after the first.

        Raises:
            UserError: If the posterior is a point, the data have no density under the likelihood, or a log-weight is NaN or +inf.
        """
        self.check(vae)

        def measure(y: Tensor, c: Tensor | None, index: list[int], draw: int) -> dict[str, Tensor]:
            route = Route(vae, y, c, self, keyed.repeated(seed, draw), index)
            noise = keyed.Generators(route.seed, index, Purpose.CHAINS)
            moves = route.moves()
            log_weight, acceptance = anneal(moves, moves.begin(route.draw(noise)), self.betas(), noise)
            log_mean, error, effective = log_mean_weight(log_weight, index)
            return {
                "log_evidence": log_mean + vae.transform.log_abs_det_jacobian(),
                "log_evidence_error": error,
                # Chains of zero weight carry no information about the spread of the others.
                "log_evidence_degrees": (effective - 1).clamp(min=1),
                "effective_sample_size": effective,
                "acceptance": acceptance,
            }

        data_rows, draws = self.data_rows(vae, rows), self.dequantisations
        return as_evidence(score(vae, x, c, measure, index=index, seed=seed, dequantisations=draws, data_rows=data_rows))

    def untrusted(self, arrays: Mapping[str, Tensor]) -> Trust:
        """Mark data as untrusted if fewer than a quarter of the chains, or fewer than 2, are effective.

        Data with fewer than half of the chains, or fewer than 4, effective are undecided.
        """
        effective = arrays["effective_sample_size"]
        few = effective < max(self.chains / 4, FEWEST_CHAINS)
        return Trust(
            reasons={"effective_sample_size": few},
            unclear=~few & (effective < max(self.chains / 2, ENOUGH_CHAINS)),
        )

    def warning(self, trust: Trust, arrays: Mapping[str, Tensor]) -> str:
        """Why data are untrusted, and what to try."""
        which = f"{int(trust.untrusted.sum())} of {len(trust.unclear)} data"
        few = f"{which} have fewer effective chains than a quarter of them, or than 2"
        return f"{few}; try more {option('temperatures')}, {option('leapfrog')} steps or {option('chains')}"

    def doubt(self, trust: Trust, arrays: Mapping[str, Tensor]) -> str:
        """Why data are undecided, and what to try."""
        which = f"{int(trust.unclear.sum())} of {len(trust.unclear)} data"
        few = f"{which} have fewer effective chains than half of them, or than 4"
        return f"{few}; try more {option('temperatures')} or {option('chains')}"

    def reported(self, vae: VAE) -> dict[str, Any]:
        """The settings of the chains, whether default or not."""
        return self.settings()

    def summary(self, arrays: Mapping[str, Tensor]) -> dict[str, Any]:
        """The mean acceptance at each temperature after the first."""
        return {"acceptance": torch.as_tensor(arrays["acceptance"]).double().mean(0).tolist()}
