"""A model on a split of data -> what is reported of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from torch import Tensor

from pyrovae.contracts import Evidence
from pyrovae.data import Dataset, Split
from pyrovae.errors import UserError, check_seed, suggest
from pyrovae.evidence.decomposition import Decomposition, decompose
from pyrovae.evidence.exact.estimator import QUADRATURE, exact_method
from pyrovae.evidence.importance.pareto import FEWEST, limits, threshold
from pyrovae.evidence.importance.proposals import check_proposal, choose_proposal
from pyrovae.evidence.importance.weights import ladder
from pyrovae.evidence.options import checked, options_of
from pyrovae.evidence.precision import Guarded
from pyrovae.evidence.prepared import prepare_data
from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.evidence.reports.numbers import Number
from pyrovae.evidence.reports.trust import ESTIMATED, Trust, judge
from pyrovae.evidence.resumable import Kept, in_pieces
from pyrovae.evidence.scoring import as_evidence, preprocessing_draws
from pyrovae.evidence.table import ESTIMATORS
from pyrovae.preprocess.dequantise import DEQUANTISED
from pyrovae.vae import VAE

ACTIVE_VARIANCE = 0.01

SPLIT_SAMPLES, MOST_SAMPLES = 10_000, 100
"""Samples of z of all data, about, and of one datum at the most, that the split of the KL is estimated from."""

ALWAYS = ("temperatures", "chains", "leapfrog", "schedule", "start")
"""Options that are reported even where they are the usual ones."""


def evaluate_split(
    vae: VAE,
    dataset: Dataset,
    *,
    estimator: str = "importance",
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    matmul: str | None = None,
    run: str | None = None,
    kept: Callable[[Mapping[str, Any]], Kept] | None = None,
    **options: Any,
) -> Evaluation:
    """Estimate ELBO and evidence of a split of data.

    Args:
        vae: The model, on the device to use.
        dataset: Data of the kind that it was trained on.
        estimator: A name in ``ESTIMATORS``.
        split: ``train``, ``valid``, ``test`` or ``all``.
        limit: At most that many data, a seeded random subset.
        seed: Of the noise, of binarisation or dequantisation, and of the subset.
        matmul: How float32 products may be rounded, see ``precision.guard``.
        run: Name to report.
        kept: Settings and digests -> where results of an evaluation that is interrupted are kept.
        options: Those of the estimator, as in its signature; ``dequantisations`` is 4 unless given.

    Raises:
        UserError: If an option is out of range or not one of the estimator's, or the data do not fit the model.
    """
    if estimator not in ESTIMATORS:
        raise UserError(f"--estimator {estimator}: unknown; {suggest(estimator, ESTIMATORS)}")
    chosen = checked(estimator, ESTIMATORS[estimator], options)
    check_seed("seed", seed)
    if "proposal" in chosen:
        check_proposal(chosen["proposal"], chosen["widen"])
        chosen["proposal"] = choose_proposal(chosen["proposal"], vae)
    prepared = prepare_data(vae, dataset, split, limit=limit, seed=seed)
    rows, c = prepared.rows, prepared.c
    method = exact_method(vae) if estimator == "exact" else None
    if method not in (None, QUADRATURE) and "tolerance" in options:
        raise UserError(
            f"--tolerance {options['tolerance']:g}: is for quadrature, this model is solved by {method}; leave it out"
        )
    digests = prepared.digests()
    asked = {"estimator": estimator, "seed": seed, **chosen, **digests}
    began = time.perf_counter()
    # The exact evidence is computed in float64 whatever the model is.
    exact = estimator == "exact"
    with nullcontext(prepared.unguarded()) if exact else prepared.guarded(matmul) as guarded:
        keeper = None if kept is None else kept(asked | {"path": guarded.precision.path})
        found = _found(guarded, rows, c, estimator, seed, chosen, keeper)
        seconds = time.perf_counter() - began
        parts = _decomposed(guarded.vae, rows, c, seed) if "elbo" in found.diagnostics else None
    looks = preprocessing_draws(vae, chosen["dequantisations"]) * chosen.get("repeats", 1)
    has_evidence = "log_evidence" in found.diagnostics and estimator != "elbo"
    trust = judge(estimator, found.diagnostics, chosen, looks) if has_evidence else None
    usual = options_of(ESTIMATORS[estimator]) | {name: chosen[name] for name in ("samples", "dequantisations") if name in chosen}
    usual |= {"proposal": "guide"}
    shown = ("tolerance",) if method == QUADRATURE else ALWAYS
    return Evaluation(
        run=run,
        data=prepared.name,
        split=prepared.split,
        n=len(prepared),
        samples=chosen.get("samples"),
        seed=seed,
        dequantisations=chosen["dequantisations"] if vae.bits_kind == DEQUANTISED else None,
        options={name: value for name, value in chosen.items() if name in shown or value != usual[name]},
        estimator=estimator,
        method=method,
        **_summarise(vae, estimator, found, chosen.get("samples"), looks, trust),
        decomposition=parts,
        precision=guarded.precision.summary(),
        seconds=seconds,
        **digests,
        per_datum={"index": rows.index, "estimate": found.estimate, "monte_carlo_error": found.monte_carlo_error}
        | ({} if found.degrees_of_freedom is None else {"degrees_of_freedom": found.degrees_of_freedom})
        | {name: values for name, values in found.diagnostics.items() if name != "acceptance"}
        | ({} if trust is None else {"trust": trust.state}),
    )


def _found(
    guarded: Guarded, rows: Split, c: Tensor | None, estimator: str, seed: int, options: Mapping[str, Any], kept: Kept | None
) -> Evidence:
    def of(vae: VAE, chosen: Tensor) -> dict[str, Tensor]:
        contexts = None if c is None else c[chosen]
        found = ESTIMATORS[estimator](vae, rows.x[chosen], contexts, seed=seed, index=rows.index[chosen], **options)
        degrees = {} if found.degrees_of_freedom is None else {"degrees_of_freedom": found.degrees_of_freedom}
        return {**found.diagnostics, "estimate": found.estimate, "monte_carlo_error": found.monte_carlo_error, **degrees}

    found = in_pieces(lambda part: guarded.measure(of, part), len(rows), kept, estimator)
    return Evidence(
        estimate=found.pop("estimate"),
        monte_carlo_error=found.pop("monte_carlo_error"),
        degrees_of_freedom=found.pop("degrees_of_freedom", None),
        diagnostics=found,
    )


def _decomposed(vae: VAE, rows: Split, c: Tensor | None, seed: int) -> Decomposition:
    samples = max(1, min(MOST_SAMPLES, SPLIT_SAMPLES // len(rows)))
    return decompose(vae, rows.x, c, index=rows.index, seed=seed, samples=samples)


def _summarise(vae: VAE, estimator: str, found: Evidence, samples: int | None, looks: int, trust: Trust | None) -> dict[str, Any]:
    arrays, has_evidence = found.diagnostics, trust is not None
    return {
        "quantity": "log p(x)" if vae.parts["context"].reads is None else "log p(x|c)",
        "units": vae.units,
        "elbo": _number(arrays, "elbo"),
        "log_evidence": _number(arrays, "log_evidence", trust) if has_evidence else None,
        "gap": _number(arrays, "gap", trust) if has_evidence else None,
        "bounds": _bounds(arrays["bound"], samples) if has_evidence and "bound" in arrays else None,
        "bits_per_dim": None if estimator == "reconstruction" else -found.mean / vae.spec.size / math.log(2),
        "bits_per_dim_kind": vae.bits_kind,
        "reconstruction": _mean(arrays, "reconstruction"),
        "kl": _mean(arrays, "kl"),
        "kl_per_dimension": _per_dimension(arrays),
        "active_units": _active(arrays),
        "latent_dim": vae.latent_dim,
        "effective_sample_size": _spread(arrays["effective_sample_size"]) if "effective_sample_size" in arrays else None,
        "khat": _khat(arrays["khat"], samples, looks) if has_evidence and "khat" in arrays else None,
        "acceptance": arrays["acceptance"].double().mean(0).tolist() if "acceptance" in arrays else None,
        **({"untrusted": None} if trust is None else trust.summary()),
    }


def judged(evaluation: Evaluation) -> Evaluation:
    """An evaluation by importance sampling, judged by its arrays where the file that it is from does not tell ``cannot_tell``.

    Args:
        evaluation: With its arrays.

    Raises:
        KeyError: If its arrays have no k-hat.
    """
    if evaluation.cannot_tell is not None:
        return evaluation
    # In such a file k-hat is the largest over the draws of the noise, and is judged as a single one.
    trust = judge("importance", evaluation.per_datum, {"samples": evaluation.samples})
    numbers = {"log_evidence": evaluation.log_evidence, "gap": evaluation.gap}
    error_is = trust.error_is
    numbers = {name: number and replace(number, monte_carlo_error_is=error_is) for name, number in numbers.items()}
    khat = None if evaluation.khat is None else {**evaluation.khat, "limits": list(limits(evaluation.samples))}
    return replace(evaluation, **numbers, khat=khat, **trust.summary())


def _number(arrays: Mapping[str, Tensor], name: str, trust: Trust | None = None) -> Number | None:
    error_is = ESTIMATED if trust is None else trust.error_is
    return Number.of(as_evidence(arrays, name), error_is) if name in arrays else None


def _bounds(bound: Tensor, samples: int) -> list[dict[str, float | None]]:
    found = []
    for rung, values in zip(ladder(samples), bound.T, strict=True):
        error = (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else None
        found.append({"samples": rung, "mean": values.mean().item(), "standard_error": error})
    return found


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
    return {"mean": values.mean().item(), "median": _median(values), "minimum": values.min().item()}


def _khat(values: Tensor, samples: int, looks: int) -> dict[str, float | int] | None:
    known = values[~values.isnan()]
    if not len(known):
        return None
    above = int((known > threshold(samples)).sum())
    spread = {"median": _median(known), "maximum": known.max().item(), "threshold": threshold(samples)}
    between = list(limits(samples, looks)) if samples >= FEWEST else None
    return {**spread, "limits": between, "above": above, "share": above / len(values)}


def _median(values: Tensor) -> float:
    # Not torch.quantile, which makes NaN of infinities.
    low, high = (values.sort().values[i].item() for i in ((len(values) - 1) // 2, len(values) // 2))
    return low if low == high else (low + high) / 2
