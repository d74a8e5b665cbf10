"""One run of a comparison: its numbers, computed or read from an earlier evaluation, and their quantity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from pyrovae import runs
from pyrovae.data.dataset import VALUES, changed
from pyrovae.errors import UserError, check_integer, check_seed, option
from pyrovae.evidence import Importance
from pyrovae.evidence.digests import model_digest, rows_digest
from pyrovae.evidence.importance.proposals import choose_proposal
from pyrovae.evidence.importance.recorded import judged
from pyrovae.evidence.reports.data_evaluation import DataEvaluation, read_evaluation
from pyrovae.evidence.task import Task
from pyrovae.likelihoods import default_preprocess
from pyrovae.parts import defaults, describe, make, needed_by
from pyrovae.preprocess.binarise import BINARISED
from pyrovae.preprocess.dequantise import DEQUANTISED
from pyrovae.runs.opening import DataLike, open_run
from pyrovae.runs.records import Keeper, read_records
from pyrovae.vae import VAE

ESTIMATOR = "importance"
SHOWN_ROLES = ("likelihood", "prior", "posterior", "context", "network", "preprocess", "objective")


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every run of a comparison is evaluated.

    Args:
        samples: Samples of z per datum.
        split: train, valid, test or all.
        limit: At most that many data, a seeded random subset; None for all.
        seed: Of the noise and of the subset.
        dequantisations: Draws of the uniform noise per datum where levels are dequantised.

    Raises:
        UserError: If one is out of range.
    """

    samples: int = 500
    split: str = "test"
    limit: int | None = None
    seed: int = 0
    dequantisations: int = 4

    def __post_init__(self) -> None:
        for name in ("samples", "dequantisations", "limit"):
            if name != "limit" or self.limit is not None:
                object.__setattr__(self, name, check_integer(name, getattr(self, name), 1))
        object.__setattr__(self, "seed", check_seed("seed", self.seed))


