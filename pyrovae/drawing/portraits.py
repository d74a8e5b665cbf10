"""How data of one kind are drawn: the interface that pictures, curves and table rows share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from torch import Tensor

from pyrovae.contracts import DataSpec

Limits = tuple[float, float]

MOST_SAMPLES = 512
"""The most draws in one picture: more would be too small to see."""


@dataclass(frozen=True)
class Portrait(ABC):
    """Tensors of data -> figures.

    Args:
        spec: The data, whose values are drawn in their units.
        limits: The smallest and largest values that the data can have; None if they are unbounded.

    Attributes:
        shown: How many data a figure of single data shows.
        sampled: How many draws the figure of draws shows.
        side: Points of a decoded grid along either axis.
        alike: In words, where in the figure data with the same noise are.
        mixed: In words, the context of draws that have different contexts.
    """

    spec: DataSpec
    limits: Limits | None

    shown = 10
    sampled = 64
    side = 15
    alike = "in a column"
    mixed = "the c above each"

    @abstractmethod
    def reconstructions(self, rows: Mapping[str, Tensor], heads: Sequence[str], title: str) -> Figure:
        """Data and what models make of them.

        Args:
            rows: Name -> (N, *E): first the data as the likelihood saw them.
            heads: What is said of each datum, (N,); empty for nothing.
            title: Of the figure.
        """

    @abstractmethod
    def samples(self, means: Tensor, draws: Tensor, heads: Sequence[str], titles: tuple[str, str]) -> Figure:
        """Draws from the model.

        Args:
            means: E[x|z], (N, *E).
            draws: x ~ p(x|z) of the same z, (N, *E).
            heads: What is said of each, (N,); empty for nothing.
            titles: Of the means and of the draws.
        """

    @abstractmethod
    def interpolation(self, path: Tensor, ends: Tensor, heads: tuple[str, str], title: str) -> Figure:
        """Decoded points of a straight line in the latent space.

        Args:
            path: (N, *E), evenly along the line.
            ends: The two data between which it runs, (2, *E).
            heads: What the ends are.
            title: Of the figure.
        """

    @abstractmethod
    def rows(self, rows: Mapping[str, Tensor], heads: Sequence[str], title: str) -> Figure:
        """The same data under several conditions.

        Args:
            rows: Name of the condition -> (N, *E), N the same for all.
            heads: What is said of each of the N; empty for nothing.
            title: Of the figure.
        """

    @abstractmethod
    def grid(self, decoded: Tensor, z1: Tensor, z2: Tensor, title: str) -> Figure:
        """A plane of latents, decoded.

        Args:
            decoded: (side, side, *E): z1 rises to the right, z2 upwards.
            z1: Values of the columns, (side,).
            z2: Values of the rows from the top down, (side,).
            title: Of the figure.
        """

    @abstractmethod
    def lowest(self, data: Tensor, names: Sequence[str], title: str) -> Figure:
        """Data with a text of some lines each.

        Args:
            data: (N, *E).
            names: Of each.
            title: Of the figure.
        """


def bounds(values: Iterable[Tensor]) -> Limits:
    """The smallest and largest finite values of several tensors, kept at least a little apart."""
    finite = [value[value.isfinite()].double() for value in values]
    finite = [value for value in finite if value.numel()]
    if not finite:
        return 0.0, 1.0
    low, high = min(value.min().item() for value in finite), max(value.max().item() for value in finite)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def panel_grid(count: int, most: int) -> tuple[int, int]:
    """Rows and columns for a number of panels, at most ``most`` side by side.

    Example:
        >>> panel_grid(10, 4), panel_grid(3, 4)
        ((3, 4), (1, 3))
    """
    columns = min(count, most)
    return math.ceil(count / columns), columns
