"""Errors that a user can mend: one line that names the option, the value and the remedy."""

from __future__ import annotations

import difflib
import enum
import errno
import json
import math
import numbers
import operator
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, TypeGuard


class NotGiven(enum.Enum):
    """The class of ``NOT_GIVEN``."""

    NOT_GIVEN = enum.auto()


NOT_GIVEN: Final = NotGiven.NOT_GIVEN
"""The value of an option that has none to show; None is one that can be shown."""


class UserError(ValueError):
    """A mistake in what was given; its message is one line, and the command line exits with code 2 (see ``exit_code``).

    Args:
        option: The Python name of what was given, ``likelihood.scale`` for an option of a part; None where the value, such as a
            file, says by itself what it is.
        value: What was given, ``NOT_GIVEN`` where there is nothing to show.
        reason: What is wrong with it.
        remedy: What to give instead.

    Reason and remedy name other options by ``option`` and commands by ``command``, and never spell a flag: ``str`` of an error
    is for people who write Python, and the command line asks ``pyrovae.cli.spelling`` for its own. ``args`` are these four, with
    options still to be spelled.

    Example:
        >>> raise UserError("samples", 0, "needs at least 1", f"try {option('samples', 500)}")
        Traceback (most recent call last):
        ...
        pyrovae.errors.UserError: samples=0: needs at least 1; try samples=500
    """

    exit_code: ClassVar[int] = 2
    """What the command line exits with."""

    def __init__(self, option: str | None, value: object, reason: str, remedy: str = "") -> None:
        super().__init__(option, value, reason, remedy)
        self.option, self.value = option, value
        self._reason, self._remedy = reason, remedy

    @property
    def reason(self) -> str:
        """What is wrong, with options spelled as in Python."""
        return one_line(in_python(self._reason))

    @property
    def remedy(self) -> str:
        """What to do instead, with options spelled as in Python."""
        return one_line(in_python(self._remedy))

    def __str__(self) -> str:
        return one_line(in_python(self.said()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def said(self, *, remedy: bool = True) -> str:
        """The message with its options still to be spelled, to stand in the reason of another error."""
        subject = shown_path(self.value) if self.option is None else option(self.option, self.value)
        parts = [f"{subject}: {self._reason}" if subject else self._reason, self._remedy if remedy else ""]
        return "; ".join(part for part in parts if part)

    def but(self, *, option: str = "", reason: str = "", remedy: str = "") -> UserError:
        """The same error with another option, reason or remedy."""
        return UserError(option or self.option, self.value, reason or self._reason, remedy or self._remedy)


class Note(UserWarning):
    """A warning that may name options, for ``warnings.warn``.

    Example:
        >>> str(Note(f"{option('preprocess', 'standardise')} brings every column to mean 0"))
        "preprocess='standardise' brings every column to mean 0"
    """

    def __str__(self) -> str:
        return in_python(self.said())

    def said(self) -> str:
        """The note with its options still to be spelled."""
        return str(self.args[0])


def words_of(error: BaseException) -> str:
    """What an error says, to stand in the reason of another; a ``UserError``'s options are still to be spelled."""
    return error.said() if isinstance(error, UserError) else str(error)


def shown_path(value: object) -> str:
    """A value that stands alone in a message; empty where there is none."""
    return "" if value is NOT_GIVEN else str(value) if isinstance(value, str | os.PathLike) else shown(value)


# Reasons, remedies and notes are read by people who write Python and by people who type commands. An option in them is marked:
# JSON between two characters that Unicode keeps for a program's own use, and is spelled when the reader is known.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARKED = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")


def option(name: str, value: object = NOT_GIVEN, *others: object, metavar: str = "", python: str = "") -> str:
    """An option within a message, spelled for whoever reads it.

    Args:
        name: Its Python name: ``latent_dim``, ``likelihood.scale``.
        value: What it is or should be given, if that is to be said.
        others: Values that would do as well.
        metavar: What stands for a value that the reader chooses, such as ``L``.
        python: What it is in Python, where that is no argument of the same name.

    Example:
        >>> in_python(f"use {option('objective', 'elbo', 'iwae')}, or {option('data.levels', metavar='L')}")
        "use objective='elbo' or 'iwae', or data.levels=L"
    """
    if value is NOT_GIVEN:
        return _marked(python or (f"{name}={metavar}" if metavar else name), option=name, value=metavar)
    python = f"{name} ({shown(value)})" if hasattr(plain(value), "shape") else f"{name}={_literal(value)}"
    typed = _either([_typed(one) for one in (value, *others)])
    return _marked(_either([python, *map(_literal, others)]), option=name, value=typed)


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def command(name: str, *runs: str | os.PathLike[str], **options: object) -> str:
    """A command within a message, as a call or as a line for a shell.

    Args:
        name: Of the command.
        runs: The folders that it is given.
        options: Its options by their Python names; True for one that is a flag alone.

    Example:
        >>> in_python(command("evaluate", "runs/a", samples=500))
        "pyrovae.evaluate('runs/a', samples=500)"
    """
    words = [_literal(run) for run in runs] + [f"{key}={_literal(value)}" for key, value in options.items()]
    typed = {key: "" if value is True else _typed(value) for key, value in options.items()}
    return _marked(f"pyrovae.{name}({', '.join(words)})", command=name, runs=[str(run) for run in runs], options=typed)


def _literal(value: object) -> str:
    """A value as Python source, if it is short."""
    text = shown(value)
    return repr(str(value)) if isinstance(value, str | os.PathLike) and len(str(value)) <= LONGEST else text


def _typed(value: object) -> str:
    """A value as somebody would type it after a flag."""
    if isinstance(value, bool):
        return shown(value).lower()
    if isinstance(value, float) and value.is_integer():
        return f"{value:g}"
    return str(value) if isinstance(value, os.PathLike) else shown(value)


def _marked(python: str, **parts: object) -> str:
    return f"{_OPEN}{json.dumps(parts | {'python': python})}{_CLOSE}"


def in_python(text: str) -> str:
    """A message as a Python user reads it."""
    return spelled(text.replace(f"{_CLOSE} {_OPEN}", f"{_CLOSE}, {_OPEN}"), lambda parts: str(parts["python"]))


def spelled(text: str, spell: Callable[[dict[str, Any]], str]) -> str:
    """A message in which every option and command is spelled by a function of its parts."""

    def respell(found: re.Match[str]) -> str:
        try:
            return spell(json.loads(found[1]))
        except (ValueError, TypeError, LookupError, AttributeError):
            return found[0]  # no mark of ours, but of somebody who named a file so

    return _MARKED.sub(respell, text)


def one_line(message: str) -> str:
    """A message in one line that a terminal can show, no word longer than anybody would read."""
    return "".join(map(_visible, " ".join(map(_cut, message.split()))))


def _cut(word: str) -> str:
    """A word that nobody would read to its end is shown by its beginning."""
    return word if len(word) <= LONGEST_WORD else f"{word[: LONGEST // 2]}... ({len(word)} characters)"


def _visible(character: str) -> str:
    """A character that a terminal obeys, or that has no UTF-8, is shown by its number."""
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def option_name(name: str) -> str:
    """The flag of a Python name: ``latent_dim`` -> ``--latent-dim``."""
    return "--" + name.replace("_", "-")


MOST_NAMES = 40
"""A message lists no more of them."""


def suggest(name: str, names: Iterable[str]) -> str:
    """The names nearest to a wrong one first, for the end of an error message.

    Example:
        >>> suggest("bernouli", ["normal", "bernoulli"])
        'did you mean bernoulli? All: bernoulli, normal'
    """
    names = sorted(names)
    folded = {known.casefold(): known for known in names}
    near = [folded[one] for one in difflib.get_close_matches(str(name).casefold(), folded, n=3, cutoff=0.5)]
    listed = ", ".join(names[:MOST_NAMES]) + (f", ... ({len(names)} in all)" if len(names) > MOST_NAMES else "")
    everything = f"All: {listed}" if names else "there are none"
    return f"did you mean {' or '.join(near)}? {everything}" if near else everything


LONGEST, LONGEST_WORD = 200, 500
"""Characters of a value, and of a word in a message (a path may be long), that an error shows."""

MOST_VALUES = 100
"""Values of a one-dimensional array that is taken for a list."""


def shown(value: object) -> str:
    """A value as an error shows it: never long, and of an array or a tensor the shape, the type and the first values.

    Example:
        >>> shown(0.5), shown(""), shown("x" * 1000)[-20:]
        ('0.5', "''", '.. (1000 characters)')
        >>> import numpy as np
        >>> shown(np.arange(6).reshape(2, 3))
        'an array of shape (2, 3), int64, first values 0, 1, 2'
    """
    value = plain(value)
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "dtype") and hasattr(value, "reshape"):
        first = ", ".join(map(str, value.reshape(-1)[:3].tolist()))
        return f"an array of shape {tuple(shape)}, {value.dtype}" + (f", first values {first}" if first else "")
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}... ({len(text)} characters)"
    return text or "''"


