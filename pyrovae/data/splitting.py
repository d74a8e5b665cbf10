"""Options that say how data are split: given parts, and what is drawn from the training data."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pyrovae.contracts import Part
from pyrovae.errors import NOT_GIVEN, Note, UserError, check_number, check_path, check_seed, option

SIXTH = 1 / 6
"""The share that is taken where none is said."""

PARTS = ("train", "valid", "test")


def check_share(option: str, value: float) -> None:
    """Refuse what is neither a fraction below 1 nor a whole number of data."""
    check_number(option, value)
    if value >= 1 and value != int(value):
        raise UserError(option, value, "needs a fraction below 1 or a whole number of data")


@dataclass(frozen=True, kw_only=True)
class Splitting(Part):
    """How validation data are taken from the training data.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """

    valid: float = SIXTH
    split_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("data.valid", self.valid)
        check_seed("data.split_seed", self.split_seed)

    def split_rows(self, rows: Tensor, share: float, option: str) -> tuple[Tensor, Tensor]:
        """Rows kept and rows taken, both in order, from a seeded shuffle.

        Args:
            rows: Rows to split.
            share: Fraction below 1 or number of rows taken.
            option: The option that set it, for the error.

        Raises:
            UserError: If nothing would be kept.
        """
        count = int(share) if share >= 1 else round(share * len(rows))
        if count >= len(rows):
            raise UserError(option, share, f"takes {count} of {len(rows)} data and leaves none to train on", "take fewer")
        shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.split_seed))]
        return shuffled[count:].sort().values, shuffled[:count].sort().values

    def split_off_valid(self, train: Tensor, test: Tensor) -> dict[str, Tensor]:
        """The splits of rows that are for training or validation, and of rows for the test.

        Raises:
            UserError: If nothing would be left to train on.
        """
        kept, valid = self.split_rows(train, self.valid, "data.valid")
        return {"train": kept, "valid": valid, "test": test}


@dataclass(frozen=True, kw_only=True)
class OwnSplitting(Splitting):
    """How data of your own are split, where they have no splits of their own.

    Args:
        path: The path, or what they are called.
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
