"""Picture files -> bytes."""

from __future__ import annotations

import math
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
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin
from torch import Tensor

from pyrovae.errors import UserError, option
from pyrovae.system.bounds import check_memory

DAMAGED = (OSError, SyntaxError, ValueError, IndexError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are no pictures, or damaged ones."""

GREY = ("1", "L", "LA")
COLOUR = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Pillow's names of what has 8 bits a channel or fewer in memory, and can become red, green and blue."""

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is read, whatever a file's name says: of these it is known how many bits their files have."""

UNSIGNED = 1
"""TIFF's number of that sample format."""

OTHERWISE = f"or the numbers of all pictures in a .npy file (16 bits: {option('data.levels', 65536)})"

OPAQUE = 255

TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""


@final
@dataclass(frozen=True)
class Look:
    """What a picture's header says.

    Args:
        grey: Whether it has no colours.
        size: (H, W) as it is meant to be seen.
        several: Whether the file holds several pictures (an animation, or pages), of which only the first is used.
        inks: Whether its colours are cyan, magenta, yellow and black.
    """

    grey: bool
    size: tuple[int, int]
    several: bool
    inks: bool


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence Pillow, which warns of damaged remarks in a file whose picture is intact."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def look(path: Path) -> Look:
    """The header of a picture with 8 bits a channel or fewer.

    Raises:
        UserError: If it is not a picture, or has something that would be cut off: more bits, signs, channels.
    """
    try:
        with without_warnings(), Image.open(path, formats=FORMATS) as image:
            # First of all: Pillow reads a whole PNG for its EXIF, and forgets then how it was written.
            problem = _cut_off(image)
            mode, (width, height), turned = image.mode, image.size, image.getexif().get(ExifTags.Base.Orientation) in TURNED
            # The second picture of a photograph (MPO) is a map of its brightness or depth.
            several = image.format != "MPO" and getattr(image, "is_animated", False)
    except DAMAGED as error:
        raise UserError(None, path, f"cannot be read as a picture ({error})", "remove it or replace it") from error
    if mode not in GREY + COLOUR:
        problem = f"pixels of mode {mode}"
    if problem:
        raise UserError(None, path, f"has {problem}", f"save it with 8 bits a channel, {OTHERWISE}")
    return Look(mode in GREY, (width, height) if turned else (height, width), several, mode == "CMYK")


def _cut_off(image: ImageFile.ImageFile) -> str:
    """What Pillow would drop from the file without a warning; empty if nothing."""
    bits, channels, coding = 8, len(image.getbands()), UNSIGNED
    raw = image.tile[0].args if image.tile else ()
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = ExifTags.Base
        bits = max(image.tag_v2.get(tags.BitsPerSample, (1,)))
        channels = image.tag_v2.get(tags.SamplesPerPixel, 1)
        coding = max(image.tag_v2.get(tags.SampleFormat, (UNSIGNED,)))
    elif image.format == "PNG" and ";16" in str(raw):
        bits = 16
    elif image.format == "PPM" and isinstance(raw, tuple):
        bits = raw[1].bit_length()
    if bits > 8:
        return f"{bits} bits a channel"
    if coding != UNSIGNED:
        return "numbers with a sign"
    return f"{channels} channels a pixel" if channels > len(image.getbands()) else ""


def upright(path: Path, grey: bool, transparent: list[Path] | None = None) -> Image.Image:
    """A picture as it is meant to be seen, turned as its camera says and without transparency (which becomes white).

    Args:
        path: Its file.
        grey: Whether to make it grey (ITU-R 601 luma); else it becomes red, green and blue.
        transparent: Where to note the path of a picture that has transparent pixels.

    Raises:
        UserError: If it is damaged.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            image = ImageOps.exif_transpose(file)
            if "A" in image.getbands() or "transparency" in image.info:
                image = image.convert("RGBA")
                if transparent is not None and np.asarray(image.getchannel("A")).min() < OPAQUE:
                    transparent.append(path)
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("L" if grey else "RGB")
    except DAMAGED as error:
        raise UserError(None, path, f"is damaged ({error})", "remove it or replace it") from error


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

    Raises:
        UserError: If they do not fit the free memory.
    """
    remedy = f"give fewer, or smaller ones by {option('data.size')}"
    check_memory(math.prod((len(paths), *shape)), f"the array of {len(paths)} pictures", remedy)
    x = np.empty((len(paths), *shape), np.uint8)
    # Pillow decodes outside of Python's lock.
    with without_warnings(), ThreadPoolExecutor() as pool:
        for i, image in enumerate(pool.map(read, paths)):
            pixels = np.asarray(image)
            x[i] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(x)
