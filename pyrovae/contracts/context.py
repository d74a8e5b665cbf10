"""What a conditional model is conditioned on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from pyrovae.contracts.part import Part
from pyrovae.contracts.spec import DataSpec


class Context(Part):
    """What a model is conditioned on.

    Attributes:
        reads: The field of a data split from which the context is made; None if nothing is read.
    """

    reads: ClassVar[str | None] = None

    @abstractmethod
    def build(self, spec: DataSpec) -> ContextModule:
        """The module that embeds c."""


class ContextModule(nn.Module, ABC):
    """A built context.

    Attributes:
        embedding_dim: C, 0 where nothing is conditioned on.
    """

    embedding_dim: int

    if TYPE_CHECKING:

        def __call__(self, c: Tensor | None) -> Tensor | None: ...

    @abstractmethod
    def forward(self, c: Tensor | None) -> Tensor | None:
        """One embedding (*, C) shared by p(z|c), p(x|z,c) and q(z|x,c); None where C is 0."""

    def initialise(self, c: Tensor | None) -> None:
        """Remember what the contexts of the training data are, before training; nothing unless overridden."""

    def check(self, c: Tensor | None) -> None:
        """Refuse contexts that the model has not been trained on; nothing unless overridden.

        Raises:
            UserError: Naming them.
        """

    @abstractmethod
    def given(self, text: str) -> Tensor:
        """The context that a command line names, such as ``7`` or ``glasses=yes,smile=no``: one c, without a batch.

        Raises:
            UserError: If it names no context; the error lists the existing ones.
        """

    @abstractmethod
    def draw(self, count: int, seed: int, given: str | None = None) -> Tensor | None:
        """Contexts for ``count`` draws from the model; None without a context.

        Args:
            count: Their number.
            seed: Of the draws.
            given: None draws them from p(c), as often as in the training data, ``uniform`` equally often; another text is the one
                context of all, as in ``given``.

        Raises:
            UserError: If the text names no context.
        """

    def remark(self) -> str:
        """A remark about contexts that are drawn because none is given; empty unless overridden."""
        return ""

    def named(self, c: Tensor) -> list[str]:
        """Names of contexts (N,) or (N, A), as ``each`` and the command line give them; their numbers unless overridden."""
        return [str(value) for value in c.tolist()]

    @abstractmethod
    def each(self) -> dict[str, Tensor]:
        """Every context of the training data by name, if they can be enumerated; empty without a context.

        Raises:
            UserError: If there are too many.
        """
