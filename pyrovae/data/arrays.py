"""Your own arrays from a ``.npy`` or ``.npz`` file."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from pyrovae.data.dataset import Dataset
from pyrovae.data.labels import MISSING, Labels, one_label, several_labels
from pyrovae.data.numbers import check_shape, check_values
from pyrovae.data.numpy_files import NumpyFile
from pyrovae.data.own import AS_THEY_ARE, OwnNumbers
from pyrovae.data.split_names import array_called, check_trainable, in_splits
from pyrovae.errors import UserError

ATTRIBUTES = "attributes"
"""The array of the names of several labels."""


@final
@dataclass(frozen=True, kw_only=True)
class ArrayFile(OwnNumbers):
    """A .npy file with data (N, ...), or a .npz with ``x``, or ``train`` and ``test`` (``valid``).

    Labels are optional: ``y`` with ``x``, ``y_train``, ``y_valid`` and ``y_test`` with the splits. They are (N,), or
    (N, A) where a datum has A labels, whose names may stand in ``attributes`` (A,); else they are called y0, y1, .... Splits
    may also be called training, val, validation, dev and testing, their data ``X_train`` or ``train_images``, their labels
    ``train_labels`` or ``train_targets``, and so on, in any case. A warning names the arrays that are not used.

    Args:
        path: The file.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from ``x``: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        kind: What the numbers are; ``auto``: only 0 and 1 are binary, bytes are 256 levels, other integers from 0 up
            are counts, the rest reals.
        levels: Number of levels, for integers 0..levels-1.

    Raises:
        UserError: If an option is wrong.
    """

    example = "FILE.npy"

    def load(self, root: Path) -> Dataset:
        path = Path(self.path)
        if not path.exists():
            raise UserError("data", path, "no such file, nor a data set of that name (see pyrovae list)")
        if path.suffix not in (".npy", ".npz"):
            raise UserError("data", path, "needs a .npy, .npz or .csv file, or a folder of pictures")
        file = NumpyFile(path)
        data, labels = _roles(self.path, file.headers)
        headers = {split: file.header(name) for split, name in data.items()}
        event_shape = next(iter(headers.values())).shape[1:]
        for split, name in data.items():
            check_shape(self.path, name, headers[split].shape, headers[split].dtype, event_shape)
        sizes = {split: header.shape[0] for split, header in headers.items()}
        objects = next((name for name in labels.values() if file.holds_objects(name)), None)
        if objects is not None:
            remedy = f"{objects}.astype(str) makes text of them"
            _say_unlabelled(f"{self.path}: {objects} holds Python objects, which are never unpickled; {remedy}")
            found = Labels()
        else:
            found = _labels(self.path, data, labels, sizes, file.arrays([*labels.values(), ATTRIBUTES]))
        kept = np.result_type(*(header.dtype for header in headers.values())) in AS_THEY_ARE
        x = file.read(list(data.values()), spare=0 if kept else np.dtype(np.float32).itemsize)
        for name, part in zip(data.values(), np.split(x, np.cumsum(list(sizes.values()))[:-1]), strict=True):
            check_values(self.path, name, part)
        return self.dataset(x, sizes, found)


def _roles(path: str, names: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split -> the array of its data, and -> that of its labels; ``all`` is the split of data in one part.

    Raises:
        UserError: If it is unclear which data are for training.
    """
    called = [(name, *meant) for name in names if (meant := array_called(name)) is not None]
    data, labels = (
        in_splits(path, [(name, split) for name, found, split in called if found == role]) for role in ("data", "labels")
    )
    if not data:
        raise UserError(None, path, f"has {', '.join(names) or 'no arrays'}", "needs x, or train and test")
    if "all" in data and len(data) > 1:
        whole, *parts = data.values()
        raise UserError(None, path, f"has {whole} and {', '.join(parts)}", f"call {whole} train, or leave out what is not wanted")
    if "all" not in data:
        check_trainable(path, data, f"add it, or call {next(iter(data.values()))} x, to use all of it")
    labels = {split: name for split, name in labels.items() if split in data}
    used = {*data.values(), *labels.values(), ATTRIBUTES}
    unused = [name for name in names if name not in used]
    if unused:
        warnings.warn(f"{path}: not used: {', '.join(unused)}", UserWarning, stacklevel=2)
    return data, labels


