"""Integrals over boxes of one or two dimensions, many at once, each cell split where that integral needs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

NODES = {1: 9, 2: 5}
"""Nodes of the Gauss-Legendre rule along each side of a cell, by the number of dimensions."""

DEEPEST = 40
"""A cell is split so often, at most."""

SLOWEST = 64.0
"""A cell's error is taken to fall by so much at most where all its sides are halved: along a kink, as a network of rectifiers has
them, a rule may agree with that of the halves by chance, and two levels say more than one."""

RESOLVED = 20.0
"""Nats by which what a cell could hold may exceed what the rule says, for the rule and its parent's to be believed."""

LogDensity = Callable[[Tensor, Tensor], Tensor]
"""(which integral (C,), points t (n, C, D) of one cell each) -> log of the integrand (n, C)."""


@final
@dataclass(frozen=True)
class Cells:
    """Boxes that together make up the domains of several integrals.

    Args:
        integral: Which integral each belongs to, (C,).
        depth: How often it was split, (C,); at 0 nothing is known of it but what its own nodes say.
        centre: (C, D).
        half: Half of its sides, (C, D).
        log_measure: Logarithm of what the integrand is at most a multiple of, integrated over a box that it is a part of, (C,).
        log_value: Logarithm of the integral over it, by the rule, (C,).
        log_share: Logarithm of its error to judge by the cells that it is a part of, (C,); without such all of the integral.
        log_most: Logarithm of all that it could hold, to judge by its nodes, (C,).
        steepest: The side along which the logarithm of the integrand varies most where it is highest, (C,).
    """

    integral: Tensor
    depth: Tensor
    centre: Tensor
    half: Tensor
    log_measure: Tensor
    log_value: Tensor
    log_share: Tensor
    log_most: Tensor
    steepest: Tensor

    def __len__(self) -> int:
        return len(self.integral)

    def __getitem__(self, rows: Tensor) -> Cells:
        return Cells(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def hides(self) -> Tensor:
        """Whether it could hold much more than the rule says, (C,)."""
        return self.log_most - self.log_value > RESOLVED

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
    corners, sides = (torch.stack(torch.meshgrid(*[side] * dims, indexing="ij"), -1).flatten(0, -2) for side in (centres, halves))
    return corners, sides


def measured(
    log_density: LogDensity, integral: Tensor, depth: Tensor, centre: Tensor, half: Tensor, log_measure: Tensor
) -> Cells:
    """Cells with their integrals by the rule; the arguments are the fields of ``Cells``."""
    offsets, log_weights = _rule(centre)
    log_f = log_density(integral, centre + half * offsets.unsqueeze(1))
    log_half = half.log().sum(-1)
    log_value = (log_f + log_weights.unsqueeze(-1)).logsumexp(0) + log_half
    top, drops = _top(log_f, half.shape[-1])
    log_most = top + drops.sum(-1) + log_half + half.shape[-1] * math.log(2)
    return Cells(integral, depth, centre, half, log_measure, log_value, log_value, log_most, drops.argmax(-1))


def _top(log_f: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """The largest of the values on a grid (n, C), and how far the three nodes around it differ along each side, (C, D).

    Between the nodes a function may be higher by as much as the latter together: a quadratic one, such as the logarithm of a
    Gaussian peak that two nodes straddle, is so by an eighth of it.
    """
    side = round(len(log_f) ** (1 / dims))
    top, where = log_f.max(0)
    drops = []
    for dim in range(dims):
        stride = side ** (dims - 1 - dim)
        place = where // stride % side
        first = where + ((place - 1).clamp(0, side - 3) - place) * stride
        near = log_f.gather(0, first + stride * torch.arange(3, device=first.device).unsqueeze(1))
        # A density of 0 says nothing of how fast the logarithm varies.
        drops.append(top - torch.where(near.isinf(), top, near).amin(0))
    return top, torch.stack(drops, -1)


def integrate(log_density: LogDensity, cells: Cells, highest: Tensor, tolerance: float, most: int) -> Cells:
    """Split cells until the errors of each integral add up to half a fraction of it, or the cells are too many or too small.

    The error of a cell is its share in the difference between its parent and the parent's halves, which is far above its own,
    and no less than its share of a ``SLOWEST``th of the parent's; where it could hold e^``RESOLVED`` times what the rule says,
    all that it could hold.

    Args:
        log_density: Logarithm of the integrands.
        cells: Partitions of their domains, measured.
        highest: Logarithm of the largest multiple of the measure that each integrand was found to be, one for each integral;
            ``log_density`` may raise it. Infinite where there is no measure.
        tolerance: The fraction.
        most: An integral with so many cells is not refined further.

    Source: Genz and Malik (1980), Remarks on Algorithm 006: An Adaptive Algorithm for Numerical Integration over an
    N-Dimensional Rectangular Region, for splitting where the error is; the rule is Gauss and Legendre's.
    """
    while (chosen := refinable(cells, highest, tolerance, most)).any():
        cells = cells[~chosen] + halved(log_density, cells[chosen])
    return cells


def refinable(cells: Cells, highest: Tensor, tolerance: float, most: int) -> Tensor:
    """Which cells ``integrate`` splits next, (C,): those of the largest errors; the arguments are its own."""
    count = len(highest)
    log_total = totals(cells.log_value, cells.integral, count)
    share = (_log_errors(cells, highest) - log_total[cells.integral]).clamp(max=0).exp().nan_to_num()
    order = share.argsort()
    order = order[cells.integral[order].argsort(stable=True)]
    sizes = torch.bincount(cells.integral, minlength=count)
    ends, running = sizes.cumsum(0), share[order].cumsum(0)
    before = torch.cat([running.new_zeros(1), running])[ends - sizes]
    chosen = torch.empty_like(order, dtype=torch.bool)
    chosen[order] = running - before[cells.integral[order]] > tolerance / 2
    return chosen & (cells.depth < DEEPEST) & (sizes < most)[cells.integral]


def halved(log_density: LogDensity, parents: Cells) -> Cells:
    """Cells with all sides halved, measured; those that could hold much more than it seems with the steepest side halved."""
    dims = parents.centre.shape[-1]
    sides = parents.centre.new_tensor([-1.0, 1.0])
    corners = torch.cartesian_prod(*[sides] * dims).view(-1, 1, dims)
    along = torch.nn.functional.one_hot(parents.steepest, dims) * sides.view(2, 1, 1)
    hides = parents.hides if dims > 1 else torch.zeros_like(parents.hides)
    groups = [(~hides, corners.expand(-1, len(parents), -1)), (hides, along)]
    whole, *one_side = [_children(log_density, parents[rows], signs[:, rows]) for rows, signs in groups if rows.any()]
    return sum(one_side, whole)


def _children(log_density: LogDensity, parents: Cells, signs: Tensor) -> Cells:
    """Parts of cells (C,), measured; signs (parts, C, D) of the directions to their centres are 0 along sides that stay."""
    parts, dims = len(signs), signs.shape[-1]
    half = parents.half * torch.where(signs == 0, 1.0, 0.5)
    centre = parents.centre + signs * half
    integral, depth, log_measure = (tensor.repeat(parts) for tensor in (parents.integral, parents.depth + 1, parents.log_measure))
    cells = measured(log_density, integral, depth, centre.flatten(0, 1), half.flatten(0, 1), log_measure)
    together = cells.log_value.view(parts, -1).logsumexp(0)
    slowest = math.log(SLOWEST) * math.log2(parts) / dims
    difference = torch.maximum(_log_difference(parents.log_value, together), parents.log_share - slowest)
    return replace(cells, log_share=(difference - math.log(parts)).repeat(parts))


def totals(values: Tensor, integral: Tensor, count: int) -> Tensor:
    """log of the sum of exp(values) of each integral, (count,)."""
    top = values.new_full((count,), -math.inf).scatter_reduce(0, integral, values, "amax")
    finite = torch.where(top.isinf(), 0.0, top)
    return finite + values.new_zeros(count).index_add(0, integral, (values - finite[integral]).exp()).log()


def relative_errors(cells: Cells, highest: Tensor) -> Tensor:
    """Sum of the errors of each integral over the integral, (count,); infinite where all of it is 0."""
    log_error, log_value = (
        totals(values, cells.integral, len(highest)) for values in (_log_errors(cells, highest), cells.log_value)
    )
    return torch.where(log_value.isinf(), math.inf, (log_error - log_value).exp())


def _log_errors(cells: Cells, highest: Tensor) -> Tensor:
    """Logarithm of the error of each cell's integral, (C,), see ``integrate``."""
    log_most = torch.minimum(cells.log_most, cells.log_measure + highest[cells.integral])
    return torch.where(cells.hides | (cells.depth == 0), torch.maximum(log_most, cells.log_share), cells.log_share)


def _rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Points (n, D) of the rule on [-1, 1]^D and the logarithms of their weights (n,)."""
    dims = like.shape[-1]
    legendre = np.polynomial.legendre.leggauss(NODES[dims])
    nodes, weights = (torch.as_tensor(side, dtype=like.dtype, device=like.device) for side in legendre)
    points = torch.stack(torch.meshgrid(*[nodes] * dims, indexing="ij"), -1).flatten(0, -2)
    log_weights = torch.stack(torch.meshgrid(*[weights.log()] * dims, indexing="ij"), -1).flatten(0, -2).sum(-1)
    return points, log_weights


def _log_difference(a: Tensor, b: Tensor) -> Tensor:
    """log |exp a - exp b|."""
    top, bottom = torch.maximum(a, b), torch.minimum(a, b)
    return torch.where(top.isinf(), top, top + torch.log1p(-torch.exp(bottom - top)))
