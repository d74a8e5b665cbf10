"""The settings of a training, validated once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypedDict, cast, final

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from pyrovae.errors import UserError, check_integer, check_number, check_seed, suggest
from pyrovae.objectives import KLSchedule
from pyrovae.optimizers import Optimizer
from pyrovae.parts import describe, make
from pyrovae.schedules import Schedule


@final
@dataclass(frozen=True, kw_only=True)
class Training:
    """The settings of a training; ``fit``, ``train`` and ``sweep`` take the object, or its fields as keywords.

    Numbers of any type are converted to Python's own; names and mappings are replaced by the parts they stand for.

    Args:
        epochs: Passes over the training data in total, including those before a resumption.
        batch_size: Data in a step; the last batch of an epoch may be smaller.
        learning_rate: Learning rate of the optimizer, which a schedule scales.
        optimizer: The optimizer that updates the weights.
        weight_decay: Weight decay of the optimizer, for all parameters; by default torch's: 0.01 for adamw, 0 for the others.
        schedule: How the learning rate changes.
        clip_norm: Maximum global norm of the gradient of the mean loss; 0 for no clipping.
        kl_weight: Factor on the KL term while training; reported numbers use weight 1.
        kl_warmup: Epochs over which that factor rises from 0.
        patience: Stop after that many epochs without a better validation ELBO; 0 for never.
        particles: Samples of z per datum in a step.
        seed: Seed of the initial weights, the order of the data and all noise.

    Raises:
        UserError: If a setting is out of range, or two do not fit each other.

    Example:
        >>> Training(epochs=3, optimizer={"name": "sgd", "momentum": 0.9}).optimizer
        Sgd(momentum=0.9, nesterov=False)
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3
    optimizer: str | Mapping[str, Any] | Optimizer = "adam"
    weight_decay: float | None = None
    schedule: str | Mapping[str, Any] | Schedule = "constant"
    clip_norm: float = 10.0
    kl_weight: float = 1.0
    kl_warmup: float = 0.0
    patience: int = 0
    particles: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        plain = {
            "epochs": check_integer("epochs", self.epochs, 1),
            "batch_size": check_integer("batch_size", self.batch_size, 1),
            "learning_rate": check_number("learning_rate", self.learning_rate, positive=True),
            "optimizer": make("optimizer", self.optimizer),
            "weight_decay": None if self.weight_decay is None else check_number("weight_decay", self.weight_decay),
            "schedule": make("schedule", self.schedule),
            "clip_norm": check_number("clip_norm", self.clip_norm),
            "kl_weight": check_number("kl_weight", self.kl_weight),
            "kl_warmup": check_number("kl_warmup", self.kl_warmup),
            "patience": check_integer("patience", self.patience, 0),
            "particles": check_integer("particles", self.particles, 1),
            "seed": check_seed("seed", self.seed),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        self.rate_schedule.check(self.epochs)

    @property
    def rate_schedule(self) -> Schedule:
        """The part that ``schedule`` stands for."""
        return cast(Schedule, self.schedule)

    @property
    def kl_schedule(self) -> KLSchedule:
        """The weight of the KL term, epoch by epoch."""
        return KLSchedule(weight=self.kl_weight, warmup=self.kl_warmup)

    def build_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Create torch's optimizer for these parameters."""
        optimizer = cast(Optimizer, self.optimizer)
        return optimizer.build(parameters, self.learning_rate, self._decay)

    def build_scheduler(self, optimizer: torch.optim.Optimizer, n: int) -> LRScheduler:
        """Create torch's learning-rate scheduler for an optimizer that has taken no step yet.

        Args:
            optimizer: What ``build_optimizer`` returned.
            n: Number of training data.
        """
        return self.rate_schedule.build(optimizer, self.epochs, self.steps(n))

    def steps(self, n: int) -> int:
        """Steps in an epoch of n data."""
        return -(-n // self.batch_size)

    def options(self) -> dict[str, Any]:
        """Every setting by its name, as plain data: ``Training(**training.options())`` is the same training."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        parts = {role: describe(role, options[role]) for role in ("optimizer", "schedule")}
        return {**options, **parts, "weight_decay": self._decay}

    @property
    def _decay(self) -> float:
        usual = cast(Optimizer, self.optimizer).usual_weight_decay
        return usual if self.weight_decay is None else self.weight_decay


class SharedOptions(TypedDict, total=False):
    """The fields of ``Training`` as keywords, without ``seed``, of which a sweep takes several."""

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str | Mapping[str, Any] | Optimizer
    weight_decay: float | None
    schedule: str | Mapping[str, Any] | Schedule
    clip_norm: float
    kl_weight: float
    kl_warmup: float
    patience: int
    particles: int


class TrainingOptions(SharedOptions, total=False):
    """The fields of ``Training`` as keywords."""

    seed: int


DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(Training)}
"""Every setting of a training with its default."""


def chosen_training(training: Training | None, options: Mapping[str, object], others: Iterable[str] = ()) -> Training:
    """The training settings that a function was given, as an object or as keywords.

    Args:
        training: The object; None if keywords were given.
        options: The keywords.
        others: Names of the function's other options, for the suggestion if one is misspelled.

    Raises:
        UserError: If both are given, a keyword is not a setting, or its value is wrong.

    Example:
        >>> chosen_training(None, {"epoch": 3})
        Traceback (most recent call last):
        ...
        pyrovae.errors.user_error.UserError: epoch=3: no such option; did you mean epochs? All: ...
    """
    for name, value in options.items():
        if name not in DEFAULTS:
            raise UserError(name, value, "no such option", suggest(name, {*DEFAULTS, *others}))
    if training is None:
        return Training(**cast(TrainingOptions, options))
    if not isinstance(training, Training):
        raise UserError("training", training, "needs a Training, such as Training(epochs=20)")
    if options:
        name, value = next(iter(options.items()))
        raise UserError(
            name, value, "is given beside a whole training", f"put it into Training({name}=...), or give keywords only"
        )
    return training
