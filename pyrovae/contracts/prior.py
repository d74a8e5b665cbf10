"""The prior of the latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pyrovae.contracts.distribution import Distribution
from pyrovae.contracts.part import Part
from pyrovae.contracts.spec import DataSpec
from pyrovae.contracts.supports import Support

Encode = Callable[[Tensor, Tensor | None], Distribution]
"""(features (*, *E), embedding (*, C) or None) -> q(z|x,c): the amortised posterior, for priors that are made of it."""


class Prior(Part):
    """p(z) or p(z|c).

    Attributes:
        natural_posterior: Name of the posterior with the same support that is chosen unless another is named.
    """

    natural_posterior: ClassVar[str]

    @abstractmethod
    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        """The prior over latents of event shape (D,), given an embedding of size C.

        Args:
            latent: Event shape (D,).
            data: What the encoder sees: the data after preprocessing.
            embedding_dim: C, 0 without a context.

        Raises:
            UserError: If the options need a context and there is none.
        """


class PriorModule(nn.Module, ABC):
    """A built prior.

    Attributes:
        support: The values of one latent element that have a density.
    """

    support: Support | Constraint

    if TYPE_CHECKING:

        def __call__(self, embedding: Tensor | None, encode: Encode) -> Distribution: ...

    @property
    def tail_df(self) -> float | None:
        """As ``Family.tail_df``: None where its tails are no heavier than those of a normal density."""
        return None

    @abstractmethod
    def forward(self, embedding: Tensor | None, encode: Encode) -> Distribution:
        """Batch shape () or that of the embedding (*, C), event shape (D,).

        Args:
            embedding: Shape (*, C), or None without a context.
            encode: The posterior, for priors that are made of it.
        """

    def initialise(self, features: Tensor) -> None:
        """Start from training data, once, before training; nothing unless overridden.

        Args:
            features: What the encoder sees of the training data, (N, *E).
        """
