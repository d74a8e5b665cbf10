"""CIFAR-10."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch

from pyrovae.contracts import DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.data.downloads import fetching, reading
from pyrovae.data.source import SplitSource


@final
@dataclass(frozen=True, kw_only=True)
class Cifar10(SplitSource):
    """CIFAR-10: 60,000 colour photographs of ten kinds of things, (3, 32, 32) bytes.

    Its files are pickles: torchvision opens them only where their checksums are those of the published ones.

    Source: Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """

    def load(self, root: Path) -> Dataset:
        from torchvision.datasets import CIFAR10

        folder = root / CIFAR10.base_folder
        with warnings.catch_warnings():
            # The pickles are of 2009 and call NumPy in a way that it has deprecated.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            with fetching("cifar10", [CIFAR10.filename], root):
                # Nothing is downloaded where every file is there with its checksum.
                train = CIFAR10(root, train=True, download=True)
            with reading("cifar10", folder):
                test = CIFAR10(root, train=False)
        x = torch.from_numpy(np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2).copy())
        y = torch.tensor(train.targets + test.targets)
        spec = DataSpec((3, 32, 32), "levels", 256, tuple(train.classes))
        rest, test_rows = torch.arange(len(train)), torch.arange(len(train), len(x))
        return Dataset("cifar10", spec, x, y, self.split_off_valid(rest, test_rows))
