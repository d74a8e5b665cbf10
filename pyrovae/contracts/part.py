"""A part: a frozen dataclass whose fields are options."""

from __future__ import annotations

from abc import ABC
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from pyrovae.errors import NOT_GIVEN, UserError, plain_option


class Part(ABC):  # noqa: B024  (what its roles promise is abstract)
    """A frozen dataclass whose fields are options, stored as plain data whatever number type was given.

    A part that checks its options in ``__post_init__`` calls this one first.

    Raises:
        UserError: If an option is an array, or an option without a default is missing.
    """

    def __post_init__(self) -> None:
        for one in options_of(self):
            if getattr(self, one.name) is MISSING:
                raise UserError(one.name, NOT_GIVEN, f"needs a value, for {type(self).__name__} has no default for it")
            object.__setattr__(self, one.name, plain_option(one.name, getattr(self, one.name)))


def options_of(part: Part | type[Part]) -> tuple[Field[Any], ...]:
    """The options of a part: the fields of its dataclass."""
    assert is_dataclass(part)
    return fields(part)
