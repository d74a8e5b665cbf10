"""Data sets that torchvision downloads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from pyrovae.contracts import DataSpec
from pyrovae.data.dataset import Dataset, Source
from pyrovae.errors import UserError

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True, kw_only=True)
class _IdxImages(Source):
    """60,000 training and 10,000 test images of 28x28 bytes in the idx format, through torchvision."""

    title: ClassVar[str]
    loader: ClassVar[str]
    class_names: ClassVar[tuple[str, ...]]

    downloads = True

    def load(self, root: Path) -> Dataset:
        train, test = self._part(root, train=True), self._part(root, train=False)
        x = torch.cat([train.data, test.data])
        y = torch.cat([train.targets, test.targets])
        spec = DataSpec(tuple(x.shape[1:]), "levels", 256, self.class_names)
        rest, test_rows = torch.arange(len(train.data)), torch.arange(len(train.data), len(x))
        train_rows, valid_rows = self.split_rows(rest, self.valid, "data.valid")
        return Dataset(self.title, spec, x, y, {"train": train_rows, "valid": valid_rows, "test": test_rows})

    def _part(self, root: Path, *, train: bool) -> Any:
        import torchvision

        loader = getattr(torchvision.datasets, self.loader)
        raw = root / self.loader / "raw"
        files = ", ".join(f"{name}[.gz]" for name in IDX_FILES)
        present = all((raw / name).is_file() for name in IDX_FILES)
        try:
            return loader(root, train=train, download=not present)
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"--data {self.title}: could not be downloaded ({reason}); put {files} into {raw}, "
                "or name a folder that has them with --data-root or PYROVAE_DATA"
            ) from error
        except (ValueError, IndexError, AssertionError) as error:
            raise UserError(f"--data {self.title}: a file in {raw} is damaged ({error}); delete it and try again") from error


@dataclass(frozen=True, kw_only=True)
class Mnist(_IdxImages):
    """MNIST: 70,000 handwritten digits of 28x28 bytes.

    Source: LeCun, Bottou, Bengio and Haffner (1998), Gradient-Based Learning Applied to Document Recognition.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """

    title = "mnist"
    loader = "MNIST"
    class_names = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True, kw_only=True)
class FashionMnist(_IdxImages):
    """Fashion-MNIST: 70,000 pictures of clothes of 28x28 bytes.

    Source: Xiao, Rasul and Vollgraf (2017), Fashion-MNIST.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """

    title = "fashion-mnist"
    loader = "FashionMNIST"
    class_names = (
        "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    )  # fmt: skip
