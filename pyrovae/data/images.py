"""Your own pictures from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from pyrovae.contracts import DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.data.labels import Labels, one_label
from pyrovae.data.own import PARTS, OwnData
from pyrovae.errors import UserError, check_integer

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@final
@dataclass(frozen=True, kw_only=True)
class ImageFolder(OwnData):
    """A folder of pictures (.png, .jpg, ...) as bytes (H, W), or (3, H, W) in colour; subfolders are labels.

    Subfolders ``train`` and ``test`` (``valid``), and no others, are the splits, and labels are the subfolders of those.
    Pictures are in the order of their names. Transparent pixels become white; of an animation the first picture counts.
    Other files, and those whose names begin with a dot, are passed over.

    Args:
        path: The folder.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from pictures that come in one part: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        size: Make every picture size x size pixels: its middle square, scaled with antialiasing.
        grey: Whether colour pictures become grey ones; where all are grey they stay so in any case.

    Raises:
        UserError: If an option is wrong.
    """

    example = "./FOLDER"

    size: int | None = None
    grey: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            check_integer("data.size", self.size, 1)
        if not isinstance(self.grey, bool):
            raise UserError(f"--data.grey {self.grey}: needs true or false")

    def load(self, root: Path) -> Dataset:
        from pyrovae.data.decoding import look, stacked

        folder = Path(self.path)
        if not folder.is_dir():
            raise UserError(f"--data {folder}: no such folder")
        names = sorted(file.relative_to(folder).parts for file in folder.rglob("*") if _is_picture(file, folder))
        if len(names) < 2:
            raise UserError(f"--data {folder}: has {len(names)} pictures ({', '.join(SUFFIXES)}); needs at least 2")
        parts = self._parts(names)
        names = [name for part in parts.values() for name in part]
        # Labels are below the folder of the split where there is one.
        labels = self._labels([name[1:] if "train" in parts else name for name in names])
        paths = [folder.joinpath(*name) for name in names]
        looks = [look(path) for path in paths]
        grey = self.grey or all(found.grey for found in looks)
        if self.size is None:
            _check_sizes(paths, [found.size for found in looks])
        size = looks[0].size if self.size is None else (self.size, self.size)
        x = stacked(paths, lambda path: self._picture(path, grey), size if grey else (3, *size))
        spec = DataSpec(tuple(x.shape[1:]), "levels", 256, labels.class_names)
        rows = self.splits({part: len(found) for part, found in parts.items()})
        return Dataset(self.path, spec, x, labels.y, rows, in_one_part="train" not in parts)

    def _parts(self, names: Sequence[tuple[str, ...]]) -> dict[str, list[tuple[str, ...]]]:
        tops = {name[0] if len(name) > 1 else "" for name in names}
        if not {"train"} <= tops <= set(PARTS):
            return {"all": list(names)}
        return {part: [name for name in names if name[0] == part] for part in PARTS if part in tops}

    def _labels(self, names: Sequence[tuple[str, ...]]) -> Labels:
        beside = [name for name in names if len(name) == 1]
        if len(beside) == len(names):
            return Labels()
        if beside:
            raise UserError(
                f"--data {self.path}: has {beside[0][0]} beside subfolders, which are labels; put every picture into one, or none"
            )
        return one_label(np.array([name[0] for name in names]))

    def _picture(self, path: Path, grey: bool) -> Image.Image:
        from pyrovae.data.decoding import middle, upright

        image = upright(path, grey)
        return image if self.size is None else middle(image, min(image.size), self.size)


def _check_sizes(paths: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> None:
    other = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        shown = [f"{paths[i]} has {sizes[i][1]}x{sizes[i][0]} pixels" for i in (0, other)]
        raise UserError(f"{shown[0]}, {shown[1]}; --data.size N makes all of them N x N")


def _is_picture(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in SUFFIXES and not hidden and file.is_file()
