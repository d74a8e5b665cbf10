"""Your own table from a ``.csv`` file."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np

from pyrovae.data.dataset import Dataset
from pyrovae.data.labels import MISSING, Labels, one_label, several_labels
from pyrovae.data.own import OwnNumbers, check_array
from pyrovae.errors import UserError, check_choice, shown, suggest

INTEGER = re.compile(r"\s*[+-]?\d{1,18}\s*")
"""What an int64 holds for sure."""

POINTS = frozenset(".eE")
"""What tells a real from an integer."""


@final
@dataclass(frozen=True, kw_only=True)
class CsvFile(OwnNumbers):
    """A .csv table: commas, a first line that names the columns, a datum a line, a number a cell (but in labels).

    Args:
        path: The file.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from the table: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        kind: What the numbers are; ``auto``: only 0 and 1 are binary, integers from 0 up without decimal points are
            counts, the rest reals.
        levels: Number of levels, for integers 0..levels-1.
        label: The column of the labels, or several with commas between; the other columns are the data.
        header: Whether the first line names the columns; ``auto`` expects names and refuses numbers, ``no`` calls the
            columns 1, 2, ....

    Raises:
        UserError: If an option is wrong.
    """

    example = "FILE.csv"

    label: str | None = None
    header: Literal["auto", "yes", "no"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("data.header", self.header, ("auto", "yes", "no"))
        if self.label is not None and (not isinstance(self.label, str) or not self.label.strip()):
            raise UserError(f"--data.label {shown(self.label)}: needs the name of a column, or names with commas between")

    def load(self, root: Path) -> Dataset:
        names, rows = self._named(_read(self.path))
        if not rows:
            raise UserError(f"{self.path}: has no line of data; needs at least 2 data below the names of the columns")
        labels = self._label_columns(names)
        columns = [i for i in range(len(names)) if i not in labels]
        if not columns:
            raise UserError(f"--data.label {self.label}: leaves no column of data in {self.path}")
        x, values, whole = np.empty((len(rows), len(columns))), [], True
        for i, (line, cells) in enumerate(rows):
            self._check_width(line, cells, names)
            texts = [cells[k] for k in columns]
            try:
                x[i] = list(map(float, texts))
            except ValueError:
                x[i] = np.nan
            if not np.isfinite(x[i]).all():
                raise self._no_number(line, [names[k] for k in columns], texts)
            whole = whole and POINTS.isdisjoint("".join(texts))
            values.append([self._label(line, names[k], cells[k]) for k in labels])
        x = x.astype(np.int64) if whole and np.abs(x).max() < 2**53 else x
        check_array(self.path, "the table", x, (len(columns),))
        return self.dataset({"x": x}, _labels([names[k] for k in labels], values))

    def _named(self, rows: list[tuple[int, list[str]]]) -> tuple[list[str], list[tuple[int, list[str]]]]:
        if not rows:
            raise UserError(f"{self.path}: is empty; needs a line with the names of the columns, then a datum a line")
        first = [cell.strip() for cell in rows[0][1]]
        if self.header == "no":
            return [str(i + 1) for i in range(len(first))], rows
        if self.header == "auto" and all(map(_is_number, first)):
            raise UserError(
                f"{self.path}: line {rows[0][0]} has only numbers, not the names of the columns; "
                "give --data.header no if it is a datum, yes if the columns are called so"
            )
        for position, name in enumerate(first):
            if not name or name in first[:position]:
                problem = f"calls another column {name} too" if name else "has no name"
                raise UserError(f"{self.path}: line {rows[0][0]}, column {position + 1} {problem}; name every column once")
        return first, rows[1:]

    def _label_columns(self, names: Sequence[str]) -> list[int]:
        wanted = [name.strip() for name in next(csv.reader([self.label]), [])] if self.label is not None else []
        if self.label is not None and not wanted:
            raise UserError(f"--data.label {self.label}: needs the name of a column; {suggest('', names)}")
        for name in wanted:
            if name not in names:
                raise UserError(f"--data.label {name}: {self.path} has no such column; {suggest(name, names)}")
        if len(set(wanted)) < len(wanted):
            raise UserError(f"--data.label {self.label}: names a column twice")
        return [names.index(name) for name in wanted]

    def _check_width(self, line: int, cells: Sequence[str], names: Sequence[str]) -> None:
        if len(cells) != len(names):
            where = (
                f"column {names[len(cells)]} is missing" if len(cells) < len(names) else f"nothing after {names[-1]} has a name"
            )
            raise UserError(f"{self.path}: line {line} has {len(cells)} cells, the first {len(names)}: {where}")

    def _present(self, line: int, name: str, cell: str) -> str:
        if not cell.strip():
            raise UserError(f"{self.path}: line {line}, column {name} is empty; fill it or remove the line")
        return cell.strip()

    def _label(self, line: int, name: str, cell: str) -> str:
        text = self._present(line, name, cell)
        if text in MISSING:
            raise UserError(
                f"{self.path}: line {line}, column {name}: {text} stands for a label that is missing; give it one, such as "
                "unknown, or remove the line"
            )
        return text

    def _no_number(self, line: int, names: Sequence[str], cells: Sequence[str]) -> UserError:
        name, cell = next((name, cell) for name, cell in zip(names, cells, strict=True) if not _is_number(cell))
        text = self._present(line, name, cell)
        return UserError(
            f"{self.path}: line {line}, column {name}: {text} is no finite number; "
            "mend it, remove the line, or name a column of labels with --data.label"
        )


def _read(path: str) -> list[tuple[int, list[str]]]:
    """(number of the line, cells) of every line but the empty ones at the end."""
    if not Path(path).is_file():
        raise UserError(f"--data {path}: no such file")
    try:
        # Spreadsheets begin their files with a byte order mark.
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, cells) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); needs commas between cells, in UTF-8") from error
    while rows and not any(cell.strip() for cell in rows[-1][1]):
        rows.pop()
    return rows


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _labels(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Labels:
    columns = {name: _ordered([row[i] for row in rows]) for i, name in enumerate(names)}
    if not columns:
        return Labels()
    return several_labels(columns) if len(columns) > 1 else one_label(next(iter(columns.values())))


def _ordered(cells: Sequence[str]) -> np.ndarray:
    """Integers as such, so that 10 comes after 9; all else as text."""
    return np.array([int(cell) for cell in cells] if all(INTEGER.fullmatch(cell) for cell in cells) else cells)
