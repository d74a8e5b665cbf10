"""Your own table from a ``.csv`` file."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

import numpy as np

from pyrovae.data.columns import named_in, positions
from pyrovae.data.dataset import Dataset
from pyrovae.data.labels import MISSING, Labels, label_in_words, several_labels
from pyrovae.data.numbers import LARGEST_EXACT, check_shape, check_values
from pyrovae.data.own import OwnNumbers
from pyrovae.data.written import is_number, is_whole
from pyrovae.errors import UserError, check_choice, option

POINTS = frozenset(".eE")
"""What tells a real from an integer."""

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}

DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")

Line = tuple[int, list[str]]
"""The number of a line and its cells."""


@final
@dataclass(frozen=True, kw_only=True)
class CsvFile(OwnNumbers):
    """A .csv table: commas, a first line that names the columns, one datum per line, one number per cell (but in labels).

    Args:
        path: The file.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from the table: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        kind: What the numbers are; ``auto``: only 0 and 1 are binary, integers from 0 up without decimal points are
            counts, the rest reals.
        levels: Number of levels, for integers 0..levels-1.
        label: The column of the labels, or several with commas between.
        columns: The columns that are data, in this order, with commas between; by default all but the labels.
        header: Whether the first line names the columns; ``auto`` expects names and refuses numbers, ``no`` calls the
            columns 1, 2, ....
        delimiter: What stands between cells: comma, semicolon or tab; ``auto`` is comma, and refuses a table that looks
            otherwise.

    Raises:
        UserError: If an option is wrong.
    """

    example = "FILE.csv"

    label: str | None = None
    columns: str | None = None
    header: Literal["auto", "yes", "no"] = "auto"
    delimiter: Literal["auto", "comma", "semicolon", "tab"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("data.header", self.header, ("auto", "yes", "no"))
        check_choice("data.delimiter", self.delimiter, ("auto", *DELIMITERS))
        for name in ("label", "columns"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise UserError(f"data.{name}", value, "needs the name of a column, or names with commas between")

    def load(self, root: Path) -> Dataset:
        names, rows = self._named(self._lines())
        if not rows:
            raise UserError(None, self.path, "has no line of data below the names of the columns", "add lines")
        labels = self._wanted("label", names)
        columns = self._data_columns(names, labels)
        x, whole = np.empty((len(rows), len(columns))), True
        for i, (line, cells) in enumerate(rows):
            self._check_width(line, cells, names)
            texts = [cells[k] for k in columns]
            together = "".join(texts)
            try:
                x[i] = list(map(float, texts))
            except ValueError:
                x[i] = np.nan
            # Python takes 1_000 and digits of other scripts for numbers.
            if not np.isfinite(x[i]).all() or "_" in together or not together.isascii():
                self._check_numbers(line, [names[k] for k in columns], texts)
            whole = whole and POINTS.isdisjoint(together)
        if whole and np.abs(x).max() >= LARGEST_EXACT:
            raise self._not_exact(np.abs(x).max(0), [names[k] for k in columns])
        x = x.astype(np.int64) if whole else x
        check_shape(self.path, "the table", x.shape, x.dtype, (len(columns),))
        check_values(self.path, "the table", x)
        found = self.dataset(x, {"all": len(x)}, self._labels([names[k] for k in labels], labels, rows))
        return replace(found, spec=replace(found.spec, columns=tuple(names[k] for k in columns)))

    def names(self) -> tuple[str, ...]:
        return tuple(self._named(self._lines(1))[0])

    def _named(self, rows: list[Line]) -> tuple[list[str], list[Line]]:
        if not rows:
            raise UserError(None, self.path, "is empty", "needs a line with the names of the columns, then one datum per line")
        first = [cell.strip() for cell in rows[0][1]]
        self._check_delimiter(first)
        if self.header == "no":
            return [str(i + 1) for i in range(len(first))], rows
        if self.header == "auto" and all(map(is_number, first)):
            raise UserError(
                None,
                self.path,
                f"line {rows[0][0]} has only numbers, not the names of the columns",
                f"give {option('data.header', 'no')} if it is a datum, yes if the columns are called so",
            )
        met = set()
        for position, name in enumerate(first):
            if not name or name in met:
                problem = f"calls another column {name} too" if name else "has no name"
                raise UserError(None, self.path, f"line {rows[0][0]}, column {position + 1} {problem}", "name every column once")
            met.add(name)
        return first, rows[1:]

    def _check_delimiter(self, first: Sequence[str]) -> None:
        """Refuse a table whose first line has more of another delimiter, where none was named."""
        text, used = "".join(first), len(first) - 1
        for name in ("semicolon", "tab"):
            if self.delimiter == "auto" and text.count(DELIMITERS[name]) > used:
                raise UserError(
                    None, self.path, f"its first line has {name}s, not commas", f"give {option('data.delimiter', name)}"
                )

    def _wanted(self, which: Literal["label", "columns"], names: Sequence[str]) -> list[int]:
        text = getattr(self, which)
        wanted = [] if text is None else named_in(f"data.{which}", text, names)
        return positions(wanted, names, lambda name: UserError(f"data.{which}", name, f"{self.path} has no such column"))

    def _data_columns(self, names: Sequence[str], labels: Sequence[int]) -> list[int]:
        """Where the data stand."""
        others = set(range(len(names))).difference(labels)
        if not others:
            raise UserError("data.label", self.label, f"leaves no column of data in {self.path}", "name fewer columns")
        if self.columns is None:
            return sorted(others)
        columns = self._wanted("columns", names)
        clashing = [names[k] for k in columns if k not in others]
        if clashing:
            raise UserError(
                "data.label", self.label, f"{clashing[0]} is a column of data ({option('data.columns')})", "it cannot be both"
            )
        return columns

    def _check_width(self, line: int, cells: Sequence[str], names: Sequence[str]) -> None:
        if len(cells) != len(names):
            where = (
                f"column {names[len(cells)]} is missing" if len(cells) < len(names) else f"nothing after {names[-1]} has a name"
            )
            raise UserError(None, self.path, f"line {line} has {len(cells)} cells, the first {len(names)}: {where}", "mend it")

    def _present(self, line: int, name: str, cell: str) -> str:
        if not cell.strip():
            raise UserError(None, self.path, f"line {line}, column {name} is empty", "fill it or remove the line")
        return cell.strip()

    def _check_numbers(self, line: int, names: Sequence[str], cells: Sequence[str]) -> None:
        """Refuse the first cell that is no number."""
        for name, cell in zip(names, cells, strict=True):
            if is_number(cell):
                continue
            text = self._present(line, name, cell)
            point = f"write {text.replace(',', '.')}" if DECIMAL_COMMA.fullmatch(text) else "mend it"
            # Columns that were asked for are no labels.
            or_label = f", remove the line, or name a column of labels with {option('data.label')}"
            remedy = f"{point}{or_label if self.columns is None else ' or remove the line'}"
            raise UserError(None, self.path, f"line {line}, column {name}: {text} is no finite number", remedy)

    def _not_exact(self, largest: np.ndarray, names: Sequence[str]) -> UserError:
        name = names[int((largest >= LARGEST_EXACT).argmax())]
        return UserError(
            None,
            self.path,
            f"column {name} has whole numbers of 2^53 or more, which float64 does not tell from their neighbours",
            f"subtract a number from all of them, or choose other {option('data.columns')} if it only names the data",
        )

    def _labels(self, names: Sequence[str], columns: Sequence[int], rows: Sequence[Line]) -> Labels:
        found = {
            name: self._label(name, [(line, cells[k]) for line, cells in rows]) for name, k in zip(names, columns, strict=True)
        }
        if not found:
            return Labels()
        return several_labels(found) if len(found) > 1 else next(iter(found.values()))

    def _label(self, name: str, cells: Sequence[tuple[int, str]]) -> Labels:
        """The labels of a column, as they are written.

        Raises:
            UserError: If one is missing, or they are measurements and no names of classes.
        """
        texts = [self._present(line, name, cell) for line, cell in cells]
        for (line, _), text in zip(cells, texts, strict=True):
            if text in MISSING:
                raise UserError(
                    None,
                    self.path,
                    f"line {line}, column {name}: {text} stands for a label that is missing",
                    "give it one, such as unknown, or remove the line",
                )
        if all(map(is_number, texts)) and not all(map(is_whole, texts)):
            (line, _), text = next((cell, text) for cell, text in zip(cells, texts, strict=True) if not is_whole(text))
            raise UserError(
                None,
                self.path,
                f"line {line}, column {name}: {text} is a real, which names no class",
                f"leave {name} out of {option('data.label')}, or write names into it",
            )
        return label_in_words(name, texts)

    def _lines(self, most: int | None = None) -> list[Line]:
        """Every line, or the first ones, without the empty ones at the end."""
        if not Path(self.path).is_file():
            raise UserError("data", self.path, "no such file")
        try:
            # Spreadsheets begin their files with a byte order mark.
            with open(self.path, encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, strict=True, delimiter=DELIMITERS.get(self.delimiter, ","))
                rows = [(reader.line_num, cells) for cells in itertools.islice(reader, most)]
        except UnicodeDecodeError as error:
            raise UserError(None, self.path, f"cannot be read as a table ({error})", "save it in UTF-8") from error
        except (OSError, csv.Error) as error:
            raise UserError(
                None,
                self.path,
                f"cannot be read as a table ({error})",
                f"needs {' or '.join(DELIMITERS)}s between cells, and a quote at both ends of a cell that has one",
            ) from error
        while rows and not any(cell.strip() for cell in rows[-1][1]):
            rows.pop()
        return rows
