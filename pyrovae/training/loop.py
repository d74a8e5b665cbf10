"""fit: the training loop."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final
from weakref import WeakSet

import torch
from torch import Tensor

from pyrovae.contracts import Objective
from pyrovae.data import Dataset, Split
from pyrovae.data.as_arrays import InMemory
from pyrovae.data.in_memory import training_data
from pyrovae.engines import Eager
from pyrovae.errors import UserError, check_flag, check_is
from pyrovae.evidence.scoring import NotFiniteError
from pyrovae.evidence.validation import validate
from pyrovae.objectives import KLSchedule, natural_objective
from pyrovae.parts import is_auto, make
from pyrovae.system.devices import Turns, alone, choose_device, own_noise, seed_all
from pyrovae.system.interruption import Interrupted, Request, finishing
from pyrovae.training.divergence import CHECK_STEPS, check_finite, diverged, measured, memory_for, spoilt
from pyrovae.training.hints import hint_at_columns
from pyrovae.training.progress import progress_of
from pyrovae.training.settings import check_contexts, check_objective, check_sizes, context_on, plain_settings
from pyrovae.training.state import Run, Saver, TrainingError, TrainingState, copied
from pyrovae.vae import VAE

CHECKPOINT_SECONDS = 5.0
"""At the end of an epoch the state is saved if this long has passed since the last time; always at the end of the run."""

WITHIN_EPOCH_SECONDS = 30.0
"""The same between two steps of a long epoch."""

SHORT_SECONDS = 1.0
"""Validation that takes no longer is done although a signal has asked to stop: the epoch is then complete."""


@final
@dataclass(frozen=True)
class FitResult:
    """How a training ended.

    Args:
        history: A row an epoch: ``epoch``, ``loss`` (what was minimised: nats per datum, of the preprocessed data, KL
            weighted), ``valid_elbo`` (nats per datum, in the units of the data, unweighted; NaN without validation
            data and for the posterior ``delta``), ``valid_reconstruction`` (E_q[log p(x|z)], likewise),
            ``valid_bits_per_dim``, ``kl_weight``, ``seconds`` (since the start).
        best_epoch: Epoch whose weights the VAE has now.
        interrupted: Whether a signal (Ctrl-C, SIGTERM, SIGHUP) ended it before the last epoch.
        out_of_patience: Whether ``patience`` ended it before the last epoch.
        signal: Number of the signal that interrupted it; None without one.
    """

    history: list[dict[str, float]]
    best_epoch: int
    interrupted: bool
    out_of_patience: bool
    signal: int | None = None

    def __repr__(self) -> str:
        ended = ["interrupted"] * self.interrupted + ["out of patience"] * self.out_of_patience
        return f"FitResult({', '.join([f'{len(self.history)} epochs', f'best_epoch={self.best_epoch}', *self._best(), *ended])})"

    def _best(self) -> list[str]:
        """The first number of the best epoch that there is: of validation, or else the loss."""
        row = self.history[self.best_epoch - 1] if self.best_epoch else {}
        columns = ("valid_elbo", "valid_reconstruction", "loss")
        return [f"{name}={row[name]:.6g}" for name in columns if math.isfinite(row.get(name, math.nan))][:1]


def fit(
    vae: VAE,
    dataset: Dataset | InMemory,
    *,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    clip_norm: float = 10.0,
    kl_weight: float = 1.0,
    kl_warmup: float = 0.0,
    patience: int = 0,
    objective: str | Objective = "auto",
    particles: int = 1,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
    resume: TrainingState | None = None,
    save: Callable[[TrainingState], None] | None = None,
    log: Callable[[Mapping[str, float]], None] | None = None,
) -> FitResult:
    """Train a VAE; it ends with the weights of the highest validation ELBO (the last ones without validation data).

    A plain autoencoder (posterior ``delta``) keeps those of the highest validation reconstruction.

    The loss is the objective's mean per datum; batches are drawn without replacement, dequantised or binarised afresh at
    every access. The validation ELBO has weight 1 on the KL term, one sample a datum and the same noise every epoch; where
    float32 would round its mean by 0.0005 nats or more (compared on 128 of the data every epoch), it is computed in float64.
    The caller's random state is left as it was. Ctrl-C, SIGTERM and SIGHUP finish the step (validation that is longer than a step
    is done again by the next call), save, and return; a second Ctrl-C interrupts at once.

    Training that diverges is an error: a loss or parameter that is not finite, found within 32 steps, or weights that in the end
    are worse than the untrained model's beyond doubt (by ten times that model's |loss| + 1 nat an element, both measured on 128
    training data). The VAE then has the best weights so far, and what was good is saved.

    Threads may call it at once, each with a VAE of its own: they take turns, and each ends as it would alone. ``save`` and
    ``log`` are called between turns and may call it too.

    Args:
        vae: Trained in place and moved to the device.
        dataset: Its ``train`` and ``valid`` splits are used. Or data in memory, of which a seeded sixth validates and the others
            are trained on: a tensor or an array (N, *E), a pandas DataFrame (its columns are matched to the model's by name), a
            torch ``Dataset`` of x or (x, y), or a ``DataLoader``, whose data set is read once, in order.
        epochs: Passes over the training data, those before a resumption counted.
        batch_size: Data in a step; the last batch of an epoch may be smaller.
        learning_rate: Of Adam.
        clip_norm: Largest global norm of the gradient of the loss; 0 for no clipping.
        kl_weight: Factor on the KL term while training.
        kl_warmup: Epochs over which that factor rises from 0.
        patience: Stop after that many epochs without a better validation ELBO; 0 for never.
        objective: Name or part; ``auto`` is ``elbo``, or ``tracegraph`` where the posterior has no pathwise gradient.
        particles: Samples of z a datum in a step.
        seed: Of order, preprocessing and posterior noise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: Show a progress bar on stderr, or a line an epoch where it is no terminal.
        resume: Where an earlier call stood.
        save: Called with the state after an epoch (not more often than every few seconds), within a long one, at the end and on
            a signal.
        log: Called after every epoch with its row of the history.

    Raises:
        UserError: If an argument is out of range, the data do not fit the model, or the training diverges.
    """
    check_is("vae", vae, VAE, "a VAE")
    dataset = training_data(dataset, vae.spec, kind_known=vae.prepared)
    progress = check_flag("progress", progress)
    if is_auto(objective):
        objective = natural_objective(vae.parts["posterior"])
    numbers = plain_settings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        clip_norm=clip_norm,
        kl_weight=kl_weight,
        kl_warmup=kl_warmup,
        patience=patience,
        particles=particles,
        seed=seed,
    )
    check_sizes(numbers["patience"], dataset)
    objective = make("objective", objective)
    schedule = KLSchedule(weight=numbers["kl_weight"], warmup=numbers["kl_warmup"])
    epochs, seed = numbers["epochs"], numbers["seed"]
    chosen = choose_device(device)
    with _only_training_of(vae):
        _ready(vae, dataset, objective, schedule, numbers["particles"], chosen)
        optimizer = torch.optim.Adam(vae.parameters(), lr=numbers["learning_rate"], fused=True)
        engine = Eager(vae, objective.build(numbers["particles"]), optimizer, numbers["clip_norm"])
        if resume is None:
            hint_at_columns(vae, dataset)
        turns, state = _beginning(vae, dataset, optimizer, chosen, seed, resume)
        fixed = {"batch_size": numbers["batch_size"], "epochs": epochs, "patience": numbers["patience"], "seed": seed}
        began = time.monotonic() - state.seconds
        run = Run(
            vae=vae,
            dataset=dataset,
            engine=engine,
            schedule=schedule,
            **fixed,
            device=chosen,
            turns=turns,
            state=state,
            began=began,
        )
        if resume is None:
            state.untrained = measured(run)
        try:
            number = _train(run, save, log, progress)
        finally:
            vae.load_state_dict(state.best_weights or state.weights)
    out_of_patience = number is None and state.epoch < epochs
    return FitResult(state.history, state.best_epoch, number is not None, out_of_patience, number)


def _ready(vae: VAE, dataset: Dataset, objective: Objective, schedule: KLSchedule, particles: int, device: torch.device) -> None:
    """Bind the model to the data, refuse what does not fit, and move it to the device."""
    with alone():
        if not vae.prepared:
            vae.prepare(dataset.spec, dataset.train.x, dataset.name)
        vae.prepare(dataset.spec, dataset.x, dataset.name)
        vae.check_support(dataset.x)
        check_objective(vae, objective, schedule, particles)
        check_contexts(vae, dataset)
        vae.to(device).train()


_under_way: WeakSet[VAE] = WeakSet()


@contextmanager
def _only_training_of(vae: VAE) -> Iterator[None]:
    """Refuse to train a VAE that another thread, or a caller further up, is training."""
    with alone():
        if vae in _under_way:
            raise UserError("this VAE is being trained by another call of fit; give each its own, such as copy.deepcopy(vae)")
        _under_way.add(vae)
    try:
        yield
    finally:
        _under_way.discard(vae)


def _beginning(
    vae: VAE, dataset: Dataset, optimizer: torch.optim.Optimizer, device: torch.device, seed: int, resume: TrainingState | None
) -> tuple[Turns, TrainingState]:
    """The random generators and the state from which training goes on; model and optimizer are put into it."""
    if resume is None:
        with own_noise(device):
            seed_all(seed, device)
            vae.initialise(dataset.train.x, context_on(vae, dataset.train, device))
        turns = Turns(device, seed)
        return turns, TrainingState(vae.state_dict(), optimizer.state_dict(), turns.states)
    turns, given = Turns(device, seed), copy.deepcopy(resume)  # the optimizer keeps the tensors that it is given
    vae.load_state_dict(given.weights)
    optimizer.load_state_dict(given.optimizer)
    turns.states |= given.random
    return turns, copy.deepcopy(resume)


def _train(
    run: Run,
    save: Callable[[TrainingState], None] | None,
    log: Callable[[Mapping[str, float]], None] | None,
    progress: bool,
) -> int | None:
    """The loop; the number of the signal that ended it before its time."""
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
        progress_of(run.epochs, state.epoch, progress) as say,
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
    return run.state.epoch >= run.epochs or _out_of_patience(run)


def _epoch(run: Run, x: Tensor, c: Tensor | None, request: Request, saver: Saver) -> bool:
    """Steps until the end of the epoch (True) or until a signal (False)."""
    state = run.state
    order = _order(len(x), run.seed, state.epoch).to(run.device)
    steps = math.ceil(len(x) / run.batch_size)
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
    """A few steps: at least one, until it is enough, or time for a look at the numbers, or the end of the epoch."""
    state = run.state
    for _ in range(min(CHECK_STEPS, steps - state.step)):
        rows = order[state.step * run.batch_size : (state.step + 1) * run.batch_size]
        batch = x[rows]
        y = run.vae.preprocessed(batch, torch.rand(batch.shape, device=run.device) if run.vae.transform.needs_noise else None)
        weight = run.schedule.at(state.epoch + (state.step + 1) / steps)
        loss_sum += run.engine.step(y, None if c is None else c[rows], weight).double() * len(rows)
        state.step += 1
        if enough():
            break


def _order(n: int, seed: int, epoch: int) -> Tensor:
    """A permutation of n data that depends on seed and epoch, and not on their sum."""
    key = random.Random(f"{seed}/{epoch}").getrandbits(63)
    return torch.randperm(n, generator=torch.Generator().manual_seed(key))


def _end_epoch(run: Run, valid: Split | None, n: int, request: Request) -> bool:
    """Validate, keep the best weights, write the history's row; False where a signal came first."""
    state = run.state
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
            "kl_weight": run.schedule.at(state.epoch),
            "seconds": run.seconds,
        }
    )
    state.step, state.loss_sum = 0, 0.0
    return True


