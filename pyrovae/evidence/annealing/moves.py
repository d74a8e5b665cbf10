"""Markov moves that leave a density on the annealing path invariant: Hamiltonian for real latents, flips for bits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.distributions import Transform

from pyrovae.contracts.supports import BITS, Support
from pyrovae.errors import UserError, option
from pyrovae.evidence.keyed import Generators

Densities = Callable[[Tensor], tuple[Tensor, Tensor]]
"""z (M, B, D) -> log f_0 and log f_1 - log f_0, each (M, B), in nats: log f_b is the first plus b times the second."""

ACCEPTANCE = 0.65
"""What the step sizes are tuned for."""

RATE = 0.2
"""Change of a step's logarithm per unit of difference from the target acceptance rate."""

MEMORY = 0.8
"""Weight of earlier curvature estimates from one temperature of the pilot run to the next."""

LENGTH = 2.0
"""Longest trajectory, in units of the latents: a little over a quarter of the period 2 pi that it has in a normal density.

A longer trajectory returns, or ends on the other side of the mode at the density where it began."""

SHORTEST = 0.5
"""The step of a trajectory is uniform between this share of the tuned step and all of it, to avoid periodic chains."""


@final
@dataclass(frozen=True)
class State:
    """The positions of the chains and the densities there: enough to change the temperature without decoding again.

    Args:
        at: Positions (M, B, D): unconstrained latents, or bits.
        start: log f_0 there, (M, B), in the measure of the positions.
        slope: log f_1 - log f_0 there, (M, B).
        gradients: Gradients of ``start`` and ``slope``, (2, M, B, D); None for bits.
    """

    at: Tensor
    start: Tensor
    slope: Tensor
    gradients: Tensor | None = None

    def log_density(self, b: float) -> Tensor:
        """log f_b, (M, B)."""
        # 0 times a slope of -inf is not a number.
        return self.start.double() + b * self.slope.double() if b else self.start.double()

    def gradient(self, b: float) -> Tensor:
        """Of log f_b, (M, B, D)."""
        assert self.gradients is not None  # bits have no gradients and need none
        return self.gradients[0] + b * self.gradients[1] if b else self.gradients[0]

    def replaced(self, other: State, where: Tensor) -> State:
        """This state, replaced by the other one for the chains (M, B) selected."""
        each = where.unsqueeze(-1)
        return State(
            torch.where(each, other.at, self.at),
            torch.where(where, other.start, self.start),
            torch.where(where, other.slope, self.slope),
            None if self.gradients is None or other.gradients is None else torch.where(each, other.gradients, self.gradients),
        )


class Moves(ABC):
    """Moves along a path f_b, 0 <= b <= 1: each leaves f_b invariant, and their settings do not depend on the chains."""

    @abstractmethod
    def begin(self, z: Tensor) -> State:
        """The state of chains at latents z (M, B, D)."""

    @abstractmethod
    def move(self, state: State, b: float, number: int, noise: Generators) -> tuple[State, Tensor]:
        """Move every chain; returns the new state and the acceptance probability of each chain, (M, B).

        Args:
            state: The chains.
            b: Inverse temperature.
            number: Number of the temperature on the schedule, from 0.
            noise: Noise generators, one per datum.
        """

    @abstractmethod
    def back(self, state: State, b: float, number: int, noise: Generators) -> tuple[State, Tensor]:
        """The reversal of ``move`` with respect to f_b: from an end point of a move to a possible starting point."""


@final
@dataclass(frozen=True)
class Steps:
    """Step sizes of trajectories, found in a pilot run and then fixed for all chains of a datum.

    Args:
        log_step: Logarithm of the step at each temperature of the pilot run, (T', B), T' at least 2.
        log_scale: Logarithm of the unit that a step is measured in, by latent, (T', B, D).
    """

    log_step: Tensor
    log_scale: Tensor

    def at(self, place: float) -> Tensor:
        """Steps (B, D), their logarithms interpolated between temperatures of the pilot run.

        Args:
            place: On the schedule, from 0 to 1.
        """
        position = place * (len(self.log_step) - 1)
        low = min(int(position), len(self.log_step) - 2)
        share = position - low
        below, above = (self.log_step[i].unsqueeze(-1) + self.log_scale[i] for i in (low, low + 1))
        return torch.exp((1 - share) * below + share * above)


