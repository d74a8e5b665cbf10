"""A model on a split of data -> the numbers that are reported, with their errors."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.contracts import Evidence
from pyrovae.data import Dataset
from pyrovae.errors import UserError, check_integer, check_seed, suggest
from pyrovae.evidence.digests import model_digest, rows_digest
from pyrovae.evidence.estimators import ESTIMATORS
from pyrovae.preprocess.binarise import BINARISED
from pyrovae.preprocess.dequantise import DEQUANTISED
from pyrovae.vae import VAE

ACTIVE_VARIANCE = 0.01
FEW_EFFECTIVE = 10.0


@final
@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What ``evaluate`` reports: per datum, in nats, in the units of the data that was given, higher is better.

    Args:
        run: The run folder; None for a model in memory.
        data: Name or path of the data.
        split: Which of them.
        n: Number of data.
        samples: Samples of z a datum.
        seed: Of the evaluation's noise and of the subset.
        dequantisations: Draws of the uniform noise a datum where levels are dequantised; None where they are not.
        estimator: ``elbo``, ``importance`` or ``reconstruction``.
        quantity: What is estimated: ``log p(x)``, or ``log p(x|c)`` of a conditional model, which is not log p(x).
        units: What the numbers below are measured in.
        elbo: ``mean``, ``standard_error`` (of the mean over data) and ``monte_carlo_error`` (of the estimator); None for
            the posterior ``delta``.
        log_evidence: Likewise, by importance sampling; None for the other estimators.
        bits_per_dim: -(log evidence, or else ELBO) / (elements log 2), lower is better; None for the posterior ``delta``.
        bits_per_dim_kind: ``exact``, ``density`` (of reals: in their units), ``dequantisation bound`` or ``binarised``.
        reconstruction: E_q[log p(x|z)], mean over data.
        kl: E_q[log q(z|x) - log p(z)], mean over data; elbo = reconstruction - kl; None for the posterior ``delta``.
        kl_per_dimension: Its parts, in order of the latents; None where q or p does not factorise.
        active_units: Latents whose posterior mean has a variance over data above 0.01 (Burda et al., 2016).
        latent_dim: Number of latents.
        effective_sample_size: ``mean``, ``median``, ``minimum`` over data of (sum w)^2 / sum w^2; None for ``delta``.
        untrusted: Data with fewer than 10 effective samples; their log evidence and its error are not to be relied on.
        seconds: Wall clock of the estimation.
        model_sha256: Digest of the model: parts, options and weights.
        data_sha256: Digest of the data that were scored: values, rows and contexts.
        per_datum: Arrays (n,) by name: ``index`` (row in the data set), ``estimate``, ``monte_carlo_error``, and those that the
            estimator has besides.
    """

    run: str | None
    data: str
    split: str
    n: int
    samples: int
    seed: int
    dequantisations: int | None
    estimator: str
    quantity: str
    units: str
    elbo: dict[str, float | None] | None
    log_evidence: dict[str, float | None] | None
    bits_per_dim: float | None
    bits_per_dim_kind: str
    reconstruction: float
    kl: float | None
    kl_per_dimension: list[float] | None
    active_units: int
    latent_dim: int
    effective_sample_size: dict[str, float] | None
    untrusted: int | None
    seconds: float
    model_sha256: str
    data_sha256: str
    per_datum: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> str:
        """The fields but ``per_datum`` as JSON; a number that is not finite becomes null."""
        summary = asdict(replace(self, per_datum={}))
        del summary["per_datum"]
        return json.dumps(_finite(summary), indent=2) + "\n"

    def table(self) -> str:
        """The numbers for a terminal."""
        noise = "" if self.dequantisations is None else f", {self.dequantisations} dequantisations"
        rows = [
            ("data", f"{self.data}, {self.split}, {self.n} data"),
            ("estimator", f"{self.estimator}, {self.samples} samples a datum{noise}, seed {self.seed}"),
        ]
        if self.elbo is not None:
            bound = f"  bound on {self.quantity}" if self.log_evidence is None else ""
            rows.append(("ELBO", f"{_with_errors(self.elbo)}{bound}"))
        if self.log_evidence is not None:
            rows.append(("log evidence", f"{_with_errors(self.log_evidence)}  {self.quantity}"))
        if self.bits_per_dim is not None:
            rows.append(("bits/dim", f"{self.bits_per_dim:.4f}  ({self.bits_per_dim_kind})"))
        rows.append(("reconstruction", f"{self.reconstruction:.3f}"))
        active = f"{self.active_units} of {self.latent_dim} units active"
        rows.append(("KL", f"{self.kl:.3f}, {active}") if self.kl is not None else ("latents", active))
        ess = self.effective_sample_size
        if self.log_evidence is not None:
            rows.append(
                (
                    "effective samples",
                    f"{ess['mean']:.1f} on average, {ess['median']:.1f} median, {ess['minimum']:.1f} at the least",
                )
            )
        text = "\n".join(f"{name:<18} {value}" for name, value in rows)
        note = f"{'':<18} nats per datum, higher is better; +- standard error over data, [Monte Carlo error]"
        if self.elbo is None:
            note = f"{'':<18} nats per datum, higher is better; a plain autoencoder: neither ELBO nor evidence"
        if self.bits_per_dim_kind == BINARISED:
            note += (
                f"\n{'':<18} binarised data are another data set; for the levels themselves use --likelihood "
                "continuous_bernoulli, binomial or beta"
            )
        if self.untrusted:
            note += (
                f"\nNOT TO BE TRUSTED  {self.untrusted} of {self.n} data have fewer than {FEW_EFFECTIVE:g} effective samples: "
                "their log evidence is too low by an unknown amount; try more --samples"
            )
        return f"{text}\n{note}"


