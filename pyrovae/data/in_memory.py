"""Data that a Python program already has: arrays, tensors, tables of pandas, torch's data sets and loaders."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeGuard, final

import numpy as np
from torch import Tensor

from pyrovae.contexts.words import listed
from pyrovae.contracts import DataSpec, Kind
from pyrovae.data.as_arrays import WANTED, InMemory, as_array, is_in_memory, is_table, read
from pyrovae.data.dataset import Dataset, Source
from pyrovae.data.labels import MISSING, Labels, one_label, several_labels
from pyrovae.data.own import OwnNumbers, check_shape, check_values
from pyrovae.errors import UserError, is_number, plain

NAME = "data in memory"
"""What such data are called in reports, unless they are given a name."""

LabelsGiven = Tensor | np.ndarray | Sequence[Any]
"""Labels (N,) or (N, A), or of a table the name of their column, or the names of several."""


@final
@dataclass(frozen=True, kw_only=True)
class Arrays(OwnNumbers):
    """Data in memory as a source of data: what their numbers are is found out, and they are split, as those of a file.

    Args:
        path: What they are called.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from data that come in one part: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        kind: What the numbers are; ``auto`` as for a file.
        levels: Number of levels, for integers 0..levels-1.
        parts: Split -> its data (N, *E); ``all`` is the split of data in one part.
        labels: Of all of them.
        columns: Names of the columns of a table; else empty.
    """

    example: ClassVar[str] = "FILE.npy"
    can_be_named: ClassVar[bool] = False

    path: str = NAME
    parts: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    labels: Labels = field(default_factory=Labels, repr=False, compare=False)
    columns: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        return self.columns

    def load(self, root: Path) -> Dataset:
        first = next(iter(self.parts.values()))
        for name, x in self.parts.items():
            called = "x" if len(self.parts) == 1 else name
            check_shape(self.path, called, x.shape, x.dtype, first.shape[1:])
            self._check_present(called, x)
            check_values(self.path, called, x)
        arrays = list(self.parts.values())
        together = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        # Torch warns of arrays that may not be written to, such as those of pandas.
        x = together if together.flags.writeable else together.copy()
        found = self.dataset(x, {name: len(part) for name, part in self.parts.items()}, self.labels)
        return replace(found, spec=replace(found.spec, columns=self.columns)) if self.columns else found

    def _check_present(self, name: str, x: np.ndarray) -> None:
        """Refuse missing values of a table by the name of their column."""
        if not self.columns or x.dtype.kind != "f" or not np.isnan(x).any():
            return
        row, column = (int(i) for i in np.argwhere(np.isnan(x))[0])
        count = int(np.isnan(x[:, column]).sum())
        raise UserError(
            None,
            self.path,
            f"column {self.columns[column]} of {name} has {count} missing values, the first in row {row} (rows count from 0)",
            "fill them, or drop these rows",
        )


@final
@dataclass(frozen=True, kw_only=True)
class Given(Source):
    """A data set that a program has made, as a source of data.

    Args:
        dataset: The data set.
    """

    can_be_named: ClassVar[bool] = False

    dataset: Dataset

    def load(self, root: Path) -> Dataset:
        return self.dataset


def dataset_of_arrays(
    train: InMemory,
    valid: InMemory | float | None,
    test: InMemory | float | None,
    *,
    labels: LabelsGiven | str | Mapping[str, LabelsGiven] | None,
    label_names: Sequence[str],
    columns: Sequence[str],
    kind: Kind | Literal["auto"],
    levels: int | None,
    split_seed: int,
    name: str,
) -> Dataset:
    """What ``Dataset.from_arrays`` returns; see there."""
    given: dict[str, object] = {"train": train, "valid": valid, "test": test}
    parts = {split: part for split, part in given.items() if is_in_memory(part)}
    if "train" not in parts:
        raise UserError("train", train, f"needs {WANTED}")
    shares = {split: plain(part) for split, part in given.items() if split not in parts}
    for split, share in shares.items():
        if share is not None and not is_number(share):
            raise UserError(split, share, f"needs {WANTED}", "or the share of the training data that is taken for it")
    if shares.get("test") and "valid" in parts:
        raise UserError("test", shares["test"], "is a share, and the validation data are given", "give the test data too")
    if shares.get("test"):  # data in one part
        parts = {"all": parts["train"]}
    source = _source(parts, labels, label_names, columns, name)
    options = {split: share for split, share in shares.items() if share is not None}
    return replace(source, kind=kind, levels=levels, split_seed=split_seed, **options).load(Path())


def source_of(value: InMemory, spec: DataSpec | None = None, labels: Sequence[str] = ()) -> Arrays:
    """Data in memory as a source of data in one part.

    Args:
        value: The data.
        spec: What a model was built for: of a table its columns are taken, and those of its labels, and a warning names others.
            None takes all columns.
        labels: Of a table, the columns that are labels, where it has all of them; those that ``spec`` names without.

    Raises:
        UserError: If they are no numbers, or items of a data set are not alike.
    """
    if spec is None or not is_table(value):
        return _source({"all": value}, list(labels) or None, (), (), NAME)
    there = [str(column) for column in value.columns]
    named = list(labels) or [label.name for label in spec.labels]
    chosen = named if set(named) <= set(there) else []
    unused = [column for column in there if spec.columns and column not in {*spec.columns, *named}]
    if unused:
        warnings.warn(f"{NAME}: not used: the columns {listed(unused)}", UserWarning, stacklevel=2)
    return _source({"all": value}, chosen or None, (), (), NAME, spec.columns)


def training_data(value: object, spec: DataSpec, *, kind_known: bool) -> Dataset:
    """Data to train a model on: a data set as it is, or data in memory, of which a sixth validates and the others are trained on.

    Args:
        value: The data.
        spec: What the model was built for.
        kind_known: Whether the model has met data before, so that these are of the same kind.

    Raises:
        UserError: If it is something else, or are no data.
    """
    if isinstance(value, Dataset):
        return value
    if not is_in_memory(value):
        raise UserError("data", value, f"needs a Dataset, such as load_dataset('FILE.npy'), or {WANTED}")
    source = replace(source_of(value, spec), test=0)
    known = kind_known or spec.kind == "levels"
    levels = spec.levels if spec.kind == "levels" else None
    return replace(source, kind=spec.kind if known else "auto", levels=levels).load(Path())


def _source(
    parts: Mapping[str, InMemory],
    labels: LabelsGiven | str | Mapping[str, LabelsGiven] | None,
    label_names: Sequence[str],
    columns: Sequence[str],
    name: str,
    only: Sequence[str] = (),
) -> Arrays:
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
    return Arrays(
        path=name,
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