@final
class Trajectories:
    """Hamiltonian trajectories in the unconstrained space of the latents' support, with its Jacobian.

    Args:
        path: Of latents.
        support: Of one latent.
        leapfrog: Steps of a trajectory, one gradient each.
    """

    def __init__(self, path: Densities, support: Support, leapfrog: int) -> None:
        self.path = path
        self.transform = unconstraining(support)
        self.leapfrog = leapfrog

    def state(self, u: Tensor) -> State:
        """What is known at unconstrained latents (M, B, D)."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            z = self.transform(u)
            start, slope = self.path(z)
            start = start + self.transform.log_abs_det_jacobian(u, z).sum(-1)
            gradients = [torch.autograd.grad(start.sum(), u, retain_graph=True)[0], torch.autograd.grad(slope.sum(), u)[0]]
        return State(u.detach(), start.detach(), slope.detach(), torch.stack(gradients))

    def begin(self, z: Tensor) -> State:
        """What is known at latents (M, B, D)."""
        return self.state(self.transform.inv(z))

    def move(self, state: State, b: float, step: Tensor, noise: Generators) -> tuple[State, Tensor]:
        """Follow a trajectory from a random momentum, then accept its end point or stay.

        Args:
            state: Where the chains are.
            b: Inverse temperature.
            step: (B, D).
            noise: Noise generators, one per datum.

        Returns:
            The new state, and min(1, exp(-energy gained)), (M, B); an end point with a NaN energy is not accepted.
        """
        chains, _, size = state.at.shape
        momentum = noise.normal(chains, size).transpose(0, 1).to(state.at)
        jitter, chance = noise.uniform(chains, 2).to(state.at).permute(2, 1, 0)
        step = step * (SHORTEST + (1 - SHORTEST) * jitter.unsqueeze(-1))
        end, p = state, momentum + 0.5 * step * state.gradient(b)
        for number in range(1, self.leapfrog + 1):
            end = self.state(end.at + step * p)
            p = p + (1.0 if number < self.leapfrog else 0.5) * step * end.gradient(b)
        gained = end.log_density(b) - state.log_density(b) + 0.5 * (momentum.double() ** 2 - p.double() ** 2).sum(-1)
        probability = torch.nan_to_num(gained.clamp(max=0).exp(), nan=0.0)
        return state.replaced(end, chance < probability), probability


@final
class Hamiltonian(Moves):
    """Trajectories with fixed step sizes; each move is its own reversal.

    Args:
        trajectories: The trajectories.
        steps: Their step sizes.
        temperatures: T, of the schedule.

    Source: Duane, Kennedy, Pendleton and Roweth (1987), Hybrid Monte Carlo; Neal (2011), MCMC Using Hamiltonian Dynamics.
    """

    def __init__(self, trajectories: Trajectories, steps: Steps, temperatures: int) -> None:
        self.trajectories = trajectories
        self.steps = steps
        self.temperatures = temperatures

    def begin(self, z: Tensor) -> State:
        return self.trajectories.begin(z)

    def move(self, state: State, b: float, number: int, noise: Generators) -> tuple[State, Tensor]:
        return self.trajectories.move(state, b, self.steps.at(number / (self.temperatures - 1)), noise)

    back = move


def tune(trajectories: Trajectories, z: Tensor, betas: list[float], noise: Generators) -> Steps:
    """Find step sizes in a pilot run from latents z (M, B, D) of f_0; its chains are used for nothing else.

    The unit of a latent is E[(d log f_b / du)^2]^(-1/2), its standard deviation if f_b is normal and factorises, from the
    gradients at the last few temperatures. The step, in units, moves towards an acceptance of 0.65 from temperature to
    temperature, but leapfrog times the step is at most 2: acceptance is higher where that limit applies.

    Args:
        trajectories: The trajectories.
        z: Where the chains start.
        betas: Inverse temperatures of the pilot run.
        noise: Noise generators, one per datum.
    """
    state = trajectories.begin(z)
    longest = math.log(LENGTH / trajectories.leapfrog)
    log_step = state.start.new_full(state.start.shape[1:], min(longest, -0.25 * math.log(z.shape[-1])))
    curvature = None
    log_steps, log_scales = [], []
    for b in betas:
        now = torch.nan_to_num(state.gradient(b), nan=0.0, posinf=0.0, neginf=0.0).square().mean(0)
        curvature = now if curvature is None else MEMORY * curvature + (1 - MEMORY) * now
        log_scale = -0.5 * curvature.clamp(min=1e-12).log()
        log_steps.append(log_step)
        log_scales.append(log_scale)
        state, acceptance = trajectories.move(state, b, (log_step.unsqueeze(-1) + log_scale).exp(), noise)
        log_step = (log_step + RATE * (acceptance.mean(0) - ACCEPTANCE).to(log_step)).clamp(max=longest)
    return Steps(torch.stack(log_steps), torch.stack(log_scales))


@final
class Flips(Moves):
    """Flips of one bit after another, each accepted with probability min(1, f_b(flipped) / f_b(z)); no step sizes.

    The bits are visited in turn, continuing at each temperature where the previous one stopped; the reversal visits them
    in reverse order.

    Args:
        path: Of bits.
        visits: Number of bits visited at each temperature, with one decoding each.

    Source: Liu (1996), Peskun's Theorem and a Modified Discrete-State Gibbs Sampler.
    """

    def __init__(self, path: Densities, visits: int) -> None:
        self.path = path
        self.visits = visits

    def begin(self, z: Tensor) -> State:
        return State(z, *self.path(z))

    def move(self, state: State, b: float, number: int, noise: Generators) -> tuple[State, Tensor]:
        return self._flip(state, b, self._visited(state, number), noise)

    def back(self, state: State, b: float, number: int, noise: Generators) -> tuple[State, Tensor]:
        return self._flip(state, b, self._visited(state, number)[::-1], noise)

    def _visited(self, state: State, number: int) -> list[int]:
        return [(number * self.visits + visit) % state.at.shape[-1] for visit in range(self.visits)]

    def _flip(self, state: State, b: float, visited: list[int], noise: Generators) -> tuple[State, Tensor]:
        chances = noise.uniform(len(state.at), self.visits).to(state.at).permute(2, 1, 0)
        total = torch.zeros_like(state.start, dtype=torch.float64)
        for bit, chance in zip(visited, chances, strict=True):
            flipped = state.at.clone()
            flipped[..., bit] = 1 - flipped[..., bit]
            proposal = self.begin(flipped)
            gained = proposal.log_density(b) - state.log_density(b)
            probability = torch.nan_to_num(gained.clamp(max=0).exp(), nan=0.0)
            state = state.replaced(proposal, chance < probability)
            total = total + probability
        return state, total / self.visits


def unconstraining(support: Support) -> Transform:
    """The transform from the reals to a support; its values stay within the support in every precision.

    Raises:
        UserError: If there is none.
    """
    try:
        transform = support.from_reals()
    except NotImplementedError as error:
        raise UserError(
            "estimator",
            "annealed",
            f"latents on {support} cannot be moved by trajectories",
            f"use {option('estimator', 'importance')}",
        ) from error
    return transform


def is_discrete(support: Support) -> bool:
    """Whether latents on that support are bits, which trajectories cannot move."""
    return support == BITS
