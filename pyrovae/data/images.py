"""Your own pictures from a folder."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from pyrovae.contracts import DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.data.labels import MISSING, Labels, one_label
from pyrovae.data.own import OwnData
from pyrovae.data.split_names import WORDS, check_trainable, in_splits, speaks_of_a_split, split_called
from pyrovae.errors import NOT_GIVEN, Note, UserError, check_flag, check_integer, option

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@final
@dataclass(frozen=True, kw_only=True)
class ImageFolder(OwnData):
    """A folder of pictures (.png, .jpg, ...) as bytes (H, W), or (3, H, W) in colour; subfolders are labels.

    Subfolders ``train``, ``val`` and ``test`` (or training, valid, validation, dev, testing, in any case) are the splits, and
    labels are the subfolders of those; there must be no other subfolders next to the splits.
    Pictures are in the order of their names. Transparent pixels become white, cyan, magenta, yellow and black become red, green
    and blue, and only the first picture of an animation is used, each with a warning; more than 8 bits a channel are refused.
    Other files, and those whose names begin with a dot, are passed over.

    Args:
        path: The folder.
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        test: Test data taken from pictures that come in one part: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
        size: Make every picture size x size pixels: its middle square, scaled with antialiasing.
        grey: Whether colour pictures become grey; if all pictures are grey, they stay grey in any case.

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
        check_flag("data.grey", self.grey)

    def load(self, root: Path) -> Dataset:
        from pyrovae.data.decoding import look, stacked

        folder = Path(self.path)
        if not folder.is_dir():
            raise UserError("data", folder, "no such folder")
        names = sorted(file.relative_to(folder).parts for file in folder.rglob("*") if _is_picture(file, folder))
        if not names:
            raise UserError("data", folder, f"has 0 pictures ({', '.join(SUFFIXES)})", "name a folder that has some")
        parts = self._parts(folder, names)
        names = [name for part in parts.values() for name in part]
        # Labels are below the folder of the split where there is one.
        labels = self._labels(names, 1 if "train" in parts else 0)
        paths = [folder.joinpath(*name) for name in names]
        looks = [look(path) for path in paths]
        grey = self.grey or all(found.grey for found in looks)
        if self.size is None:
            _check_sizes(paths, [found.size for found in looks])
        size = looks[0].size if self.size is None else (self.size, self.size)
        transparent: list[Path] = []
        x = stacked(paths, lambda path: self._picture(path, grey, transparent), size if grey else (3, *size))
        _note(folder, transparent, "have transparent pixels, which became white")
        several = [path for path, found in zip(paths, looks, strict=True) if found.several]
        inks = [path for path, found in zip(paths, looks, strict=True) if found.inks]
        _note(folder, several, "hold several pictures (frames or pages), of which the first counts")
        _note(folder, inks, f"are CMYK and became {'grey' if grey else 'RGB'}, without regard to a colour profile")
        spec = DataSpec(tuple(x.shape[1:]), "levels", 256, labels.class_names)
        rows = self.splits({part: len(found) for part, found in parts.items()})
        return Dataset(self.path, spec, x, labels.y, rows, in_one_part="train" not in parts)

    def remedy(self, found: DataSpec, wanted: DataSpec) -> str:
        *colours, height, width = wanted.event_shape if len(wanted.event_shape) > 1 else (0, 0, 0)
        options = [option("data.size", width)] if found.event_shape[-2:] != (height, width) else []
        options += [option("data.grey", True)] if len(found.event_shape) == 3 and not colours else []
        fits = height == width and (len(found.event_shape) == 2 or not colours or colours == [3])
        return f"give {' '.join(options)}" if fits and options else ""

    def _parts(self, folder: Path, names: Sequence[tuple[str, ...]]) -> dict[str, list[tuple[str, ...]]]:
        """The pictures of each split; all of them as ``all`` where no folder is called a split.

        Raises:
            UserError: If it is unclear which pictures are for training.
        """
        tops = sorted({name[0] for name in names if len(name) > 1})
        splits = in_splits(self.path, [(top, split) for top in tops if (split := split_called(top))])
        some = next(iter(splits.values()), "")
        check_trainable(
            self.path, splits, f"add it, or name the folder itself, such as {option('data', folder / some)}, to use all of it"
        )
        _note_empty_splits(folder, tops)
        if not splits:
            _check_labels(folder, names, tops)
            return {"all": list(names)}
        others = [top for top in tops if top not in splits.values()] + [name[0] for name in names if len(name) == 1]
        if others:
            raise UserError(
                "data",
                self.path,
                f"has {others[0]} beside {', '.join(splits.values())}, which are called splits",
                f"put it into one of them, or, if {some} is a label, give that folder another name",
            )
        return {split: [name for name in names if name[0] == top] for split, top in splits.items()}

    def _labels(self, names: Sequence[tuple[str, ...]], depth: int) -> Labels:
        """The subfolders at that depth as labels.

        Raises:
            UserError: If some pictures have no label, or a label whose name means a missing value.
        """
        beside = [name for name in names if len(name) == depth + 1]
        if len(beside) == len(names):
            return Labels()
        if beside:
            raise UserError(
                "data",
                self.path,
                f"has {'/'.join(beside[0])} beside subfolders, which are labels",
                "put every picture into one, or none",
            )
        labels = [name[depth] for name in names]
        missing = next((label for label in labels if label in MISSING), None)
        if missing is not None:
            raise UserError(
                "data",
                self.path,
                f"a folder called {missing} stands for a label that is missing",
                "give it another, such as unknown, or take it out",
            )
        return one_label(np.array(labels))

    def _picture(self, path: Path, grey: bool, transparent: list[Path]) -> Image.Image:
        from pyrovae.data.decoding import middle, upright

        image = upright(path, grey, transparent)
        return image if self.size is None else middle(image, min(image.size), self.size)


