"""Refusals of values that are not what an option needs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyrovae.errors.user_error import UserError
from pyrovae.errors.values import MOST_VALUES, is_number, plain


def plain_option(name: str, value: object) -> Any:
    """An option of a part as Python's own numbers, text and tuples.

    Raises:
        UserError: If it is an array of several dimensions or of more than a few numbers.
    """
    found: Any = plain(value)
    shape = getattr(found, "shape", None)
    if shape is None:
        return found
    if len(shape) != 1 or shape[0] > MOST_VALUES:
        raise UserError(name, value, "needs a number, a name, or a list of a few")
    return tuple(found.tolist())


OF_MEMORY = ("allocate memory", "out of memory", "Storage size calculation overflowed", "bad_alloc", "failed to map segment")
"""Messages of torch and of the library loader when memory runs out; neither has an error class for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error reports that memory ran out."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    said = isinstance(error, RuntimeError | ImportError | OSError) and any(words in str(error) for words in OF_MEMORY)
    return said or isinstance(error, MemoryError) or (isinstance(error, ValueError) and "array is too big" in str(error))


@contextmanager
def enough_memory(option: str, value: object, remedy: str) -> Iterator[None]:
    """Refuse work that needs more memory than is available.

    Args:
        option: What says how much is needed.
        value: What it was given.
        remedy: What to try instead.

    Raises:
        UserError: Saying so.
    """
    try:
        yield
    except (MemoryError, RuntimeError, ValueError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(option, value, "this needs more memory than there is", remedy) from error


LARGEST_INTEGER = 2**63 - 1
"""The largest number that torch can count to."""


def check_integer(name: str, value: object, minimum: int) -> int:
    """The value as an ``int``, if it is an integer of at least ``minimum``: Python's, NumPy's, or an array or tensor of one.

    Raises:
        UserError: Otherwise, naming the option and the value.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < minimum:
        raise UserError(name, value, f"needs an integer of at least {minimum}")
    if number > LARGEST_INTEGER:
        raise UserError(name, value, f"needs an integer of at most {LARGEST_INTEGER}")
    return number


LARGEST_SEED = 2**32 - 1


def check_seed(name: str, value: object) -> int:
    """The value as an ``int``, if it is an integer from 0 to 2^32 - 1.

    Raises:
        UserError: Otherwise, naming the option and the value.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= LARGEST_SEED:
        raise UserError(name, value, f"needs an integer of at least 0 and at most {LARGEST_SEED}")
    return number


def check_number(name: str, value: object, *, positive: bool = False, minimum: float = 0.0) -> float:
    """The value as Python's own number, if it is finite and at least ``minimum`` (above 0 where ``positive``).

    Raises:
        UserError: Otherwise, naming the option and the value.
    """
    number = plain(value)
    if not is_number(number) or number < minimum or (positive and number <= 0):
        wanted = "a finite number above 0" if positive else f"a finite number of at least {minimum:g}"
        raise UserError(name, value, f"needs {wanted}")
    return number


def check_flag(name: str, value: object) -> bool:
    """The value as a ``bool``, if it is one.

    Raises:
        UserError: Otherwise, naming the option and the value.
    """
    flag = plain(value)
    if not isinstance(flag, bool):
        raise UserError(name, value, "needs true or false")
    return flag


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """The value, if it is one of the choices.

    Raises:
        UserError: Otherwise, naming the option, the value and the choices.
    """
    if not isinstance(value, str) or value not in choices:
        raise UserError(name, value, f"is none of {', '.join(choices)}")
    return str(value)


def check_is(name: str, value: object, kind: type, wanted: str) -> None:
    """Refuse an argument of another class.

    Args:
        name: Of the argument.
        value: What was given.
        kind: What it must be.
        wanted: The same in words.

    Raises:
        UserError: Naming the argument.
    """
    if not isinstance(value, kind):
        raise UserError(name, value, f"needs {wanted}")


def check_each_once(name: str, values: Sequence[object]) -> None:
    """Refuse a list in which a value is given twice.

    Raises:
        UserError: Naming the option and the value.
    """
    for value in values:
        if values.count(value) > 1:
            raise UserError(name, value, "given twice", "give each once")


def check_path(name: str, value: object, what: str = "a path") -> Path:
    """The value as a path, if it is text or a path, not empty, and one that the file system can have.

    Args:
        name: The option.
        value: What was given.
        what: What is wanted, for the error.

    Raises:
        UserError: Otherwise, naming the option and the value.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise UserError(name, value, f"needs {what}")
    try:
        Path(text).stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UserError(name, text, f"cannot be used ({error.strerror})", f"needs {what}") from error
    return Path(text)
