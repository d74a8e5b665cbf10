"""A name or a path -> a data set with its splits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrovae.contracts.tables import Table, spellings
from pyrovae.data.arrays import ArrayFile
from pyrovae.data.binarized import BinarizedMnist
from pyrovae.data.celeba import CelebA
from pyrovae.data.cifar import Cifar10
from pyrovae.data.dataset import Dataset, Split
from pyrovae.data.digits import Digits
from pyrovae.data.idx import Emnist, FashionMnist, Kmnist, Mnist
from pyrovae.data.images import ImageFolder
from pyrovae.data.olivetti import Olivetti
from pyrovae.data.omniglot import Omniglot
from pyrovae.data.own import OwnData
from pyrovae.data.source import Source
from pyrovae.data.tables import CsvFile
from pyrovae.errors import check_path

SOURCES = Table(
    "data",
    Source,
    "data",
    {
        "digits": Digits,
        "mnist": Mnist,
        "fashion-mnist": FashionMnist,
        "kmnist": Kmnist,
        "emnist": Emnist,
        "binarized-mnist": BinarizedMnist,
        "omniglot": Omniglot,
        "olivetti": Olivetti,
        "cifar10": Cifar10,
        "celeba": CelebA,
        "file": ArrayFile,
        "csv": CsvFile,
        "images": ImageFolder,
    },
)

__all__ = ["SOURCES", "CsvFile", "Dataset", "OwnData", "Source", "Split", "from_path"]


def from_path(value: Any) -> Any:
    """What stands for data on a command line, with a path spelt out: a .csv table, a folder of images, another file.

    Example:
        >>> from_path("spectra.npy")
        {'name': 'file', 'path': 'spectra.npy'}
        >>> from_path("table.csv")
        {'name': 'csv', 'path': 'table.csv'}
        >>> from_path("digits")
        'digits'
    """
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        named = from_path(value["name"])
        return value if isinstance(named, str) else {**value, **named}
    if isinstance(value, Path) or (isinstance(value, str) and _looks_like_path(value)):
        path = check_path("data", value)
        return {"name": _source_of(path), "path": str(value)}
    return value


def _looks_like_path(text: str) -> bool:
    if any(spelling in SOURCES for spelling in spellings(text)):
        return False
    return "/" in text or "\\" in text or Path(text).suffix != "" or os.path.lexists(text)


def _source_of(path: Path) -> str:
    if path.is_dir():
        return "images"
    return "csv" if path.suffix.lower() == ".csv" else "file"
