"""What a file may ask of this machine: to be a regular one, of bounded size and depth, with numbers that fit the free memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from pyrovae.errors import NOT_GIVEN, UserError

MOST_BYTES = 2**24
"""Of a text file: a configuration, or what an evaluation found."""

DEEPEST = 50
"""Collections within each other in a YAML file."""

MOST_REPEATED = 10_000
"""Nodes of a YAML file that are there by an alias."""

GIGABYTE = 1e9


def open_regular(path: Path) -> BinaryIO:
    """A regular file opened for reading: no pipe that nobody writes to, no device without an end.

    Raises:
        OSError: If the file does not exist, is not a regular file, or may not be read.
    """
    # A pipe without a writer would make an ordinary open wait.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def free_memory() -> int | None:
    """Bytes that this process can still take: by the machine, its control group and its own limit; None where none tells."""
    found = [_machine(), _group(), _process()]
    return min((number for number in found if number is not None), default=None)


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Refuse what does not fit the free memory, before any of it is read.

    Args:
        needed: Bytes.
        what: The file and what in it needs them, for the error.
        remedy: What to do.

    Raises:
        UserError: If less is free.
    """
    free = free_memory()
    if free is not None and needed > free:
        raise UserError(
            None, NOT_GIVEN, f"{what} needs {needed / GIGABYTE:.1f} GB of memory, and {free / GIGABYTE:.1f} GB are free", remedy
        )


def _machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return found["MemAvailable"] + found.get("SwapFree", 0) if "MemAvailable" in found else None


def _group() -> int | None:
    home = Path("/sys/fs/cgroup")
    for folder, limit, used, of in (
        (home, "memory.max", "memory.current", ""),
        (home / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        try:
            free = int((folder / limit).read_text()) - int((folder / used).read_text())
            kept = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # there is none, or its limit is "max"
            continue
        # Files that are kept in memory make room where it is needed.
        return free + sum(int(kept.get(f"{of}{age}_file", 0)) for age in ("active", "inactive"))
    return None


def _process() -> int | None:
    if os.name != "posix":
        return None
    import resource  # is not there elsewhere

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return None
    return None if limit == resource.RLIM_INFINITY else limit - pages * resource.getpagesize()


def read_text(path: Path) -> str:
    """The text in a regular file of bounded size.

    Raises:
        OSError: If it cannot be read, or is another thing.
        ValueError: If it is too large, or no UTF-8.
    """
    with open_regular(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES // 2**20} MiB, which is too much for such a file")
    return content.decode()


def read_yaml(path: Path) -> Any:
    """The plain data in a YAML file of bounded size, depth and repetition.

    Raises:
        BAD_YAML: If it is no regular file, too large, or no YAML of plain data.
    """
    text = read_text(path)
    _check_nodes(text)
    return yaml.safe_load(text)


BAD_YAML = (OSError, ValueError, yaml.YAMLError)
"""What ``read_yaml`` raises; a ValueError also for a date or a number that does not exist."""


def why(error: BaseException) -> str:
    """The reason in an error of reading, in one line without the path."""
    return " ".join((getattr(error, "strerror", None) or str(error)).split())


def _check_nodes(text: str) -> None:
    """Refuse a YAML text that would grow without bounds when it is loaded: nested, or repeated by aliases within aliases.

    Raises:
        ValueError: Saying which.
    """
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    count = repeated = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor or "", 0)
            count += size
            repeated += size
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            count += 1
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, count - 1))
            if event.anchor is not None:
                # While a collection is open, an alias of it repeats it without an end.
                sizes[event.anchor] = 1 if isinstance(event, yaml.ScalarEvent) else MOST_REPEATED + 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            sizes |= {} if anchor is None else {anchor: count - before}
        if len(opened) > DEEPEST:
            raise ValueError(f"more than {DEEPEST} collections within each other, which is no configuration")
        if repeated > MOST_REPEATED:
            raise ValueError(f"aliases that repeat more than {MOST_REPEATED} values; write them out")
