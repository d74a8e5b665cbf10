"""No context: an unconditional VAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from pyrovae.contracts import Context, ContextModule, DataSpec
from pyrovae.errors import UserError, option


@final
class EmptyEmbedding(ContextModule):
    """The embedding of nothing, of size 0."""

    embedding_dim = 0

    def forward(self, c: Tensor | None) -> None:
        """None.

        Raises:
            UserError: If a context is given all the same.
        """
        if c is not None:
            raise UserError("c", c, "a context was given to a VAE that has none", "build it with another context")

    def given(self, text: str) -> Tensor:
        """Nothing can be given.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "given",
            text,
            "the model has no context",
            f"train one with {option('context', 'label')}, or leave {option('given')} out",
        )

    def draw(self, count: int, seed: int, given: str | None = None) -> None:
        """None.

        Raises:
            UserError: If a context is given.
        """
        if given is not None:
            self.given(given)

    def each(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}


@final
@dataclass(frozen=True, kw_only=True)
class NoContext(Context):
    """Nothing is conditioned on: p(z), p(x|z), q(z|x)."""

    def build(self, spec: DataSpec) -> EmptyEmbedding:
        return EmptyEmbedding()
