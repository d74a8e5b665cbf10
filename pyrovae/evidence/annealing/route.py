"""Annealed importance sampling: log p(x) from a path of densities between the prior, or the guide, and the posterior."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.contracts import Distribution, Estimator
from pyrovae.contracts.supports import as_support
from pyrovae.errors import UserError, check_integer, suggest
from pyrovae.evidence import keyed
from pyrovae.evidence.annealing.moves import Flips, Hamiltonian, Moves, State, Trajectories, is_discrete, tune
from pyrovae.evidence.importance.weights import Weights
from pyrovae.evidence.purposes import Purpose
from pyrovae.evidence.rows import rows_at_a_time
from pyrovae.evidence.scoring import check_log_weights
from pyrovae.vae import VAE

SCHEDULES = ("linear", "sigmoid")
STARTS = ("prior", "guide")

STEEPNESS = 4.0
"""Range of the logistic function on either side of 0 that the sigmoid schedule uses."""

PILOT = 200
"""Temperatures of the pilot run, at most."""


@dataclass(frozen=True, kw_only=True)
class Annealing(Estimator):
    """An estimator whose chains go from f_0 to f_1.

    Args:
        temperatures: T, inverse temperatures from b_1 = 0 to b_T = 1, at least 2.
        chains: M, chains per datum.
        leapfrog: Gradients per move; for bits, the number visited at each temperature.
        schedule: ``linear``, or ``sigmoid``: b_t = (s_t - s_1) / (s_T - s_1), s_t = sigmoid(4 (2 (t - 1) / (T - 1) - 1)).
        start: f_0, ``prior`` for p(z|c) or ``guide`` for q(z|x,c).

    Raises:
        UserError: If a number is out of range, or schedule or start is unknown.
    """

    temperatures: int = 1000
    chains: int = 16
    leapfrog: int = 3
    schedule: str = "sigmoid"
    start: str = "prior"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("temperatures", self.temperatures, 2)
        check_integer("chains", self.chains, 1)
        check_integer("leapfrog", self.leapfrog, 1)
        for name, value, known in (("schedule", self.schedule, SCHEDULES), ("start", self.start, STARTS)):
            if value not in known:
                raise UserError(name, value, "unknown", suggest(str(value), known))

    def settings(self) -> dict[str, Any]:
        """How the chains go, by option."""
        return {name: getattr(self, name) for name in ("temperatures", "chains", "leapfrog", "schedule", "start")}

    def betas(self, temperatures: int | None = None) -> list[float]:
        """Inverse temperatures of the schedule.

        Args:
            temperatures: How many; T unless given.
        """
        count = self.temperatures if temperatures is None else temperatures
        place = torch.linspace(0, 1, count, dtype=torch.float64)
        if self.schedule == "sigmoid":
            curve = torch.sigmoid(STEEPNESS * (2 * place - 1))
            place = (curve - curve[0]) / (curve[-1] - curve[0])
        return place.tolist()

    def data_rows(self, vae: VAE, rows: int) -> int:
        """Number of data at a time, for ``rows`` chains x data that fit the memory."""
        return max(1, rows_at_a_time(vae, rows) // self.chains)


@final
class Route:
    """The densities f_b(z) = pi(z|x)^(1 - b) p(x,z|c)^b of some data, pi the prior or the guide, and moves along them.

    Args:
        vae: The model, in evaluation mode.
        y: Data as the likelihood sees them, (B, *E).
        c: Contexts, or None.
        annealing: The settings of the annealing.
        seed: Seed of the noise.
        index: Row of each datum in its data set.
    """

    def __init__(self, vae: VAE, y: Tensor, c: Tensor | None, annealing: Annealing, seed: int, index: Sequence[int]) -> None:
        self.vae, self.y, self.c, self.annealing = vae, y, c, annealing
        self.seed, self.index = seed, index
        self.prior = vae.prior(c)
        self.params = vae.posterior_params(y, c)
        self.guide = vae.posterior_density(self.params)

    def path(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log pi(z|x), and log p(x,z|c) less that, of z (M, B, D)."""
        log_prior, log_likelihood = self.prior.log_prob(z), self.vae.likelihood(z, self.c).log_prob(self.y)
        if self.annealing.start == "prior":
            return log_prior, log_likelihood
        log_guide = self.guide.log_prob(z)
        return log_guide, log_prior + log_likelihood - log_guide

    def draw(self, noise: keyed.Generators) -> Tensor:
        """Latents (M, B, D) of pi."""
        home = copy.deepcopy(self.vae).cpu()
        each = from_prior(home, self.c, len(self.index)) if self.annealing.start == "prior" else self._guides(home)
        z = noise.each(lambda row: each[row].sample((self.annealing.chains,)))
        return z.transpose(0, 1).to(self.y)

    def _guides(self, home: VAE) -> list[Distribution]:
        return [home.posterior_density(params) for params in self.params.cpu()]

    def moves(self) -> Moves:
        """Moves along the route; their step sizes are found in a pilot run with its own noise, then fixed."""
        support = as_support(self.vae.prior_module.support)
        if is_discrete(support):
            return Flips(self.path, self.annealing.leapfrog)
        trajectories = Trajectories(self.path, support, self.annealing.leapfrog)
        noise = keyed.Generators(self.seed, self.index, Purpose.PILOT)
        betas = self.annealing.betas(min(self.annealing.temperatures, PILOT))
        steps = tune(trajectories, self.draw(noise), betas, noise)
        return Hamiltonian(trajectories, steps, self.annealing.temperatures)


