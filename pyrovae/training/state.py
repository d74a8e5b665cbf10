"""What a training works on, and where it stands."""

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
    """Training could not go on.

    Attributes:
        keeps: Whether there was something good before, which is kept.
    """

    keeps = True


@final
@dataclass
class TrainingState:
    """Where a training stands: enough to go on to the last bit on the same machine.

    Args:
        weights: Parameters and buffers of the VAE.
        optimizer: What the optimizer's ``state_dict`` returned.
        random: Name of a device -> state of its random generator.
        epoch: Epochs finished.
        step: Steps finished in the epoch under way.
        loss_sum: Sum over these steps of (mean loss x data).
        seconds: Seconds of training so far.
        best_weights: Those of the highest finite validation ELBO; the latest without validation data.
        best_epoch: Their epoch; 0 before the first.
        history: One row per epoch: what metrics.csv holds.
        schedule: What the scheduler of the learning rate's ``state_dict`` returned; empty in states of before there was one.
        made_for: Epochs of the training, where the course of the learning rate depends on them; else None.
        untrained: E_q[log p(x|z)] and KL of the untrained model on some training data; None where they were not measured.
        worse: Whether the best weights were found to be worse than the untrained model beyond doubt.
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
    """Refuse to go on with a training whose learning rate was to take another course.

    Raises:
        UserError: If that depends on the number of epochs and there are now others.
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
    """What the loop works on.

    Args:
        vae: The model.
        dataset: The data.
        engine: Runs a step.
        scheduler: Of the learning rate.
        training: Its settings.
        device: Where it runs.
        turns: Its random generators.
        state: Where it stands.
        began: When it would have begun, had it never been interrupted, on the clock of ``time.monotonic``.
        validation_seconds: What the last validation took.
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
        """Seconds of training so far, those before a resumption counted."""
        return time.monotonic() - self.began

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return float(self.engine.optimizer.param_groups[0]["lr"])

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Alone with what all threads share, and with the random generators of this training."""
        with self.turns.turn(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Encountered (NaN|.*inf)", UserWarning)  # Pyro's; check_finite raises on it
            yield

    def capture(self) -> TrainingState:
        """The state with copies of everything that the next step changes."""
        self.state.seconds = self.seconds
        self.state.weights = copied(self.vae.state_dict())
        self.state.optimizer = copy.deepcopy(self.engine.optimizer.state_dict())
        self.state.schedule = copy.deepcopy(self.scheduler.state_dict())
        self.state.made_for = self.training.epochs if self.training.rate_schedule.fits_the_epochs else None
        self.state.random = self.turns.states
        return replace(self.state, history=list(self.state.history), best_weights=dict(self.state.best_weights))


@final
class Saver:
    """Saves a run's state when it is time to.

    Args:
        run: The run.
        save: What is called with the state; None for nothing.
    """

    def __init__(self, run: Run, save: Callable[[TrainingState], None] | None) -> None:
        self._run = run
        self._save = save
        self._saved = time.monotonic()
        self._good: TrainingState | None = None

    def due(self, after: float) -> bool:
        """Whether that many seconds have passed since the last time."""
        return self._save is not None and time.monotonic() - self._saved > after

    def keep(self) -> None:
        """Remember the state, which is good, until a later one is saved."""
        self._good = None if self._save is None else self._run.capture()

    @contextmanager
    def rescuing(self) -> Iterator[None]:
        """Where training cannot go on, the last good state is saved, if no later one was.

        Raises:
            TrainingError: Likewise.
        """
        try:
            yield
        except TrainingError as error:
            if self._good is not None and error.keeps:
                self.save(self._good)
            raise

    def save(self, state: TrainingState | None = None) -> None:
        """Save a state now; that in which the run is unless another is given."""
        if self._save is not None:
            self._save(self._run.capture() if state is None else state)
            self._saved, self._good = time.monotonic(), None


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, which no step changes."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
