"""Values as messages show them."""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import reprlib
from collections.abc import Iterable
from typing import Any, TypeGuard

MOST_NAMES = 40
"""The most names that a message lists."""


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
"""The most values of a one-dimensional array that is treated as a list."""


def shown(value: object) -> str:
    """A value as an error shows it: never long, and of an array or a tensor the shape and the type.

    Example:
        >>> shown(0.5), shown(""), shown("x" * 1000)[-20:]
        ('0.5', "''", '.. (1000 characters)')
        >>> import numpy as np
        >>> shown(np.arange(6).reshape(2, 3))
        'an array of shape (2, 3), int64'
        >>> shown({"x": np.zeros((2, 3))}), shown([0] * 1000)
        ("{'x': an array of shape (2, 3), float64}", 'a list of 1000 numbers')
    """
    value = plain(value)
    text = value if isinstance(value, str) else _SHORT.repr(value)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}... ({len(text)} characters)"
    return text or "''"


class _Short(reprlib.Repr):
    """The ``repr`` of values, shortened, with arrays described wherever they are inside."""

    def repr1(self, x: Any, level: int) -> str:
        """A value at a depth; ``reprlib`` calls it for each item of a container."""
        shape = getattr(x, "shape", None)
        if isinstance(shape, tuple) and hasattr(x, "dtype") and hasattr(x, "reshape"):
            return f"an array of shape {tuple(shape)}, {x.dtype}"
        if type(x) in (list, tuple) and len(x) > MOST_NUMBERS and all(isinstance(one, int | float) for one in x):
            return f"a {type(x).__name__} of {len(x)} numbers"
        return super().repr1(x, level)


MOST_NUMBERS = 20
"""Numbers of a list; a longer one is shown by its length."""

_SHORT = _Short()


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


def is_number(value: object) -> TypeGuard[float]:
    """Whether a plain value is a finite number; ``True`` and ``False`` do not count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST_FLOAT if isinstance(value, int) else math.isfinite(value)


LARGEST_FLOAT = int(1.7976931348623157e308)
