"""Text for a terminal: how wide it is, and lines that are broken to fit."""

from __future__ import annotations

import shutil
import textwrap

REDIRECTED = 100
"""Columns where the output is no terminal, but a file or a pipe."""

NARROWEST = 40
"""Columns below which text is not broken any further: it would be a ribbon of single words."""


def terminal_width() -> int:
    """Columns of the terminal, 100 where the output is redirected; the environment's COLUMNS goes before both."""
    return max(NARROWEST, shutil.get_terminal_size((REDIRECTED, 24)).columns)


def wrapped(text: str, hang: int = 0, width: int | None = None) -> str:
    """A text with long lines broken between words; a word longer than a line, for example a path, stays whole.

    Args:
        text: Lines.
        hang: Spaces before what goes on from a line.
        width: Columns; by default those of the terminal.

    Example:
        >>> print(wrapped("KL   is a long story", hang=5, width=14))
        KL   is a long
             story
    """
    columns = terminal_width() if width is None else width
    return "\n".join(_broken(line, hang, columns) for line in text.split("\n"))


def _broken(line: str, hang: int, width: int) -> str:
    if len(line) <= width:
        return line
    wrapper = textwrap.TextWrapper(width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(line)


def shortened(text: str, width: int, kept: int | None = None) -> str:
    """A name of at most so many characters: what is cut out of its middle is three dots.

    Args:
        text: The name.
        width: Characters, at least 4.
        kept: Characters of its beginning that stay; by default as many as of its end.

    Example:
        >>> shortened("beta-mixture-conv-z20", 12)
        'beta-...-z20'
    """
    if len(text) <= width:
        return text
    room = width - 3
    head = (room + 1) // 2 if kept is None else kept
    return f"{text[:head]}...{text[len(text) - (room - head) :]}"