def _labels(
    path: str, data: Mapping[str, str], labels: Mapping[str, str], sizes: Mapping[str, int], arrays: Mapping[str, np.ndarray]
) -> Labels:
    """The labels of the data.

    Args:
        path: The file, for errors.
        data: Split -> name of the array of its data.
        labels: The same of its labels.
        sizes: Split -> number of its data.
        arrays: Name -> array of labels, and ``attributes``.

    Raises:
        UserError: If they do not fit the data, or are no names of classes.
    """
    missing = [split for split in data if split not in labels]
    if missing:
        wanted = "y" if missing[0] == "all" else f"y_{missing[0]}"
        if labels:
            raise UserError(None, path, f"has labels but no {wanted}", "label every part or none")
        if ATTRIBUTES in arrays:
            raise UserError(None, path, f"has attributes, the names of labels, but no {wanted}", "add the labels")
        return Labels()
    given = {name: labels[split] for split, name in data.items()}
    names = list(given)
    width = arrays[given[names[0]]].shape[1:]
    for (name, label), count in zip(given.items(), sizes.values(), strict=True):
        shape = arrays[label].shape
        if len(shape) not in (1, 2) or shape[0] != count or 0 in shape:
            raise UserError(
                None, path, f"the labels of {name} have shape {shape}", f"needs ({count},) or ({count}, number of labels)"
            )
        if shape[1:] != width:
            raise UserError(
                None, path, f"the labels of {name} have shape {shape}, those of {names[0]} {width} per datum", "they must agree"
            )
    classes = {label: _as_classes(arrays[label]) for label in given.values()}
    why = next(filter(None, (_no_classes(path, label, values) for label, values in classes.items())), "")
    if why:
        _say_unlabelled(why)
        return Labels()
    values = np.concatenate(list(classes.values()))
    if values.ndim == 1:
        if ATTRIBUTES in arrays:
            raise UserError(None, path, "has attributes, the names of several labels, but one label per datum", "leave them out")
        return one_label(values)
    names = _attribute_names(path, arrays, values.shape[1])
    # An only label of that name is what data with one label per datum have.
    found = {name: one_label(column) for name, column in zip(names, values.T, strict=True)}
    return found["class"] if names == ["class"] else several_labels(found)


def _say_unlabelled(why: str) -> None:
    """Warn of labels that are left out: most models need none, and a model conditioned on them is refused when it is built."""
    warnings.warn(f"{why}; until then the data have no labels", UserWarning, stacklevel=2)


def _as_classes(labels: np.ndarray) -> np.ndarray:
    """Whole numbers that are stored as floats, as NumPy reads them from text, as integers; others as they are."""
    whole = labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all()
    return labels.astype(np.int64) if whole and np.abs(labels).max() < 2**53 else labels


def _any(values: np.ndarray) -> np.ndarray:
    """Whether any is true in each row, (N,) of (N, ...)."""
    return np.asarray(values.reshape(len(values), -1).any(axis=1))


def _no_classes(path: str, name: str, labels: np.ndarray) -> str:
    """Why labels are no names of classes, with the row of the first that is none: reals, dates, missing values; or nothing."""
    kind = labels.dtype.kind
    missing = _any(np.zeros((len(labels), 1), bool))
    if kind in "US":
        missing = _any(np.isin(np.char.strip(labels), np.array(MISSING, kind)))
    elif kind == "f":
        missing = _any(~np.isfinite(labels))
    if missing.any():
        row = int(missing.argmax())
        return (
            f"{path}: {name} has no label in {int(missing.sum())} rows, the first of them row {row} ({labels[row]}; rows count "
            "from 0); give it one, such as unknown, or remove the row"
        )
    if kind not in "buiUS":
        return (
            f"{path}: {name} has type {labels.dtype}, such as {labels[0]} in row 0; labels are integers, booleans or text: "
            f"np.digitize({name}, edges) makes classes of measurements, {name}.astype(str) of other things"
        )
    return ""


def _attribute_names(path: str, arrays: Mapping[str, np.ndarray], count: int) -> list[str]:
    if ATTRIBUTES not in arrays:
        return [f"y{i}" for i in range(count)]
    given = arrays[ATTRIBUTES]
    if given.shape != (count,) or given.dtype.kind != "U" or len(set(given.tolist())) < count:
        raise UserError(
            None,
            path,
            f"attributes has shape {given.shape} and type {given.dtype}",
            f"needs {count} different names, one a label",
        )
    return [str(name) for name in given]
