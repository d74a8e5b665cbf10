"""Learning-rate schedules: torch's schedulers with their options."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, cast, final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from pyrovae.contracts import Part
from pyrovae.contracts.tables import Table
from pyrovae.errors import UserError, check_integer, check_number, option


class Schedule(Part):
    """One of torch's learning-rate schedulers, with the options specific to it.

    Attributes:
        changes: Whether the learning rate ever changes.
        needs_validation: Whether it watches the validation data.
    """

    changes: ClassVar[bool] = True
    needs_validation: ClassVar[bool] = False

    @property
    def fits_the_epochs(self) -> bool:
        """Whether it depends on the number of epochs; if so, a training cannot be continued with a different number."""
        return False

    def check(self, epochs: int) -> None:
        """Refuse a number of epochs that does not fit the schedule.

        Raises:
            UserError: If it does not; the message names the option.
        """

    @abstractmethod
    def build(self, optimizer: Optimizer, epochs: int, steps: int) -> LRScheduler:
        """Create the scheduler for an optimizer that has its full learning rate.

        Args:
            optimizer: The optimizer whose learning rate it sets.
            epochs: Epochs of the training.
            steps: Steps per epoch.
        """

    def after_step(self, scheduler: LRScheduler, epochs: int, steps: int) -> None:
        """Set the learning rate of the next step; does nothing unless the rate changes within an epoch.

        Args:
            scheduler: What ``build`` returned.
            epochs: Of the training.
            steps: In an epoch.
        """

    def after_epoch(self, scheduler: LRScheduler, score: float) -> None:
        """Set the learning rate of the next epoch; does nothing unless the rate changes between epochs.

        Args:
            scheduler: What ``build`` returned.
            score: The validation ELBO of the epoch (for a plain autoencoder, the reconstruction), in nats; NaN without such data.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The learning rate stays what it is."""

    changes = False

    def build(self, optimizer: Optimizer, epochs: int, steps: int) -> LRScheduler:
        return ConstantLR(optimizer, factor=1.0, total_iters=0)


@final
@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """The learning rate is multiplied by a factor every so many epochs (torch's StepLR).

    Args:
        every: Epochs between two changes.
        factor: Above 0.
    """

    every: int = 10
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("every", self.every, 1)
        check_number("factor", self.factor, positive=True)

    def build(self, optimizer: Optimizer, epochs: int, steps: int) -> LRScheduler:
        return StepLR(optimizer, self.every, self.factor)

    def after_epoch(self, scheduler: LRScheduler, score: float) -> None:
        scheduler.step()


@final
@dataclass(frozen=True, kw_only=True)
class Plateau(Schedule):
    """The learning rate is multiplied by a factor after some epochs without a better validation ELBO (torch's ReduceLROnPlateau).

    Args:
        factor: Above 0 and below 1.
        patience: Epochs without a better one that are let pass; the next one changes the rate.
        threshold: Nats per datum by which a better one is better.
    """

    needs_validation = True

    factor: float = 0.1
    patience: int = 10
    threshold: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if check_number("factor", self.factor, positive=True) >= 1:
            raise UserError("factor", self.factor, "needs a number above 0 and below 1")
        check_integer("patience", self.patience, 0)
        check_number("threshold", self.threshold)

    def build(self, optimizer: Optimizer, epochs: int, steps: int) -> LRScheduler:
        # Relative to a negative ELBO, torch's default, a worse one would pass for a better one.
        return ReduceLROnPlateau(
            optimizer, "max", self.factor, self.patience, threshold=self.threshold, threshold_mode="abs", eps=0.0
        )

    def after_epoch(self, scheduler: LRScheduler, score: float) -> None:
        cast(ReduceLROnPlateau, scheduler).step(score)


class _Falling(Schedule):
    """A rate that changes at every step until an epoch fixed in advance, and stays constant afterwards."""

    epochs: int | None
    floor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None:
            check_integer("epochs", self.epochs, 1)
        if check_number("floor", self.floor) > 1:
            raise UserError("floor", self.floor, "needs a number from 0 to 1, a part of the learning rate")

    @property
    def fits_the_epochs(self) -> bool:
        return self.epochs is None

    def after_step(self, scheduler: LRScheduler, epochs: int, steps: int) -> None:
        if scheduler.last_epoch < self._length(epochs) * steps:
            scheduler.step()

    def _length(self, epochs: int) -> int:
        return epochs if self.epochs is None else self.epochs

    def _cosine(self, optimizer: Optimizer, steps: int) -> CosineAnnealingLR:
        return CosineAnnealingLR(optimizer, steps, eta_min=self.floor * optimizer.defaults["lr"])


@final
@dataclass(frozen=True, kw_only=True)
class Cosine(_Falling):
    """The learning rate falls from step to step along half a cosine, and stays where it ends (torch's CosineAnnealingLR).

    Args:
        epochs: Until it is at its lowest; by default all of the training, which then cannot go on with more.
        floor: The lowest, as a part of the learning rate, from 0 to 1.

    Source: Loshchilov and Hutter (2017), SGDR: Stochastic Gradient Descent with Warm Restarts.
    """

    epochs: int | None = None
    floor: float = 0.0

    def build(self, optimizer: Optimizer, epochs: int, steps: int) -> LRScheduler:
        return self._cosine(optimizer, self._length(epochs) * steps)


@final
@dataclass(frozen=True, kw_only=True)
class WarmupCosine(_Falling):
    """The learning rate rises linearly, then falls along half a cosine (torch's LinearLR and CosineAnnealingLR).

    With w steps of warm-up the rate of step k = 0, 1, ..., w is (k + 1) / (w + 1) of the whole.

    Args:
        warmup: Epochs, or a part of one, until it is the whole learning rate.
        epochs: Until it is at its lowest, the warm-up counted; by default all of the training, which then cannot go on with more.
        floor: The lowest, as a part of the learning rate, from 0 to 1.

    Source: Goyal et al. (2017), Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour; Loshchilov and Hutter (2017).
    """

    warmup: float = 1.0
    epochs: int | None = None
    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("warmup", self.warmup)

    def check(self, epochs: int) -> None:
        if self.warmup >= self._length(epochs):
            raise UserError(
                "schedule.warmup",
                self.warmup,
                f"leaves nothing of {self._length(epochs)} epochs for the cosine",
                f"give a smaller one, or more {option('schedule.epochs' if self.epochs else 'epochs')}",
            )

    def build(self, optimizer: Optimizer, epochs: int, steps: int) -> LRScheduler:
        rising, whole = round(self.warmup * steps), self._length(epochs) * steps
        if not rising:
            return self._cosine(optimizer, whole)
        linear = LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
        return SequentialLR(optimizer, [linear, self._cosine(optimizer, whole - rising)], milestones=[rising])


SCHEDULES = Table(
    "schedule",
    Schedule,
    "schedules",
    {"constant": Constant, "cosine": Cosine, "step": Step, "plateau": Plateau, "warmup-cosine": WarmupCosine},
)
