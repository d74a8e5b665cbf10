"""Data with their splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, final

import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Kind
from pyrovae.data.as_arrays import WANTED, InMemory, is_in_memory
from pyrovae.data.gathered import LabelsGiven, gather
from pyrovae.data.numbers import Numbers
from pyrovae.data.pieces import pieces
from pyrovae.errors import UserError, is_number, option, plain

NAME = "data in memory"
"""What data of a program are called in reports, unless they are given a name."""


@final
@dataclass(frozen=True)
class Split:
    """Some rows of a data set.

    Args:
        x: Data (N, *E), as they were given: bytes stay bytes, and what float32 cannot hold stays float64.
        y: Codes of the labels: (N,) where a datum has one, (N, A) where it has several, or None.
        index: Row of each datum in the data set, (N,): the key of its noise in evaluation.
    """

    x: Tensor
    y: Tensor | None
    index: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, count: int, seed: int) -> Split:
        """A seeded random subset, in the order of the split; all of it where it has no more than ``count``."""
        if count >= len(self):
            return self
        rows = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count].sort().values
        return Split(self.x[rows], None if self.y is None else self.y[rows], self.index[rows])


@final
@dataclass(frozen=True)
class Dataset:
    """A data set on the CPU.

    Args:
        name: Its name or path.
        spec: What a datum is.
        x: All data (N, *E).
        y: Codes of all labels, (N,) or (N, A), or None.
        rows: Name of a split -> its rows, (n,).
        in_one_part: Whether a file or folder had no splits of its own, so that they were drawn.
    """

    name: str
    spec: DataSpec
    x: Tensor = field(repr=False)
    y: Tensor | None = field(repr=False)
    rows: Mapping[str, Tensor] = field(repr=False)
    in_one_part: bool = False

    @classmethod
    def from_arrays(
        cls,
        train: InMemory,
        valid: InMemory | float | None = None,
        test: InMemory | float | None = None,
        *,
        labels: LabelsGiven | str | Mapping[str, LabelsGiven] | None = None,
        label_names: Sequence[str] = (),
        columns: Sequence[str] = (),
        kind: Kind | Literal["auto"] = "auto",
        levels: int | None = None,
        split_seed: int = 0,
        name: str = NAME,
    ) -> Dataset:
        """A data set of what a program has in memory, read once, in order.

        Args:
            train: Training data (N, *E): a tensor, an array, a pandas DataFrame, a torch ``Dataset`` whose items are x or (x, y),
                or a ``DataLoader`` of one.
            valid: Validation data likewise, or the share of the training data that is taken for it: a fraction below 1 or a
                number of data. None takes a sixth; 0 takes none.
            test: Test data likewise; None and 0 for none.
            labels: Of the training data, integers or text (N,) or (N, A); ``{"train": ..., "test": ...}`` where there are several
                parts; of a DataFrame the name of their column, or several. Items (x, y) have theirs with them.
            label_names: What several labels are called; y0, y1, ... without.
            columns: Names of the columns of arrays (N, D), by which other data are matched; a DataFrame has its own.
            kind: What the numbers are: ``levels``, ``counts``, ``reals`` or ``binary``. ``auto``: only 0 and 1 are binary, bytes
                are 256 levels, other integers from 0 up are counts, the rest reals.
            levels: Number of levels, for integers 0..levels-1.
            split_seed: Seed of the random splits.
            name: What reports call it.

        Raises:
            UserError: If these are no data, or parts, labels and names do not fit each other.

        Example:
            >>> data = Dataset.from_arrays(torch.arange(24.0).reshape(12, 2) / 8, test=0.5, labels=["a", "b"] * 6)
            >>> data.spec.kind, {split: len(rows) for split, rows in data.rows.items()}
            ('reals', {'train': 5, 'valid': 1, 'test': 6})
        """
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
        gathered = gather(parts, labels, label_names, columns, name)
        options = {split: share for split, share in shares.items() if share is not None}
        numbers = Numbers(path=name, kind=kind, levels=levels, split_seed=split_seed, **options)
        spec, x = numbers.typed(gathered.together(), gathered.labels)
        spec = replace(spec, columns=gathered.columns) if gathered.columns else spec
        return cls(name, spec, x, gathered.labels.y, numbers.splits(gathered.sizes), in_one_part="all" in parts)

    def split(self, name: str) -> Split:
        """``train``, ``valid``, ``test``, or ``all`` (every row in the order given).

        Raises:
            UserError: If there is no such split or it has no data.
        """
        if isinstance(name, str) and name == "all":
            return Split(self.x, self.y, torch.arange(len(self.x)))
        index = self.rows.get(name) if isinstance(name, str) else None
        if index is None:
            raise UserError("split", name, "unknown", f"there are {', '.join(self.rows)}, all")
        if len(index) == 0:
            full = [option("split", other) for other, rows in self.rows.items() if len(rows)]
            raise UserError("split", name, f"has no data in {self.name}", f"try {' or '.join(full)} or {option('split', 'all')}")
        return Split(self.x[index], None if self.y is None else self.y[index], index)

    def reported(self, name: str) -> str:
        """What a split is called in reports: ``all`` where every split is all of the data."""
        return "all" if all(len(rows) == len(self.x) for rows in self.rows.values()) else name

    @property
    def train(self) -> Split:
        """The training split."""
        return self.split("train")

    @property
    def valid(self) -> Split | None:
        """The validation split; None where it is empty."""
        return self.split("valid") if len(self.rows["valid"]) else None

    @property
    def test(self) -> Split:
        """The test split."""
        return self.split("test")

    def record(self) -> dict[str, Any]:
        """Sizes of the splits and digests of the data and of the rows in each split.

        ``sha256`` is of the data as bytes or float32; ``sha256_float64`` of those that are kept in float64, else None.
        """
        wide = self.x.dtype == torch.float64
        rows = hashlib.sha256(b"".join(self.rows[k].numpy().tobytes() + b"/" for k in sorted(self.rows))).hexdigest()
        return {
            "sizes": {k: len(v) for k, v in self.rows.items()},
            "sha256": _digest(self.x, torch.float32 if wide else self.x.dtype),
            "sha256_float64": _digest(self.x, torch.float64) if wide else None,
            "split_sha256": rows,
        }


VALUES = ("sha256", "sha256_float64")
"""The digests of the values in a record."""


def changed(recorded: Mapping[str, Any], found: Mapping[str, Any], keys: Sequence[str] = (*VALUES, "split_sha256")) -> str | None:
    """The first digest that two records have and that differs, if any: older records have fewer."""
    shared = (key for key in keys if key in recorded and key in found)
    return next((key for key in shared if recorded[key] != found[key]), None)


def _digest(x: Tensor, dtype: torch.dtype) -> str:
    digest = hashlib.sha256()
    for _, part in pieces(x.numpy()):
        digest.update(torch.from_numpy(part).to(dtype).contiguous().numpy().data)
    return digest.hexdigest()
