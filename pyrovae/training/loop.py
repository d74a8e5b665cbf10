"""fit: the training loop."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Unpack, final
from weakref import WeakSet

import torch
from torch import Tensor

from pyrovae.contracts import Objective
from pyrovae.data import Dataset, Split
from pyrovae.data.as_arrays import InMemory
from pyrovae.data.in_memory import training_data
from pyrovae.engines import Eager
from pyrovae.errors import NOT_GIVEN, UserError, check_flag, check_is
from pyrovae.evidence.scoring import NotFiniteError
from pyrovae.evidence.validation import validate
from pyrovae.objectives import natural_objective
from pyrovae.parts import is_auto, make
from pyrovae.system.devices import Turns, alone, choose_device, own_noise, seed_all
from pyrovae.system.interruption import Interrupted, Request, finishing
from pyrovae.training.checks import check_contexts, check_objective, check_sizes, context_on, learn_contexts
from pyrovae.training.divergence import CHECK_STEPS, check_finite, diverged, measured, memory_for, spoilt
from pyrovae.training.hints import hint_at_columns
from pyrovae.training.progress import progress_of
from pyrovae.training.settings import Training, TrainingOptions, chosen_training
from pyrovae.training.state import Run, Saver, TrainingError, TrainingState, check_goes_on, copied
from pyrovae.vae import VAE

CHECKPOINT_SECONDS = 5.0
"""Seconds since the last save after which the state is saved at the end of an epoch; the last epoch is always saved."""

WITHIN_EPOCH_SECONDS = 30.0
"""Seconds since the last save after which the state is saved between two steps of a long epoch."""

SHORT_SECONDS = 1.0
"""Validation that takes at most this many seconds is completed even after a signal, so that the epoch is complete."""


@final
@dataclass(frozen=True)
class FitResult:
    """The result of a training.

    Args:
        history: One row per epoch: ``epoch``, ``loss`` (the quantity minimised: nats per datum of the preprocessed data, KL
            term weighted), ``valid_elbo`` (nats per datum, in the units of the data, unweighted; NaN without validation
            data and for the posterior ``delta``), ``valid_reconstruction`` (E_q[log p(x|z)], in the same units),
            ``valid_bits_per_dim``, ``kl_weight`` and, if a schedule changes it, ``learning_rate`` (both at the end of the
            epoch), ``seconds`` (since the start).
        best_epoch: The epoch whose weights the VAE now has.
        interrupted: Whether a signal (Ctrl-C, SIGTERM, SIGHUP) ended it before the last epoch.
        out_of_patience: Whether ``patience`` ended it before the last epoch.
        signal: Number of the signal that interrupted it; None if there was none.

    Attributes:
        valid_elbo: Of the best epoch, as in ``history``; NaN if it has none, likewise the next two.
        valid_reconstruction: Of the best epoch.
        loss: Of the best epoch.
    """

    history: list[dict[str, float]]
    best_epoch: int
    interrupted: bool
    out_of_patience: bool
    signal: int | None = None

    def __repr__(self) -> str:
        ended = ["interrupted"] * self.interrupted + ["out of patience"] * self.out_of_patience
        epochs = f"{len(self.history)} epoch{'s' * (len(self.history) != 1)}"
        return f"FitResult({', '.join([epochs, f'best_epoch={self.best_epoch}', *self._best(), *ended])})"

    def _best(self) -> list[str]:
        """The score of the best epoch: the first validation number available, or else the loss."""
        columns = {"valid_elbo": self.valid_elbo, "valid_reconstruction": self.valid_reconstruction, "loss": self.loss}
        return [f"{name}={value:.6g}" for name, value in columns.items() if math.isfinite(value)][:1]

    @property
    def valid_elbo(self) -> float:
        """The validation ELBO of the best epoch, in nats per datum; NaN if there is none."""
        return self._of_best("valid_elbo")

    @property
    def valid_reconstruction(self) -> float:
        """The validation reconstruction of the best epoch, in nats per datum; NaN if there is none."""
        return self._of_best("valid_reconstruction")

    @property
    def loss(self) -> float:
        """The loss of the best epoch; NaN if there was no epoch."""
        return self._of_best("loss")

    def _of_best(self, column: str) -> float:
        return self.history[self.best_epoch - 1].get(column, math.nan) if self.best_epoch else math.nan


def fit(
    vae: VAE,
    dataset: Dataset | InMemory,
    training: Training | None = None,
    *,
    objective: str | Mapping[str, Any] | Objective = "auto",
    device: str = "auto",
    progress: bool = True,
    resume: TrainingState | None = None,
    save: Callable[[TrainingState], None] | None = None,
    log: Callable[[Mapping[str, float]], None] | None = None,
    **settings: Unpack[TrainingOptions],
) -> FitResult:
    """Train a VAE; it ends with the weights of the highest validation ELBO (without validation data, the last ones).

    A plain autoencoder (posterior ``delta``) keeps the weights of the highest validation reconstruction.

    The loss is the objective's mean per datum; batches are drawn without replacement, and dequantised or binarised anew at
    every access. The validation ELBO has weight 1 on the KL term, one sample per datum and the same noise every epoch; if
    float32 would round its mean by 0.0005 nats or more (checked on 128 of the data every epoch), it is computed in float64.
    The caller's random state is not changed. On Ctrl-C, SIGTERM or SIGHUP the current step is finished, the state is saved, and
    the call returns (a validation that takes long is repeated by the next call); a second Ctrl-C interrupts at once.

    Divergence is an error: a loss or parameter that is not finite, found within 32 steps, or final weights that are clearly
    worse than the untrained model's (by ten times that model's |loss| + 1 nat per element, both measured on 128 training
    data). The VAE then has the best weights so far, and the last good state is saved.

    Several threads may call it at once, each with its own VAE: they take turns, and each gets the result that it would get
    alone. ``save`` and ``log`` are called between turns and may themselves call ``fit``.

    Args:
        vae: Trained in place and moved to the device.
        dataset: A ``Dataset``, whose ``train`` and ``valid`` splits are used. Or data in memory, of which a seeded sixth is used
            for validation and the rest for training: a tensor or an array (N, *E), a pandas DataFrame (columns are matched to the
            model's by name), a torch ``Dataset`` of x or (x, y), or a ``DataLoader``, whose data set is read once, in order.
        training: The settings, such as ``Training(epochs=3)``.
        objective: Name or part; ``auto`` means ``elbo``, or ``tracegraph`` if the posterior has no pathwise gradient.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: Show a progress bar on stderr, or one line per epoch if stderr is not a terminal.
        resume: The state of an earlier call, to continue from.
        save: Called with the state after an epoch (at most every few seconds), within a long epoch, at the end and on a
            signal.
        log: Called after every epoch with its row of the history.
        settings: Fields of ``Training`` as keywords instead of ``training``: ``fit(vae, dataset, epochs=3)``.

    Raises:
        UserError: If an argument is out of range, the data do not fit the model, or the training diverges.
    """
    check_is("vae", vae, VAE, "a VAE")
    dataset = training_data(dataset, vae.spec, kind_known=vae.prepared)
    progress = check_flag("progress", progress)
    training = chosen_training(training, settings)
    chosen_objective = _objective(vae, objective)
    check_sizes(training, dataset)
    if resume is not None:
        check_goes_on(resume, training)
    chosen = choose_device(device)
    with _only_training_of(vae):
        _ready(vae, dataset, chosen_objective, training, chosen)
        run = _beginning(vae, dataset, chosen_objective, training, chosen, resume)
        try:
            number = _train(run, save, log, progress)
        finally:
            vae.load_state_dict(run.state.best_weights or run.state.weights)
    state = run.state
    out_of_patience = number is None and state.epoch < training.epochs
    return FitResult(state.history, state.best_epoch, number is not None, out_of_patience, number)


def _objective(vae: VAE, chosen: str | Mapping[str, Any] | Objective) -> Objective:
    made: Objective = make("objective", natural_objective(vae.parts["posterior"]) if is_auto(chosen) else chosen)
    return made


def _ready(vae: VAE, dataset: Dataset, objective: Objective, training: Training, device: torch.device) -> None:
    """Prepare the model with the data, refuse combinations that do not fit, and move the model to the device."""
    with alone():
        if not vae.prepared:
            vae.prepare(dataset.spec, dataset.train.x, dataset.name)
        vae.prepare(dataset.spec, dataset.x, dataset.name)
        vae.check_support(dataset.x)
        check_objective(vae, objective, training)
        learn_contexts(vae, dataset)
        check_contexts(vae, dataset)
        vae.to(device).train()


_under_way: WeakSet[VAE] = WeakSet()


@contextmanager
def _only_training_of(vae: VAE) -> Iterator[None]:
    """Refuse to train a VAE that another thread, or an outer call, is already training."""
    with alone():
        if vae in _under_way:
            raise UserError(
                None,
                NOT_GIVEN,
                "this VAE is being trained by another call of fit",
                "give each its own, such as copy.deepcopy(vae)",
            )
        _under_way.add(vae)
    try:
        yield
    finally:
        _under_way.discard(vae)


def _beginning(
    vae: VAE, dataset: Dataset, objective: Objective, training: Training, device: torch.device, resume: TrainingState | None
) -> Run:
    """The state that the loop works on, at the start or as an earlier call left it."""
    n = len(dataset.train.x)
    optimizer = training.build_optimizer(vae.parameters())
    scheduler = training.build_scheduler(optimizer, n)
    turns = Turns(device, training.seed)
    if resume is None:
        hint_at_columns(vae, dataset)
        with own_noise(device):
            seed_all(training.seed, device)
            vae.initialise(dataset.train.x, context_on(vae, dataset.train, device))
        state = TrainingState(vae.state_dict(), optimizer.state_dict(), turns.states)
    else:
        state, given = copy.deepcopy(resume), copy.deepcopy(resume)  # the optimizer keeps the tensors that it is given
        vae.load_state_dict(given.weights)
        optimizer.load_state_dict(given.optimizer)
        if given.schedule:
            scheduler.load_state_dict(given.schedule)
        turns.states |= given.random
    run = Run(
        vae=vae,
        dataset=dataset,
        engine=Eager(vae, objective.build(training.particles), optimizer, training.clip_norm),
        scheduler=scheduler,
        training=training,
        device=device,
        turns=turns,
        state=state,
        began=time.monotonic() - state.seconds,
    )
    if resume is None:
        state.untrained = measured(run)
    return run


def _train(
    run: Run,
    save: Callable[[TrainingState], None] | None,
    log: Callable[[Mapping[str, float]], None] | None,
    progress: bool,
) -> int | None:
    """Run the loop; returns the number of the signal that interrupted it, if any."""
    state, train, valid = run.state, run.dataset.train, run.dataset.valid
    x = train.x.to(run.device)
    c = context_on(run.vae, train, run.device)
    if not state.best_weights:
        state.best_weights = copied(run.vae.state_dict())
    saver = Saver(run, save)
    with (
        saver.rescuing(),
        memory_for(run),
        finishing() as request,
        progress_of(run.training.epochs, state.epoch, progress) as say,
    ):
        while not _is_finished(run):
            if not (_epoch(run, x, c, request, saver) and _end_epoch(run, valid, len(x), request)):
                break
            if log is not None:
                log(state.history[-1])
            say(_status(run, len(x)))
            saver.keep()
            if saver.due(CHECKPOINT_SECONDS):
                saver.save()
        last = run.capture()
        run.vae.load_state_dict(state.best_weights)
        found = spoilt(run) if _is_finished(run) else ""
        last.worse = bool(found)
        saver.save(last)
        if found:
            raise diverged(run, found)
        return None if _is_finished(run) else request.number


def _is_finished(run: Run) -> bool:
    return run.state.epoch >= run.training.epochs or _out_of_patience(run)


def _epoch(run: Run, x: Tensor, c: Tensor | None, request: Request, saver: Saver) -> bool:
    """Run steps until the end of the epoch (returns True) or until a signal (returns False)."""
    state = run.state
    order = _order(len(x), run.training.seed, state.epoch).to(run.device)
    steps = run.training.steps(len(x))
    loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=run.device)
    while state.step < steps and not request.asked:
        with run.turn():
            _steps(run, x, c, order, steps, loss_sum, lambda: request.asked or saver.due(WITHIN_EPOCH_SECONDS))
        check_finite(run, loss_sum)
        if saver.due(WITHIN_EPOCH_SECONDS):
            saver.save()
    return state.step == steps


def _steps(
    run: Run, x: Tensor, c: Tensor | None, order: Tensor, steps: int, loss_sum: Tensor, enough: Callable[[], bool]
) -> None:
    """Run at least one step, until the time slice is used up, a check of the numbers is due, or the epoch ends."""
    state, training = run.state, run.training
    for _ in range(min(CHECK_STEPS, steps - state.step)):
        rows = order[state.step * training.batch_size : (state.step + 1) * training.batch_size]
        batch = x[rows]
        y = run.vae.preprocessed(batch, torch.rand(batch.shape, device=run.device) if run.vae.transform.needs_noise else None)
        weight = training.kl_schedule.at(state.epoch + (state.step + 1) / steps)
        loss_sum += run.engine.step(y, None if c is None else c[rows], weight).double() * len(rows)
        training.rate_schedule.after_step(run.scheduler, training.epochs, steps)
        state.step += 1
        if enough():
            break


def _order(n: int, seed: int, epoch: int) -> Tensor:
    """A permutation of n data that depends on the seed and the epoch (and not only on their sum)."""
    key = random.Random(f"{seed}/{epoch}").getrandbits(63)
    return torch.randperm(n, generator=torch.Generator().manual_seed(key))


def _end_epoch(run: Run, valid: Split | None, n: int, request: Request) -> bool:
    """Validate, keep the best weights and write the row of the history; returns False if a signal came first."""
    state, rates = run.state, run.training.rate_schedule
    found = {"valid_elbo": math.nan, "valid_reconstruction": math.nan}
    if valid is not None:
        validated = _validate_unless(request, run, valid)
        if validated is None:
            return False
        found |= validated
    state.epoch += 1
    score = score_name(run.vae)
    best = max((row[score] for row in state.history if math.isfinite(row[score])), default=-math.inf)
    if valid is None or (math.isfinite(found[score]) and found[score] > best):
        state.best_weights, state.best_epoch = copied(run.vae.state_dict()), state.epoch
    state.history.append(
        {
            "epoch": state.epoch,
            "loss": state.loss_sum / n,
            **found,
            "valid_bits_per_dim": -found["valid_elbo"] / run.dataset.spec.size / math.log(2),
            "kl_weight": run.training.kl_schedule.at(state.epoch),
            **({"learning_rate": run.learning_rate} if rates.changes else {}),
            "seconds": run.seconds,
        }
    )
    rates.after_epoch(run.scheduler, found[score])
    state.step, state.loss_sum = 0, 0.0
    return True


def _validate_unless(request: Request, run: Run, valid: Split) -> dict[str, float] | None:
    """The result of validation; None, with nothing changed, if a signal asks to stop and validation takes too long."""
    if request.asked and run.validation_seconds > SHORT_SECONDS:
        return None
    began, before = time.monotonic(), run.turns.states
    try:
        with run.turn(), request.at_once():
            found = validate(run.vae, valid, context_on(run.vae, valid, torch.device("cpu")), run.training.seed)
    except Interrupted:
        run.turns.states = before
        run.vae.train()
        return None
    except NotFiniteError as error:
        raise diverged(run, "the validation ELBO is not finite") from error
    except UserError as error:
        raise TrainingError(None, f"validation of epoch {run.state.epoch + 1}", error.said()) from error
    run.validation_seconds = time.monotonic() - began
    return found


def score_name(vae: VAE) -> str:
    """The column of the history that decides which epoch is best."""
    return "valid_elbo" if vae.parts["posterior"].has_density else "valid_reconstruction"


def _out_of_patience(run: Run) -> bool:
    patience = run.training.patience
    return bool(patience) and run.state.epoch - run.state.best_epoch >= patience


def _status(run: Run, n: int) -> str:
    row, before = run.state.history[-1], run.state.history[-2:-1]
    rate = n / max(row["seconds"] - (before[0]["seconds"] if before else 0.0), 1e-9)
    if math.isnan(row["valid_reconstruction"]):
        return f"loss {row['loss']:.2f} nats, {rate:,.0f} data/s"
    if math.isnan(row["valid_elbo"]):
        return f"reconstruction {row['valid_reconstruction']:.2f} nats, {rate:,.0f} data/s"
    return f"ELBO {row['valid_elbo']:.2f} nats, {row['valid_bits_per_dim']:.4f} bits/dim, {rate:,.0f} data/s"