def from_prior(home: VAE, c: Tensor | None, count: int) -> list[Distribution]:
    """p(z|c) for each of ``count`` data, without a batch.

    Args:
        home: The model, on the CPU.
        c: Contexts, or None.
        count: Number of data.
    """
    c = None if c is None else c.cpu()
    shared = home.prior(c)
    if c is None or not shared.batch_shape:
        return [shared] * count
    return [home.prior(one) for one in c]


def anneal(moves: Moves, state: State, betas: Sequence[float], noise: keyed.Generators) -> tuple[Tensor, Tensor]:
    """Take chains from f_0 to f_1: log-weights (M, B), float64, and mean acceptance (B, T - 1) at b_2, ..., b_T.

    log w = sum_t (b_(t+1) - b_t) (log f_1 - log f_0)(z_t), where z_1 is of f_0 and z_t is moved at b_t.

    Args:
        moves: Along the path.
        state: Where the chains start.
        betas: Inverse temperatures, rising.
        noise: Noise generators, one per datum.
    """
    log_weight = torch.zeros_like(state.slope, dtype=torch.float64)
    acceptance = []
    for number in range(1, len(betas)):
        log_weight = log_weight + (betas[number] - betas[number - 1]) * state.slope.double()
        state, probability = moves.move(state, betas[number], number, noise)
        acceptance.append(probability.mean(0))
    return log_weight, torch.stack(acceptance, -1)


def anneal_back(moves: Moves, state: State, betas: Sequence[float], noise: keyed.Generators) -> tuple[Tensor, Tensor]:
    """Take chains from f_1 to f_0 by the reversals of the same moves, in reverse order; returns what ``anneal`` does.

    log w = -sum_t (b_(t+1) - b_t) (log f_1 - log f_0)(z_t), where z_T is of f_1 and z_t has been moved at b_T, ..., b_(t+1).

    Args:
        moves: Along the path.
        state: Where the chains start.
        betas: Inverse temperatures, rising.
        noise: Noise generators, one per datum.
    """
    log_weight = torch.zeros_like(state.slope, dtype=torch.float64)
    acceptance = []
    for number in reversed(range(1, len(betas))):
        state, probability = moves.back(state, betas[number], number, noise)
        acceptance.append(probability.mean(0))
        log_weight = log_weight - (betas[number] - betas[number - 1]) * state.slope.double()
    return log_weight, torch.stack(acceptance[::-1], -1)


def log_mean_weight(log_weight: Tensor, index: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """log (1/M) sum_m w_m of chains (M, B), its standard error (NaN for one chain), the effective number of chains; each (B,).

    Raises:
        UserError: If a log-weight is NaN or +inf.
    """
    check_log_weights(log_weight, list(index), "annealed log-weights")
    weights = Weights(len(log_weight), log_weight[0])
    weights.add(log_weight)
    return weights.log_mean, weights.log_mean_error(weights.tail()).error, weights.effective_sample_size
