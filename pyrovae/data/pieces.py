"""Large arrays a few MiB at a time, so that what is made of a piece does not cost as much memory as the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

PIECE = 2**22
"""Bytes of a piece, or a single row where that has more."""


def pieces(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """First row and rows of each piece, in order.

    Example:
        >>> [(first, part.shape) for first, part in pieces(np.zeros((2**20, 3), np.float32))]
        [(0, (349525, 3)), (349525, (349525, 3)), (699050, (349525, 3)), (1048575, (1, 3))]
    """
    rows = max(1, PIECE * len(x) // max(1, x.nbytes))
    for first in range(0, len(x), rows):
        yield first, x[first : first + rows]


def first_where(x: np.ndarray, wrong: Callable[[np.ndarray], np.ndarray]) -> tuple[int, ...] | None:
    """Position of the first element for which a test of elements holds; None where it holds for none."""
    for first, part in pieces(x):
        bad = wrong(part)
        if bad.any():
            row, *others = (int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
            return (first + row, *others)
    return None
