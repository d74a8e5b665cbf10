"""Whether p(z) depends on the context, and the maps of its embedding that start at 0."""

from __future__ import annotations

from torch import nn

from pyrovae.errors import UserError, check_choice, option

CHOICES = ("none", "learned")


def check_context(context: str) -> None:
    """Refuse a value that is not a choice of ``--prior.context``.

    Raises:
        UserError: Naming the choices.
    """
    check_choice("prior.context", context, CHOICES)


def used_embedding(context: str, embedding_dim: int) -> int:
    """How many numbers of the context's embedding p(z) sees: C where it is learned, else 0.

    Raises:
        UserError: If there is no context to learn from.
    """
    if context == "none":
        return 0
    if not embedding_dim:
        raise UserError("prior.context", "learned", "needs a context", f"give {option('context', 'label')}")
    return embedding_dim


def linear_from_zero(embedding_dim: int, size: int) -> nn.Linear:
    """A linear map (*, C) -> (*, size) that is 0 for every context before training."""
    linear = nn.Linear(embedding_dim, size)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
