"""Integrals over boxes of one or two dimensions, many at once, each cell split where that integral needs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import final

import numpy as np
import torch
from torch import Tensor

NODES = {1: 9, 2: 5}
"""Nodes of the Gauss-Legendre rule along each side of a cell, by the number of dimensions."""

DEEPEST = {1: 40, 2: 20}
"""A cell is halved so often, at most."""

MOST_CELLS = {1: 4_000, 2: 12_000}
"""An integral with more cells is not refined further."""

SLOWEST = 64.0
"""A cell's error is taken to fall by so much at most where it is split: along a kink, as a network of rectifiers has them, a rule
may agree with that of the halves by chance, and two levels say more than one."""

RESOLVED = 20.0
"""Nats by which what a cell could hold may exceed what the rule says, for the rule and its parent's to be believed."""

LogDensity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(which integral (C,), name of the cell (C,), points t (n, C, D)) -> log of the integrand (n, C)."""


@final
@dataclass(frozen=True)
class Cells:
    """Boxes that together make up the domains of several integrals.

    Args:
        integral: Which integral each belongs to, (C,).
        name: The same for the same box of every integral that began with the same boxes, (C,).
        depth: How often it was halved, (C,).
        centre: (C, D).
        half: Half of its sides, (C, D).
        log_value: Logarithm of the integral over it, by the rule, (C,).
        log_share: Logarithm of its error to judge by the cells that it is a part of, (C,); without such all of the integral.
        log_error: Logarithm of an estimate of the error of its integral, (C,).
    """

    integral: Tensor
    name: Tensor
    depth: Tensor
    centre: Tensor
    half: Tensor
    log_value: Tensor
    log_share: Tensor
    log_error: Tensor

    def __len__(self) -> int:
        return len(self.integral)

    def __getitem__(self, rows: Tensor) -> Cells:
        return Cells(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __add__(self, others: Cells) -> Cells:
        return Cells(*(torch.cat([getattr(cells, field.name) for cells in (self, others)]) for field in fields(self)))


def grid(edges: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Centres and half sides (C, D) of the boxes between the same edges along every dimension.

    Example:
        >>> grid(torch.tensor([0.0, 1.0, 3.0]), 1)
        (tensor([[0.5000],
                [2.0000]]), tensor([[0.5000],
                [1.0000]]))
    """
    centres, halves = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    return tuple(torch.stack(torch.meshgrid(*[side] * dims, indexing="ij"), -1).flatten(0, -2) for side in (centres, halves))


def measured(log_density: LogDensity, integral: Tensor, name: Tensor, depth: Tensor, centre: Tensor, half: Tensor) -> Cells:
    """Cells with their integrals; their error is what they could hold at most, for all that their nodes say."""
    offsets, log_weights = _rule(centre)
    log_f = log_density(integral, name, centre + half * offsets.unsqueeze(1))
    log_half = half.log().sum(-1)
    log_value = (log_f + log_weights.unsqueeze(-1)).logsumexp(0) + log_half
    log_most = _peak(log_f, half.shape[-1]) + log_half + half.shape[-1] * math.log(2)
    return Cells(integral, name, depth, centre, half, log_value, log_value, log_most)


def _peak(log_f: Tensor, dims: int) -> Tensor:
    """How high a function may be between its nodes on a grid (n, C), to judge by the highest node and those next to it, (C,).

    The highest, and along each side the most that the three nodes around it differ: of a quadratic function, such as the
    logarithm of a Gaussian peak that two nodes straddle, that is eight times as much as it is higher.
    """
    side = round(len(log_f) ** (1 / dims))
    top, where = log_f.max(0)
    peak = top
    for dim in range(dims):
        stride = side**dim
        place = where // stride % side
        first = where + ((place - 1).clamp(0, side - 3) - place) * stride
        near = log_f.gather(0, first + stride * torch.arange(3, device=first.device).unsqueeze(1))
        # A density of 0 says nothing of how fast the logarithm varies.
        peak = peak + (top - torch.where(near.isinf(), top, near).amin(0))
    return peak


