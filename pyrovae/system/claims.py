"""A folder belongs to one process: who works in it holds the lock of a file there, which the kernel releases on death."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import final

from pyrovae.errors import UserError, option
from pyrovae.system.files import TEMPORARY, UNSUPPORTED, sweep, sync_folder, try_lock

LOCK = ".lock"
"""The file in a folder that is locked; it is there while a process works in the folder, or if one was killed there."""

ATTEMPTS = 20
"""At a folder that others make and remove at the same time."""


@final
class TakenError(UserError):
    """The folder has something in it, or belongs to another process."""


@final
class Claim:
    """A folder that is this process's own until the block ends; made, with those above it, where it is missing.

    What was made and is empty at the end is removed again.

    Args:
        folder: The folder.
        new: Refuse a folder with anything in it, except what a killed process left before it had written anything.

    Raises:
        UserError: If another process (or another thread of this one) has it, it has something in it, or it cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as home, Claim(Path(home)):
        ...     Claim(Path(home))
        Traceback (most recent call last):
        ...
        pyrovae.system.claims.TakenError: ...
    """

    def __init__(self, folder: Path, *, new: bool = False) -> None:
        self.folder = folder
        self._made: list[Path] = []
        self._open: list[int] = []
        self._take(new)

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Give the folder back."""
        with contextlib.suppress(OSError):
            if self._is_here():
                (self.folder / LOCK).unlink()  # before the lock is released: nobody else can have it yet
        self._close()
        with contextlib.suppress(OSError):
            for made in reversed(self._made):
                made.rmdir()
        self._made = []

    def keep(self) -> bool:
        """Whether the folder is still where it was; False where it was deleted or renamed, and had to be made again, empty.

        Raises:
            UserError: If something else is in its place.
        """
        if self._is_here():
            return True
        self._close()
        try:
            self._take(new=True)
        except TakenError as error:
            raise UserError(
                None,
                self.folder,
                "was replaced while this process wrote there, and is left as it is",
                "what it had written is where the folder was moved to, if it was",
            ) from error
        return False

    def _is_here(self) -> bool:
        """Whether our folder and our lock still have their names."""
        names = (self.folder, self.folder / LOCK)
        try:
            return len(self._open) == len(names) and all(
                os.path.samestat(os.fstat(descriptor), name.stat(follow_symlinks=name == self.folder))
                for descriptor, name in zip(self._open, names, strict=True)
            )
        except OSError:
            return False

    def _close(self) -> None:
        for descriptor in reversed(self._open):
            os.close(descriptor)
        self._open = []

    def _take(self, new: bool) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self._make()
                # Open as long as it is ours, so that no other folder can get its number on the disk.
                self._open.append(os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY))
                self._open.append(self._locked())
                if new:
                    check_new(self.folder)
                    sweep(self.folder)
                return
            except OSError as error:
                self.release()
                # Whoever had the folder may have removed it just now, for there was nothing in it.
                if not isinstance(error, FileNotFoundError) or attempt == ATTEMPTS - 1:
                    raise UserError(
                        None, self.folder, f"could not be written ({error.strerror or error})", "choose another place"
                    ) from error
            except UserError:
                self.release()
                raise

    def _make(self) -> None:
        for place in reversed([self.folder, *self.folder.parents]):
            if not place.exists():
                with contextlib.suppress(FileExistsError):
                    place.mkdir()
                    self._made.append(place)
                    sync_folder(place.parent)

    def _locked(self) -> int:
        """The lock file, open and locked."""
        path = self.folder / LOCK
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
            try:
                held = try_lock(descriptor)
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    os.close(descriptor)
                    raise
                held = True
                warnings.warn(
                    f"{self.folder}: this file system has no locks; see to it that no other process writes there",
                    UserWarning,
                    stacklevel=4,
                )
            if not held:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise TakenError(None, self.folder, f"{holder} is at work there", "wait for it, end it, or choose another folder")
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.lstat()):
                    _sign(descriptor)
                    return descriptor
            os.close(descriptor)  # whoever had it removed it as it ended


def _sign(descriptor: int) -> None:
    """Say who has the lock, for those who want it."""
    if os.fstat(descriptor).st_nlink == 1:  # a file of several names may be somebody's, linked here
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())


def _holder(descriptor: int) -> str:
    found = re.fullmatch(rb"(\d+) ([\w.-]+)\n", os.pread(descriptor, 200, 0))
    return f"process {found[1].decode()} on {found[2].decode()}" if found else "another process"


def check_new(folder: Path) -> None:
    """Refuse a place with anything in it, except what a killed process left before it had written anything.

    Raises:
        TakenError: Naming what to do.
    """
    there = folder.iterdir() if folder.is_dir() else [folder] if os.path.lexists(folder) else []
    if any(path.name != LOCK and not TEMPORARY.fullmatch(path.name) for path in there):
        raise TakenError(
            "out", folder, "exists already and is left as it is", f"choose another folder, or go on with it by {option('resume')}"
        )


def claim_next(stem: str) -> Claim:
    """The first of STEM1, STEM2, ... that nobody has.

    Raises:
        UserError: If it cannot be made.
    """
    return next(_free(stem))


def _free(stem: str) -> Iterator[Claim]:
    for number in range(1, 10**6):
        folder = Path(f"{stem}{number}")
        if not os.path.lexists(folder):
            with contextlib.suppress(TakenError):
                yield Claim(folder, new=True)
