"""An estimator's options are the keyword arguments of its function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pyrovae.errors import UserError, option_name

NOT_OPTIONS = ("seed", "index", "rows")

DEQUANTISATIONS = 4
"""Draws of the dequantisation noise a datum in an evaluation unless another number is given."""


def options_of(function: Callable[..., Any], but: Collection[str] = ()) -> dict[str, Any]:
    """The options of an estimator with their defaults, from its signature.

    Args:
        function: The estimator.
        but: Arguments that are no options.
    """
    parameters = inspect.signature(function).parameters.values()
    found = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in (*NOT_OPTIONS, *but)}
    return found | ({"dequantisations": DEQUANTISATIONS} if "dequantisations" in found else {})


def checked(
    name: str, function: Callable[..., Any], given: Mapping[str, Any], but: Collection[str] = (), also: Collection[str] = ()
) -> dict[str, Any]:
    """The options of an estimator, those given in place of the defaults.

    Args:
        name: Of the estimator.
        function: The estimator.
        given: Options by name.
        but: Arguments of the function that are no options.
        also: Further options that it has, for the message.

    Raises:
        UserError: If it has no such option, with those that it has.
    """
    known = options_of(function, but)
    for option, value in given.items():
        if option not in known:
            has = ", ".join(map(option_name, [*known, *also]))
            raise UserError(f"{option_name(option)} {value}: --estimator {name} has no such option; it has {has}")
    return {**known, **given}
