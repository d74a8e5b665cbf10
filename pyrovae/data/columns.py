"""Columns of tables by their names."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from pyrovae.errors import UserError, suggest


def in_one_line(names: Sequence[str]) -> str:
    """Names as an option takes them: separated by commas, with quotes around names that contain commas.

    Example:
        >>> in_one_line(["width", "height, of all"])
        'width,"height, of all"'
    """
    text = io.StringIO()
    # Only what is in the end of a line is sure to be quoted.
    csv.writer(text, lineterminator="\r\n").writerow(names)
    return text.getvalue().removesuffix("\r\n")


def named_in(option: str, text: str, there: Sequence[str]) -> list[str]:
    """The names that an option gives, the inverse of ``in_one_line``.

    Args:
        option: Its name, for the error.
        text: Its value.
        there: The existing names, for the error.

    Raises:
        UserError: If it gives none, or one twice.
    """
    names = [name.strip() for name in next(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True), [])]
    if not any(names):
        raise UserError(option, text, "needs the name of a column", suggest("", there))
    if len(set(names)) < len(names):
        raise UserError(option, text, "names a column twice")
    return names


def positions(names: Sequence[str], there: Sequence[str], refusal: Callable[[str], UserError]) -> list[int]:
    """Where the columns of these names stand.

    Args:
        names: The names that are wanted, in the wanted order.
        there: The existing names.
        refusal: The name of one that is missing -> the error, without a remedy.

    Raises:
        UserError: Naming the first that is missing, and the existing names nearest to it.
    """
    where = {name: position for position, name in enumerate(there)}
    for name in names:
        if name not in where:
            raise refusal(name).but(remedy=suggest(name, there))
    return [where[name] for name in names]