def _validate_unless(request: Request, run: Run, valid: Split) -> dict[str, float] | None:
    """What validation finds; None, and everything as before, where a signal asks to stop that cannot wait for it."""
    if request.asked and run.validation_seconds > SHORT_SECONDS:
        return None
    began, before = time.monotonic(), run.turns.states
    try:
        with run.turn(), request.at_once():
            found = validate(run.vae, valid, context_on(run.vae, valid, torch.device("cpu")), run.seed)
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
    """The column of the history that says which epoch was best."""
    return "valid_elbo" if vae.parts["posterior"].has_density else "valid_reconstruction"


def _out_of_patience(run: Run) -> bool:
    return bool(run.patience) and run.state.epoch - run.state.best_epoch >= run.patience


def _status(run: Run, n: int) -> str:
    row, before = run.state.history[-1], run.state.history[-2:-1]
    rate = n / max(row["seconds"] - (before[0]["seconds"] if before else 0.0), 1e-9)
    if math.isnan(row["valid_reconstruction"]):
        return f"loss {row['loss']:.2f} nats, {rate:,.0f} data/s"
    if math.isnan(row["valid_elbo"]):
        return f"reconstruction {row['valid_reconstruction']:.2f} nats, {rate:,.0f} data/s"
    return f"ELBO {row['valid_elbo']:.2f} nats, {row['valid_bits_per_dim']:.4f} bits/dim, {rate:,.0f} data/s"
