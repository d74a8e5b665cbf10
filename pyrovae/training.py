"""fit: the training loop."""

from __future__ import annotations

import copy
import math
import random
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor
from tqdm import tqdm

from pyrovae.contracts import Objective
from pyrovae.data import Dataset, Split
from pyrovae.devices import choose_device, random_states, seed_all, set_random_states
from pyrovae.engines import Eager
from pyrovae.errors import UserError, enough_memory
from pyrovae.evidence.validation import validate
from pyrovae.interruption import Interrupted, Request, finishing
from pyrovae.objectives import KLSchedule, natural_objective
from pyrovae.parts import is_auto, make
from pyrovae.settings import check_contexts, check_objective, check_sizes, context_on, plain_settings
from pyrovae.vae import VAE

CHECKPOINT_SECONDS = 5.0
"""At the end of an epoch the state is saved if this long has passed since the last time; always at the end of the run."""

WITHIN_EPOCH_SECONDS = 30.0
"""The same between two steps of a long epoch."""

SHORT_SECONDS = 1.0
"""Validation that takes no longer is done although a signal has asked to stop: the epoch is then complete."""


@final
class DivergedError(UserError):
    """The loss or a parameter is not finite any more."""


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
        best_weights: Those of the highest validation ELBO; the latest without validation data.
        best_epoch: Their epoch; 0 before the first.
        history: A row an epoch: what metrics.csv holds.
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


def fit(
    vae: VAE,
    dataset: Dataset,
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

    Args:
        vae: Trained in place and moved to the device.
        dataset: Its ``train`` and ``valid`` splits are used.
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
        progress: Show a progress bar where stderr is a terminal.
        resume: Where an earlier call stood.
        save: Called with the state after an epoch (not more often than every few seconds), within a long one, at the end and on
            a signal.
        log: Called after every epoch with its row of the history.

    Raises:
        UserError: If an argument is out of range, the data do not fit the model, or the training diverges.
    """
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
    if not vae.prepared:
        vae.prepare(dataset.spec, dataset.train.x)
    vae.prepare(dataset.spec, dataset.x)
    vae.check_support(dataset.x)
    check_objective(vae, objective, schedule, numbers["particles"])
    check_contexts(vae, dataset)
    vae.to(chosen).train()
    optimizer = torch.optim.Adam(vae.parameters(), lr=numbers["learning_rate"], fused=True)
    engine = Eager(vae, objective.build(numbers["particles"]), optimizer, numbers["clip_norm"])
    with torch.random.fork_rng(devices=[chosen] if chosen.type == "cuda" else []):
        seed_all(seed, chosen)
        if resume is None:
            vae.initialise(dataset.train.x, context_on(vae, dataset.train, chosen))
            seed_all(seed, chosen)
        state = TrainingState(vae.state_dict(), optimizer.state_dict(), random_states())
        if resume is not None:
            state = copy.deepcopy(resume)
            resume = copy.deepcopy(resume)  # the optimizer keeps the tensors that it is given
            vae.load_state_dict(resume.weights)
            optimizer.load_state_dict(resume.optimizer)
            set_random_states(resume.random)
        began = time.monotonic() - state.seconds
        run = _Run(vae, dataset, engine, schedule, numbers["batch_size"], epochs, numbers["patience"], seed, chosen, state, began)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Encountered (NaN|.*inf)", UserWarning)  # Pyro's; _epoch raises on it
            with enough_memory(f"--batch-size {run.batch_size}", "try a smaller one, smaller networks or fewer --particles"):
                number = _train(run, save, log, progress)
    vae.load_state_dict(state.best_weights)
    out_of_patience = number is None and state.epoch < epochs
    return FitResult(state.history, state.best_epoch, number is not None, out_of_patience, number)


@dataclass
class _Run:
    """What the loop works on."""

    vae: VAE
    dataset: Dataset
    engine: Eager
    schedule: KLSchedule
    batch_size: int
    epochs: int
    patience: int
    seed: int
    device: torch.device
    state: TrainingState
    began: float
    validation_seconds: float = math.inf

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a resumption counted."""
        return time.monotonic() - self.began

    def capture(self) -> TrainingState:
        """The state with copies of everything that the next step changes."""
        self.state.seconds = self.seconds
        self.state.weights = _copy(self.vae.state_dict())
        self.state.optimizer = copy.deepcopy(self.engine.optimizer.state_dict())
        self.state.random = random_states()
        return replace(self.state, history=list(self.state.history), best_weights=dict(self.state.best_weights))


@final
class _Saver:
    """Saves a run's state when it is time to.

    Args:
        run: The run.
        save: What is called with the state; None for nothing.
    """

    def __init__(self, run: _Run, save: Callable[[TrainingState], None] | None) -> None:
        self._run = run
        self._save = save
        self._saved = time.monotonic()

    def due(self, after: float) -> bool:
        """Whether that many seconds have passed since the last time."""
        return self._save is not None and time.monotonic() - self._saved > after

    def save(self) -> None:
        """Save now."""
        if self._save is not None:
            self._save(self._run.capture())
            self._saved = time.monotonic()


def _train(
    run: _Run,
    save: Callable[[TrainingState], None] | None,
    log: Callable[[Mapping[str, float]], None] | None,
    progress: bool,
) -> int | None:
    """The loop; the number of the signal that ended it before its time."""
    state, train, valid = run.state, run.dataset.train, run.dataset.valid
    x = train.x.to(run.device)
    c = context_on(run.vae, train, run.device)
    if not state.best_weights:
        state.best_weights = _copy(run.vae.state_dict())
    saver = _Saver(run, save)
    with (
        finishing() as request,
        tqdm(total=run.epochs, initial=state.epoch, unit="epoch", disable=None if progress else True) as bar,
    ):
        while not _is_finished(run):
            if not (_epoch(run, x, c, request, saver) and _end_epoch(run, valid, len(x), request)):
                break
            if log is not None:
                log(state.history[-1])
            bar.update()
            bar.set_postfix_str(_status(run, len(x)))
            if saver.due(CHECKPOINT_SECONDS):
                saver.save()
        saver.save()
        return None if _is_finished(run) else request.number


def _is_finished(run: _Run) -> bool:
    return run.state.epoch >= run.epochs or _out_of_patience(run)


def _epoch(run: _Run, x: Tensor, c: Tensor | None, request: Request, saver: _Saver) -> bool:
    """Steps until the end of the epoch (True) or until a signal (False)."""
    state = run.state
    order = _order(len(x), run.seed, state.epoch).to(run.device)
    steps = math.ceil(len(x) / run.batch_size)
    loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=run.device)
    while state.step < steps and not request.asked:
        rows = order[state.step * run.batch_size : (state.step + 1) * run.batch_size]
        batch = x[rows]
        y = run.vae.preprocessed(batch, torch.rand(batch.shape, device=run.device) if run.vae.transform.needs_noise else None)
        weight = run.schedule.at(state.epoch + (state.step + 1) / steps)
        loss_sum += run.engine.step(y, None if c is None else c[rows], weight).double() * len(rows)
        state.step += 1
        if saver.due(WITHIN_EPOCH_SECONDS):
            _check_finite(run, loss_sum)
            saver.save()
    _check_finite(run, loss_sum)
    return state.step == steps


