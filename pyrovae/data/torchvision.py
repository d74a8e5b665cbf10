"""Data sets that torchvision downloads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

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
        raw = root / self.loader / "raw"
        if not all((raw / name).is_file() for name in IDX_FILES):
            self._download(raw)
        try:
            (x_train, y_train), (x_test, y_test) = (_read_part(raw, part) for part in ("train", "t10k"))
        except (OSError, RuntimeError, ValueError, IndexError, KeyError, TypeError, AssertionError) as error:
            raise UserError(f"--data {self.title}: a file in {raw} is damaged ({error}); delete it and try again") from error
        x, y = torch.cat([x_train, x_test]), torch.cat([y_train, y_test])
        spec = DataSpec(tuple(x.shape[1:]), "levels", 256, self.class_names)
        rest, test_rows = torch.arange(len(x_train)), torch.arange(len(x_train), len(x))
        train_rows, valid_rows = self.split_rows(rest, self.valid, "data.valid")
        return Dataset(self.title, spec, x, y, {"train": train_rows, "valid": valid_rows, "test": test_rows})

    def _download(self, raw: Path) -> None:
        from torchvision import datasets
        from torchvision.datasets.utils import download_and_extract_archive

        source = getattr(datasets, self.loader)
        for name, checksum in source.resources:
            reasons = []
            for mirror in source.mirrors:
                try:
                    download_and_extract_archive(mirror + name, str(raw), filename=name, md5=checksum)
                    break
                except (OSError, RuntimeError) as error:
                    reasons.append(str(error))
            else:
                files = ", ".join(f"{name}[.gz]" for name in IDX_FILES)
                raise UserError(
                    f"--data {self.title}: could not be downloaded ({'; '.join(reasons)}); put {files} into {raw}, "
                    "or name a folder that has them with --data-root or PYROVAE_DATA"
                )


def _read_part(raw: Path, part: str) -> tuple[Tensor, Tensor]:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    x = read_image_file(raw / f"{part}-images-idx3-ubyte")
    y = read_label_file(raw / f"{part}-labels-idx1-ubyte")
    if len(x) != len(y):
        raise ValueError(f"{part}: {len(x)} images, {len(y)} labels")
    return x, y


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
