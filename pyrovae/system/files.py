"""Files are written whole or not at all, and never through a link that somebody else made; what the dead left is swept."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import re
import secrets
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
from torch import Tensor

from pyrovae.errors import Note, UserError

TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.tmp", re.DOTALL)
"""Names of files that are being written; nobody can guess one, and whoever writes it holds its lock."""

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system answers that has no locks, or cannot sync a folder."""


@final
class WriteError(UserError):
    """A file could not be written; what stood there before is unchanged. Its value is the path."""


@final
class Unwritten(Note):
    """What was computed is shown, but a file with it could not be written.

    Args:
        path: The file or folder.
        message: One line.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


@contextlib.contextmanager
def said_if_unwritten(path: Path | None = None) -> Iterator[None]:
    """Within this a file that cannot be written is a warning, ``Unwritten``: what was computed for it is shown all the same.

    Args:
        path: What is not there without that file; None for the file alone.
    """
    try:
        yield
    except WriteError as error:
        note = f"{error.said()}; what was to be written is shown, and not kept"
        warnings.warn(Unwritten(path or Path(str(error.value)), note), stacklevel=3)


def write_whole(path: Path, content: bytes, home: Path | None = None) -> None:
    """Write a file whole or not at all: a random temporary name in the same folder, fsync, rename, fsync of the folder.

    A link of that name is replaced, and its target is left unchanged.

    Args:
        path: The file.
        content: All of it.
        home: The folder that the user named and ``path`` lies in, which must be there: no folder between the two may be a link.
            None for a file that the user named: its folder is made, and may be a link.

    Raises:
        UserError: If the disk is full, the folder cannot be written or is a link; what stood there before stays.
    """
    check_no_link(path, home)
    try:
        _make_folders(path.parent, home)
        sweep(path.parent, None if home is not None else path.name)
        temporary, descriptor = _temporary(path)
        with open(descriptor, "wb") as file:  # open until it is renamed: so long its lock says that its writer lives
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):  # the folder itself may be gone or closed; the first error says why
                    temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise WriteError(
            None,
            path,
            f"could not be written ({error.strerror or error})",
            "what was saved there before is unchanged; free some space or choose another place",
        ) from error
    sync_folder(path.parent)


def write_arrays(path: Path, arrays: Mapping[str, Tensor | None], home: Path | None = None, comment: str = "") -> None:
    """Write a .npz file of those tensors that are there.

    Args:
        path: The file.
        arrays: By name.
        home: As in ``write_whole``.
        comment: Of the archive: who reads the arrays does not see it.

    Raises:
        UserError: As ``write_whole``.
    """
    buffer = io.BytesIO()
    written: dict[str, Any] = {name: tensor.numpy() for name, tensor in arrays.items() if tensor is not None}
    np.savez(buffer, **written)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = comment.encode()
    write_whole(path, buffer.getvalue(), home)


def check_writable(path: Path, option: str, home: Path | None = None) -> None:
    """Refuse a file or folder that cannot be written, before the work that it is to hold.

    Args:
        path: The file or folder.
        option: What names it.
        home: As in ``write_whole``.

    Raises:
        UserError: If its folder is not one, or may not be written.
    """
    check_no_link(path / "file", home)
    if not is_writable(path):
        raise UserError(option, path, "could not be written there", "choose another place")


def is_writable(path: Path) -> bool:
    """Whether a file or folder of that name may be made or written, as far as can be told before."""
    nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    folder = nearest.parent if nearest == path.absolute() and nearest.is_file() else nearest
    return folder.is_dir() and os.access(folder, os.W_OK)


def check_no_link(path: Path, home: Path | None) -> None:
    """Refuse a place in the user's folder that a link leads out of: the folder may come from somebody else.

    Raises:
        UserError: If a folder between ``home`` and ``path`` is a link.
    """
    if home is None:
        return
    for folder in reversed(path.parents):
        if home in folder.parents and folder.is_symlink():
            raise WriteError(
                None,
                folder,
                f"is a link, and nothing in {home} is written through links",
                "remove it, or put a folder in its place",
            )


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files of processes that have died: those whose lock nobody holds.

    Args:
        folder: Where.
        name: Only those of that file; None for all.
    """
    try:
        entries = list(os.scandir(folder))
    except PermissionError:  # one may write into a folder whose names one may not read
        return
    for entry in entries:
        found = TEMPORARY.fullmatch(entry.name)
        if found and (name is None or found["name"] == name) and entry.is_file(follow_symlinks=False):
            with contextlib.suppress(OSError):  # gone, alive, not ours, or without locks: it stays
                descriptor = os.open(entry.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    if try_lock(descriptor):
                        Path(entry.path).unlink()
                finally:
                    os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Whether this open file has a lock now; the kernel releases it when the file is closed or the process dies.

    Raises:
        OSError: If the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_folders(folder: Path, home: Path | None) -> None:
    """Make the folders that are missing, those below ``home`` only."""
    for place in reversed([folder, *folder.parents]):
        if (home is None or home in place.parents) and not place.exists():
            place.mkdir(exist_ok=True)
            sync_folder(place.parent)


def _temporary(path: Path) -> tuple[Path, int]:
    """A new file in the folder of ``path``, open and locked."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        try:
            ours = try_lock(descriptor) and os.fstat(descriptor).st_nlink > 0
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            ours = True
        if ours:
            return temporary, descriptor
        os.close(descriptor)  # another process swept it between its birth and its lock


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: without this a loss of power may leave those of before.

    Raises:
        UserError: If the disk fails.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (*UNSUPPORTED, errno.EACCES):
            raise WriteError(None, folder, f"written, but not for certain ({error.strerror})", "see what is there") from error
