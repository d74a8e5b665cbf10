"""Runs an estimator on data and makes the report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, is_dataclass
from typing import Any

from torch import Tensor

from pyrovae.contracts import ESTIMATED, Estimator, Evidence, Trust
from pyrovae.evidence.decomposition import Decomposition, decompose
from pyrovae.evidence.importance.pareto import median
from pyrovae.evidence.precision import Guarded
from pyrovae.evidence.prepared import PreparedData
from pyrovae.evidence.reports.data_evaluation import DataEvaluation, Words
from pyrovae.evidence.reports.numbers import Number
from pyrovae.evidence.resumable import Kept, in_pieces
from pyrovae.evidence.scoring import as_evidence, check_density
from pyrovae.parts import name_of
from pyrovae.preprocess.dequantise import DEQUANTISED
from pyrovae.vae import VAE

ACTIVE_VARIANCE = 0.01

SPLIT_SAMPLES, MOST_SAMPLES = 10_000, 100
"""Samples of z for the split of the KL: about this many over all data, and at most this many per datum."""


def fitted(estimator: Estimator, vae: VAE) -> Estimator:
    """The estimator with what it leaves to the model chosen, if it can measure the model.

    Raises:
        UserError: If it cannot, or an option does not fit the model.
    """
    if estimator.estimates != "reconstruction":
        check_density(vae, name_of("estimator", estimator))
    estimator.check(vae)
    return estimator.settled(vae)


def measured(
    estimator: Estimator,
    prepared: PreparedData,
    *,
    matmul: str | None = None,
    run: str | None = None,
    kept: Callable[[Mapping[str, Any]], Kept | None] = lambda asked: None,
    progress: bool = True,
) -> DataEvaluation:
    """Estimate ELBO and evidence of data.

    Args:
        estimator: What measures them, ``fitted`` to their model.
        prepared: The data, with the model and the seed.
        matmul: How float32 products may be rounded, see ``precision.guard``.
        run: Name to report; None for a model in memory.
        kept: What the results depend on -> where they are kept until they are complete; None for nowhere.
        progress: Show a progress bar where stderr is a terminal.

    Raises:
        UserError: If ``matmul`` is unknown, or a number is NaN.
    """
    vae, name = prepared.vae, name_of("estimator", estimator)
    assert is_dataclass(estimator)  # as every part is
    digests, options = prepared.digests(), asdict(estimator)
    began = time.perf_counter()
    with nullcontext(prepared.unguarded()) if estimator.in_float64 else prepared.guarded(matmul) as guarded:
        asked = {"estimator": name, "seed": prepared.seed, **options, **digests, "path": guarded.precision.path}
        found = _each(estimator, guarded, prepared, kept(asked), name, progress)
        seconds = time.perf_counter() - began
        parts = _decomposed(guarded.vae, prepared) if "elbo" in found.diagnostics else None
    arrays, judged = found.diagnostics, estimator.estimates == "log_evidence"
    trust = estimator.untrusted(arrays) if judged else None
    degrees = {} if found.degrees_of_freedom is None else {"degrees_of_freedom": found.degrees_of_freedom}
    written: dict[str, Any] = {"bounds": None, "khat": None, "acceptance": None, **digests}
    written |= _numbers(arrays, trust, judged) | (estimator.summary(arrays) if judged else {})
    return DataEvaluation(
        run=run,
        data=prepared.name,
        split=prepared.split,
        n=len(prepared),
        samples=options.get("samples"),
        seed=prepared.seed,
        dequantisations=options.get("dequantisations") if vae.bits_kind == DEQUANTISED else None,
        options=estimator.reported(vae),
        estimator=name,
        method=estimator.method(vae),
        quantity="log p(x)" if vae.parts["context"].reads is None else "log p(x|c)",
        units=vae.units,
        **written,
        bits_per_dim=None if estimator.estimates == "reconstruction" else -found.mean / vae.spec.size / math.log(2),
        bits_per_dim_kind=vae.bits_kind,
        latent_dim=vae.latent_dim,
        decomposition=parts,
        precision=guarded.precision.summary(),
        seconds=seconds,
        per_datum={"index": prepared.rows.index, "estimate": found.estimate, "monte_carlo_error": found.monte_carlo_error}
        | degrees
        | {name: values for name, values in arrays.items() if name not in estimator.unwritten}
        | ({} if trust is None else {"trust": trust.state}),
        words=_words(estimator, vae, trust, arrays),
    )


def _each(estimator: Estimator, guarded: Guarded, data: PreparedData, kept: Kept | None, label: str, progress: bool) -> Evidence:
    """The per-datum numbers, computed piece by piece."""
    rows, c = data.rows, data.c

    def compute(vae: VAE, chosen: Tensor) -> dict[str, Tensor]:
        contexts = None if c is None else c[chosen]
        found = estimator.measure(vae, rows.x[chosen], contexts, seed=data.seed, index=rows.index[chosen])
        degrees = {} if found.degrees_of_freedom is None else {"degrees_of_freedom": found.degrees_of_freedom}
        return {**found.diagnostics, "estimate": found.estimate, "monte_carlo_error": found.monte_carlo_error, **degrees}

    found = in_pieces(lambda part: guarded.measure(compute, part), len(rows), kept, label, progress)
    estimate, error = found.pop("estimate"), found.pop("monte_carlo_error")
    degrees = found.pop("degrees_of_freedom", None)
    # An estimate of log p(x) is reported as the log evidence, even if the diagnostics do not repeat it.
    repeated = {estimator.estimates: estimate, f"{estimator.estimates}_error": error}
    repeated |= {} if degrees is None else {f"{estimator.estimates}_degrees": degrees}
    diagnostics = found if estimator.estimates in found else found | repeated
    return Evidence(estimate=estimate, monte_carlo_error=error, degrees_of_freedom=degrees, diagnostics=diagnostics)


def _decomposed(vae: VAE, data: PreparedData) -> Decomposition:
    samples = max(1, min(MOST_SAMPLES, SPLIT_SAMPLES // len(data)))
    return decompose(vae, data.rows.x, data.c, index=data.rows.index, seed=data.seed, samples=samples)


def _words(estimator: Estimator, vae: VAE, trust: Trust | None, arrays: Mapping[str, Tensor]) -> Words:
    return Words(
        effective=estimator.effective,
        bound=estimator.bound,
        remarks=tuple(estimator.remarks(vae)),
        warning="" if trust is None or not trust.untrusted.any() else estimator.warning(trust, arrays),
        doubt="" if trust is None or not trust.unclear.any() else estimator.doubt(trust, arrays),
    )


def _numbers(arrays: Mapping[str, Tensor], trust: Trust | None, has_evidence: bool) -> dict[str, Any]:
    error_is = ESTIMATED if trust is None else trust.error_is
    return {
        "elbo": _number(arrays, "elbo", ESTIMATED),
        "log_evidence": _number(arrays, "log_evidence", error_is) if has_evidence else None,
        "gap": _number(arrays, "gap", error_is) if has_evidence else None,
        "reconstruction": _mean(arrays, "reconstruction"),
        "kl": _mean(arrays, "kl"),
        "kl_per_dimension": _per_dimension(arrays),
        "active_units": _active(arrays),
        "effective_sample_size": _spread(arrays["effective_sample_size"]) if "effective_sample_size" in arrays else None,
        **({"untrusted": None} if trust is None else trust.summary()),
    }


def _number(arrays: Mapping[str, Tensor], name: str, error_is: str) -> Number | None:
    return Number.of(as_evidence(arrays, name), error_is) if name in arrays else None


def _mean(arrays: Mapping[str, Tensor], name: str) -> float | None:
    return arrays[name].mean().item() if name in arrays else None


def _per_dimension(arrays: Mapping[str, Tensor]) -> list[float] | None:
    if "kl_per_dimension" not in arrays:
        return None
    kl = arrays["kl_per_dimension"].mean(0)
    return None if kl.isnan().any() else kl.tolist()


def _active(arrays: Mapping[str, Tensor]) -> int | None:
    if "posterior_mean" not in arrays:
        return None
    return int((arrays["posterior_mean"].var(0, correction=0) > ACTIVE_VARIANCE).sum())


def _spread(values: Tensor) -> dict[str, float]:
    return {"mean": values.mean().item(), "median": median(values), "minimum": values.min().item()}
