"""The error that a user can mend, the note, and how options are named in them."""

from __future__ import annotations

import enum
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from pyrovae.errors.values import LONGEST, LONGEST_WORD, plain, shown


class NotGiven(enum.Enum):
    """The class of ``NOT_GIVEN``."""

    NOT_GIVEN = enum.auto()


NOT_GIVEN: Final = NotGiven.NOT_GIVEN
"""Stands for an option without a value to show; None is itself a value that can be shown."""


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
        pyrovae.errors.user_error.UserError: samples=0: needs at least 1; try samples=500
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
        """The message with its options still to be spelled, for use in the reason of another error."""
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
    """What an error says, for use in the reason of another; options of a ``UserError`` are still to be spelled."""
    return error.said() if isinstance(error, UserError) else str(error)


def shown_path(value: object) -> str:
    """A value that stands alone in a message; empty if no value was given."""
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
        name: Of the function; ``resume`` is ``train --resume --out RUN`` for a shell.
        runs: The folders that it is given; several are a list in Python.
        options: Its options by their Python names; True for one that is a flag alone, a mapping for a part with options.

    Example:
        >>> in_python(command("evaluate", "runs/a", estimator={"name": "importance", "samples": 500}))
        "pyrovae.evaluate('runs/a', estimator={'name': 'importance', 'samples': 500})"
        >>> in_python(command("compare", "runs/a", "runs/b"))
        "pyrovae.compare(['runs/a', 'runs/b'])"
    """
    given = [_literal(run) for run in runs]
    words = [f"[{', '.join(given)}]"] if len(given) > 1 else given
    words += [f"{key}={_literal(value)}" for key, value in options.items()]
    typed = {key: _typed_option(value) for key, value in options.items()}
    return _marked(f"pyrovae.{name}({', '.join(words)})", command=name, runs=[str(run) for run in runs], options=typed)


def _literal(value: object) -> str:
    """A value as Python source, if it is short."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_literal(option)}' for key, option in value.items())}}}"
    text = shown(value)
    return repr(str(value)) if isinstance(value, str | os.PathLike) and len(str(value)) <= LONGEST else text


def _typed(value: object) -> str:
    """A value as one would type it after a flag."""
    if isinstance(value, bool):
        return shown(value).lower()
    if isinstance(value, float) and value.is_integer():
        return f"{value:g}"
    return str(value) if isinstance(value, os.PathLike) else shown(value)


def _typed_option(value: object) -> str | dict[str, str]:
    """What follows the flag of an option: nothing after one that is a flag alone; of a part, what follows each of its flags."""
    if isinstance(value, Mapping):
        return {str(key): _typed(option) for key, option in value.items()}
    return "" if value is True else _typed(value)


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
            return found[0]  # not one of our marks, but part of a name that a user chose for a file

    return _MARKED.sub(respell, text)


def one_line(message: str) -> str:
    """A message as one line that a terminal can show, with overlong words cut."""
    return "".join(map(_visible, " ".join(map(_cut, message.split()))))


def _cut(word: str) -> str:
    """An overlong word is cut to its beginning."""
    return word if len(word) <= LONGEST_WORD else f"{word[: LONGEST // 2]}... ({len(word)} characters)"


def _visible(character: str) -> str:
    """A control character, or one that UTF-8 cannot encode, is shown by its number."""
    return character if character.isprintable() else character.encode("unicode_escape").decode()
