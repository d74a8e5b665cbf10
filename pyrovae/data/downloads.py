"""What all downloaded data sets share: the errors when a download fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyrovae.errors import UserError, option


@contextmanager
def fetching(title: str, files: Sequence[str], folder: Path) -> Iterator[None]:
    """Say how to go on if the download in this context fails.

    Args:
        title: Name of the data set.
        files: What is downloaded.
        folder: Where it belongs.

    Raises:
        UserError: Naming the files and the folder.
    """
    try:
        yield
    except Exception as error:  # every library that downloads or unpacks has errors of its own
        raise UserError(
            "data",
            title,
            f"could not be downloaded ({error})",
            f"put {', '.join(files)} into {folder}, or name a folder that has them with {option('data_root')} or PYROVAE_DATA",
        ) from error


@contextmanager
def reading(title: str, folder: Path) -> Iterator[None]:
    """Name the folder if a downloaded file that is read in this context is damaged.

    Args:
        title: Name of the data set.
        folder: Where its files are.

    Raises:
        UserError: Naming the folder.
    """
    try:
        yield
    except UserError:
        raise
    except (OSError, RuntimeError, ValueError, IndexError, KeyError, TypeError, AssertionError, EOFError) as error:
        raise UserError("data", title, f"a file in {folder} is damaged ({error})", "delete it and try again") from error