def integrate(log_density: LogDensity, cells: Cells, count: int, tolerance: float) -> Cells:
    """Split cells until the errors of each integral add up to half a fraction of it, or the cells are too many or too small.

    The error of a cell is its share in the difference between its parent and the parent's halves, which is far above its own, and
    no less than a ``SLOWEST``th of its share in the parent's; where it could hold e^``RESOLVED`` times what the rule says, all that
    it could hold.

    Args:
        log_density: Logarithm of the integrands.
        cells: Partitions of their domains, measured.
        count: Number of integrals.
        tolerance: The fraction.

    Source: Genz and Malik (1980), Remarks on Algorithm 006: An Adaptive Algorithm for Numerical Integration over an
    N-Dimensional Rectangular Region, for splitting where the error is; the rule is Gauss and Legendre's.
    """
    dims = cells.centre.shape[-1]
    while True:
        chosen = _to_split(cells, count, tolerance / 2)
        full = torch.bincount(cells.integral, minlength=count) >= MOST_CELLS[dims]
        chosen &= (cells.depth < DEEPEST[dims]) & ~full[cells.integral]
        if not chosen.any():
            return cells
        cells = cells[~chosen] + halved(log_density, cells[chosen])


def halved(log_density: LogDensity, parents: Cells) -> Cells:
    """The halves (of two dimensions the quarters) of cells, measured."""
    dims = parents.centre.shape[-1]
    signs = torch.cartesian_prod(*[parents.centre.new_tensor([-1.0, 1.0])] * dims).view(-1, dims)
    parts = len(signs)
    half = (parents.half / 2).repeat(parts, 1)
    centre = parents.centre.repeat(parts, 1) + signs.repeat_interleave(len(parents), 0) * half
    number = torch.arange(parts, device=half.device).repeat_interleave(len(parents))
    of = (parents.integral.repeat(parts), parents.name.repeat(parts) * parts + number, parents.depth.repeat(parts) + 1)
    cells = measured(log_density, *of, centre, half)
    together = cells.log_value.view(parts, -1).logsumexp(0)
    difference = _log_difference(parents.log_value, together)
    share = (torch.maximum(difference, parents.log_share - math.log(SLOWEST)) - math.log(parts)).repeat(parts)
    hidden = cells.log_error - cells.log_value > RESOLVED
    log_error = torch.where(hidden, torch.maximum(share, cells.log_error), share)
    return Cells(*of, centre, half, cells.log_value, share, log_error)


def totals(values: Tensor, integral: Tensor, count: int) -> Tensor:
    """log of the sum of exp(values) of each integral, (count,)."""
    top = values.new_full((count,), -math.inf).scatter_reduce(0, integral, values, "amax")
    finite = torch.where(top.isinf(), 0.0, top)
    return finite + values.new_zeros(count).index_add(0, integral, (values - finite[integral]).exp()).log()


def relative_errors(cells: Cells, count: int) -> Tensor:
    """Sum of the errors of each integral over the integral, (count,); infinite where all of it is 0."""
    log_ratio = totals(cells.log_error, cells.integral, count) - totals(cells.log_value, cells.integral, count)
    return torch.where(log_ratio.isnan(), math.inf, log_ratio.exp())


def _to_split(cells: Cells, count: int, allowed: float) -> Tensor:
    """The cells of the largest errors, so that those of the others add up to no more than a fraction of the integral, (C,)."""
    share = (cells.log_error - totals(cells.log_value, cells.integral, count)[cells.integral]).clamp(max=0).exp().nan_to_num()
    order = share.argsort()
    order = order[cells.integral[order].argsort(stable=True)]
    ends = torch.bincount(cells.integral, minlength=count).cumsum(0)
    running = share[order].cumsum(0)
    before = torch.cat([running.new_zeros(1), running])[torch.cat([ends.new_zeros(1), ends[:-1]])]
    chosen = torch.empty_like(order, dtype=torch.bool)
    chosen[order] = running - before[cells.integral[order]] > allowed
    return chosen


def _rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Points (n, D) of the rule on [-1, 1]^D and the logarithms of their weights (n,)."""
    dims = like.shape[-1]
    nodes, weights = (torch.as_tensor(side, dtype=like.dtype, device=like.device) for side in _legendre(NODES[dims]))
    points = torch.stack(torch.meshgrid(*[nodes] * dims, indexing="ij"), -1).flatten(0, -2)
    log_weights = torch.stack(torch.meshgrid(*[weights.log()] * dims, indexing="ij"), -1).flatten(0, -2).sum(-1)
    return points, log_weights


def _legendre(order: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(order)


def _log_difference(a: Tensor, b: Tensor) -> Tensor:
    """log |exp a - exp b|."""
    top, bottom = torch.maximum(a, b), torch.minimum(a, b)
    return torch.where(top.isinf(), top, top + torch.log1p(-torch.exp(bottom - top)))
