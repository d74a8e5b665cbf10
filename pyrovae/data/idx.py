"""MNIST and the data sets in its format."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from pyrovae.contracts import DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.data.downloads import fetching, reading
from pyrovae.data.source import SplitSource
from pyrovae.errors import check_choice

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

PARTS = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")

DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True, kw_only=True)
class IdxImages(SplitSource):
    """Images of 28x28 bytes in the idx format, where torchvision puts them.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.

    Attributes:
        title: Name of the data set.
        loader: Its class in torchvision, which is the name of its folder too.
    """

    title: ClassVar[str]
    loader: ClassVar[str]

    def load(self, root: Path) -> Dataset:
        raw = root / self.loader / "raw"
        files = self.files()
        if not all((raw / name).is_file() for name in files):
            self.download(raw)
        names = self.names()
        with reading(self.title, raw):
            (x_train, y_train), (x_test, y_test) = (self.read(raw, *pair) for pair in (files[:2], files[2:]))
            x, y = torch.cat([x_train, x_test]), torch.cat([y_train, y_test])
            if len(y) and not 0 <= y.min() <= y.max() < len(names):
                raise ValueError(f"labels {y.min()} to {y.max()}, {len(names)} classes")
        spec = DataSpec(tuple(x.shape[1:]), "levels", 256, names)
        rest, test = torch.arange(len(x_train)), torch.arange(len(x_train), len(x))
        return Dataset(self.title, spec, x, y, self.split_off_valid(rest, test))

    def files(self) -> tuple[str, str, str, str]:
        """Training images, training labels, test images, test labels."""
        return IDX_FILES

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""

    def read(self, raw: Path, images: str, labels: str) -> tuple[Tensor, Tensor]:
        """Images (N, 28, 28) as they are meant to be seen, and codes (N,)."""
        from torchvision.datasets.mnist import read_image_file, read_label_file

        x, y = read_image_file(raw / images), read_label_file(raw / labels)
        if len(x) != len(y):
            raise ValueError(f"{images}: {len(x)} images, {len(y)} labels")
        return x, y

    def download(self, raw: Path) -> None:
        """Put the files there.

        Raises:
            UserError: If that is not possible.
        """
        from torchvision import datasets
        from torchvision.datasets.utils import download_and_extract_archive

        source = getattr(datasets, self.loader)
        with fetching(self.title, [f"{name}[.gz]" for name in self.files()], raw):
            for name, checksum in source.resources:
                reasons = []
                for mirror in source.mirrors:
                    try:
                        download_and_extract_archive(mirror + name, str(raw), filename=name, md5=checksum)
                        break
                    except (OSError, RuntimeError) as error:
                        reasons.append(str(error))
                else:
                    raise RuntimeError("; ".join(reasons))


@final
@dataclass(frozen=True, kw_only=True)
class Mnist(IdxImages):
    """MNIST: 70,000 handwritten digits of 28x28 bytes.

    Source: LeCun, Bottou, Bengio and Haffner (1998), Gradient-Based Learning Applied to Document Recognition.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """

    title = "mnist"
    loader = "MNIST"

    def names(self) -> tuple[str, ...]:
        return DIGITS


@final
@dataclass(frozen=True, kw_only=True)
class FashionMnist(IdxImages):
    """Fashion-MNIST: 70,000 pictures of clothes of 28x28 bytes.

    Source: Xiao, Rasul and Vollgraf (2017), Fashion-MNIST.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """

    title = "fashion-mnist"
    loader = "FashionMNIST"

    def names(self) -> tuple[str, ...]:
        return (
            "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
        )  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class Kmnist(IdxImages):
    """Kuzushiji-MNIST: 70,000 cursive Japanese characters, ten of the hiragana, of 28x28 bytes.

    Source: Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto and Ha (2018), Deep Learning for Classical Japanese Literature.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """

    title = "kmnist"
    loader = "KMNIST"

    def names(self) -> tuple[str, ...]:
        return ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


@final
@dataclass(frozen=True, kw_only=True)
class Emnist(IdxImages):
    """EMNIST: up to 814,255 handwritten digits and letters of 28x28 bytes, upright.

    The files have every image transposed, and the letters' labels from 1; both are undone.

    Source: Cohen, Afshar, Tapson and van Schaik (2017), EMNIST: Extending MNIST to Handwritten Letters.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        part: ``byclass`` (62 classes), ``bymerge`` and ``balanced`` (47: letters that look alike are one), ``letters`` (26: both
            cases are one), ``digits`` or ``mnist`` (10).

    Raises:
        UserError: If an option is wrong.
    """

    title = "emnist"
    loader = "EMNIST"

    part: Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"] = "balanced"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("data.part", self.part, PARTS)

    def files(self) -> tuple[str, str, str, str]:
        prefix = f"emnist-{self.part}"
        return (
            f"{prefix}-train-images-idx3-ubyte",
            f"{prefix}-train-labels-idx1-ubyte",
            f"{prefix}-test-images-idx3-ubyte",
            f"{prefix}-test-labels-idx1-ubyte",
        )

    def names(self) -> tuple[str, ...]:
        from torchvision.datasets import EMNIST

        # torchvision names a class 0 of the letters, which no image has.
        return tuple(EMNIST.classes_split_dict[self.part][1 if self.part == "letters" else 0 :])

    def read(self, raw: Path, images: str, labels: str) -> tuple[Tensor, Tensor]:
        x, y = super().read(raw, images, labels)
        return x.transpose(1, 2).contiguous(), y - 1 if self.part == "letters" else y

    def download(self, raw: Path) -> None:
        from torchvision.datasets import EMNIST
        from torchvision.datasets.utils import download_url

        # torchvision itself would unpack the files of all parts, more than 2 GB, and unpickle older ones.
        with fetching(self.title, self.files(), raw):
            download_url(EMNIST.url, str(raw), filename="gzip.zip", md5=EMNIST.md5)
            with zipfile.ZipFile(raw / "gzip.zip") as archive:
                for name in self.files():
                    made = raw / f"{name}.part"
                    with archive.open(f"gzip/{name}.gz") as packed, gzip.open(packed) as unpacked, made.open("wb") as file:
                        shutil.copyfileobj(unpacked, file)
                    made.replace(raw / name)
