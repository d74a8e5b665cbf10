"""Data that a Python program already has, as a source: arrays, tensors, tables of pandas, torch's data sets and loaders."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, final

from pyrovae.contexts.words import listed
from pyrovae.contracts import DataSpec
from pyrovae.data.as_arrays import WANTED, InMemory, is_in_memory, is_table
from pyrovae.data.dataset import NAME, Dataset
from pyrovae.data.gathered import Gathered, gather
from pyrovae.data.own import OwnNumbers
from pyrovae.data.source import Source
from pyrovae.errors import UserError


@final
@dataclass(frozen=True, kw_only=True)
class Arrays(OwnNumbers):
    """Data in memory as a source of data: the kind of their numbers is determined and they are split as for a file.

    Args:
        path: What they are called.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from data that come in one part: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        kind: What the numbers are; ``auto`` as for a file.
        levels: Number of levels, for integers 0..levels-1.
        gathered: The data and their labels.
    """

    can_be_named: ClassVar[bool] = False

    path: str = NAME
    gathered: Gathered = field(repr=False, compare=False)

    def names(self) -> tuple[str, ...]:
        return self.gathered.columns

    def load(self, root: Path) -> Dataset:
        x = self.gathered.together()
        found = self.dataset(x, self.gathered.sizes, self.gathered.labels)
        columns = self.gathered.columns
        return replace(found, spec=replace(found.spec, columns=columns)) if columns else found


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
        return Arrays(gathered=gather({"all": value}, list(labels) or None, (), (), NAME))
    there = [str(column) for column in value.columns]
    named = list(labels) or [label.name for label in spec.labels]
    chosen = named if set(named) <= set(there) else []
    unused = [column for column in there if spec.columns and column not in {*spec.columns, *named}]
    if unused:
        warnings.warn(f"{NAME}: not used: the columns {listed(unused)}", UserWarning, stacklevel=2)
    return Arrays(gathered=gather({"all": value}, chosen or None, (), (), NAME, spec.columns))


def training_data(value: object, spec: DataSpec, *, kind_known: bool) -> Dataset:
    """Data to train a model on: a data set as it is, or data in memory, a sixth for validation and the rest for training.

    Args:
        value: The data.
        spec: What the model was built for.
        kind_known: Whether the model has already seen data, so that these are of the same kind.

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
