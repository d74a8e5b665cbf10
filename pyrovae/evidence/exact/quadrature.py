"""The evidence of a model with one or two continuous latents by adaptive quadrature, to a stated tolerance."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from pyrovae.contracts.supports import OPEN_UNIT, REALS, Support, as_support
from pyrovae.evidence.exact.cubature import Cells, grid, halved, integrate, measured, refinable, relative_errors, totals
from pyrovae.evidence.exact.grouping import distinct
from pyrovae.evidence.scoring import check_log_weights
from pyrovae.system.devices import own_noise
from pyrovae.vae import VAE

MOST_LATENTS = 2

DRAWS = 1000
"""Number of draws that estimate the location and width of the prior."""

FAR = 1000.0
"""The range of the latents ends where the log prior is this many nats below its value in the middle."""

MOST_CELLS = {1: 4_000, 2: 12_000}
"""The integral of a datum with so many cells is not refined further, by the number of latents."""

MOST_ROOTS = {1: 2_000, 2: 4_000}
"""Maximum number of initial cells, which are split until the prior integrates to 1 on them."""


@final
@dataclass(frozen=True)
class Quadrature:
    """The result of quadrature for some data.

    Args:
        log_evidence: log p(y|c) per datum in nats, (B,).
        error: Estimate of its absolute error in nats, (B,); infinite if unknown.
        converged: 1 where the error is within the tolerance, else 0, (B,).
    """

    log_evidence: Tensor
    error: Tensor
    converged: Tensor


class Line(ABC):
    """A smooth increasing map of an interval onto the support of a latent.

    Attributes:
        ends: How far the interval may reach, in rising order.
    """

    ends: ClassVar[tuple[float, ...]]

    @abstractmethod
    def edges(self, dims: int, end: float) -> list[float]:
        """The edges of the first cells of the interval, in order."""

    @abstractmethod
    def __call__(self, t: Tensor, centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dt, both of the shape of t."""


