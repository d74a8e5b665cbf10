"""A league: groups of runs whose numbers are the same quantity, and the files written for them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, final

from pyrovae.comparison.rows import Group, Row
from pyrovae.comparison.table import markdown_table, same_in_all, terminal_table
from pyrovae.drawing import differences, style
from pyrovae.errors import in_python
from pyrovae.system import files


@final
@dataclass(frozen=True, kw_only=True)
class League:
    """Runs on the same data, ranked in groups.

    Args:
        data: Name or path of the data.
        split: Which of them were scored.
        n: How many.
        samples: Samples of z per datum.
        seed: Of the evaluation.
        groups: Each with its own ranking.
    """

    data: str
    split: str
    n: int
    samples: int
    seed: int
    groups: tuple[Group, ...]

    @property
    def rows(self) -> list[Row]:
        """All runs, group by group, best first."""
        return [row for group in self.groups for row in group.rows]

    def to_json(self) -> str:
        """The fields as JSON; a number that is not finite becomes null."""
        return json.dumps(_finite(asdict(self)), indent=2) + "\n"

    def to_csv(self) -> str:
        """One line per run, every number to its last digit; unknown values are empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        return text.getvalue()

    def table(self, *, wide: bool = False, width: int | None = None, spell: Callable[[str], str] = in_python) -> str:
        """The league for a terminal; columns that do not fit are left out, and their names are listed.

        Args:
            wide: All columns and whole names, however long the lines become.
            width: Columns of the terminal; by default those that it has, 100 where the output is redirected.
            spell: Spells the options in a remark.
        """
        return terminal_table(self._heading(), self.groups, wide=wide, width=width, spell=spell)

    def markdown(self) -> str:
        """The league for a Markdown page, with all columns."""
        return markdown_table(self._heading(), self.groups)

    def _heading(self) -> list[str]:
        about = f"{self.data}, {self.split}, {self.n} data; {self.samples} samples per datum, seed {self.seed}"
        shared = same_in_all(self.rows)
        return [about, f"the same in all: {', '.join(shared)}"] if shared else [about]


def write_league(league: League, folder: Path) -> list[Path]:
    """Write league.csv, league.json and league.png into a folder.

    Raises:
        UserError: If they cannot be written.
    """
    panels = {group.title: [_drawn(row) for row in group.rows] for group in league.groups}
    contents = {
        "league.csv": league.to_csv().encode(),
        "league.json": league.to_json().encode(),
        "league.png": style.png(differences.league(panels)),
    }
    for name, content in contents.items():
        files.write_whole(folder / name, content)
    return [folder / name for name in contents]


def _drawn(row: Row) -> dict[str, Any]:
    return {"name": f"{row.rank}  {row.name}", "difference": row.difference, "error": row.difference_error, "bound": row.is_bound}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
