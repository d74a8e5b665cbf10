"""Long evaluations in pieces of some seconds: what is done is kept when they are interrupted, and not done again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from torch import Tensor
from tqdm import tqdm

from pyrovae.evidence.pieces import ComputePiece, Pieces, joined
from pyrovae.system.files import said_if_unwritten
from pyrovae.system.interruption import Interrupted, number_of, raising

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


def in_pieces(compute: ComputePiece, n: int, kept: Kept | None, label: str) -> dict[str, Tensor]:
    """Per-datum tensors (n, ...) by name, measured some data at a time; a signal keeps those that are done.

    Args:
        compute: See ``ComputePiece``.
        n: Number of data.
        kept: Where results are kept, until the caller has written what is made of them and removes them; None for nowhere.
        label: What the progress bar says.

    Raises:
        KeyboardInterrupt: If Ctrl-C, SIGTERM or SIGHUP asks to stop, saying what is kept.
        UserError: If not even one datum fits the memory.
    """
    before = kept.load() if kept is not None else {}
    if before and len(next(iter(before.values()))) > n:
        before = {}
    parts: list[Mapping[str, Tensor]] = [before] if before else []
    pieces = Pieces(compute, n, done=len(next(iter(before.values()))) if before else 0)
    start = saved = time.perf_counter()
    with raising(), tqdm(total=n, initial=pieces.done, unit="data", desc=label, disable=None, leave=False) as bar:
        try:
            for found in pieces:
                parts.append(found)
                bar.update(pieces.done - bar.n)
                if kept is not None and pieces.done < n and time.perf_counter() - saved > SAVE_SECONDS:
                    parts, saved = [joined(parts)], time.perf_counter()
                    kept = kept if _saved(kept, parts[0]) else None
        except KeyboardInterrupt as interrupt:
            if kept is None or not parts:
                raise
            done = joined(parts)
            if not _saved(kept, done):
                raise
            kept_line = f"{len(next(iter(done.values())))} of {n} data are kept: the same command goes on with the others"
            raise Interrupted(number_of(interrupt), kept_line) from interrupt
    found = joined(parts)
    if kept is not None and time.perf_counter() - start > WORTH_SECONDS:
        _saved(kept, found)
    return found


def _saved(kept: Kept, found: Mapping[str, Tensor]) -> bool:
    """Keep results; where they cannot be written a warning says so, and the evaluation goes on."""
    with said_if_unwritten():
        kept.save(found)
        return True
    return False
