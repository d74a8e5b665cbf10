"""Steps common to all estimators: checks, noise of the preprocessing, evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import final

import pyro
import torch
from torch import Tensor

from pyrovae.contracts import Evidence
from pyrovae.errors import NOT_GIVEN, UserError, check_integer, option
from pyrovae.evidence import keyed
from pyrovae.evidence.pieces import in_chunks
from pyrovae.preprocess.dequantise import DEQUANTISED
from pyrovae.system.devices import alone
from pyrovae.system.modes import in_evaluation
from pyrovae.vae import VAE


@final
class NotFiniteError(UserError):
    """Raised when a model has diverged: per-datum numbers are NaN or infinite."""


ScoreBatch = Callable[[Tensor, "Tensor | None", list[int], int], dict[str, Tensor]]
"""(preprocessed y (B, *E), c or None, rows in the data set, number of the draw of y) -> per-datum tensors by name (B, ...)."""

LOWEST = ("effective_sample_size", "converged")
HIGHEST = ("quadrature_error",)


def score(
    vae: VAE,
    x: Tensor,
    c: Tensor | None,
    score_batch: ScoreBatch,
    *,
    index: Tensor | None = None,
    seed: int = 0,
    dequantisations: int = 1,
    data_rows: int = 1000,
) -> dict[str, Tensor]:
    """Compute per-datum numbers batch by batch, averaged over draws of the dequantisation noise if there is any.

    With several draws, the ``NAME_error`` of a number ``NAME`` is replaced by the standard error over the draws, with their
    number less one as ``NAME_degrees`` of freedom; of effective sample sizes the smallest is kept.

    Args:
        vae: The model; in evaluation mode while it is measured.
        x: Data (N, *E) as they were given.
        c: Contexts, or None.
        score_batch: Computes the numbers of a batch of preprocessed data; runs without gradients unless it turns them on.
        index: Row of each datum in its data set, (N,); 0..N-1 where it is not given.
        seed: Seed of the preprocessing noise.
        dequantisations: Draws of the uniform noise for each datum where levels are dequantised.
        data_rows: Data per batch; halved if memory does not suffice.

    Returns:
        Per-datum tensors by name, (N, ...), on the CPU.

    Raises:
        UserError: If the data have no density under the likelihood, or contexts are unknown.
    """
    draws = preprocessing_draws(vae, dequantisations)
    vae.check_support(x)
    vae.context_module.check(c)
    index = torch.arange(len(x)) if index is None else index

    def compute(part: slice) -> dict[str, Tensor]:
        rows = index[part].tolist()
        chunk_c = None if c is None else c[part].to(vae.device)
        found = []
        for draw in range(draws):
            found.append(score_batch(preprocessed(vae, x[part], rows, seed, draw), chunk_c, rows, draw))
        return {k: v.cpu() for k, v in (found[0] if draws == 1 else average(found) | _by_draw(found)).items()}

    with estimating(vae):
        return in_chunks(compute, len(x), data_rows)


def preprocessed(vae: VAE, x: Tensor, index: list[int], seed: int, draw: int = 0) -> Tensor:
    """Preprocess data (B, *E) with noise keyed by datum, on the device and in the precision of the model.

    Args:
        vae: The model.
        x: Data as they were given.
        index: Row of each datum in its data set.
        seed: Of the noise.
        draw: Number of the draw of the noise, from 0.
    """
    u = keyed.uniform(seed, index, tuple(x.shape[1:]), draw).to(vae.device) if vae.transform.needs_noise else None
    return vae.preprocessed(x.to(vae.device), u)


def preprocessing_draws(vae: VAE, dequantisations: int) -> int:
    """Draws of the preprocessing noise per datum: more than one only where levels are dequantised."""
    check_integer("dequantisations", dequantisations, 1)
    return dequantisations if vae.transform.number_kind == DEQUANTISED else 1


@contextmanager
def estimating(vae: VAE) -> Iterator[None]:
    """Evaluation mode, without gradients and without implicit rounding of products."""
    # torch lets convolutions round to 10 bits on some GPUs; reported numbers must not depend on that.
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with alone(), in_evaluation(vae), pyro.validation_enabled(False), exact:
        yield


def check_density(vae: VAE, estimator: str) -> None:
    """Refuse a plain autoencoder, which has no evidence.

    Raises:
        UserError: If the posterior is a point; it names the alternative.
    """
    if not vae.parts["posterior"].has_density:
        raise UserError(
            "estimator",
            estimator,
            "the posterior delta is a point without a density, so there is neither ELBO nor evidence",
            f"use {option('estimator', 'reconstruction')}",
        )


def check_log_weights(log_weight: Tensor, index: list[int], what: str = "log-weights") -> None:
    """Refuse NaN and +inf; -inf is a weight of zero.

    Args:
        log_weight: (K, B).
        index: Row of each datum in its data set.
        what: Name of the numbers.

    Raises:
        NotFiniteError: If there are any, with the number of such data and the first of them.
    """
    bad = (log_weight.isnan() | (log_weight == math.inf)).any(0)
    if bad.any():
        raise NotFiniteError(
            None,
            NOT_GIVEN,
            f"at least {int(bad.sum())} data have {what} that are NaN or +inf, the first is row {index[int(bad.nonzero()[0])]}",
            f"the model has diverged, train it with a lower {option('learning_rate')}",
        )


def as_evidence(found: Mapping[str, Tensor], name: str = "log_evidence") -> Evidence:
    """Evidence whose estimate is ``NAME`` with ``NAME_error`` and ``NAME_degrees``, and whose diagnostics are all tensors."""
    error, degrees = found[f"{name}_error"], found.get(f"{name}_degrees")
    return Evidence(estimate=found[name], monte_carlo_error=error, degrees_of_freedom=degrees, diagnostics=found)


def _by_draw(draws: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The log evidence for each draw, (B, draws): estimators that share the draws are compared draw by draw."""
    name = "log_evidence"
    return {f"{name}_by_draw": torch.stack([found[name] for found in draws], -1)} if name in draws[0] else {}


def average(draws: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average over draws of the noise: means, their standard errors, and the smallest effective sample sizes."""
    stacked = {key: torch.stack([found[key] for found in draws]) for key in draws[0]}
    means = {key: values.mean(0) for key, values in stacked.items()}
    known = [key for key in means if f"{key}_error" in means]
    errors = {f"{key}_error": stacked[key].std(0) / math.sqrt(len(draws)) for key in known}
    degrees = {f"{key}_degrees": torch.full_like(means[key], len(draws) - 1) for key in known}
    fewest = {key: stacked[key].amin(0) for key in means if key in LOWEST}
    most = {key: stacked[key].amax(0) for key in means if key in HIGHEST}
    return means | errors | degrees | fewest | most
