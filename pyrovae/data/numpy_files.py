"""NumPy files, their headers first: which arrays there are and how large, and then those that are wanted and no others."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, final

import numpy as np
from numpy.lib import format as npy

from pyrovae.errors import NOT_GIVEN, UserError
from pyrovae.system.bounds import check_memory, open_regular, why

UNREADABLE = (ValueError, EOFError, OSError, RuntimeError, KeyError, zipfile.BadZipFile, zlib.error, TokenError)
"""What NumPy, and zipfile, zlib and tokenize below it, raise for damaged files."""

ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06")
"""How .npz files begin, the second where they are empty."""

CHUNK = 2**22
"""Bytes that are read at a time."""


@final
@dataclass(frozen=True)
class Header:
    """What an array's header says.

    Args:
        shape: Its shape.
        dtype: The type of its elements.
        fortran: Whether the first index runs fastest in the file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool

    @property
    def nbytes(self) -> int:
        """Of all its elements."""
        return math.prod(self.shape) * self.dtype.itemsize


@final
class NumpyFile:
    """The arrays of a .npz file by name, or that of a .npy file as ``x``; nothing is unpickled, and only wanted arrays are read.

    Args:
        path: A file.

    Attributes:
        headers: Name -> header; None for what is no array.

    Raises:
        UserError: If it is no regular file, damaged, or something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.headers: dict[str, Header | None] = {}
        with self._arrays() as arrays:
            for name, file, size in arrays:
                self.headers[name] = _header(file, size)

    def holds_objects(self, name: str) -> bool:
        """Whether an array is one of Python objects, which is never read."""
        header = self.headers[name]
        return header is not None and header.dtype.hasobject

    def header(self, name: str) -> Header:
        """The header of an array.

        Raises:
            UserError: If it is no array, or one of Python objects.
        """
        header = self.headers[name]
        if header is None:
            raise UserError(None, self._path, f"{name} is no NumPy array", "write the file with np.savez")
        if self.holds_objects(name):
            raise UserError(
                None,
                self._path,
                f"{name} holds Python objects, which are never unpickled",
                "save plain numbers or text, array.astype('float32') or array.astype(str)",
            )
        return header

    def read(self, names: Sequence[str], spare: int = 0) -> np.ndarray:
        """Arrays (n, *E) one after the other, (n1 + n2 + ..., *E), of a type that holds them all; each is read into its place.

        Args:
            names: Their names; a single one gives that array itself.
            spare: Bytes per element that will be needed in addition, for what is made from them.

        Raises:
            UserError: If one is damaged or holds Python objects, or they do not fit the free memory.
        """
        headers = [self.header(name) for name in names]
        dtype = np.result_type(*(header.dtype for header in headers))
        shape = headers[0].shape
        if len(headers) > 1:
            shape = (sum(header.shape[0] for header in headers), *shape[1:])
        turned = max((header.nbytes for header in headers if header.fortran), default=0)
        needed = math.prod(shape) * (dtype.itemsize + spare) + turned
        what, remedy = f"{self._path}: {' and '.join(names)}", "give fewer data, or smaller ones"
        check_memory(needed, what, remedy)
        try:
            found = np.empty(shape, dtype)
            ends = np.cumsum([header.shape[0] for header in headers[:-1]], dtype=int)
            self._read_into(dict(zip(names, np.split(found, ends) if len(ends) else [found], strict=True)))
        except MemoryError as error:
            raise UserError(
                None, NOT_GIVEN, f"{what} needs {needed / 1e9:.1f} GB of memory, more than there is", remedy
            ) from error
        return found

    def arrays(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Those of these arrays that are there.

        Raises:
            UserError: As ``read``.
        """
        return {name: self.read([name]) for name in names if name in self.headers}

    def _read_into(self, places: Mapping[str, np.ndarray]) -> None:
        with self._arrays() as arrays:
            for name, file, size in arrays:
                if name in places:
                    header = _header(file, size)
                    if header is None:
                        raise ValueError(f"{name} is no array any more")
                    _fill(places[name], file, header)

    @contextmanager
    def _arrays(self) -> Iterator[Iterator[tuple[str, IO[bytes], int]]]:
        """Name of each array, the file that it is in, at its beginning, and the size of that.

        Raises:
            UserError: If it is no regular file, or damaged.
        """
        try:
            with open_regular(self._path) as file:
                yield _members(file)
        except UNREADABLE as error:
            raise UserError(None, self._path, f"cannot be read as a NumPy file ({why(error)})") from error


def _members(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes], int]]:
    begins = file.read(len(ARCHIVES[0]))
    file.seek(0)
    if begins not in ARCHIVES:
        yield "x", file, os.fstat(file.fileno()).st_size
        return
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                yield info.filename.removesuffix(".npy"), member, info.file_size


def _header(file: IO[bytes], size: int) -> Header | None:
    """The header at the beginning of a file of that many bytes; None where a member of an archive is no array.

    Raises:
        UNREADABLE: If it is damaged, or the file too short for what it promises.
    """
    try:
        version = npy.read_magic(file)
    except ValueError:
        if isinstance(file, zipfile.ZipExtFile):
            return None
        raise
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version[0]}.{version[1]} of the format, which is for arrays with named fields")
    shape, fortran, dtype = read(file)
    header = Header(shape, dtype, fortran and len(shape) > 1)
    if any(length < 0 for length in shape):
        raise ValueError(f"an impossible shape, {shape}")
    if not dtype.hasobject and header.nbytes > size - file.tell():
        raise ValueError(f"{size - file.tell()} bytes of numbers, and its header promises {header.nbytes}")
    return header


def _fill(place: np.ndarray, file: IO[bytes], header: Header) -> None:
    """Read the numbers that follow a header into an array of its shape.

    Raises:
        UNREADABLE: If there are too few of them, or an archive's checksum does not match.
    """
    if header.fortran:
        turned = np.empty(header.shape[::-1], header.dtype)
        _fill(turned, file, Header(turned.shape, header.dtype, False))
        place[...] = turned.T
        return
    flat = place.reshape(-1)  # no copy: it is contiguous
    step = max(1, CHUNK // max(1, header.dtype.itemsize))
    for start in range(0, flat.size, step):
        part = flat[start : start + step]
        content = _exactly(file, part.size * header.dtype.itemsize)
        part[...] = np.frombuffer(content, header.dtype)
    if isinstance(file, zipfile.ZipExtFile):
        file.read(1)  # the checksum is compared at the end


def _exactly(file: IO[bytes], count: int) -> bytes:
    content = file.read(count)
    while len(content) < count:
        more = file.read(count - len(content))
        if not more:
            raise EOFError("it ends too early")
        content += more
    return content
