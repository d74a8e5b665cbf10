"""The grid points that a sweep leaves out of its league, and the file that records them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pyrovae.commands.grid import LISTED, Point, Refusal
from pyrovae.errors import UserError, option
from pyrovae.system import files

IMPOSSIBLE = "impossible.csv"
"""The file in the folder of a sweep that lists these points with the reason for each."""


def earlier_refusals(out: Path, points: Sequence[Point]) -> list[Refusal]:
    """Refusals recorded by earlier sweeps in the folder, except for points that this sweep tries.

    Args:
        out: The folder.
        points: The points that this sweep tries.

    Raises:
        UserError: If the file was not written by a sweep.
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
    """Write the refusals to the file, one line each.

    Args:
        out: The folder of the sweep.
        refusals: The refusals of this sweep and of earlier ones.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*LISTED, "reason"])
    writer.writerows([*(refusal.choice[axis] for axis in LISTED), refusal.reason] for refusal in refusals)
    files.write_whole(out / IMPOSSIBLE, text.getvalue().encode())
