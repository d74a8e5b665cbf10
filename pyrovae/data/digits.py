"""Handwritten digits that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from pyrovae.contracts import DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.data.source import SplitSource
from pyrovae.data.splitting import SIXTH


@final
@dataclass(frozen=True, kw_only=True)
class Digits(SplitSource):
    """1,797 real handwritten digits of 8x8 pixels with 17 levels; nothing is downloaded; one sixth is the test set.

    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI; as scikit-learn ships it.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """

    def load(self, root: Path) -> Dataset:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        x = torch.from_numpy(bunch.images.astype("uint8"))
        spec = DataSpec((8, 8), "levels", 17, tuple(str(digit) for digit in range(10)))
        rest, test = self.split_rows(torch.arange(len(x)), SIXTH, "data.test")
        return Dataset("digits", spec, x, torch.from_numpy(bunch.target).long(), self.split_off_valid(rest, test))
