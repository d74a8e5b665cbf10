"""What data of your own share: a path, given or random splits, and the kind of their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Kind
from pyrovae.data.dataset import ROWS, SIXTH, Dataset, SplitSource, check_share
from pyrovae.data.labels import Labels
from pyrovae.errors import UserError, check_choice, check_integer, check_path

PARTS = ("train", "valid", "test")

LARGEST_REAL = np.finfo(np.float32).max
LARGEST_INTEGER = 2**24
"""All integers up to it have a float32."""

LARGEST_EXACT = 2**53
"""All integers up to it have a float64."""


@dataclass(frozen=True, kw_only=True)
class OwnData(SplitSource):
    """Data behind a path.

    Args:
        path: The path.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from data that come in one part: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.

    Attributes:
        example: A path of that sort, for errors.
    """

    example: ClassVar[str]

    path: str
    test: float = SIXTH

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is MISSING:
            raise UserError(f"--data: needs a path, such as {self.example}")
        object.__setattr__(self, "path", str(check_path("data", self.path, f"a path, such as {self.example}")))
        check_share("data.test", self.test)

    def splits(self, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Rows of the splits.

        Args:
            sizes: Number of data of each part in the order of the rows: of train, valid and test where those are given,
                else of the one part, whatever it is called.

        Raises:
            UserError: If nothing would be left to train on.
        """
        rows = dict(zip(sizes, torch.arange(sum(sizes.values())).split(list(sizes.values())), strict=True))
        if "train" in rows:
            train, test = rows["train"], rows.get("test", torch.arange(0))
        else:
            (everything,) = rows.values()
            train, test = self.split_rows(everything, self.test, "data.test")
        if "valid" in rows:
            return {"train": train, "valid": rows["valid"], "test": test}
        return self.split_off_valid(train, test)


@dataclass(frozen=True, kw_only=True)
class OwnNumbers(OwnData):
    """Numbers in a file, and what they are.

    Args:
        path: The file.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from data that come in one part: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        kind: What the numbers are; ``auto``: only 0 and 1 are binary, bytes are 256 levels, other integers from 0 up
            are counts, the rest reals.
        levels: Number of levels, for integers 0..levels-1.
    """

    kind: Literal["auto", "levels", "counts", "reals", "binary"] = "auto"
    levels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels is not None:
            check_integer("data.levels", self.levels, 2)
            if self.levels > LARGEST_INTEGER:
                raise UserError(
                    f"--data.levels {self.levels}: the networks compute in float32, which tells no more than {LARGEST_INTEGER} "
                    "levels apart; give --data.kind reals --preprocess standardise"
                )
        check_choice("data.kind", self.kind, ("auto", *get_args(Kind)))

    def dataset(self, parts: Mapping[str, np.ndarray], labels: Labels) -> Dataset:
        """The data set of checked arrays (n, *E), bytes and booleans as bytes, other numbers as float32 or float64.

        Raises:
            UserError: If the numbers are not of the kind that was asked for.
        """
        x = np.concatenate(list(parts.values()))
        kind, levels = self._kind(x)
        spec = DataSpec(tuple(x.shape[1:]), kind, levels, labels.class_names, labels.attributes)
        rows = self.splits({name: len(part) for name, part in parts.items()})
        return Dataset(self.path, spec, _tensor(x), labels.y, rows, in_one_part="train" not in parts)

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
            too_large = levels is None and x[position] > LARGEST_INTEGER
            remedy = "--data.kind reals --preprocess standardise" if too_large else "--data.levels, or --data.kind reals"
            raise UserError(
                f"{self.path}: value {x[position]:.10g} at {position}: --data.kind {kind} allows {allowed}; give {remedy}"
            )
        return kind, levels


def check_array(path: str, name: str, x: np.ndarray, event_shape: tuple[int, ...]) -> None:
    """Refuse an array that is no data: of another type or shape, too small, or with numbers that floats do not have.

    Args:
        path: The file, for the error.
        name: What the array is called there.
        x: The array.
        event_shape: What the shape of a datum must be.

    Raises:
        UserError: Naming the array and the first number that is wrong.
    """
    if x.dtype.kind not in "buif":
        raise UserError(f"{path}: {name} has type {x.dtype}; needs integers, reals or booleans")
    if x.ndim < 2:
        raise UserError(f"{path}: {name} has shape {x.shape}; needs (number of data, ...), such as (1000, 28, 28)")
    if x.size == 0:
        raise UserError(f"{path}: {name} has shape {x.shape}; needs data with at least one number each")
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
    if x.dtype.kind in "ui" and (x.max() > LARGEST_EXACT or x.min() < -LARGEST_EXACT):
        position = tuple(int(i) for i in np.argwhere((x > LARGEST_EXACT) | (x < -LARGEST_EXACT))[0])
        raise UserError(
            f"{path}: {name} has the integer {x[position]} at {position}, which float64 does not tell from its neighbours "
            "(2^53 is the last that it does); subtract a number from all of them, or leave them out if they only name the data"
        )


def _guess(x: np.ndarray) -> Kind:
    if ((x == 0) | (x == 1)).all():
        return "binary"
    if x.dtype == np.uint8:
        return "levels"
    return "counts" if x.dtype.kind in "ui" and x.min() >= 0 else "reals"


def _tensor(x: np.ndarray) -> Tensor:
    """Bytes and booleans as bytes, other numbers as float32 where that holds them all, else as float64."""
    if x.dtype in (np.bool_, np.uint8):
        return torch.from_numpy(np.ascontiguousarray(x.astype(np.uint8, copy=False)))
    parts = (x[start : start + ROWS] for start in range(0, len(x), ROWS))
    held = all((part.astype(np.float32) == part).all() for part in parts)
    return torch.from_numpy(np.ascontiguousarray(x, np.float32 if held else np.float64))