def _check_finite(run: _Run, loss_sum: Tensor) -> None:
    """Take the sum of the losses over from the device, and refuse to go on if it or a parameter is not finite."""
    state = run.state
    state.loss_sum = loss_sum.item()
    finite = all(torch.isfinite(parameter).all() for parameter in run.vae.parameters())
    if not (finite and math.isfinite(state.loss_sum)):
        raise DivergedError(
            f"training diverged in epoch {state.epoch + 1} (loss {state.loss_sum}); try a lower --learning-rate; "
            "what was saved before that epoch is kept"
        )


def _order(n: int, seed: int, epoch: int) -> Tensor:
    """A permutation of n data that depends on seed and epoch, and not on their sum."""
    key = random.Random(f"{seed}/{epoch}").getrandbits(63)
    return torch.randperm(n, generator=torch.Generator().manual_seed(key))


def _end_epoch(run: _Run, valid: Split | None, n: int, request: Request) -> bool:
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
    best = max((row[score] for row in state.history), default=-math.inf)
    if valid is None or found[score] > best:
        state.best_weights, state.best_epoch = _copy(run.vae.state_dict()), state.epoch
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


def _validate_unless(request: Request, run: _Run, valid: Split) -> dict[str, float] | None:
    """What validation finds; None, and everything as before, where a signal asks to stop that cannot wait for it."""
    if request.asked and run.validation_seconds > SHORT_SECONDS:
        return None
    began, random_before = time.monotonic(), random_states()
    try:
        with request.at_once():
            found = validate(run.vae, valid, context_on(run.vae, valid, torch.device("cpu")), run.seed)
    except Interrupted:
        set_random_states(random_before)
        run.vae.train()
        return None
    except UserError as error:
        raise DivergedError(f"training diverged in epoch {run.state.epoch + 1}: {error}") from error
    run.validation_seconds = time.monotonic() - began
    return found


def score_name(vae: VAE) -> str:
    """The column of the history that says which epoch was best."""
    return "valid_elbo" if vae.parts["posterior"].has_density else "valid_reconstruction"


def _out_of_patience(run: _Run) -> bool:
    return bool(run.patience) and run.state.epoch - run.state.best_epoch >= run.patience


def _status(run: _Run, n: int) -> str:
    row, before = run.state.history[-1], run.state.history[-2:-1]
    rate = n / max(row["seconds"] - (before[0]["seconds"] if before else 0.0), 1e-9)
    if math.isnan(row["valid_reconstruction"]):
        return f"loss {row['loss']:.2f} nats, {rate:,.0f} data/s"
    if math.isnan(row["valid_elbo"]):
        return f"reconstruction {row['valid_reconstruction']:.2f} nats, {rate:,.0f} data/s"
    return f"ELBO {row['valid_elbo']:.2f} nats, {row['valid_bits_per_dim']:.4f} bits/dim, {rate:,.0f} data/s"


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
