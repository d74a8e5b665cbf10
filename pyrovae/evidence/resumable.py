"""Long evaluations in pieces: what is done is kept when they are interrupted, and not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from pyrovae.system.files import said_if_unwritten
from pyrovae.system.interruption import Interrupted, number_of, raising

FIRST = 16
"""Data of the first piece, and of the smallest: fewer would not fill the matrix products of the slow estimators."""

SECONDS = 4.0
"""About as long as a piece shall take."""

SAVE_SECONDS = 20.0
"""What is done is saved about so often."""


WORTH_SECONDS = 1.0
"""Results that took less are not kept once they are complete."""


class Kept(Protocol):
    """Where the results of the data that are done are kept."""

    def load(self) -> dict[str, Tensor]:
        """What an interrupted evaluation with the same settings left; empty without one."""

    def save(self, found: Mapping[str, Tensor]) -> None:
        """Keep the results of the first data."""


def in_pieces(measure: Callable[[slice], Mapping[str, Tensor]], n: int, kept: Kept | None, label: str) -> dict[str, Tensor]:
    """Per-datum tensors (n, ...) by name, measured some data at a time; a signal keeps those that are done.

    Args:
        measure: Rows -> per-datum tensors of theirs; what a datum gets must not depend on the others.
        n: Number of data.
        kept: Where results are kept, until the caller has written what is made of them and removes them; None for nowhere.
        label: What the progress bar says.

    Raises:
        KeyboardInterrupt: If Ctrl-C, SIGTERM or SIGHUP asks to stop, saying what is kept.
    """
    before = kept.load() if kept is not None else {}
    if before and len(next(iter(before.values()))) > n:
        before = {}
    parts: list[Mapping[str, Tensor]] = [before] if before else []
    done = len(next(iter(before.values()))) if before else 0
    size, start = FIRST, time.perf_counter()
    saved = start
    with raising(), tqdm(total=n, initial=done, unit="data", desc=label, disable=None, leave=False) as bar:
        try:
            while done < n:
                began = time.perf_counter()
                parts.append(measure(slice(done, min(done + size, n))))
                bar.update(min(size, n - done))
                done = min(done + size, n)
                took = max(time.perf_counter() - began, 1e-3)
                size = max(FIRST, min(2 * size, int(size * SECONDS / took)))
                if kept is not None and done < n and time.perf_counter() - saved > SAVE_SECONDS:
                    parts, saved = [_joined(parts)], time.perf_counter()
                    kept = kept if _saved(kept, parts[0]) else None
        except KeyboardInterrupt as interrupt:
            if kept is None or not parts:
                raise
            if not _saved(kept, _joined(parts)):
                raise
            kept_line = f"{done} of {n} data are kept: the same command goes on with the others"
            raise Interrupted(number_of(interrupt), kept_line) from interrupt
    found = _joined(parts)
    if kept is not None and time.perf_counter() - start > WORTH_SECONDS:
        _saved(kept, found)
    return found


def _saved(kept: Kept, found: Mapping[str, Tensor]) -> bool:
    """Keep results; where they cannot be written a warning says so, and the evaluation goes on."""
    with said_if_unwritten():
        kept.save(found)
        return True
    return False


def _joined(parts: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