@final
@dataclass(frozen=True, kw_only=True)
class Quantity:
    """The quantity of a number; only equal quantities are ranked together.

    Args:
        symbol: ``log p(x)``, or ``log p(x|c)``.
        kind: ``probability``, ``density`` or ``bits``.
        detail: What c is, and how bits were made; empty where there is neither.
    """

    symbol: str
    kind: str
    detail: str


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run and its numbers.

    Args:
        folder: The run.
        parts: Role -> its part as text.
        latent_dim: Number of latents.
        seed: Of the training.
        evaluation: By importance sampling, with its arrays.
        quantity: What its numbers are.
        is_bound: Whether they are a lower bound by dequantisation.
        size: Elements of a datum.
        parameters: Number of trained parameters.
        epochs: Epochs of training.
        seconds: Of training; None where no epoch is recorded.
        on_its_own: Whether the data are those that it was trained on.
    """

    folder: Path
    parts: Mapping[str, str]
    latent_dim: int
    seed: int
    evaluation: DataEvaluation
    quantity: Quantity
    is_bound: bool
    size: int
    parameters: int
    epochs: int
    seconds: float | None
    on_its_own: bool = True


def read_entry(
    folder: Path,
    settings: Settings,
    device: str = "auto",
    data_root: str | Path | None = None,
    data: DataLike | None = None,
    progress: bool = True,
) -> Entry:
    """The numbers of a run; unless they exist already, they are computed and written into its ``evidence/``.

    Args:
        folder: The run.
        settings: How it is evaluated.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.
        data: Other data than the run's; None for those.
        progress: Show a progress bar where stderr is a terminal.

    Raises:
        UserError: If the run or its data are missing, damaged or changed, or the model has no evidence.
    """
    opened = open_run(folder, data, data_root, device)
    evaluation = _recorded(folder, opened.vae, opened.dataset, settings)
    if evaluation is None:
        estimator = Importance(samples=settings.samples, dequantisations=settings.dequantisations)
        of_data: dict[str, Any] = {"split": settings.split, "limit": settings.limit, "seed": settings.seed}
        evaluation = Task(vae=opened.vae, dataset=opened.dataset, run=str(folder), progress=progress, **of_data).measured(
            estimator
        )
        Keeper(folder).write(evaluation)
    history = runs.read_metrics(folder)
    config = opened.config
    return Entry(
        folder=folder,
        parts={role: choice_in_words(role, config[role]) for role in SHOWN_ROLES},
        latent_dim=opened.vae.latent_dim,
        seed=config["seed"],
        evaluation=evaluation,
        quantity=_quantity(opened.vae, evaluation),
        is_bound=evaluation.bits_per_dim_kind == DEQUANTISED,
        size=opened.vae.spec.size,
        parameters=sum(p.numel() for p in opened.vae.parameters() if p.requires_grad),
        epochs=len(history),
        seconds=history[-1]["seconds"] if history else None,
        on_its_own=not changed(config["run"].get("data") or {}, opened.dataset.record(), VALUES),
    )


def _recorded(folder: Path, vae: VAE, dataset: Any, settings: Settings) -> DataEvaluation | None:
    """An earlier evaluation of the same model on the same data with the same settings, or None."""
    rows = dataset.split(settings.split)
    if settings.limit is not None:
        rows = rows.subset(settings.limit, settings.seed)
    reads = vae.parts["context"].reads
    proposal = choose_proposal("auto", vae)
    wanted = {
        "estimator": ESTIMATOR,
        "split": dataset.reported(settings.split),
        "samples": settings.samples,
        "seed": settings.seed,
        "dequantisations": settings.dequantisations if vae.bits_kind == DEQUANTISED else None,
        "model_sha256": model_digest(vae),
        "data_sha256": rows_digest(rows, None if reads is None else getattr(rows, reads)),
        "options": {} if proposal == "guide" else {"proposal": proposal},
    }
    for found, per_datum in read_records(folder, ESTIMATOR):
        if any(found.get(key) != value for key, value in wanted.items()):
            continue
        try:
            evaluation = judged(read_evaluation(found, per_datum))
            same_rows = torch.equal(per_datum["index"], rows.index)
            # The two files are written one after the other: a crash between them leaves arrays of another evaluation.
            mean, recorded = per_datum["estimate"].mean().item(), found["log_evidence"]["mean"]
            belong = not math.isfinite(mean) if recorded is None else math.isclose(mean, recorded, rel_tol=1e-12)
        except (ValueError, KeyError, TypeError, AttributeError):
            # A file that is damaged or from an older version is recomputed.
            continue
        if same_rows and belong and "elbo" in per_datum:
            return evaluation
    return None


def _quantity(vae: VAE, evaluation: DataEvaluation) -> Quantity:
    kind = {BINARISED: "bits", "density": "density"}.get(evaluation.bits_per_dim_kind, "probability")
    details = []
    if vae.parts["context"].reads is not None:
        chosen = describe("context", vae.parts["context"]).get("attributes")
        details.append("c = " + ", ".join(label.name for label in vae.spec.labels if chosen is None or label.name in chosen))
    if kind == "bits":
        details.append(choice_in_words("preprocess", describe("preprocess", _preprocess(vae))))
    return Quantity(symbol=evaluation.quantity, kind=kind, detail="; ".join(details))


def _preprocess(vae: VAE) -> Any:
    """The preprocessing, ``auto`` resolved."""
    choice = vae.preprocess_choice
    return make("preprocess", default_preprocess(vae.parts["likelihood"], vae.spec)) if choice == "auto" else choice


def choice_in_words(role: str, described: str | Mapping[str, Any]) -> str:
    """A part as text: its name and those of its options that are not the defaults of the role.

    Args:
        role: Such as likelihood.
        described: What ``parts.describe`` returned, or ``auto``.

    Example:
        >>> choice_in_words("likelihood", {"name": "normal", "scale": 0.1})
        'normal scale=0.1'
    """
    if isinstance(described, str):
        return described
    usual = defaults(role, described["name"])
    changed = {k: v for k, v in described.items() if k != "name" and _plain(v) != _plain(usual.get(k))}
    return " ".join([described["name"], *(f"{k}={_plain(v)}" for k, v in changed.items())])


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_evidence(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a plain autoencoder.

    Raises:
        UserError: If the posterior of the run is a point.
    """
    with needed_by(folder):
        posterior = make("posterior", config["posterior"])
    if not posterior.has_density:
        raise UserError(
            None,
            folder,
            f"a plain autoencoder ({option('posterior', config['posterior']['name'])}) has neither ELBO nor evidence to be "
            "compared by",
            "leave it out",
        )
