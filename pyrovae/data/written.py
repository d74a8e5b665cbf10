"""Numbers as they are written in text files."""

from __future__ import annotations

import math


def is_number(text: str) -> bool:
    """Whether a text is a finite number.

    Python takes 1_000 and digits of other scripts for numbers too; other programs do not.

    Example:
        >>> [is_number(text) for text in (" -1.5e3", "1_000", "inf", "")]
        [True, False, False, False]
    """
    text = text.strip()
    if "_" in text or not text.isascii():
        return False
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def is_whole(text: str) -> bool:
    """Whether a text that is a number is a whole one.

    Example:
        >>> is_whole("007"), is_whole("2.0"), is_whole("2.5")
        (True, True, False)
    """
    return float(text).is_integer()


def in_order(text: str) -> tuple[int | float, str]:
    """What texts that are numbers are sorted by: their values, and their spelling where these are equal.

    Example:
        >>> sorted(["10", "9", "09"], key=in_order)
        ['09', '9', '10']
    """
    sign, digits = ("-", text.lstrip("-")) if text.startswith("-") else ("", text.lstrip("+"))
    # Integers beyond 2^53 are no floats.
    return (int(sign + (digits.lstrip("0") or "0")) if digits.isdecimal() else float(text)), text
