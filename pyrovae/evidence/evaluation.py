"""A model on a split of data -> the numbers that are reported, with their errors."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.contracts import Evidence
from pyrovae.data import Dataset
from pyrovae.errors import UserError, check_integer, check_seed, suggest
from pyrovae.evidence.estimators import ESTIMATORS
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
        estimator: ``elbo`` or ``importance``.
        units: What the numbers below are measured in.
        elbo: ``mean``, ``standard_error`` (of the mean over data) and ``monte_carlo_error`` (of the estimator).
        log_evidence: Likewise, log p(x) by importance sampling; None for the estimator ``elbo``.
        bits_per_dim: -(log evidence, or else ELBO) / (elements log 2), lower is better.
        bits_per_dim_kind: ``exact``, ``density`` (of reals: in their units), ``dequantisation bound`` or ``binarised``.
        reconstruction: E_q[log p(x|z)], mean over data.
        kl: E_q[log q(z|x) - log p(z)], mean over data; elbo = reconstruction - kl.
        kl_per_dimension: Its parts, in order of the latents; None where q or p does not factorise.
        active_units: Latents whose posterior mean has a variance over data above 0.01 (Burda et al., 2016).
        latent_dim: Number of latents.
        effective_sample_size: ``mean``, ``median``, ``minimum`` over data of (sum w)^2 / sum w^2.
        untrusted: Data with fewer than 10 effective samples; their log evidence and its error are not to be relied on.
        seconds: Wall clock of the estimation.
    """

    run: str | None
    data: str
    split: str
    n: int
    samples: int
    seed: int
    estimator: str
    units: str
    elbo: dict[str, float | None]
    log_evidence: dict[str, float | None] | None
    bits_per_dim: float
    bits_per_dim_kind: str
    reconstruction: float
    kl: float
    kl_per_dimension: list[float] | None
    active_units: int
    latent_dim: int
    effective_sample_size: dict[str, float]
    untrusted: int | None
    seconds: float

    def to_json(self) -> str:
        """The fields as JSON; a number that is not finite becomes null."""
        return json.dumps(_finite(asdict(self)), indent=2) + "\n"

    def table(self) -> str:
        """The numbers for a terminal."""
        rows = [
            ("data", f"{self.data}, {self.split}, {self.n} data"),
            ("estimator", f"{self.estimator}, {self.samples} samples a datum, seed {self.seed}"),
            ("ELBO", _with_errors(self.elbo)),
        ]
        if self.log_evidence is not None:
            rows.append(("log evidence", _with_errors(self.log_evidence)))
        rows += [
            ("bits/dim", f"{self.bits_per_dim:.4f}  ({self.bits_per_dim_kind})"),
            ("reconstruction", f"{self.reconstruction:.3f}"),
            ("KL", f"{self.kl:.3f}, {self.active_units} of {self.latent_dim} units active"),
        ]
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
    run: str | None = None,
) -> Evaluation:
    """Estimate ELBO and evidence of a split of data.

    Args:
        vae: The model, on the device to use.
        dataset: Data of the kind that it was trained on.
        estimator: ``elbo`` or ``importance``.
        samples: Samples of z a datum.
        split: ``train``, ``valid``, ``test`` or ``all``.
        limit: At most that many data, a seeded random subset.
        seed: Of the noise, of binarisation or dequantisation, and of the subset.
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
    found = ESTIMATORS[estimator](vae, rows.x, context, samples=samples, seed=seed, index=rows.index)
    seconds = time.perf_counter() - began
    given = {"run": run, "data": dataset.name, "split": split, "samples": samples, "seed": seed, "estimator": estimator}
    return Evaluation(**given, **_summarise(vae, estimator, found), n=len(rows), seconds=seconds)


def _summarise(vae: VAE, estimator: str, found: Evidence) -> dict[str, Any]:
    per_datum = found.diagnostics
    is_importance = estimator == "importance"
    elbo = found
    if is_importance:
        elbo = Evidence(estimate=per_datum["elbo"], monte_carlo_error=per_datum["elbo_error"])
    kl = per_datum["kl_per_dimension"].mean(0)
    ess = per_datum["effective_sample_size"]
    variance = per_datum["posterior_mean"].var(0, correction=0)
    return {
        "units": _units(vae),
        "elbo": elbo.summary(),
        "log_evidence": found.summary() if is_importance else None,
        "bits_per_dim": -found.mean / vae.spec.size / math.log(2),
        "bits_per_dim_kind": bits_kind(vae),
        "reconstruction": per_datum["reconstruction"].mean().item(),
        "kl": per_datum["kl"].mean().item(),
        "kl_per_dimension": None if kl.isnan().any() else kl.tolist(),
        "active_units": int((variance > ACTIVE_VARIANCE).sum()),
        "latent_dim": vae.latent_dim,
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
