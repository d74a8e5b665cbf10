"""The objects that a training works on, and its saved state."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from pyrovae.data import Dataset
from pyrovae.engines import Eager
from pyrovae.errors import UserError, option
from pyrovae.system.devices import Turns
from pyrovae.training.settings import Training
from pyrovae.vae import VAE


class TrainingError(UserError):
    """Raised when training cannot continue.

    Attributes:
        keeps: Whether there is an earlier good state, which is kept.
    """

    keeps = True


@final
@dataclass
class TrainingState:
    """The state of a training: enough to continue it bit for bit on the same machine.

    Args:
        weights: Parameters and buffers of the VAE.
        optimizer: What the optimizer's ``state_dict`` returned.
        random: Name of a device -> state of its random generator.
        epoch: Epochs finished.
        step: Steps finished in the current epoch.
        loss_sum: Sum over these steps of (mean loss x data).
        seconds: Seconds of training so far.
        best_weights: Weights of the highest finite validation ELBO; without validation data, the latest.
        best_epoch: Their epoch; 0 before the first.
        history: One row per epoch, as in metrics.csv.
        schedule: The ``state_dict`` of the learning-rate scheduler; empty in states from before schedulers existed.
        made_for: Epochs of the training, if the learning-rate schedule depends on them; else None.
        untrained: E_q[log p(x|z)] and KL of the untrained model on some training data; None if they were not measured.
        worse: Whether the best weights were found to be clearly worse than the untrained model.
    """

    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    random: dict[str, Tensor]
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    schedule: dict[str, Any] = field(default_factory=dict)
    made_for: int | None = None
    untrained: Sequence[float] | None = None
    worse: bool = False


def check_goes_on(state: TrainingState, training: Training) -> None:
    """Refuse to continue a training whose learning-rate schedule was made for another number of epochs.

    Raises:
        UserError: If the schedule depends on the number of epochs and that number has changed.
    """
    if state.made_for is not None and state.made_for != training.epochs:
        raise UserError(
            "epochs",
            training.epochs,
            f"the learning rate of this run takes its course over {state.made_for} epochs",
            f"go on with these, or start a new run (one with {option('schedule.epochs')} can go on with any number)",
        )


@final
@dataclass
class Run:
    """A training in progress.

    Args:
        vae: The model.
        dataset: The data.
        engine: Runs a step.
        scheduler: Scheduler of the learning rate.
        training: The settings.
        device: The device it runs on.
        turns: Its random generators.
        state: Its state so far.
        began: Start time on the clock of ``time.monotonic``, as if it had never been interrupted.
        validation_seconds: Duration of the last validation.
    """

    vae: VAE
    dataset: Dataset
    engine: Eager
    scheduler: LRScheduler
    training: Training
    device: torch.device
    turns: Turns
    state: TrainingState
    began: float
    validation_seconds: float = math.inf

    @property
    def seconds(self) -> float:
        """Seconds of training so far, including those before a resumption."""
        return time.monotonic() - self.began

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return float(self.engine.optimizer.param_groups[0]["lr"])

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Exclusive use of the state that threads share, with the random generators of this training."""
        with self.turns.turn(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Encountered (NaN|.*inf)", UserWarning)  # Pyro only warns; check_finite raises
            yield

    def capture(self) -> TrainingState:
        """The state, with copies of everything that the next step changes."""
        self.state.seconds = self.seconds
        self.state.weights = copied(self.vae.state_dict())
        self.state.optimizer = copy.deepcopy(self.engine.optimizer.state_dict())
        self.state.schedule = copy.deepcopy(self.scheduler.state_dict())
        self.state.made_for = self.training.epochs if self.training.rate_schedule.fits_the_epochs else None
        self.state.random = self.turns.states
        return replace(self.state, history=list(self.state.history), best_weights=dict(self.state.best_weights))


@final
class Saver:
    """Saves the state of a training when a save is due.

    Args:
        run: The run.
        save: Called with the state; None to save nothing.
    """

    def __init__(self, run: Run, save: Callable[[TrainingState], None] | None) -> None:
        self._run = run
        self._save = save
        self._saved = time.monotonic()
        self._good: TrainingState | None = None

    def due(self, after: float) -> bool:
        """Whether that many seconds have passed since the last save."""
        return self._save is not None and time.monotonic() - self._saved > after

    def keep(self) -> None:
        """Remember this good state until a later one is saved."""
        self._good = None if self._save is None else self._run.capture()

    @contextmanager
    def rescuing(self) -> Iterator[None]:
        """If training cannot continue, save the last good state unless a later one was saved.

        Raises:
            TrainingError: The error that stopped the training.
        """
        try:
            yield
        except TrainingError as error:
            if self._good is not None and error.keeps:
                self.save(self._good)
            raise

    def save(self, state: TrainingState | None = None) -> None:
        """Save a state now; by default the current one."""
        if self._save is not None:
            self._save(self._run.capture() if state is None else state)
            self._saved, self._good = time.monotonic(), None


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the tensors, which later steps do not change."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
