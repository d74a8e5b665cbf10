"""Errors that a user can mend: one line that names the option, the value and the remedy."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what was given; its message is one line and the command line exits with code 2.

    Example:
        >>> raise UserError("--samples 0: needs at least 1; try --samples 500")
        Traceback (most recent call last):
        ...
        pyrovae.errors.UserError: --samples 0: needs at least 1; try --samples 500
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def option_name(name: str) -> str:
    """The flag of a Python name: ``latent_dim`` -> ``--latent-dim``."""
    return "--" + name.replace("_", "-")


def suggest(name: str, names: Iterable[str]) -> str:
    """The names nearest to a wrong one first, for the end of an error message.

    Example:
        >>> suggest("bernouli", ["normal", "bernoulli"])
        'did you mean bernoulli? All: bernoulli, normal'
    """
    names = sorted(names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    everything = "All: " + ", ".join(names) if names else "there are none"
    return f"did you mean {' or '.join(near)}? {everything}" if near else everything


def check_integer(name: str, value: object, minimum: int) -> int:
    """The value, if it is an integer of at least ``minimum``.

    Raises:
        UserError: Otherwise, naming the option and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise UserError(f"{option_name(name)} {value}: needs an integer of at least {minimum}")
    return value


LARGEST_SEED = 2**32 - 1


def check_seed(name: str, value: object) -> int:
    """The value, if it is an integer from 0 to 2^32 - 1.

    Raises:
        UserError: Otherwise, naming the option and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_SEED:
        raise UserError(f"{option_name(name)} {value}: needs an integer of at least 0 and at most {LARGEST_SEED}")
    return value


def check_number(name: str, value: object, *, positive: bool = False, minimum: float = 0.0) -> float:
    """The value, if it is finite and at least ``minimum`` (above 0 where ``positive``).

    Raises:
        UserError: Otherwise, naming the option and the value.
    """
    wanted = "a finite number above 0" if positive else f"a finite number of at least {minimum:g}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{option_name(name)} {value}: needs {wanted}")
    if value < minimum or (positive and value <= 0):
        raise UserError(f"{option_name(name)} {value}: needs {wanted}")
    return value
