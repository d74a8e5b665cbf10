"""``--plugin FILE``: a user's own Python file, which is run before a command and registers parts for it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

from pyrovae.errors import UserError, check_path, is_out_of_memory


@contextmanager
def plugin(text: str | None) -> Iterator[None]:
    """Run a user's file, and while the command runs report an error that is raised in that file by its line.

    Args:
        text: Its path as it was given; None where there is none.

    Raises:
        UserError: If there is no such file, or an error is raised in it: with its line, in one line.
    """
    if text is None:
        yield
        return
    path = check_path("plugin", text, "a Python file").absolute()
    if not path.is_file():
        raise UserError("plugin", text, "is no file", "give a Python file of yours that calls pyrovae.register")
    try:
        _run(path)
    except (Exception, SystemExit) as error:
        raise _in_one_line(text, path, error) from error
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if _line(path, error) is None or is_out_of_memory(error):
            raise
        raise _in_one_line(text, path, error) from error


def _run(path: Path) -> None:
    """Run a file as a module of its own.

    This is the only place where code of a user's choice is run, and only for a path that was typed after ``--plugin``: what is
    loaded (configurations, runs, data) cannot name one.
    """
    name = f"pyrovae_plugin_{path.stem}"
    loader = SourceFileLoader(name, str(path))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up there what the types of their fields mean
    loader.exec_module(module)


def _in_one_line(text: str, path: Path, error: BaseException) -> UserError:
    line = _line(path, error)
    where = "" if line is None else f"line {line}: "
    if isinstance(error, UserError):
        return UserError("plugin", text, f"{where}{error.said()}")
    message = (error.msg if isinstance(error, SyntaxError) else str(error)).splitlines()
    what = ": ".join(filter(None, (type(error).__name__, message[0] if message else "")))
    return UserError("plugin", text, f"{where}{what}", "mend the file")


def _line(path: Path, error: BaseException) -> int | None:
    """The line of a file in which an error was raised, or from which what raised it was called; None where it was not."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
