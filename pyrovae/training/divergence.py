"""Detects training that cannot continue or has made the model worse, and suggests a remedy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor

from pyrovae.contracts.supports import REALS
from pyrovae.data import Split
from pyrovae.errors import UserError, enough_memory, is_out_of_memory, option
from pyrovae.evidence import Elbo, Reconstruction
from pyrovae.evidence.scoring import NotFiniteError
from pyrovae.training.checks import context_on
from pyrovae.training.state import Run, TrainingError
from pyrovae.vae import VAE

CHECK_STEPS = 32
"""Number of steps between checks of losses and parameters; a check waits for the device, which a step does not."""

MEASURED = 128
"""Number of training data on which the trained model is compared with the untrained one."""

WORSE = 10.0
"""Multiple of (|the untrained model's loss| + one nat per element) that counts as clearly worse; ordinary steps lose far less."""

LARGE_VALUE, LARGE_WEIGHT = 1e3, 100.0
"""Size of the data, or of the KL weight, above which it is a likelier cause than the learning rate."""

DIVERGED = 3
"""Exit code of a training that failed although its options were valid."""


@final
class DivergedError(TrainingError):
    """Raised when the loss or a parameter is no longer finite, or the model is far worse than untrained; exit code 3."""

    exit_code = DIVERGED


def all_finite(vae: VAE, loss_sum: Tensor) -> bool:
    """Whether the sum of the losses and all parameters are finite; waits for the device once."""
    checks = [torch.isfinite(tensor).all() for tensor in (loss_sum, *vae.parameters())]
    return bool(torch.stack(checks).all())


def measure(vae: VAE, rows: Split, c: Tensor | None, seed: int) -> tuple[float, float]:
    """E_q[log p(x|z)] and KL, means over data in nats; -inf and 0 if they are not finite. A plain autoencoder has no KL.

    Args:
        vae: The model.
        rows: Training data.
        c: Their contexts, or None.
        seed: Of the noise.
    """
    try:
        if not vae.parts["posterior"].has_density:
            return Reconstruction(dequantisations=1).measure(vae, rows.x, c, seed=seed, index=rows.index).mean, 0.0
        found = Elbo(samples=1, dequantisations=1).measure(vae, rows.x, c, seed=seed, index=rows.index).diagnostics
    except NotFiniteError:
        return -math.inf, 0.0
    return found["reconstruction"].mean().item(), found["kl"].mean().item()


def maximised(measured: Sequence[float], kl_weight: float) -> float:
    """The quantity that training maximises: E_q[log p(x|z)] - w KL, in nats per datum.

    Args:
        measured: The result of ``measure``.
        kl_weight: w.
    """
    found, kl = measured
    return found - kl_weight * kl if kl_weight else found


def is_worse(trained: float, untrained: float, size: int) -> bool:
    """Whether training made the model clearly worse; never if the untrained model has no finite number.

    Args:
        trained: The quantity that training maximises, for the weights that are kept, in nats per datum.
        untrained: The same for the untrained model, on the same data.
        size: Elements of a datum.

    Example:
        >>> is_worse(-1e31, -44.0, 64), is_worse(-90.0, -44.0, 64), is_worse(-1e31, math.nan, 64)
        (True, False, False)
    """
    return math.isfinite(untrained) and not trained >= untrained - WORSE * (abs(untrained) + size)


def remedy(vae: VAE, x: Tensor, kl_weight: float, clip_norm: float) -> str:
    """What to try, for the end of an error message, chosen for the likeliest cause.

    Args:
        vae: The model.
        x: The training data as they were given.
        kl_weight: KL weight of the training.
        clip_norm: Clipping norm of the training.
    """
    largest = x.abs().max().item() if vae.transform.made == vae.spec and vae.spec.kind == "reals" else 0.0
    if largest > LARGE_VALUE:
        standardise = f"use {option('preprocess', 'standardise')}"
        scaled = vae.likelihood_density.support == REALS
        return f"the data reach {largest:.2g}: {standardise if scaled else 'give them in larger units'}"
    if kl_weight > LARGE_WEIGHT:
        return f"try a lower {option('kl_weight')} than {kl_weight:g}"
    clip = option("clip_norm", 10)
    clip = option("clip_norm", 10)
    return f"try a lower {option('learning_rate')}{'' if clip_norm else f', or {clip}'}"


def check_finite(run: Run, loss_sum: Tensor) -> None:
    """Fetch the sum of the losses from the device, and stop if it or a parameter is not finite.

    Raises:
        DivergedError: If the sum or a parameter is not finite.
    """
    state = run.state
    state.loss_sum = loss_sum.item()
    if not all_finite(run.vae, loss_sum):
        raise diverged(run, f"loss {state.loss_sum}")


def diverged(run: Run, found: str) -> DivergedError:
    """The error for a diverged run, with the cause and a remedy; the model is given its best weights.

    An epoch that is clearly worse than the untrained model is not kept.
    """
    state = run.state
    run.vae.load_state_dict(state.best_weights)
    keeps = bool(state.best_epoch) and not spoilt(run)
    tried = remedy(run.vae, run.dataset.train.x, run.training.kl_weight, run.training.clip_norm)
    epoch = min(state.epoch + 1, run.training.epochs)
    error = DivergedError(None, f"training diverged in epoch {epoch} ({found})", tried, _kept(run) if keeps else "")
    error.keeps = keeps
    return error


def measured(run: Run) -> tuple[float, float]:
    """E_q[log p(x|z)] and KL of the VAE with its current weights, on some training data."""
    few = run.dataset.train.subset(MEASURED, run.training.seed)
    return measure(run.vae, few, context_on(run.vae, few, torch.device("cpu")), run.training.seed)


def spoilt(run: Run) -> str:
    """How much worse than untrained the best weights are, as text; empty unless they are clearly worse."""
    state = run.state
    if state.untrained is None or not state.best_epoch:
        return ""
    weight = run.training.kl_schedule.at(state.best_epoch)
    trained, untrained = (maximised(found, weight) for found in (measured(run), state.untrained))
    worse = is_worse(trained, untrained, run.dataset.spec.size)
    return f"{trained:.4g} nats per training datum, {untrained:.4g} untrained" if worse else ""


@contextmanager
def memory_for(run: Run) -> Iterator[None]:
    """Turn an out-of-memory error during training into one that suggests a remedy.

    Raises:
        TrainingError: If memory runs out.
    """
    try:
        with enough_memory(
            "batch_size", run.training.batch_size, f"try a smaller one, smaller networks or fewer {option('particles')}"
        ):
            yield
    except UserError as error:
        if error.__cause__ is None or not is_out_of_memory(error.__cause__):
            raise
        name, value, reason, remedy = error.args
        raise TrainingError(name, value, reason, "; ".join(filter(None, (remedy, _kept(run))))) from error


def _kept(run: Run) -> str:
    return f"epoch {run.state.best_epoch} is kept" if run.state.best_epoch else ""
