"""Omniglot."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
import torch

from pyrovae.contracts import DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.data.downloads import fetching
from pyrovae.data.labels import one_label
from pyrovae.data.source import SplitSource
from pyrovae.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

PIXELS = 28


@final
@dataclass(frozen=True, kw_only=True)
class Omniglot(SplitSource):
    """Omniglot: 32,460 handwritten characters of 50 alphabets, 28x28 bytes, ink bright; labels are the alphabets.

    The 105x105 pixels are black or white; a byte is the ink's share of its pixel's area, times 255. The 30 alphabets of the
    background set are training data, the 20 of the evaluation set the test: their characters are never seen in training.

    Source: Lake, Salakhutdinov and Tenenbaum (2015), Human-Level Concept Learning through Probabilistic Program Induction.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """

    def load(self, root: Path) -> Dataset:
        from torchvision import datasets

        from pyrovae.data.decoding import stacked

        folder = root / datasets.Omniglot.folder
        paths, sizes = [], []
        for name, checksum in datasets.Omniglot.zips_md5.items():
            if not (folder / name).is_dir():
                _download(folder, name, f"{datasets.Omniglot.download_url_prefix}/{name}.zip", checksum)
            found = sorted((folder / name).glob("*/*/*.png"), key=lambda path: path.parts)
            if not found:
                raise UserError("data", "omniglot", f"{folder / name} has no ALPHABET/CHARACTER/*.png", "delete it and try again")
            paths += found
            sizes.append(len(found))
        x = stacked(paths, _ink, (PIXELS, PIXELS))
        labels = one_label(np.array([path.parts[-3] for path in paths]))
        spec = DataSpec((PIXELS, PIXELS), "levels", 256, labels.class_names)
        background, evaluation = torch.arange(len(x)).split(sizes)
        return Dataset("omniglot", spec, x, labels.y, self.split_off_valid(background, evaluation))


def _download(folder: Path, name: str, url: str, checksum: str) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    with fetching("omniglot", [f"{name}.zip"], folder):
        folder.mkdir(parents=True, exist_ok=True)
        # The folder appears whole or not at all.
        with tempfile.TemporaryDirectory(dir=folder) as made:
            download_and_extract_archive(url, str(folder), extract_root=made, filename=f"{name}.zip", md5=checksum)
            (Path(made) / name).replace(folder / name)


def _ink(path: Path) -> Image.Image:
    from PIL import Image, ImageOps

    from pyrovae.data.decoding import upright

    # 105 is no multiple of 28, and Pillow's box filter takes or leaves a pixel as a whole: first each becomes 4x4.
    fine = ImageOps.invert(upright(path, grey=True)).resize((15 * PIXELS, 15 * PIXELS), Image.Resampling.NEAREST)
    return fine.reduce(15)
