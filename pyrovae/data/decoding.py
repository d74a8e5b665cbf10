"""Picture files -> bytes."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from pyrovae.errors import UserError

DAMAGED = (OSError, SyntaxError, ValueError, IndexError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are no pictures, or damaged ones."""

GREY = ("1", "L", "LA")
COLOUR = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")
"""Pillow's names of what has 8 bits a channel or fewer."""

TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""


@final
@dataclass(frozen=True)
class Look:
    """What a picture's header says.

    Args:
        grey: Whether it has no colours.
        size: (H, W) as it is meant to be seen.
    """

    grey: bool
    size: tuple[int, int]


@contextmanager
def without_warnings() -> Iterator[None]:
    """Pillow warns of damaged remarks in a file whose picture is whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def look(path: Path) -> Look:
    """The header of a picture with 8 bits a channel or fewer.

    Raises:
        UserError: If it is no picture, or has more bits.
    """
    try:
        with without_warnings(), Image.open(path) as image:
            mode, (width, height), turned = image.mode, image.size, image.getexif().get(ExifTags.Base.Orientation) in TURNED
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read as a picture ({error}); remove it or replace it") from error
    if mode not in GREY + COLOUR:
        raise UserError(
            f"{path}: has pixels of mode {mode}; save it with 8 bits a channel, or the numbers of all pictures in a .npy file"
        )
    return Look(mode in GREY, (width, height) if turned else (height, width))


def upright(path: Path, grey: bool) -> Image.Image:
    """A picture as it is meant to be seen, turned as its camera says and without transparency (which becomes white).

    Args:
        path: Its file.
        grey: Whether to make it grey (ITU-R 601 luma); else it becomes red, green and blue.

    Raises:
        UserError: If it is damaged.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if "A" in image.getbands() or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("L" if grey else "RGB")
    except DAMAGED as error:
        raise UserError(f"{path}: is damaged ({error}); remove it or replace it") from error


def middle(image: Image.Image, side: int, size: int) -> Image.Image:
    """The middle square of a picture, ``side`` pixels wide, scaled with antialiasing to ``size`` pixels."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: a filter must not reach what is outside.
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)


def stacked(paths: Sequence[Path], read: Callable[[Path], Image.Image], shape: tuple[int, ...]) -> Tensor:
    """Pictures in order, bytes (N, H, W) or (N, 3, H, W).

    Args:
        paths: Their files.
        read: File -> picture, all of one size.
        shape: (H, W) or (3, H, W).
    """
    x = np.empty((len(paths), *shape), np.uint8)
    # Pillow decodes outside of Python's lock.
    with without_warnings(), ThreadPoolExecutor() as pool:
        for i, image in enumerate(pool.map(read, paths)):
            pixels = np.asarray(image)
            x[i] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(x)
