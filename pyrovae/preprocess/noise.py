"""The uniform noise that some preprocessing draws."""

from __future__ import annotations

from torch import Tensor

from pyrovae.errors import UserError


def needed(u: Tensor | None) -> Tensor:
    """The noise u for a preprocessing that requires it.

    Raises:
        UserError: If no noise was given.
    """
    if u is None:
        raise UserError("u", None, "this preprocessing draws noise", "give uniform numbers in [0, 1) of the shape of x")
    return u
