"""The proposal densities of importance sampling."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor
from torch.distributions import Normal, StudentT
from torch.nn.functional import logsigmoid

from pyrovae.contracts import Distribution
from pyrovae.contracts.supports import BITS, OPEN_UNIT, REALS
from pyrovae.errors import UserError, check_number, option, suggest
from pyrovae.evidence import keyed
from pyrovae.evidence.purposes import Purpose
from pyrovae.parts import name_of
from pyrovae.vae import VAE

WIDEN = 1.5
"""Default factor of the proposal ``widened``."""

SHARE, FREE = 0.2, 20
"""The share of heavy noise in each latent, and the number of latents above which it falls with the root of their number.

Enough to bound the weights well; where the guide is the posterior, half of the samples are effective with
20 latents, a third with 80.
"""

SPREAD = 1.5
"""Scale of the heavy noise; it makes the tails thicker than the prior's, so that weights in the tails stay near 1."""

SMALLEST_DF, USUAL_DF = 0.5, 4.0
"""Degrees of freedom of such noise: the least whose largest draws float32 can square, and those where the prior names none."""


class Proposal(ABC):
    """Samples of the latents of some data, with their log-density.

    Args:
        vae: The model.
        q: q(z|x,c) of the data, batch (B,).
        params: Its raw parameters, (B, P, D).
        c: Contexts, or None.
        seed: Of the evaluation.
        index: Row of each datum in its data set.
    """

    def __init__(self, vae: VAE, q: Distribution, params: Tensor, c: Tensor | None, seed: int, index: list[int]) -> None:
        self.vae, self.q, self.params, self.c, self.seed, self.index = vae, q, params, c, seed, index

    @abstractmethod
    def draw(self, block: int, count: int) -> tuple[Tensor, Tensor | None]:
        """z (count, B, D) and its log-density (count, B); None for the guide's own, which is q's.

        Args:
            block: Number of the block of ``keyed.BLOCK`` samples, from 0, in rising order.
            count: Number of samples of the block.
        """

    def _guide(self, block: int, count: int) -> Tensor:
        return keyed.posterior_samples(self.vae.posterior_density, self.params, self.q, self.seed, self.index, block, count)


@final
class Guide(Proposal):
    """q(z|x,c) as it was trained."""

    def draw(self, block: int, count: int) -> tuple[Tensor, Tensor | None]:
        return self._guide(block, count), None


@final
class Heavy(Proposal):
    """The guide made of noise with heavier tails: h(e) = (1 - a) N(e; 0, 1) + a t_v(e; 0, 1.5) for each latent, not N(e; 0, 1).

    Where z = f(e) the density is prod_d h(e_d) / |det df/de|. t_v has tails as heavy as the prior's; a is 0.2, less with more
    than 20 latents. A latent with little information about x has a posterior like the prior: a normal guide never draws from
    its tails, the weights that it draws look good, and the evidence is too low by the mass of the tails. Here weights are
    bounded.

    Source: Hesterberg (1995), Weighted Average Importance Sampling and Defensive Mixture Distributions; Bailey (1994), Polar
    Generation of Random Variates with the t-Distribution.
    """

    def __init__(self, vae: VAE, q: Distribution, params: Tensor, c: Tensor | None, seed: int, index: list[int]) -> None:
        super().__init__(vae, q, params, c, seed, index)
        self.df = max(SMALLEST_DF, self.vae.prior_module.tail_df or USUAL_DF)
        self.share = SHARE * min(1.0, math.sqrt(FREE / self.vae.latent_dim))

    def draw(self, block: int, count: int) -> tuple[Tensor, Tensor | None]:
        family, shape = self.vae.posterior_density.family, (keyed.BLOCK, *self.q.event_shape)
        normal = keyed.posterior_noise(self.seed, self.index, block, shape[1:])[:count].double()
        generators = keyed.Generators(self.seed, self.index, Purpose.HEAVY.of_block(block))
        uniform = generators.uniform(*shape, 2).transpose(0, 1)[:count].double()
        chosen, angle = uniform.unbind(-1)
        # Where it is below the share, it is a uniform number again; no float32 uniform number is a half of its spacing from 0.
        inside = ((chosen + torch.finfo(torch.float32).eps / 4) / self.share).clamp(max=1)
        student_t = (self.df * (inside ** (-2 / self.df) - 1)).sqrt() * torch.cos(2 * math.pi * angle)
        noise = torch.where(chosen < self.share, SPREAD * student_t, normal).to(self.params)
        z, log_stretch = family.from_noise(self.q, noise), family.log_stretch(self.q, noise)
        assert z is not None
        assert log_stretch is not None  # choose_proposal has checked this
        return z, self._log_noise(noise.double()) - log_stretch.double()

    def _log_noise(self, noise: Tensor) -> Tensor:
        """log prod_d h(e_d), (K, B), of noise (K, B, D) in float64."""
        normal = Normal(torch.zeros_like(noise), 1.0).log_prob(noise)
        student_t = StudentT(self.df, torch.zeros_like(noise), SPREAD).log_prob(noise)
        return torch.logaddexp(normal + math.log1p(-self.share), student_t + math.log(self.share)).sum(-1)


