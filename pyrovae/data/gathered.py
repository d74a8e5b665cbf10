"""Data and labels that a program has in memory -> the arrays of their parts, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard, final

import numpy as np
from torch import Tensor

from pyrovae.data.as_arrays import InMemory, as_array, is_table, read
from pyrovae.data.labels import MISSING, Labels, one_label, several_labels
from pyrovae.data.numbers import check_shape, check_values
from pyrovae.errors import UserError

LabelsGiven = Tensor | np.ndarray | Sequence[Any]
"""Labels (N,) or (N, A), or of a table the name of their column, or the names of several."""


@final
@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Arrays and labels of the parts of a data set.

    Args:
        name: What reports call the data.
        parts: Split -> its data (N, *E); ``all`` is the split of data in one part.
        labels: Of all of them.
        columns: Names of the columns of a table; else empty.
    """

    name: str
    parts: Mapping[str, np.ndarray] = field(repr=False)
    labels: Labels = field(repr=False)
    columns: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Number of data of each part, in the order of the rows."""
        return {name: len(part) for name, part in self.parts.items()}

    def together(self) -> np.ndarray:
        """The data (N, *E) of one part after the other.

        Raises:
            UserError: If they are no data, or have numbers that floats do not have.
        """
        first = next(iter(self.parts.values()))
        for name, x in self.parts.items():
            called = "x" if len(self.parts) == 1 else name
            check_shape(self.name, called, x.shape, x.dtype, first.shape[1:])
            self._check_present(called, x)
            check_values(self.name, called, x)
        arrays = list(self.parts.values())
        together = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        # Torch warns of arrays that may not be written to, such as those of pandas.
        return together if together.flags.writeable else together.copy()

    def _check_present(self, name: str, x: np.ndarray) -> None:
        """Refuse missing values of a table by the name of their column."""
        if not self.columns or x.dtype.kind != "f" or not np.isnan(x).any():
            return
        row, column = (int(i) for i in np.argwhere(np.isnan(x))[0])
        count = int(np.isnan(x[:, column]).sum())
        raise UserError(
            None,
            self.name,
            f"column {self.columns[column]} of {name} has {count} missing values, the first in row {row} (rows count from 0)",
            "fill them, or drop these rows",
        )


def gather(
    parts: Mapping[str, InMemory],
    labels: LabelsGiven | str | Mapping[str, LabelsGiven] | None,
    label_names: Sequence[str],
    columns: Sequence[str],
    name: str,
    only: Sequence[str] = (),
) -> Gathered:
    """Data of a program and their labels, as arrays.

    Args:
        parts: Split -> its data; ``all`` is the split of data in one part.
        labels: Of all of them, or the columns of a table that are.
        label_names: What several labels are called.
        columns: Names of the columns of arrays.
        name: What reports call the data.
        only: Of a table, the columns that are wanted, in this order, where it has them; all without.

    Raises:
        UserError: If they are no numbers, or parts, labels and names do not fit each other.
    """
    of_table = [labels] if isinstance(labels, str) else list(labels) if _are_names(labels, parts) else []
    arrays = {split: read(part, name, of_table, only) for split, part in parts.items()}
    found = [one.columns for one in arrays.values()]
    if any(one != found[0] for one in found):
        raise UserError(None, name, "the tables of its splits have other columns", "give them the same, in one order")
    names = found[0] or tuple(map(str, columns))
    if names and any(one.x.ndim != 2 or one.x.shape[1] != len(names) or len(set(names)) < len(names) for one in arrays.values()):
        raise UserError("columns", list(names), "needs a name for each element of a datum, all different")
    if of_table or labels is None:
        given = {split: one.y for split, one in arrays.items() if one.y is not None}
    else:
        given = {split: as_array(y, "labels") for split, y in _by_split(labels, list(parts)).items()}
    label_names = of_table if of_table else [str(one) for one in label_names]
    return Gathered(
        name=name,
        parts={split: one.x for split, one in arrays.items()},
        labels=_labels({split: len(one.x) for split, one in arrays.items()}, given, label_names, name),
        columns=names,
    )


def _are_names(labels: object, parts: Mapping[str, InMemory]) -> TypeGuard[Sequence[str]]:
    """Whether labels are columns of a table, by name."""
    is_list = isinstance(labels, list | tuple) and all(isinstance(one, str) for one in labels)
    return is_list and all(map(is_table, parts.values()))


def _by_split(labels: Any, splits: Sequence[str]) -> dict[str, Any]:
    if isinstance(labels, Mapping):
        if set(labels) != set(splits):
            wanted = ", ".join(splits)
            raise UserError("labels", ", ".join(map(str, labels)), f"needs those of {wanted}", "label every part or none")
        return {split: labels[split] for split in splits}
    if len(splits) > 1:
        keys = ", ".join(f"'{split}': ..." for split in splits)
        raise UserError("labels", labels, "are of one part, and the data have several", f"give {{{keys}}}")
    return {splits[0]: labels}


def _labels(sizes: Mapping[str, int], given: Mapping[str, np.ndarray], names: Sequence[str], name: str) -> Labels:
    """The labels of all parts, one after the other.

    Raises:
        UserError: If they do not fit the data, or are no names of classes.
    """
    if not given:
        return Labels()
    if len(given) < len(sizes):
        missing = next(split for split in sizes if split not in given)
        raise UserError(None, name, f"has labels, but none of {missing}", "label every part or none")
    for split, count in sizes.items():
        shape = given[split].shape
        if len(shape) not in (1, 2) or shape[0] != count or 0 in shape:
            reason = f"the labels of {count} data have shape {shape}"
            raise UserError(None, name, reason, f"needs ({count},), or ({count}, A) where each has A labels")
    values = np.concatenate([_as_classes(given[split]) for split in sizes])
    if values.ndim == 1:
        return one_label(values)
    called = list(names) or [f"y{number}" for number in range(values.shape[1])]
    if len(called) != values.shape[1] or len(set(called)) < len(called):
        raise UserError("label_names", called, f"needs {values.shape[1]} names, all different")
    labels = {label: one_label(_whole(column)) for label, column in zip(called, values.T, strict=True)}
    return next(iter(labels.values())) if called == ["class"] else several_labels(labels)


def _as_classes(values: np.ndarray) -> np.ndarray:
    """Labels as integers or text; whole numbers that are stored as floats are whole numbers.

    Raises:
        UserError: If they are something else.
    """
    if values.dtype.kind == "O":
        values = np.array([str(one) for one in values.ravel()]).reshape(values.shape)
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.floor(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "buiUS":
        remedy = "labels are integers, booleans or text: give classes, such as np.digitize(y, edges)"
        raise UserError("labels", values[:3].tolist(), f"are of type {values.dtype}, which names no class", remedy)
    if values.dtype.kind in "US" and np.isin(np.char.strip(values), np.array(MISSING, values.dtype.kind)).any():
        raise UserError("labels", values[:3].tolist(), "lack some", "give each datum one, such as unknown")
    return values


def _whole(column: np.ndarray) -> np.ndarray:
    """A column of text as integers, where each is one: several labels share a type."""
    texts = column.tolist()
    if column.dtype.kind == "U" and all(text.lstrip("-").isdecimal() and str(int(text)) == text for text in texts):
        return column.astype(np.int64)
    return column
