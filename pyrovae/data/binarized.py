"""MNIST as it was binarised once and for all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch

from pyrovae.contracts import DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.data.downloads import fetching
from pyrovae.data.numpy_files import NumpyFile
from pyrovae.data.source import Source
from pyrovae.data.splitting import PARTS
from pyrovae.errors import UserError

URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
PACKED = "binarized_mnist_packed.npz"
SHAPE = (28, 28)
PIXELS = 28 * 28
ZERO, SPACE = ord("0"), ord(" ")


@final
@dataclass(frozen=True, kw_only=True)
class BinarizedMnist(Source):
    """Statically binarised MNIST: 50,000, 10,000 and 10,000 images of 28x28 pixels that are 0 or 1, without labels.

    The data on which log p(x) of binary MNIST is reported: each pixel was drawn once with its intensity as probability,
    and the splits are fixed. The files are those of Larochelle, or one with the same images packed by eights.

    Source: Larochelle and Murray (2011), The Neural Autoregressive Distribution Estimator; the binarisation of Salakhutdinov
    and Murray (2008), On the Quantitative Analysis of Deep Belief Networks.
    """

    def load(self, root: Path) -> Dataset:
        folder = root / "binarized_mnist"
        x = _packed(folder / PACKED) if (folder / PACKED).is_file() else _texts(folder)
        rows = torch.arange(sum(map(len, x))).split([len(part) for part in x])
        images = torch.from_numpy(np.concatenate(x).reshape(-1, *SHAPE))
        return Dataset("binarized-mnist", DataSpec(SHAPE, "binary", 2), images, None, dict(zip(PARTS, rows, strict=True)))


def _packed(path: Path) -> list[np.ndarray]:
    arrays = NumpyFile(path).arrays(PARTS)
    for name in PARTS:
        found = arrays.get(name)
        if found is None or found.dtype != np.uint8 or found.shape[1:] != (PIXELS // 8,) or not len(found):
            raise UserError(
                "data",
                "binarized-mnist",
                f"{path} needs train, valid and test, each np.packbits(images, axis=1) of 784 pixels",
                "mend it, or delete it and try again",
            )
    return [np.unpackbits(arrays[name], axis=1) for name in PARTS]


def _texts(folder: Path) -> list[np.ndarray]:
    from torchvision.datasets.utils import download_url

    paths = [folder / f"binarized_mnist_{part}.amat" for part in PARTS]
    for path in paths:
        if not path.is_file():
            made = path.with_suffix(".part")
            with fetching("binarized-mnist", [path.name for path in paths], folder):
                made.unlink(missing_ok=True)
                download_url(URL + path.name, str(folder), filename=made.name)
                made.replace(path)
    return [_text(path) for path in paths]


def _text(path: Path) -> np.ndarray:
    """Images (n, 784) from lines of 784 digits with spaces between."""
    lines = [line.strip() for line in path.read_bytes().splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    wrong = next((i for i, line in enumerate(lines) if len(line) != 2 * PIXELS - 1), None)
    if wrong is not None or not lines:
        raise _damaged(path, wrong or 0)
    characters = np.frombuffer(b"".join(lines), np.uint8).reshape(len(lines), -1)
    # Unsigned: what comes before 0 is large.
    digits = characters[:, ::2] - ZERO
    bad = (digits > 1).any(axis=1) | (characters[:, 1::2] != SPACE).any(axis=1)
    if bad.any():
        raise _damaged(path, int(bad.argmax()))
    return digits


def _damaged(path: Path, line: int) -> UserError:
    return UserError(
        "data",
        "binarized-mnist",
        f"{path} is damaged (line {line + 1} is not 784 digits 0 or 1 with spaces between)",
        "delete it and try again",
    )
