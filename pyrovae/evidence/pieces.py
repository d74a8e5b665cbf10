"""Data measured some at a time: as many as take some seconds, and as fit the memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import final

import torch
from torch import Tensor

from pyrovae.errors import NOT_GIVEN, UserError, is_out_of_memory, option

FIRST = 16
"""Data of the first piece, and of the smallest: fewer would not fill the matrix products of the slow estimators."""

SECONDS = 4.0
"""About as long as a piece shall take where pieces are made by time."""

ComputePiece = Callable[[slice], Mapping[str, Tensor]]
"""Slice of the data -> per-datum tensors by name for that slice; a datum's numbers must not depend on the other data."""


@final
class Pieces:
    """Per-datum tensors by name, a piece of the data at a time; iterating measures them.

    By time, the first piece has 16 data, and each is as large as some seconds allow, at most twice the one before. By number,
    every piece has ``most`` data. Either way a piece that the memory does not hold is measured again with half as many data,
    and no later one is larger.

    Args:
        compute: See ``ComputePiece``.
        n: Number of data.
        most: Data of a piece; None makes them by time.
        done: Data that were measured before.

    Attributes:
        done: Data that are measured by now.
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
        """No piece is to be larger than half of what did not fit.

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
    """The tensors of all pieces, one after the other."""
    parts = list(parts)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def in_chunks(compute: ComputePiece, n: int, most: int) -> dict[str, Tensor]:
    """Per-datum tensors by name, (n, ...), so many data at a time; half as many where the memory does not suffice.

    Args:
        compute: See ``ComputePiece``.
        n: Number of data.
        most: Data at a time.

    Raises:
        UserError: If not even one datum fits.
    """
    return joined(Pieces(compute, n, most))
