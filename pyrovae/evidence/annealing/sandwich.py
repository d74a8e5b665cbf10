"""Lower and upper bounds on the evidence of simulated data, per datum."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from pyrovae.contracts import Evidence
from pyrovae.errors import Note, UserError, check_integer, option
from pyrovae.evidence import keyed
from pyrovae.evidence.annealing.route import Annealing, Route, anneal, anneal_back, from_prior, log_mean_weight
from pyrovae.evidence.pieces import in_chunks
from pyrovae.evidence.purposes import Purpose
from pyrovae.evidence.rows import ROWS
from pyrovae.evidence.scoring import estimating
from pyrovae.vae import VAE


@final
@dataclass(frozen=True, kw_only=True)
class Sandwich:
    """Bounds on log p(x) of simulated data that hold in expectation, in nats and in the units of the data.

    Args:
        lower: Of annealing from the start to the posterior, (N,), float64.
        upper: Of annealing from the exact latent to the start, (N,), float64.
        lower_error: Standard error over chains, (N,); NaN for one chain.
        upper_error: Likewise, the exact latent held fixed.
        diagnostics: ``acceptance`` and ``reverse_acceptance`` (N, T - 1) at each temperature after the first, from b_2 to b_T;
            ``effective_sample_size`` and ``reverse_effective_sample_size`` of the chains, (N,).
    """

    lower: Tensor
    upper: Tensor
    lower_error: Tensor
    upper_error: Tensor
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def gap(self) -> Tensor:
        """upper - lower, (N,), in nats: at least 0 in expectation, lower is better."""
        return self.upper - self.lower

    @property
    def mean_gap(self) -> float:
        """Mean gap over data."""
        return self.gap.mean().item()

    @property
    def mean_gap_error(self) -> float | None:
        """Standard error of the mean gap over data; None for one datum."""
        error = Evidence(estimate=self.gap, monte_carlo_error=torch.hypot(self.lower_error, self.upper_error)).standard_error
        return None if error is None or not math.isfinite(error) else error


def sandwich(
    vae: VAE, annealing: Annealing, simulated: int, *, seed: int = 0, index: Tensor | None = None, rows: int = ROWS
) -> Sandwich:
    """Simulate data from the model, and bound the evidence of each by annealing forwards and backwards.

    Args:
        vae: The model, prepared.
        annealing: The settings of the chains; all reverse chains start at the latent from which the datum was generated.
        simulated: N, the number of data to simulate; for a conditional model, with contexts that the context draws.
        seed: Noise is keyed by (seed, datum): a simulated datum does not depend on the other data or the device.
        index: Which of the N data to compute, (n,); by default all.
        rows: Chains x data that are moved at a time.

    Raises:
        UserError: If an index is out of range, the model's preprocessing is not fitted yet, or a log-weight is NaN or +inf.
    """
    check_integer("simulated", simulated, 1)
    annealing.check(vae)
    contexts, remark = vae.context_module.draw(simulated, seed), vae.context_module.remark()
    if remark:
        warnings.warn(Note(remark), stacklevel=3)
    chosen = list(range(simulated)) if index is None else index.tolist()
    if chosen and not 0 <= min(chosen) <= max(chosen) < simulated:
        raise UserError(None, f"index {max(chosen)}", f"{option('simulated', simulated)} are simulated, from row 0")
    together = annealing.data_rows(vae, rows)
    with estimating(vae):
        found = in_chunks(lambda rows: _sandwich(vae, contexts, annealing, seed, chosen[rows]), len(chosen), together)
    found = {name: values.cpu() for name, values in found.items()}
    bounds = {name: found.pop(name) for name in ("lower", "upper", "lower_error", "upper_error")}
    return Sandwich(**bounds, diagnostics=found)


def _sandwich(vae: VAE, contexts: Tensor | None, annealing: Annealing, seed: int, index: Sequence[int]) -> dict[str, Tensor]:
    """Both bounds for some simulated data, and diagnostics of the chains."""
    device = vae.device
    c = None if contexts is None else contexts[list(index)]
    z, y = simulate(vae, c, seed, index)
    route = Route(vae, y.to(device), None if c is None else c.to(device), annealing, seed, index)
    moves, betas = route.moves(), annealing.betas()
    noise = keyed.Generators(seed, index, Purpose.CHAINS)
    at_z = moves.begin(z.to(device).expand(annealing.chains, *z.shape))
    up, acceptance = anneal(moves, moves.begin(route.draw(noise)), betas, noise)
    down, reverse_acceptance = anneal_back(moves, at_z, betas, keyed.Generators(seed, index, Purpose.REVERSE))
    log_mean, lower_error, effective = log_mean_weight(up, index)
    log_mean_inverse, upper_error, reverse_effective = log_mean_weight(down, index)
    log_det = vae.transform.log_abs_det_jacobian()
    return {
        "lower": log_mean + log_det,
        "upper": -log_mean_inverse + log_det,
        "lower_error": lower_error,
        "upper_error": upper_error,
        "acceptance": acceptance,
        "reverse_acceptance": reverse_acceptance,
        "effective_sample_size": effective,
        "reverse_effective_sample_size": reverse_effective,
    }


def simulate(vae: VAE, c: Tensor | None, seed: int, index: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Latents z* (B, D) of p(z|c) and data y (B, *E) of p(y|z*,c), as the likelihood sees them, on the CPU.

    Args:
        vae: The model, in evaluation mode.
        c: Contexts of the data, or None.
        seed: Noise is keyed by (seed, datum).
        index: Number of each datum.
    """
    home = copy.deepcopy(vae).cpu()
    c = None if c is None else c.cpu()
    prior, noise = from_prior(home, c, len(index)), keyed.Generators(seed, index, Purpose.SIMULATION)
    z = noise.each(lambda row: prior[row].sample())
    # One at a time: products of several rows are rounded differently, which can change a simulated datum.
    y = noise.each(lambda row: home.likelihood(z[row], None if c is None else c[row]).sample())
    return z, y
