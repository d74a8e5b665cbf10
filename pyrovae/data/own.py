"""Sources of data of your own: a path, given or random splits, and the kind of their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pyrovae.contracts import DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.data.labels import Labels
from pyrovae.data.numbers import Numbers
from pyrovae.data.source import SplitSource
from pyrovae.data.splitting import OwnSplitting
from pyrovae.errors import option

AS_THEY_ARE = (np.bool_, np.uint8, np.float32)
"""Types whose tensor is the array itself; other types need a second copy, usually of 4 bytes per element."""


@dataclass(frozen=True, kw_only=True)
class OwnData(OwnSplitting, SplitSource):
    """Data behind a path.

    Args:
        path: The path.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from data that come in one part: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """


@dataclass(frozen=True, kw_only=True)
class OwnNumbers(Numbers, OwnData):
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

    def dataset(self, x: np.ndarray, sizes: Mapping[str, int], labels: Labels) -> Dataset:
        """The data set of checked data (N, *E), bytes and booleans as bytes, other numbers as float32 or float64.

        Args:
            x: The data, of one part after the other.
            sizes: Number of data of each part, as in ``splits``.
            labels: Of all of them.

        Raises:
            UserError: If the numbers are not of the kind that was asked for.
        """
        spec, values = self.typed(x, labels)
        return Dataset(self.path, spec, values, labels.y, self.splits(sizes), in_one_part="train" not in sizes)

    def remedy(self, found: DataSpec, wanted: DataSpec) -> str:
        if (found.kind, found.levels) == (wanted.kind, wanted.levels) or (self.kind == "auto" and self.levels is None):
            return ""
        return f"leave {option('data.kind')} and {option('data.levels')} out, to have them taken for that"
