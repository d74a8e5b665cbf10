"""A name or a path -> a data set with its splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrovae.data.arrays import ArrayFile
from pyrovae.data.dataset import Dataset, Source, Split
from pyrovae.data.digits import Digits
from pyrovae.data.torchvision import FashionMnist, Mnist

SOURCES: dict[str, type[Source]] = {
    "digits": Digits,
    "mnist": Mnist,
    "fashion-mnist": FashionMnist,
    "file": ArrayFile,
}

__all__ = ["SOURCES", "Dataset", "Source", "Split", "from_path"]


def from_path(value: Any) -> Any:
    """What stands for data on a command line, with a path spelt out as the source ``file``.

    Example:
        >>> from_path("spectra.npy")
        {'name': 'file', 'path': 'spectra.npy'}
        >>> from_path("digits")
        'digits'
    """
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        named = from_path(value["name"])
        return value if isinstance(named, str) else {**value, **named}
    if isinstance(value, Path) or (isinstance(value, str) and value not in SOURCES and _looks_like_path(value)):
        return {"name": "file", "path": str(value)}
    return value


def _looks_like_path(text: str) -> bool:
    return "/" in text or "\\" in text or Path(text).suffix != "" or Path(text).is_file()