@final
class Reals(Line):
    """z = m + s sinh t: in the tails, cells of one width in t span the same factor of z, and a power of z is an exponential."""

    ends = tuple(float(end) for end in range(4, 21))

    def edges(self, dims: int, end: float) -> list[float]:
        middle, step, further = {1: (4.0, 0.125, 0.5), 2: (2.5, 0.5, 1.5)}[dims]
        inner, outer = round(middle / step), math.ceil((end - middle) / further)
        upper = [step * k for k in range(inner + 1)] + [middle + (end - middle) * (k + 1) / outer for k in range(outer)]
        return [-t for t in upper[:0:-1]] + upper

    def __call__(self, t: Tensor, centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        return centre + scale * t.sinh(), scale.log() + t.cosh().log()


@final
class UnitInterval(Line):
    """z = sin^2(pi t / 2), which makes Beta(1/2, 1/2) uniform in t."""

    ends = (1.0,)

    def edges(self, dims: int, end: float) -> list[float]:
        cells = {1: 32, 2: 10}[dims]
        return [end * k / cells for k in range(cells + 1)]

    def __call__(self, t: Tensor, centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        edge = torch.finfo(t.dtype).eps / 2
        z = (math.pi / 2 * t).sin().square().clamp(edge, 1 - edge)
        return z, math.log(math.pi / 2) + (math.pi * t).sin().log()


LINES: dict[Support, Line] = {REALS: Reals(), OPEN_UNIT: UnitInterval()}


def has_quadrature(vae: VAE) -> bool:
    """Whether there are one or two continuous latents."""
    return vae.latent_dim <= MOST_LATENTS and as_support(vae.prior_module.support) in LINES


def quadrature(vae: VAE, y: Tensor, c: Tensor | None, index: list[int], tolerance: float, rows: int) -> Quadrature:
    """log p(y|c) = log int p(z|c) p(y|z,c) dz per datum in nats, by cells that are split where the integrand needs it.

    The initial cells are those on which p(z|c) integrates to 1 within the tolerance; the guide is not used. A mode between
    their nodes that changes nothing at the nodes would be missed.

    Args:
        vae: The model, in float64.
        y: Data as the likelihood sees them, (B, *E).
        c: Contexts, or None.
        index: Row of each datum in its data set.
        tolerance: Of p(y|c), relative; of log p(y|c), absolute.
        rows: Points x data at a time.
    """
    contexts, which = distinct(c, len(y), y.device)
    space = _Space(vae, contexts, rows)
    roots, missing = space.roots(tolerance)
    highest = torch.full((len(y),), -math.inf, dtype=y.dtype, device=y.device)

    def log_joint(datum: Tensor, t: Tensor) -> Tensor:
        found, log_likelihood = space.log_joint(y, datum, which[datum], t)
        _check(found, datum, index)
        highest.scatter_reduce_(0, datum, log_likelihood, "amax")
        return found

    datum, root = (which.unsqueeze(1) == roots.integral).nonzero().T
    start = roots[root]
    # The prior integrates to 1 on the roots: p(z|c) p(y|z,c) over a part of one is at most its probability times the likelihood.
    cells = measured(log_joint, datum, torch.zeros_like(datum), start.centre, start.half, start.log_value)
    cells = integrate(log_joint, cells, highest, tolerance, MOST_CELLS[vae.latent_dim])
    log_evidence = totals(cells.log_value, cells.integral, len(y))
    # The missing mass of the prior times the largest likelihood found.
    relative = relative_errors(cells, highest) + missing[which] * (highest - log_evidence).exp()
    return Quadrature(
        log_evidence=log_evidence,
        error=torch.where(relative < 1, -torch.log1p(-relative.clamp(max=1)), math.inf),
        converged=(relative <= tolerance).to(y.dtype),
    )


@final
class _Space:
    """The latents as an interval or a square, for each of some contexts.

    Args:
        vae: The model.
        contexts: Different ones, or one None.
        rows: Points x data at a time.
    """

    def __init__(self, vae: VAE, contexts: list[Tensor | None], rows: int) -> None:
        self.vae, self.rows, self.count = vae, rows, len(contexts)
        given = [c for c in contexts if c is not None]
        self.contexts = torch.stack(given) if given else None
        self.line = LINES[as_support(vae.prior_module.support)]
        spreads = [_spread(vae, c) for c in contexts]
        self.centre, self.scale = (torch.stack(each) for each in zip(*spreads, strict=True))

    def roots(self, tolerance: float) -> tuple[Cells, Tensor]:
        """Cells, for each context, on which p(z|c) integrates to 1; and by how much it does not where that failed, (G,)."""
        dims = self.vae.latent_dim
        centre, half = grid(self.centre.new_tensor(self.line.edges(dims, self._end())), dims)
        group = torch.arange(self.count, device=centre.device).repeat_interleave(len(centre))
        zero = torch.zeros_like(group)
        boxes = (centre.repeat(self.count, 1), half.repeat(self.count, 1))
        cells = measured(self.log_prior, group, zero, *boxes, zero.to(centre.dtype))
        without_measure = centre.new_full((self.count,), math.inf)
        most = MOST_ROOTS[dims]
        while (wrong := self._missing(cells) > tolerance).any():
            chosen = refinable(cells, without_measure, tolerance, most)
            # If the density is zero at all nodes, its mass must lie between them.
            blind = torch.bincount(cells.integral[chosen], minlength=self.count) == 0
            small = 2**dims * torch.bincount(cells.integral, minlength=self.count) <= most
            chosen = (chosen | (blind & small)[cells.integral]) & wrong[cells.integral]
            if not chosen.any():
                break
            cells = cells[~chosen] + halved(self.log_prior, cells[chosen])
        missing = self._missing(cells)
        return cells, torch.where(missing <= tolerance, 0.0, missing)

    def _end(self) -> float:
        """The extent that the interval needs along every axis for every context."""
        signs = torch.cat([torch.eye(self.vae.latent_dim), -torch.eye(self.vae.latent_dim)]).to(self.centre)
        group = torch.arange(self.count, device=signs.device)
        ends = torch.cat([signs.new_zeros(1), signs.new_tensor(self.line.ends)])
        t = (ends[:, None, None] * signs).flatten(0, 1)
        log_prior = self._log_prior(group, t.unsqueeze(1).expand(-1, self.count, -1))[0].view(len(ends), -1)
        within = (log_prior[1:] > log_prior[:1] - FAR).any(-1)
        return self.line.ends[min(int(within.sum()), len(self.line.ends) - 1)]

    def _missing(self, cells: Cells) -> Tensor:
        return torch.expm1(totals(cells.log_value, cells.integral, self.count)).abs()

    def log_prior(self, group: Tensor, t: Tensor) -> Tensor:
        """log p(z|c) + log|dz/dt| of points t (n, C, D), for the context of each cell (C,)."""
        parts = torch.arange(len(group), device=t.device).split(max(1, self.rows // len(t)))
        return torch.cat([self._log_prior(group[part], t[:, part])[0] for part in parts], 1)

    def _log_prior(self, group: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = self.line(t, self.centre[group], self.scale[group])
        return self.vae.prior(self._context(group)).log_prob(z) + log_slope.sum(-1), z

    def _context(self, group: Tensor) -> Tensor | None:
        return None if self.contexts is None else self.contexts[group]

    def log_joint(self, y: Tensor, datum: Tensor, group: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """log p(y, z|c) + log|dz/dt| of points t (n, C, D), for the datum and context of each cell; and the most of log p(y|z,c).

        Points that cells of one context share are decoded once.
        """
        key = _numbered(group, t)
        found = torch.empty(t.shape[:2], dtype=t.dtype, device=t.device)
        highest = found.new_empty(len(key))
        for part in key.argsort().split(max(1, self.rows // len(t))):
            same, number = key[part].unique(return_inverse=True)
            one_of = part.new_empty(len(same)).scatter_(0, number, part)
            log_prior, z = self._log_prior(group[one_of], t[:, one_of])
            embedding = self.vae.context_module(self._context(group[one_of]))
            params = self.vae.decoder(z, embedding)
            likelihood = self.vae.likelihood_density(params if len(same) == len(part) else params[:, number])
            log_likelihood = likelihood.log_prob(y[datum[part]])
            found[:, part] = log_prior[:, number] + log_likelihood
            highest[part] = log_likelihood.amax(0)
        return found, highest


def _numbered(group: Tensor, t: Tensor) -> Tensor:
    """The same number for cells of the same group that hold the same points, (C,)."""
    # A grid of points is known by two of its corners; a number stays below that of the cells, so that no product overflows.
    number = group
    for column in torch.cat([t[0], t[-1]], -1).T:
        number = number * len(column) + column.unique(return_inverse=True)[1]
        number = number.unique(return_inverse=True)[1]
    return number


def _spread(vae: VAE, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """Median and half of the central 68 % of each latent under the prior, (D,) each, from fixed draws."""
    device = vae.device
    with own_noise(device):
        torch.manual_seed(0)
        z = vae.prior(c).sample((DRAWS,))
    low, middle, high = torch.quantile(z, z.new_tensor([0.16, 0.5, 0.84]), dim=0)
    return middle, ((high - low) / 2).clamp(min=torch.finfo(z.dtype).tiny ** 0.5)


def _check(log_joint: Tensor, datum: Tensor, index: list[int]) -> None:
    """Refuse NaN and +inf, naming the data."""
    bad = (log_joint.isnan() | (log_joint == math.inf)).any(0)
    if bad.any():
        by_datum = log_joint.new_zeros(1, len(index))
        by_datum[0, datum[bad]] = math.nan
        check_log_weights(by_datum, index, "log-densities")