def evaluate_split(
    vae: VAE,
    dataset: Dataset,
    *,
    estimator: str = "importance",
    samples: int = 500,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    dequantisations: int = 4,
    run: str | None = None,
) -> Evaluation:
    """Estimate ELBO and evidence of a split of data.

    Args:
        vae: The model, on the device to use.
        dataset: Data of the kind that it was trained on.
        estimator: ``elbo``, ``importance`` or ``reconstruction``.
        samples: Samples of z a datum.
        split: ``train``, ``valid``, ``test`` or ``all``.
        limit: At most that many data, a seeded random subset.
        seed: Of the noise, of binarisation or dequantisation, and of the subset.
        dequantisations: Draws of the uniform noise a datum where levels are dequantised.
        run: Name to report.

    Raises:
        UserError: If an argument is out of range or the data do not fit the model.
    """
    if estimator not in ESTIMATORS:
        raise UserError(f"--estimator {estimator}: unknown; {suggest(estimator, ESTIMATORS)}")
    check_integer("samples", samples, 1)
    check_seed("seed", seed)
    rows = dataset.split(split)
    if limit is not None:
        rows = rows.subset(check_integer("limit", limit, 1), seed)
    vae.prepare(dataset.spec, rows.x if vae.prepared else dataset.train.x)
    reads = vae.parts["context"].reads
    context = None if reads is None else getattr(rows, reads)
    began = time.perf_counter()
    found = ESTIMATORS[estimator](
        vae, rows.x, context, samples=samples, seed=seed, index=rows.index, dequantisations=dequantisations
    )
    seconds = time.perf_counter() - began
    given = {"run": run, "data": dataset.name, "split": split, "samples": samples, "seed": seed, "estimator": estimator}
    return Evaluation(
        **given,
        **_summarise(vae, estimator, found),
        dequantisations=dequantisations if bits_kind(vae) == DEQUANTISED else None,
        n=len(rows),
        seconds=seconds,
        model_sha256=model_digest(vae),
        data_sha256=rows_digest(rows, context),
        per_datum={"index": rows.index, "estimate": found.estimate, "monte_carlo_error": found.monte_carlo_error}
        | dict(found.diagnostics),
    )


def _summarise(vae: VAE, estimator: str, found: Evidence) -> dict[str, Any]:
    per_datum = found.diagnostics
    variance = per_datum["posterior_mean"].var(0, correction=0)
    always = {
        "quantity": "log p(x)" if vae.parts["context"].reads is None else "log p(x|c)",
        "units": _units(vae),
        "bits_per_dim_kind": bits_kind(vae),
        "reconstruction": per_datum["reconstruction"].mean().item(),
        "active_units": int((variance > ACTIVE_VARIANCE).sum()),
        "latent_dim": vae.latent_dim,
    }
    if estimator == "reconstruction":
        absent = ("elbo", "log_evidence", "bits_per_dim", "kl", "kl_per_dimension", "effective_sample_size", "untrusted")
        return always | dict.fromkeys(absent)
    is_importance = estimator == "importance"
    elbo = found
    if is_importance:
        elbo = Evidence(estimate=per_datum["elbo"], monte_carlo_error=per_datum["elbo_error"])
    kl = per_datum["kl_per_dimension"].mean(0)
    ess = per_datum["effective_sample_size"]
    return always | {
        "elbo": elbo.summary(),
        "log_evidence": found.summary() if is_importance else None,
        "bits_per_dim": -found.mean / vae.spec.size / math.log(2),
        "kl": per_datum["kl"].mean().item(),
        "kl_per_dimension": None if kl.isnan().any() else kl.tolist(),
        "effective_sample_size": {"mean": ess.mean().item(), "median": _median(ess), "minimum": ess.min().item()},
        "untrusted": int((ess < FEW_EFFECTIVE).sum()) if is_importance else None,
    }


def bits_kind(vae: VAE) -> str:
    """What a number of bits/dim is: ``exact``, a ``density``, or how it differs from the probability of the data."""
    return vae.transform.number_kind or ("density" if vae.spec.kind == "reals" else "exact")


def _units(vae: VAE) -> str:
    kind = bits_kind(vae)
    of = {"density": "log density in the units of the data", "exact": "log probability of the data"}.get(kind, kind)
    return f"nats per datum ({of}), higher is better"


def _median(values: Tensor) -> float:
    return torch.quantile(values, 0.5).item() if len(values) < 10**6 else values.median().item()


def _with_errors(number: dict[str, float | None]) -> str:
    over_data = "" if number["standard_error"] is None else f" +- {number['standard_error']:.3f}"
    noise = "" if number["monte_carlo_error"] is None else f"  [{number['monte_carlo_error']:.4f}]"
    return f"{number['mean']:.3f}{over_data}{noise}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
