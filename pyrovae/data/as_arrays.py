"""Tensors, tables of pandas, torch's data sets and loaders -> arrays."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from pyrovae.errors import UserError, shown, suggest
from pyrovae.system.bounds import check_memory

ITEMS = 4096
"""Items of a data set that are read before its memory is looked at again."""

WANTED = "a tensor, an array, a pandas DataFrame, a torch Dataset or a DataLoader"


class Table(Protocol):
    """A table of named columns: the part of a pandas DataFrame that is used here; pandas need not be installed."""

    columns: Any
    dtypes: Any

    def __getitem__(self, name: Any) -> Any: ...

    def __len__(self) -> int: ...


InMemory = Tensor | np.ndarray | Table | TorchDataset[Any] | DataLoader[Any]
"""Data in memory: ``WANTED``. Items of a torch data set are x or (x, y), y being the label."""


def is_table(value: object) -> TypeGuard[Table]:
    """Whether a value is a pandas DataFrame; pandas is not imported for it."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_in_memory(value: object) -> TypeGuard[InMemory]:
    """Whether a value is data that a program has in memory, and not a name, path or description of them."""
    return isinstance(value, Tensor | np.ndarray | TorchDataset | DataLoader) or is_table(value)


@final
@dataclass(frozen=True)
class Read:
    """Data as arrays.

    Args:
        x: The data (N, *E).
        y: Their labels (N,) or (N, A), as they were given; None without.
        columns: Names of the columns of a table; else empty.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    columns: tuple[str, ...] = ()


def read(value: InMemory, name: str, labels: Sequence[str] = (), only: Sequence[str] = ()) -> Read:
    """Data in memory as arrays; a loader's data set is read once, in order.

    Args:
        value: The data.
        name: What they are called, for errors.
        labels: For a table, the columns that are labels.
        only: For a table, the columns that are wanted, in this order, if it has them; all columns if None.

    Raises:
        UserError: If they are no numbers, or items of a data set are not alike.
    """
    if isinstance(value, DataLoader):
        value = value.dataset
    if is_table(value):
        return _read_table(value, name, labels, only)
    if isinstance(value, TorchDataset):
        return _read_items(value, name)
    return Read(as_array(value, name))


def as_array(value: Any, name: str) -> np.ndarray:
    """Numbers or labels as an array; those of a tensor on the CPU are not copied.

    Raises:
        UserError: If they are no array, or some of them are masked.
    """
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        # NumPy has no bfloat16; float32 holds all of its numbers.
        found: np.ndarray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).resolve_conj().resolve_neg().numpy()
        return found
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise UserError(None, name, f"{shown(value.data)} has masked values", "fill them, or leave these data out")
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise UserError(None, name, f"is no array: {error}", f"give {WANTED}") from error


def _read_table(table: Any, name: str, labels: Sequence[str], only: Sequence[str]) -> Read:
    """Columns of numbers, and those of labels."""
    numeric = sys.modules["pandas"].api.types.is_numeric_dtype
    columns = [str(column) for column in table.columns]
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise UserError(None, name, f"calls two columns {twice}", "name every column once")
    for label in labels:
        if label not in columns:
            raise UserError("labels", label, f"{name} has no such column", suggest(label, columns))
    wanted = [column for column in only or columns if column in columns and column not in labels]
    for column in wanted:
        values = table.iloc[:, columns.index(column)]
        if not numeric(values.dtype):
            example = f", such as {shown(values.iloc[0])} in row 0" if len(values) else ""
            reason = f"column {column} has type {values.dtype}{example}, and data are numbers"
            labelled = f"make it the label, Dataset.from_arrays(table, labels={column!r})"
            raise UserError(None, name, reason, f"leave it out, table.drop(columns={[column]!r}), or {labelled}")
    chosen = table.iloc[:, [columns.index(column) for column in wanted]]
    # Columns of their own types that may lack values become numbers, where NaN stands for what is missing.
    lacking = any(chosen.iloc[:, place].isna().any() for place in range(len(wanted)))
    x = chosen.to_numpy(dtype=np.float64, na_value=np.nan) if lacking else chosen.to_numpy()
    x = chosen.to_numpy(dtype=np.float64) if x.dtype.kind == "O" else x
    found = [_column_of_labels(table.iloc[:, columns.index(label)], label, name) for label in labels]
    y = None if not found else found[0] if len(found) == 1 else np.stack([one.astype(str) for one in found], 1)
    return Read(x, y, tuple(wanted))


def _column_of_labels(values: Any, label: str, name: str) -> np.ndarray:
    missing = values.isna().to_numpy()
    if missing.any():
        row = int(missing.argmax())
        raise UserError(
            None,
            name,
            f"column {label} has no label in {int(missing.sum())} rows, the first of them row {row} (rows count from 0)",
            "give it one, such as unknown, or drop the row",
        )
    found = values.to_numpy()
    return np.array([str(one) for one in found]) if found.dtype.kind == "O" else np.asarray(found)


def _read_items(dataset: TorchDataset[Any], name: str) -> Read:
    """Every item of a torch data set once, in order; it must come to an end."""
    x: list[np.ndarray] = []
    y: list[np.ndarray] = []
    for number, item in enumerate(_items(dataset)):
        data, label = _item(item, number, name)
        if x and (data.shape != x[0].shape or (label is None) != (not y)):
            labelled = "has no label, and the first has one" if label is None else "has a label, and the first has none"
            what = labelled if data.shape == x[0].shape else f"has shape {data.shape}, the first {x[0].shape}"
            raise UserError(None, name, f"item {number} {what}", "items must be alike")
        x.append(data)
        y += [] if label is None else [label]
        if number % ITEMS == ITEMS - 1:
            # As much again is needed to put them together.
            check_memory(x[0].nbytes * len(x), f"{name} has more than {number} items and", "give fewer, of a data set that ends")
    if not x:
        raise UserError(None, name, "has no items", "give data")
    return Read(np.stack(x), np.stack(y) if y else None)


def _items(dataset: Any) -> Iterator[Any]:
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return (dataset[number] for number in range(len(dataset)))
    return iter(dataset)


def _item(item: Any, number: int, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    is_pair = isinstance(item, tuple) or (isinstance(item, list) and item and isinstance(item[0], Tensor | np.ndarray))
    pair: Sequence[Any] = item if is_pair else (item,)
    if isinstance(item, Mapping) or len(pair) not in (1, 2):
        what = f"a mapping of {', '.join(map(str, item))}" if isinstance(item, Mapping) else f"{len(pair)} things"
        raise UserError(None, name, f"item {number} is {what}", "items are x, or (x, y) with a label y")
    x = _pixels(pair[0], number, name) if hasattr(pair[0], "getbands") else as_array(pair[0], name)
    if x.dtype.kind not in "buif":
        raise UserError(
            None,
            name,
            f"item {number} is {shown(pair[0])}",
            "items are numbers, tensors or arrays; give the data set a transform",
        )
    return x, None if len(pair) == 1 else as_array(pair[1], name)


def _pixels(picture: Any, number: int, name: str) -> np.ndarray:
    """A picture of Pillow as bytes, (H, W), or (3, H, W) in colour."""
    if picture.mode not in ("1", "L", "RGB"):
        reason = f"item {number} is a picture of mode {picture.mode}"
        raise UserError(None, name, reason, "give the data set a transform, such as lambda picture: picture.convert('RGB')")
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
