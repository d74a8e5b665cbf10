"""Values of labels in messages."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 10


def listed(values: Iterable[object]) -> str:
    """Values with commas between; of more than 10 the first ones and their number.

    Example:
        >>> listed(["ant", "bee"])
        'ant, bee'
        >>> listed(range(26))
        '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (26 in all)'
    """
    texts = [str(value) for value in values]
    more = f", ... ({len(texts)} in all)" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