def _note(folder: Path, paths: Iterable[Path], what: str) -> None:
    """Warn of what happened to some of the pictures."""
    found = sorted(paths)
    if found:
        warnings.warn(
            Note(f"{option('data', folder)}: {len(found)} pictures {what}, such as {found[0].relative_to(folder)}"),
            stacklevel=2,
        )


def _note_empty_splits(folder: Path, tops: Sequence[str]) -> None:
    """Warn of folders that are called a split and hold nothing that is read."""
    for top in sorted(found.name for found in folder.iterdir() if found.is_dir()):
        if split_called(top) and top not in tops:
            text = f"{option('data', folder)}: {top} has no pictures ({', '.join(SUFFIXES)}) and is not used"
            warnings.warn(Note(text), stacklevel=2)


def _check_labels(folder: Path, names: Iterable[tuple[str, ...]], tops: Sequence[str]) -> None:
    """Refuse labels that hold splits, and labels that are splits by another name: their test data would be trained on.

    A single label with such a word in its name (a bullet train) is one, and a warning says so.

    Raises:
        UserError: Naming the folder.
    """
    if len(tops) > 1 and all(map(speaks_of_a_split, tops)):
        raise UserError(
            "data",
            folder,
            f"has {', '.join(tops)}, which may be splits or labels",
            f"call splits {', '.join(WORDS)}, and labels something else",
        )
    for name in names:
        for depth, part in enumerate(name[:-1]):
            if split_called(part):
                above = folder.joinpath(*name[:depth])
                raise UserError(
                    "data",
                    folder,
                    f"has {'/'.join(name[: depth + 1])}, which is called a split, below a label",
                    f"put splits above labels, or name the folder that holds them: {option('data', above)}",
                )
    for top in filter(speaks_of_a_split, tops):
        text = f"{option('data', folder)}: {top} is taken for a label, and trained on; take it out if it is a split"
        warnings.warn(Note(text), stacklevel=2)


def _check_sizes(paths: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> None:
    other = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        shown = [f"{paths[i]} has {sizes[i][1]}x{sizes[i][0]} pixels" for i in (0, other)]
        raise UserError(None, NOT_GIVEN, ", ".join(shown), f"{option('data.size', metavar='N')} makes all of them N x N")


def _is_picture(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in SUFFIXES and not hidden and file.is_file()
