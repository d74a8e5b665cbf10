"""Long evaluations in pieces of a few seconds; finished pieces are kept on interruption and not computed again."""

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
"""Seconds between saves of the finished pieces, about."""


WORTH_SECONDS = 1.0
"""Seconds below which complete results are not kept."""


class Kept(Protocol):
    """Storage for partial results."""

    def load(self) -> dict[str, Tensor]:
        """The results left by an interrupted evaluation with the same settings; empty if there are none."""

    def save(self, found: Mapping[str, Tensor]) -> None:
        """Keep the results of the first data."""


def in_pieces(compute: ComputePiece, n: int, kept: Kept | None, label: str, progress: bool = True) -> dict[str, Tensor]:
    """Per-datum tensors (n, ...) by name, computed piece by piece; on a signal the finished pieces are kept.

    Args:
        compute: See ``ComputePiece``.
        n: Number of data.
        kept: Storage for partial results, which the caller removes after writing the final ones; None to keep nothing.
        label: Label of the progress bar.
        progress: Show the bar, where stderr is a terminal.

    Raises:
        KeyboardInterrupt: On Ctrl-C, SIGTERM or SIGHUP; the message says what is kept.
        UserError: If not even one datum fits the memory.
    """
    before = kept.load() if kept is not None else {}
    if before and len(next(iter(before.values()))) > n:
        before = {}
    parts: list[Mapping[str, Tensor]] = [before] if before else []
    pieces = Pieces(compute, n, done=len(next(iter(before.values()))) if before else 0)
    start = saved = time.perf_counter()
    disable = None if progress else True  # None: where stderr is no terminal
    with raising(), tqdm(total=n, initial=pieces.done, unit="data", desc=label, disable=disable, leave=False) as bar:
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
    """Keep results; if they cannot be written, warn and continue."""
    with said_if_unwritten():
        kept.save(found)
        return True
    return False
