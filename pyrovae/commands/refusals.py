"""The points of a sweep's grid that have no place in its league, and the file that keeps them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pyrovae.commands.grid import LISTED, Point, Refusal
from pyrovae.errors import UserError, option
from pyrovae.system import files

IMPOSSIBLE = "impossible.csv"
"""In the folder of a sweep: the points, and for each the reason."""


def earlier_refusals(out: Path, points: Sequence[Point]) -> list[Refusal]:
    """What earlier sweeps in the folder refused and this one does not try.

    Args:
        out: The folder.
        points: What this sweep tries.

    Raises:
        UserError: If the file of them is not what a sweep writes.
    """
    path = out / IMPOSSIBLE
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        if any(None in (*row, *row.values()) for row in rows):
            raise csv.Error("a line has other cells than the first")
        found = [Refusal(choice={axis: row[axis] for axis in LISTED}, name="", said=row["reason"]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise UserError(None, path, "is not what a sweep writes", f"remove it, or give another {option('out')}") from error
    tried = [point.texts for point in points]
    return [refusal for refusal in found if refusal.choice not in tried]


def write_refusals(out: Path, refusals: Sequence[Refusal]) -> None:
    """Write the file of them, a line each.

    Args:
        out: The folder of the sweep.
        refusals: Those of this sweep and of earlier ones.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*LISTED, "reason"])
    writer.writerows([*(refusal.choice[axis] for axis in LISTED), refusal.reason] for refusal in refusals)
    files.write_whole(out / IMPOSSIBLE, text.getvalue().encode())
