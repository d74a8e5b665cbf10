"""The objective that is minimised, the model that it needs, and how a training step is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor

from pyrovae.contracts.distribution import Distribution
from pyrovae.contracts.family import Density
from pyrovae.contracts.part import Part


class Model(Protocol):
    """What an objective asks of a model before it trains it."""

    posterior_density: Density

    @property
    def parts(self) -> Mapping[str, Any]:
        """By role."""

    def example(self) -> tuple[Distribution, Distribution]:
        """A posterior and a prior of the model, for one datum."""


class Objective(Part):
    """A Pyro ELBO and what it requires of the model.

    Attributes:
        takes_kl_weight: Whether the KL term has a weight of its own in it.
    """

    takes_kl_weight: ClassVar[bool] = True

    @abstractmethod
    def build(self, particles: int) -> Any:
        """An object with ``differentiable_loss(model, guide, *args)``: the sum over data, in nats, and its gradient."""

    def check(self, model: Model, particles: int) -> None:
        """Refuse a model for which the objective's value or gradient would be wrong; every model fits unless overridden.

        Raises:
            UserError: Naming the objectives that fit.
        """


class Engine(ABC):
    """How a training step is run; all engines train the same model and guide with the same objective."""

    @abstractmethod
    def step(self, y: Tensor, c: Tensor | None, kl_weight: float) -> Tensor:
        """One optimizer step on a batch; the mean loss per datum before it, in nats, on the device, detached."""
