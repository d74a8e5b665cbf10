"""What importance sampling draws its latents from."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from typing import final

import torch
from pyro.distributions import Distribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from pyrovae.errors import UserError, check_number, suggest
from pyrovae.evidence import keyed
from pyrovae.families.support import open_unit_interval
from pyrovae.vae import VAE

WIDEN = 1.5
"""By how much a widened guide is wider unless that is given."""

_PRIOR_NOISE = 1000
"""Purpose of the noise of the first block of the prior's samples, see ``keyed.Generators``; further blocks count up."""


class Proposal(ABC):
    """Samples of the latents of some data, with their log-density.

    Args:
        vae: The model.
        q: q(z|x,c) of the data, batch (B,).
        params: Its raw parameters, (B, P, D).
        c: Contexts, or None.
        seed: Of the evaluation.
        data: Row of each datum in its data set.
    """

    def __init__(self, vae: VAE, q: Distribution, params: Tensor, c: Tensor | None, seed: int, data: list[int]) -> None:
        self.vae, self.q, self.params, self.c, self.seed, self.data = vae, q, params, c, seed, data

    @abstractmethod
    def draw(self, block: int, count: int) -> tuple[Tensor, Tensor | None]:
        """z (count, B, D) and its log-density (count, B); None for the guide's own, which is q's.

        Args:
            block: Number of the block of ``keyed.BLOCK`` samples, from 0, in rising order.
            count: How many of them.
        """

    def _guide(self, block: int, count: int) -> Tensor:
        return keyed.posterior_samples(self.vae.posterior_density, self.params, self.q, self.seed, self.data, block, count)


@final
class Guide(Proposal):
    """q(z|x,c) as it was trained."""

    def draw(self, block: int, count: int) -> tuple[Tensor, Tensor | None]:
        return self._guide(block, count), None


@final
class FromPrior(Proposal):
    """p(z|c): what a conditional model has at test time, before x is seen."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)
        home = self.vae if self.params.device.type == "cpu" else copy.deepcopy(self.vae).cpu()
        c = None if self.c is None else self.c.cpu()
        shared = home.prior(c)
        self._each = [home.prior(c[row]) if shared.batch_shape else shared for row in range(len(self.data))]
        self._prior = self.vae.prior(self.c)

    def draw(self, block: int, count: int) -> tuple[Tensor, Tensor | None]:
        noise = keyed.Generators(self.seed, self.data, _PRIOR_NOISE + block)
        z = noise.each(lambda row: self._each[row].sample((keyed.BLOCK,))).transpose(0, 1)[:count].to(self.params)
        return z, self._prior.log_prob(z)


@final
class Widened(Proposal):
    """The guide, stretched by a factor s about its mean in the unconstrained space of the latents.

    On the reals z' = m + s (z - m), so log q'(z') = log q(z) - D log s; between 0 and 1 the same of the logits; for bits the
    logits are divided by s.

    Args:
        given: As for every proposal.
        factor: s; below 1 the guide is narrowed.
    """

    def __init__(self, factor: float, *given: object) -> None:
        super().__init__(*given)
        self.factor = factor
        self.mean = self.vae.parts["posterior"].mean(self.q)
        support = self.vae.posterior_density.support
        self._draw = {
            repr(constraints.real): self._on_the_reals,
            repr(open_unit_interval): self._between_0_and_1,
            repr(constraints.boolean): self._of_bits,
        }[repr(support)]

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
        z = keyed.posterior_samples(density, params, q, self.seed, self.data, block, count)
        return z, q.log_prob(z)


def _log_slope(logits: Tensor) -> Tensor:
    """log of the derivative of the logistic function."""
    return logsigmoid(logits) + logsigmoid(-logits)


PROPOSALS = ("guide", "prior", "widened")


def check_proposal(name: str, widen: float | None) -> None:
    """Refuse an unknown proposal, and a factor for another than the widened guide.

    Raises:
        UserError: Naming the option.
    """
    if name not in PROPOSALS:
        raise UserError(f"--proposal {name}: unknown; {suggest(name, PROPOSALS)}")
    if widen is not None:
        check_number("widen", widen, positive=True)
        if name != "widened":
            raise UserError(f"--widen {widen:g}: is for --proposal widened, this one is {name}; leave it out")


def propose(name: str, widen: float | None, *given: object) -> Proposal:
    """The proposal of that name for some data; the further arguments are those of ``Proposal``."""
    if name == "widened":
        return Widened(WIDEN if widen is None else widen, *given)
    return {"guide": Guide, "prior": FromPrior}[name](*given)
