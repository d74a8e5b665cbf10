"""What data of your own share: a path, given or random splits, and the kind of their numbers."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass
from typing import ClassVar, Literal, final, get_args

import numpy as np
import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Kind
from pyrovae.data.dataset import SIXTH, Dataset, SplitSource, check_share
from pyrovae.data.labels import Labels
from pyrovae.data.pieces import first_where, pieces
from pyrovae.errors import NOT_GIVEN, Note, UserError, check_choice, check_integer, check_path, option

PARTS = ("train", "valid", "test")

AS_THEY_ARE = (np.bool_, np.uint8, np.float32)
"""Types whose tensor is the array itself; of others there is one beside it, usually of 4 bytes per element."""

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
        given: object = self.path
        if given is MISSING:
            raise UserError("data", NOT_GIVEN, f"needs a path, such as {self.example}")
        super().__post_init__()
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
            self._note_unused(rows)
            train, test = rows["train"], rows.get("test", torch.arange(0))
        else:
            (everything,) = rows.values()
            train, test = self.split_rows(everything, self.test, "data.test")
        if "valid" in rows:
            return {"train": train, "valid": rows["valid"], "test": test}
        return self.split_off_valid(train, test)

    def _note_unused(self, given: Collection[str]) -> None:
        """Warn of a share that was asked for and is not taken, because the data have splits of their own."""
        for name, share in (("valid", self.valid if "valid" in given else SIXTH), ("test", self.test)):
            if share not in (0, SIXTH):
                warnings.warn(
                    Note(f"{option(f'data.{name}', share)}: not used, for {self.path} has splits of its own: {', '.join(given)}"),
                    stacklevel=3,
                )


@final
class OtherKindError(UserError):
    """Numbers that are not of the kind that they are taken for.

    Args:
        path: The file.
        found: One that is not, and where.
        kind: What they are taken for.
        allowed: What it allows.
        remedy: What to give instead.
    """

    def __init__(self, path: str, found: str, kind: str, allowed: str, remedy: str) -> None:
        super().__init__(None, path, f"{found}: {option('data.kind', kind)} allows {allowed}", remedy)
        self.found, self.allowed = found, allowed


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
                    "data.levels",
                    self.levels,
                    f"the networks compute in float32, which tells no more than {LARGEST_INTEGER} levels apart",
                    f"give {option('data.kind', 'reals')} {option('preprocess', 'standardise')}",
                )
        check_choice("data.kind", self.kind, ("auto", *get_args(Kind)))

    def dataset(self, x: np.ndarray, sizes: Mapping[str, int], labels: Labels) -> Dataset:
        """The data set of checked data (N, *E), bytes and booleans as bytes, other numbers as float32 or float64.

        Args:
            x: The data, of one part after the other.
            sizes: Number of data of each part, as in ``splits``.
            labels: Of all of them.

        Raises:
            UserError: If the numbers are not of the kind that was asked for.
        """
        kind, levels = self._kind(x)
        spec = DataSpec(tuple(x.shape[1:]), kind, levels, labels.class_names, labels.attributes)
        return Dataset(self.path, spec, _tensor(x), labels.y, self.splits(sizes), in_one_part="train" not in sizes)

    def _kind(self, x: np.ndarray) -> tuple[Kind, int | None]:
        kind = self.kind
        if kind == "auto":
            kind = "levels" if self.levels is not None else _guess(x)
        if kind == "reals":
            return kind, None
        if kind == "levels" and self.levels is None and x.dtype != np.uint8:
            raise UserError("data.kind", "levels", f"needs the number of levels, {option('data.levels', metavar='L')}")
        levels = {"levels": self.levels or 256, "binary": 2}.get(kind)
        top = LARGEST_INTEGER if levels is None else levels - 1
        position = first_where(x, lambda part: (part < 0) | (part != np.floor(part)) | (part > top))
        if position is not None:
            allowed = f"integers from 0 up to {LARGEST_INTEGER}" if levels is None else f"integers 0..{levels - 1}"
            found = f"value {x[position]:.10g} at {position}"
            raise OtherKindError(self.path, found, kind, allowed, f"give {_kind_that_takes(x)}")
        return kind, levels

    def remedy(self, found: DataSpec, wanted: DataSpec) -> str:
        if (found.kind, found.levels) == (wanted.kind, wanted.levels) or (self.kind == "auto" and self.levels is None):
            return ""
        return f"leave {option('data.kind')} and {option('data.levels')} out, to have them taken for that"


def check_shape(path: str, name: str, shape: tuple[int, ...], dtype: np.dtype, event_shape: tuple[int, ...]) -> None:
    """Refuse an array that is no data by its header: of another type or shape, or too small.

    Args:
        path: The file, for the error.
        name: What the array is called there.
        shape: Its shape.
        dtype: Its type.
        event_shape: What the shape of a datum must be.

    Raises:
        UserError: Naming the array.
    """
    if dtype.kind not in "buif":
        raise UserError(None, path, f"{name} has type {dtype}", "needs integers, reals or booleans")
    if len(shape) < 2:
        single = f"; {name}.reshape(-1, 1) makes every number a datum" if len(shape) == 1 else ""
        raise UserError(None, path, f"{name} has shape {shape}", f"needs (number of data, ...), such as (1000, 28, 28){single}")
    if 0 in shape:
        raise UserError(None, path, f"{name} has shape {shape}", "needs data with at least one number each")
    if shape[1:] != event_shape:
        raise UserError(None, path, f"{name} has data of shape {shape[1:]}, the others {event_shape}", "they must agree")


def check_values(path: str, name: str, x: np.ndarray) -> None:
    """Refuse numbers that floats do not have.

    Args:
        path: The file, for the error.
        name: What the array is called there.
        x: The array.

    Raises:
        UserError: Naming the array and the first number that is wrong.
    """
    position = first_where(x, lambda part: ~np.isfinite(part))
    if position is not None:
        count = sum(int((~np.isfinite(part)).sum()) for _, part in pieces(x))
        raise UserError(
            None,
            path,
            f"{name} has {count} NaN or infinite values, the first at {position}",
            "remove or fill them before training",
        )
    position = first_where(x, lambda part: (part > LARGEST_REAL) | (part < -LARGEST_REAL))
    if position is not None:
        raise UserError(
            None, path, f"{name} has value {x[position]:g} at {position}, which float32 cannot hold", "rescale the data"
        )
    if x.dtype.kind in "ui" and (x.max() > LARGEST_EXACT or x.min() < -LARGEST_EXACT):
        position = first_where(x, lambda part: (part > LARGEST_EXACT) | (part < -LARGEST_EXACT))
        raise UserError(
            None,
            path,
            f"{name} has the integer {x[position]} at {position}, which float64 does not tell from its neighbours "
            "(2^53 is the last that it does)",
            "subtract a number from all of them, or leave them out if they only name the data",
        )


def _kind_that_takes(x: np.ndarray) -> str:
    """The options that say what numbers are which another kind does not allow."""
    if (x < 0).any() or (x != np.floor(x)).any():
        return option("data.kind", "reals")
    if x.max() > LARGEST_INTEGER:
        return f"{option('data.kind', 'reals')} {option('preprocess', 'standardise')}"
    return (
        f"{option('data.kind', 'counts')}, or {option('data.kind', 'levels')} {option('data.levels', int(x.max()) + 1)}, "
        "one more than the largest"
    )


def _guess(x: np.ndarray) -> Kind:
    if first_where(x, lambda part: (part != 0) & (part != 1)) is None:
        return "binary"
    if x.dtype == np.uint8:
        return "levels"
    return "counts" if x.dtype.kind in "ui" and x.min() >= 0 else "reals"


def _tensor(x: np.ndarray) -> Tensor:
    """Bytes and booleans as bytes, other numbers as float32 where that holds them all, else as float64."""
    if x.dtype in (np.bool_, np.uint8):
        return torch.from_numpy(np.ascontiguousarray(x).view(np.uint8))
    held = first_where(x, lambda part: part.astype(np.float32) != part) is None
    return torch.from_numpy(np.ascontiguousarray(x, np.float32 if held else np.float64))