@final
class FromPrior(Proposal):
    """The prior p(z|c), which a conditional model has at test time before x is seen."""

    def __init__(self, vae: VAE, q: Distribution, params: Tensor, c: Tensor | None, seed: int, index: list[int]) -> None:
        super().__init__(vae, q, params, c, seed, index)
        home = self.vae if self.params.device.type == "cpu" else copy.deepcopy(self.vae).cpu()
        there = None if c is None else c.cpu()
        shared = home.prior(there)
        self._each = [shared] * len(index)
        if there is not None and shared.batch_shape:
            self._each = [home.prior(one) for one in there]
        self._prior = self.vae.prior(self.c)

    def draw(self, block: int, count: int) -> tuple[Tensor, Tensor | None]:
        noise = keyed.Generators(self.seed, self.index, Purpose.PRIOR.of_block(block))
        z = noise.each(lambda row: self._each[row].sample((keyed.BLOCK,))).transpose(0, 1)[:count].to(self.params)
        return z, self._prior.log_prob(z)


@final
class Widened(Proposal):
    """The guide, stretched by a factor s about its mean in the unconstrained space of the latents.

    On the reals z' = m + s (z - m), so log q'(z') = log q(z) - D log s; between 0 and 1 the logits are stretched in the same
    way; for bits the logits are divided by s.

    Args:
        factor: s; below 1 the guide is narrowed.
        vae: The model; it and the other arguments as for every proposal.
        q: q(z|x,c) of the data, batch (B,).
        params: Its raw parameters, (B, P, D).
        c: Contexts, or None.
        seed: Of the evaluation.
        index: Row of each datum in its data set.
    """

    def __init__(
        self, factor: float, vae: VAE, q: Distribution, params: Tensor, c: Tensor | None, seed: int, index: list[int]
    ) -> None:
        super().__init__(vae, q, params, c, seed, index)
        self.factor = factor
        self.mean = self.vae.posterior_density.family.mean(self.q)
        support = self.vae.posterior_density.support
        self._draw = {
            REALS: self._on_the_reals,
            OPEN_UNIT: self._between_0_and_1,
            BITS: self._of_bits,
        }[support]

    def draw(self, block: int, count: int) -> tuple[Tensor, Tensor | None]:
        return self._draw(block, count)

    def _on_the_reals(self, block: int, count: int) -> tuple[Tensor, Tensor]:
        z = self._guide(block, count)
        stretched = self.mean + self.factor * (z - self.mean)
        return stretched, self.q.log_prob(z) - z.shape[-1] * math.log(self.factor)

    def _between_0_and_1(self, block: int, count: int) -> tuple[Tensor, Tensor]:
        z = self._guide(block, count)
        logits, centre = torch.logit(z), torch.logit(self.mean)
        stretched = centre + self.factor * (logits - centre)
        smallest = torch.finfo(z.dtype).tiny
        inside = torch.sigmoid(stretched).clamp(smallest, 1 - torch.finfo(z.dtype).eps / 2)
        log_density = self.q.log_prob(z) + (_log_slope(logits) - _log_slope(stretched)).sum(-1)
        return inside, log_density - z.shape[-1] * math.log(self.factor)

    def _of_bits(self, block: int, count: int) -> tuple[Tensor, Tensor]:
        density, params = self.vae.posterior_density, self.params / self.factor
        q = density(params)
        z = keyed.posterior_samples(density, params, q, self.seed, self.index, block, count)
        return z, q.log_prob(z)


def _log_slope(logits: Tensor) -> Tensor:
    """log of the derivative of the logistic function."""
    return logsigmoid(logits) + logsigmoid(-logits)


PROPOSALS = ("auto", "guide", "heavy", "prior", "widened")


def check_proposal(name: str, widen: float | None) -> None:
    """Refuse an unknown proposal, and a factor for proposals other than the widened guide.

    Raises:
        UserError: If so; it names the option.
    """
    if name not in PROPOSALS:
        raise UserError("proposal", name, "unknown", suggest(str(name), PROPOSALS))
    if widen is not None:
        check_number("widen", widen, positive=True)
        if name != "widened":
            raise UserError("widen", widen, f"is for {option('proposal', 'widened')}", "leave it out, or add that")


def propose(
    name: str, widen: float | None, vae: VAE, q: Distribution, params: Tensor, c: Tensor | None, seed: int, index: list[int]
) -> Proposal:
    """Create the proposal of that name for some data; the further arguments are those of ``Proposal``."""
    if name == "widened":
        return Widened(WIDEN if widen is None else widen, vae, q, params, c, seed, index)
    proposals: dict[str, type[Proposal]] = {"guide": Guide, "heavy": Heavy, "prior": FromPrior}
    return proposals[name](vae, q, params, c, seed, index)


def choose_proposal(name: str, vae: VAE) -> str:
    """The name of the proposal, ``auto`` resolved: ``heavy`` if the prior's tails are heavier than the guide's, else ``guide``.

    Args:
        name: One of ``PROPOSALS``.
        vae: The model.

    Raises:
        UserError: If ``heavy`` is asked for and the guide is not a map of normal noise.
    """
    stretches = _stretches(vae)
    if name == "auto":
        return "heavy" if stretches and vae.prior_module.tail_df is not None else "guide"
    if name == "heavy" and not stretches:
        posterior = name_of("posterior", vae.parts["posterior"])
        raise UserError(
            "proposal",
            "heavy",
            f"is for guides with the tails of a normal density, {option('posterior', posterior)} has others",
            f"use {option('proposal', 'guide', 'prior', 'widened')}",
        )
    return name


def _stretches(vae: VAE) -> bool:
    density = vae.posterior_density
    params = torch.zeros(1, *density.params_shape).to(vae.device, vae.dtype)
    return density.family.log_stretch(density(params), params[:, 0]) is not None
