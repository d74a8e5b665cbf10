"""The kind of numbers, and which numbers no model can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final, get_args

import numpy as np
import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Kind
from pyrovae.data.labels import Labels
from pyrovae.data.pieces import first_where, pieces
from pyrovae.data.splitting import OwnSplitting
from pyrovae.errors import UserError, check_choice, check_integer, option

LARGEST_REAL = np.finfo(np.float32).max
LARGEST_INTEGER = 2**24
"""All integers up to it have a float32."""

LARGEST_EXACT = 2**53
"""All integers up to it have a float64."""


@final
class OtherKindError(UserError):
    """Numbers that are not of the kind that was assumed.

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
class Numbers(OwnSplitting):
    """Numbers, what they are and how they are split.

    Args:
        path: The file, or what they are called.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from data that come in one part: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        kind: What the numbers are; ``auto``: only 0 and 1 are binary, bytes are 256 levels, other integers from 0 up
            are counts, the rest reals.
        levels: Number of levels, for integers 0..levels-1.
    """

    example: ClassVar[str] = "FILE.npy"

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

    def typed(self, x: np.ndarray, labels: Labels) -> tuple[DataSpec, Tensor]:
        """What checked data (N, *E) are, and the data: bytes and booleans as bytes, others as float32 or float64.

        Args:
            x: The data.
            labels: Of all of them.

        Raises:
            UserError: If the numbers are not of the kind that was asked for.
        """
        kind, levels = self._kind(x)
        return DataSpec(tuple(x.shape[1:]), kind, levels, labels.class_names, labels.attributes), _tensor(x)

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


def check_shape(path: str, name: str, shape: tuple[int, ...], dtype: np.dtype, event_shape: tuple[int, ...]) -> None:
    """Refuse, by its header, an array that cannot be data: of another type or shape, or too small.

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