def plain(value: Any) -> Any:
    """NumPy scalars, arrays and tensors without dimensions, and whatever counts as a number, as Python's own; the rest as it is.

    Example:
        >>> import numpy as np
        >>> plain(np.float64(0.5)), plain(np.array(3)), plain([np.int64(1)]), plain("text")
        (0.5, 3, [1], 'text')
    """
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(plain(one) for one in value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or type(value) in (int, float):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return operator.index(value) if hasattr(value, "__index__") and not hasattr(value, "shape") else value


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
"""What torch and the loader of libraries say; neither has a class of its own for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    said = isinstance(error, RuntimeError | ImportError | OSError) and any(words in str(error) for words in OF_MEMORY)
    return said or isinstance(error, MemoryError) or (isinstance(error, ValueError) and "array is too big" in str(error))


@contextmanager
def enough_memory(option: str, value: object, remedy: str) -> Iterator[None]:
    """Refuse what needs more memory than there is.

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


def is_number(value: object) -> TypeGuard[float]:
    """Whether a plain value is a finite number; ``True`` and ``False`` are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST_FLOAT if isinstance(value, int) else math.isfinite(value)


LARGEST_FLOAT = int(1.7976931348623157e308)

LARGEST_INTEGER = 2**63 - 1
"""What torch can count."""


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
