"""Options that several networks have, and their checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import nn

from pyrovae.errors import UserError, check_choice, check_integer

Activation = Literal["relu", "tanh", "softplus", "gelu", "silu"]
"""Name of a nonlinearity that takes one number a unit."""

_MODULES = {"relu": nn.ReLU, "tanh": nn.Tanh, "softplus": nn.Softplus, "gelu": nn.GELU, "silu": nn.SiLU}


def check_activation(name: str, *others: str) -> None:
    """Refuse a nonlinearity that is not known.

    Args:
        name: The one that was given.
        others: Other values that the network accepts.

    Raises:
        UserError: Listing the known ones.
    """
    check_choice("network.activation", name, (*get_args(Activation), *others))


def activation_of(name: Activation) -> Callable[[], nn.Module]:
    """The constructor of a nonlinearity."""
    return _MODULES[name]


def check_widths(name: str, value: object) -> tuple[int, ...]:
    """The value as a tuple, if it is a list of integers of at least 1.

    Raises:
        UserError: Otherwise, naming the option and the value.
    """
    if not isinstance(value, list | tuple):
        raise UserError(name, value, "needs a list of widths, such as [400]")
    return tuple(check_integer(name, width, 1) for width in value)
