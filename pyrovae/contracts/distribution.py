"""What is asked of a distribution, and the shapes that torch takes."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

Shape = torch.Size | list[int] | tuple[int, ...]
"""A shape as torch takes it."""


class Distribution(Protocol):
    """What p(z|c), p(x|z,c) and q(z|x,c) are: a distribution of torch with the methods that Pyro adds.

    Every distribution of ``pyro.distributions`` is one, and so is a subclass of ``TorchDistribution``; neither library has a
    class for what they share.
    """

    @property
    def batch_shape(self) -> torch.Size:
        """``*``: distributions side by side."""

    @property
    def event_shape(self) -> torch.Size:
        """Of one draw."""

    @property
    def has_rsample(self) -> bool:
        """Whether draws carry a pathwise gradient."""

    @property
    def support(self) -> Any:
        """Values that have a density, a ``Constraint``."""

    @property
    def mean(self) -> Tensor:
        """Of each element."""

    @property
    def variance(self) -> Tensor:
        """Of each element."""

    @property
    def stddev(self) -> Tensor:
        """Of each element."""

    def sample(self, sample_shape: Shape = ..., /) -> Tensor:
        """Draws (*sample_shape, *batch_shape, *event_shape) without a gradient."""

    def rsample(self, sample_shape: Shape = ..., /) -> Tensor:
        """Draws (*sample_shape, *batch_shape, *event_shape) with a pathwise gradient."""

    def log_prob(self, value: Tensor, /) -> Tensor:
        """log p(value), shape (*,) of values (*, *event_shape), in nats."""

    def expand(self, batch_shape: Shape, /) -> Distribution:
        """The distribution with another batch shape that this one's broadcasts to."""

    def to_event(self, reinterpreted_batch_ndims: int, /) -> Distribution:
        """The distribution whose last dimensions of the batch belong to the event."""

    def mask(self, mask: Any, /) -> Distribution:
        """The distribution whose log-density is 0 where the mask is False."""
