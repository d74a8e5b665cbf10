"""The interface of preprocessing: transforms of data before the likelihood sees them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from pyrovae.contracts.part import Part
from pyrovae.contracts.spec import DataSpec
from pyrovae.errors import option


class Preprocess(Part):
    """Data -> the support that a likelihood needs: invertible, or a declared quantiser.

    Attributes:
        finer: What an error recommends for data that float32 cannot tell apart after this preprocessing.
    """

    finer: str = f"train with {option('preprocess', 'standardise')}"

    @abstractmethod
    def build(self, spec: DataSpec, x: Tensor | None) -> Transform:
        """The transform of data of that kind.

        Args:
            spec: The data as they were given.
            x: Training data (N, *E), from which some transforms estimate numbers; None if these will be loaded.

        Raises:
            UserError: If that kind of data has no transform of this sort.
        """


class Transform(nn.Module, ABC):
    """A built preprocessing, y = f(x) or y = f(x, u) with uniform noise u.

    Args:
        given: The data as they were given.
        made: The data that the likelihood sees.

    Attributes:
        needs_noise: Whether ``forward`` uses u.
        number_kind: What kind of number a log-probability of x is when computed through y; None if it is that of x itself.
    """

    needs_noise: bool = False
    number_kind: ClassVar[str | None] = None

    if TYPE_CHECKING:

        def __call__(self, x: Tensor, u: Tensor | None = None) -> Tensor: ...

    def __init__(self, given: DataSpec, made: DataSpec) -> None:
        super().__init__()
        self.given = given
        self.made = made

    def forward(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """y (*, *E) in torch's default type, from x (*, *E) and uniform noise u (*, *E) in [0, 1)."""
        return self.exactly(x, u).to(torch.get_default_dtype())

    @abstractmethod
    def exactly(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """y before it is rounded for the networks: in float64, but where a narrower type holds all there is to know of x."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """y on the scale of x; on the scale of y where the transform is a quantiser."""

    def log_abs_det_jacobian(self) -> float | Tensor:
        """log|det dy/dx| per datum, in nats: log p(x) = log p(y) + this."""
        return 0.0
