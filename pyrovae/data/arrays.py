"""Your own arrays from a ``.npy`` or ``.npz`` file."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Kind
from pyrovae.data.dataset import SIXTH, Dataset, Source, check_share
from pyrovae.errors import UserError, check_integer

PARTS = ("train", "valid", "test")

UNREADABLE = (ValueError, EOFError, OSError, MemoryError, RuntimeError, KeyError, zipfile.BadZipFile, zlib.error, TokenError)
"""What NumPy, and zipfile, zlib and tokenize below it, raise for damaged files."""

LARGEST_REAL = np.finfo(np.float32).max
LARGEST_INTEGER = 2**24
"""All integers up to it have a float32."""


@final
@dataclass(frozen=True, kw_only=True)
class ArrayFile(Source):
    """A .npy file with data (N, ...), or a .npz with ``x``, or ``train`` and ``test`` (``valid``).

    Labels are optional: ``y`` beside ``x``, ``y_train``, ``y_valid`` and ``y_test`` beside the others.

    Args:
        path: The file.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from ``x``: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        kind: What the numbers are; ``auto``: only 0 and 1 are binary, bytes are 256 levels, other integers from 0 up
            are counts, the rest reals.
        levels: Number of levels, for integers 0..levels-1.
    """

    path: str
    test: float = SIXTH
    kind: Literal["auto", "levels", "counts", "reals", "binary"] = "auto"
    levels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("data.test", self.test)
        if self.levels is not None:
            check_integer("data.levels", self.levels, 2)
        if self.kind not in ("auto", "levels", "counts", "reals", "binary"):
            raise UserError(f"--data.kind {self.kind}: is none of auto, levels, counts, reals, binary")

    def load(self, root: Path) -> Dataset:
        arrays = _read(Path(self.path))
        if "x" in arrays:
            names = ["x"]
        else:
            names = [name for name in PARTS if name in arrays]
            if "train" not in names:
                raise UserError(f"{self.path}: has {', '.join(arrays) or 'no arrays'}; needs x, or train and test")
        for name in names:
            _check(self.path, name, arrays[name], arrays[names[0]].shape[1:])
        x = np.concatenate([arrays[name] for name in names])
        kind, levels = self._kind(x)
        y, class_names = _labels(self.path, [(n, arrays.get("y" if n == "x" else f"y_{n}"), len(arrays[n])) for n in names])
        spec = DataSpec(tuple(x.shape[1:]), kind, levels, class_names)
        sizes = [len(arrays[name]) for name in names]
        rows = dict(zip(names, torch.arange(len(x)).split(sizes), strict=True))
        return Dataset(self.path, spec, _tensor(x), y, self._splits(rows))

    def _splits(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        none = torch.arange(0)
        if "x" in rows:
            train, test = self.split_rows(rows["x"], self.test, "data.test")
        else:
            train, test = rows["train"], rows.get("test", none)
        if "valid" in rows:
            return {"train": train, "valid": rows["valid"], "test": test}
        train, valid = self.split_rows(train, self.valid, "data.valid")
        return {"train": train, "valid": valid, "test": test}

    def _kind(self, x: np.ndarray) -> tuple[Kind, int | None]:
        kind = self.kind
        if kind == "auto":
            kind = "levels" if self.levels is not None else _guess(x)
        if kind == "reals":
            return kind, None
        if kind == "levels" and self.levels is None and x.dtype != np.uint8:
            raise UserError("--data.kind levels: needs the number of levels, --data.levels L")
        levels = {"levels": self.levels or 256, "binary": 2}.get(kind)
        bad = (x < 0) | (x != np.floor(x)) | (x > (LARGEST_INTEGER if levels is None else levels - 1))
        if bad.any():
            position = tuple(int(i) for i in np.argwhere(bad)[0])
            allowed = f"integers from 0 up to {LARGEST_INTEGER}" if levels is None else f"integers 0..{levels - 1}"
            raise UserError(
                f"{self.path}: value {x[position]:.10g} at {position}: --data.kind {kind} allows {allowed}; "
                "give --data.levels, or --data.kind reals"
            )
        return kind, levels


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f"--data {path}: no such file, nor a data set of that name (see pyrovae list)")
    if path.suffix not in (".npy", ".npz"):
        raise UserError(f"--data {path}: needs a .npy or .npz file")
    try:
        # NumPy leaves a file that it opened itself open where it is no archive.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except UNREADABLE as error:
        if "Object arrays" in str(error) or "pickle" in str(error).lower():
            raise UserError(
                f"{path}: holds Python objects (or is no NumPy file), which are never unpickled; "
                "save plain numbers, np.save(file, array.astype('float32'))"
            ) from error
        raise UserError(f"{path}: cannot be read as a NumPy file ({error})") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise UserError(f"{path}: {name} is no NumPy array; write the file with np.savez")
    return arrays


def _check(path: str, name: str, x: np.ndarray, event_shape: tuple[int, ...]) -> None:
    if x.dtype.kind not in "buif":
        raise UserError(f"{path}: {name} has type {x.dtype}; needs integers, reals or booleans")
    if x.ndim < 2:
        raise UserError(f"{path}: {name} has shape {x.shape}; needs (number of data, ...), such as (1000, 28, 28)")
    if len(x) < 2 or x.size == 0:
        raise UserError(f"{path}: {name} has shape {x.shape}; needs at least 2 data with at least one number each")
    if x.shape[1:] != event_shape:
        raise UserError(f"{path}: {name} has data of shape {x.shape[1:]}, the others {event_shape}; they must agree")
    bad = ~np.isfinite(x)
    if bad.any():
        position = tuple(int(i) for i in np.argwhere(bad)[0])
        raise UserError(
            f"{path}: {name} has {int(bad.sum())} NaN or infinite values, the first at {position}; "
            "remove or fill them before training"
        )
    bad = (x > LARGEST_REAL) | (x < -LARGEST_REAL)
    if bad.any():
        position = tuple(int(i) for i in np.argwhere(bad)[0])
        raise UserError(f"{path}: {name} has value {x[position]:g} at {position}, which float32 cannot hold; rescale the data")


def _guess(x: np.ndarray) -> Kind:
    if ((x == 0) | (x == 1)).all():
        return "binary"
    if x.dtype == np.uint8:
        return "levels"
    return "counts" if x.dtype.kind in "ui" and x.min() >= 0 else "reals"


def _tensor(x: np.ndarray) -> Tensor:
    if x.dtype == np.bool_:
        x = x.astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32)))


def _labels(path: str, parts: list[tuple[str, np.ndarray | None, int]]) -> tuple[Tensor | None, tuple[str, ...]]:
    missing = [name for name, labels, _ in parts if labels is None]
    if len(missing) == len(parts):
        return None, ()
    if missing:
        raise UserError(f"{path}: has labels but no y_{missing[0]}; label every part or none")
    for name, labels, count in parts:
        if labels.shape != (count,):
            raise UserError(f"{path}: the labels of {name} have shape {labels.shape}; needs ({count},)")
    names, codes = np.unique(np.concatenate([labels for _, labels, _ in parts]), return_inverse=True)
    return torch.from_numpy(codes).long(), tuple(str(name) for name in names)
