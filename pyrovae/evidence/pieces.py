"""Computations on data in pieces of a few seconds that fit in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import final

import torch
from torch import Tensor

from pyrovae.errors import NOT_GIVEN, UserError, is_out_of_memory, option

FIRST = 16
"""Size of the first and of the smallest piece: fewer data would not fill the matrix products of the slow estimators."""

SECONDS = 4.0
"""Target duration of a piece, if pieces are sized by time."""

ComputePiece = Callable[[slice], Mapping[str, Tensor]]
"""Slice of the data -> per-datum tensors by name for that slice; a datum's numbers must not depend on the other data."""


@final
class Pieces:
    """Per-datum tensors by name, one piece of the data at a time, computed on iteration.

    Sized by time, the first piece has 16 data, and each later one is as large as a few seconds allow, at most twice the previous
    one. Sized by number, every piece has ``most`` data. Either way, a piece that does not fit in memory is computed again with
    half as many data, and no later piece is larger.

    Args:
        compute: See ``ComputePiece``.
        n: Number of data.
        most: Data per piece; None sizes the pieces by time.
        done: Number of data computed earlier.

    Attributes:
        done: Number of data computed so far.
    """

    def __init__(self, compute: ComputePiece, n: int, most: int | None = None, done: int = 0) -> None:
        self._compute, self._n, self._by_time = compute, n, most is None
        self._size = FIRST if most is None else most
        self._most: int | None = most
        self.done = done

    def __iter__(self) -> Iterator[Mapping[str, Tensor]]:
        while self.done < self._n:
            stop, began = min(self.done + self._size, self._n), time.perf_counter()
            try:
                found = self._compute(slice(self.done, stop))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(stop - self.done, error)
                continue
            self.done = stop
            if self._by_time:
                self._grow(max(time.perf_counter() - began, 1e-3))
            yield found

    def _halve(self, tried: int, error: BaseException) -> None:
        """Halve the size of pieces after one that did not fit in memory.

        Raises:
            UserError: If not even one datum does.
        """
        self._most = self._size = tried // 2
        if not self._size:
            remedy = f"use {option('device', 'cpu')}, fewer {option('samples')} or {option('chains')}"
            raise UserError(None, NOT_GIVEN, reason="one datum does not fit the memory", remedy=remedy) from error

    def _grow(self, took: float) -> None:
        wanted = max(FIRST, min(2 * self._size, int(self._size * SECONDS / took)))
        self._size = wanted if self._most is None else min(wanted, self._most)


def joined(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of all pieces, concatenated."""
    parts = list(parts)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def in_chunks(compute: ComputePiece, n: int, most: int) -> dict[str, Tensor]:
    """Per-datum tensors by name, (n, ...), computed in chunks; the size is halved if memory does not suffice.

    Args:
        compute: See ``ComputePiece``.
        n: Number of data.
        most: Data per chunk.

    Raises:
        UserError: If not even one datum fits.
    """
    return joined(Pieces(compute, n, most))
