"""What an attack found, counted."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Trial = TypeVar("Trial")


@dataclass
class Count:
    """How many of the attempts of a kind the program withstood.

    Args:
        what: Was done to it.
        wanted: Of it.
        tried: Attempts.
        held: Of them withstood; a line on each of the others goes to stderr.
    """

    what: str
    wanted: str
    tried: int = 0
    held: int = 0

    def note(self, good: bool, about: str) -> None:
        """One attempt more."""
        self.tried += 1
        self.held += good
        if not good:
            print(f"{self.what}: {about}", file=sys.stderr, flush=True)

    @property
    def perfect(self) -> bool:
        """Whether something was tried and all of it held."""
        return 0 < self.tried == self.held


ENDS: list[float] = []
"""When the attacks of a kind are over, whatever is left to try."""


def limit(seconds: float | None) -> None:
    """Stop what ``in_time`` goes through after so many seconds; never for None."""
    ENDS[:] = [] if seconds is None else [time.monotonic() + seconds]


def in_time(trials: Iterable[Trial]) -> Iterator[Trial]:
    """Trials as long as there is time."""
    for trial in trials:
        if ENDS and time.monotonic() > ENDS[0]:
            return
        yield trial


def table(counts: list[Count]) -> str:
    """A row a kind, as Markdown."""
    rows = [("attack", "wanted", "held"), *((c.what, c.wanted, f"{c.held} of {c.tried}") for c in counts)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"| {' | '.join(text.ljust(width) for text, width in zip(row, widths, strict=True))} |" for row in rows]
    return "\n".join([lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]])
