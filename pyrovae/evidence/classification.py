"""The class posterior of a conditional model by Bayes' rule, and its scores."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from pyrovae.data import Dataset, Split
from pyrovae.errors import UserError, check_integer, command, option
from pyrovae.evidence.importance.importance import FEW_EFFECTIVE, Importance
from pyrovae.evidence.prepared import prepare_data
from pyrovae.evidence.reports.numbers import Number, precision_notes
from pyrovae.evidence.reports.report import Line, Report
from pyrovae.vae import VAE

BINS = 15


@final
@dataclass(frozen=True, kw_only=True)
class Classification(Report):
    """The result of ``classify``: p(c|x) = p(x|c) p(c) / sum_c' p(x|c') p(c'), with log p(x|c) by importance sampling.

    Args:
        run: The run folder; None for a model in memory.
        data: Name or path of the data.
        split: Which of them.
        n: Number of data.
        samples: Samples of z per datum and class.
        seed: Of the noise, which is the same for every class, and of the subset.
        quantity: The quantity scored: ``p(c|x)``, computed from ``log p(x|c)``.
        classes: Names of the contexts c.
        frequencies: p(c), the share of each class in the training data.
        accuracy: Share of data for which the class with the largest p(c|x) is the true one, and its ``standard_error``.
        log_score: Mean of log p(true c|x) in nats, higher is better, and its ``standard_error``; the mean is -inf (null
            in JSON) if a true combination of labels occurs in no training datum.
        calibration_error: sum_m n_m/n |accuracy_m - confidence_m| over the bins (Guo, Pleiss, Sun and Weinberger, 2017, On
            Calibration of Modern Neural Networks), lower is better.
        bins: 15 equal intervals (low, high] of the confidence, which is the largest p(c|x) of a datum: ``low``, ``high``,
            ``confidence`` and ``accuracy`` (means over the bin's data; None without data), ``count``.
        untrusted: Data for which log p(x|c) of the true or of the chosen class has fewer than 10 effective samples.
        precision: How exactly the products were computed, see ``precision.Precision``.
        seconds: Wall clock.
        per_datum: Arrays by name: ``log_posterior`` (n, C), log p(c|x); ``log_evidence`` (n, C), log p(x|c), NaN where p(c) is 0;
            ``effective_sample_size`` (n, C), likewise; ``true`` (n,), the number of the true class; ``index`` (n,), the row in
            the data set.
    """

    ASKED: ClassVar = ("data", "split", "n", "samples", "seed", "classes")

    run: str | None
    data: str
    split: str
    n: int
    samples: int
    seed: int
    quantity: str
    classes: list[str]
    frequencies: list[float]
    accuracy: Number
    log_score: Number
    calibration_error: float
    bins: list[dict[str, float | int | None]]
    untrusted: int
    precision: dict[str, Any]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """The fields except ``per_datum``; each score as its mean and standard error."""
        scores = {name: getattr(self, name) for name in ("accuracy", "log_score")}
        return {
            **super().summary(),
            **{name: {"mean": score.mean, "standard_error": score.standard_error} for name, score in scores.items()},
        }

    def lines(self) -> list[Line]:
        """The scores, then the remarks on them."""
        lines = [
            ("data", f"{self.data}, {self.split}, {self.n} data, {len(self.classes)} classes"),
            ("estimator", f"log p(x|c) by importance, {self.samples} samples per datum and class, seed {self.seed}"),
            ("accuracy", _with_error(self.accuracy, 4)),
            ("log score", f"{_with_error(self.log_score, 3)}  log p(c|x) of the true c, nats per datum, higher is better"),
            ("calibration error", f"{self.calibration_error:.4f}  expected, {BINS} bins, lower is better"),
        ]
        if self.log_score.mean == -math.inf:
            lines.append(("", "some data have a combination of labels that no training datum has: p(c) is 0 there"))
        lines += [("", note) for note in precision_notes(self.precision)]
        if self.untrusted:
            few = f"{self.untrusted} of {self.n} data have fewer than {FEW_EFFECTIVE:g} effective samples"
            lines.append(("NOT TO BE TRUSTED", f"{few} for the true or the chosen class; try more {option('samples')}"))
        return lines


def classify_split(
    vae: VAE,
    dataset: Dataset,
    trained: Tensor | None,
    *,
    samples: int = 100,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    run: str | None = None,
) -> Classification:
    """Compute the class posterior of a split of data, and its scores.

    Data that are binarised or dequantised get one draw of that noise per datum, the same for every class.

    Args:
        vae: A conditional model, on the device to use.
        dataset: Labelled data of the kind that it was trained on.
        trained: Contexts of the training data, whose frequencies are p(c): (M,) or (M, A).
        samples: Samples of z per datum and class.
        split: ``train``, ``valid``, ``test`` or ``all``.
        limit: At most that many data, a seeded random subset.
        seed: Of the noise and of the subset.
        run: Name to report.

    Raises:
        UserError: If an argument is out of range, the model has no context or no density, or the data do not fit it.
    """
    check_integer("samples", samples, 1)
    classes = vae.context_module.each()
    if not classes:
        raise UserError(
            None,
            run or "the VAE",
            "has no context, so there is no log p(x|c) to compare",
            f"{command('train', context='label')} makes one",
        )
    if not vae.parts["posterior"].has_density:
        raise UserError(
            None,
            run or "the VAE",
            "the posterior delta is a point without a density, so there is no log p(x|c)",
            f"train with another {option('posterior')}",
        )
    if trained is None:
        raise UserError(None, run or "the VAE", "the labels of its training data are unknown, and so is p(c)")
    if dataset.y is None:
        raise UserError(None, dataset.name, "has no labels to compare with", f"give labelled data with {option('data')}")
    prepared = prepare_data(vae, dataset, split, limit=limit, seed=seed)
    rows, contexts = prepared.rows, list(classes.values())
    assert prepared.c is not None  # what has classes reads labels
    frequencies = torch.bincount(_number(trained, contexts), minlength=len(contexts)).double() / len(trained)
    began = time.perf_counter()
    with prepared.guarded() as guarded:
        found = guarded.measure(lambda model, chosen: _evidence(model, rows, chosen, contexts, frequencies > 0, samples, seed))
    log_evidence, ess = found["log_evidence"], found["effective_sample_size"]
    log_posterior = _posterior(log_evidence, frequencies)
    true = _number(prepared.c, contexts)
    seconds = time.perf_counter() - began
    return Classification(
        run=run,
        data=prepared.name,
        split=prepared.split,
        n=len(prepared),
        samples=samples,
        seed=seed,
        quantity="p(c|x) from log p(x|c)",
        classes=list(classes),
        frequencies=frequencies.tolist(),
        **scores(log_posterior, true),
        untrusted=_untrusted(ess, log_posterior.argmax(-1), true),
        precision=guarded.precision.summary(),
        seconds=seconds,
        per_datum={
            "log_posterior": log_posterior,
            "log_evidence": log_evidence,
            "effective_sample_size": ess,
            "true": true,
            "index": rows.index,
        },
    )


def scores(log_posterior: Tensor, true: Tensor) -> dict[str, Any]:
    """Accuracy, log score, expected calibration error and its bins.

    Args:
        log_posterior: log p(c|x), (N, C).
        true: Number of the true class, (N,).

    Example:
        >>> found = scores(torch.tensor([[0.9, 0.1], [0.7, 0.3]]).log(), torch.tensor([0, 1]))
        >>> found["accuracy"].mean, round(found["calibration_error"], 6)
        (0.5, 0.4)
    """
    confidence, chosen = log_posterior.exp().max(-1)
    right = (chosen == true).to(log_posterior)
    log_true = log_posterior.gather(-1, true.unsqueeze(-1)).squeeze(-1)
    place = (torch.ceil(confidence * BINS).long() - 1).clamp(0, BINS - 1)
    bins: list[dict[str, float | int | None]] = []
    error = 0.0
    for number in range(BINS):
        here = place == number
        count = int(here.sum())
        sure = confidence[here].mean().item() if count else None
        hit = right[here].mean().item() if count else None
        if sure is not None and hit is not None:
            error += count / len(true) * abs(hit - sure)
        bins.append(
            {"low": number / BINS, "high": (number + 1) / BINS, "confidence": sure, "accuracy": hit, "count": count},
        )
    return {"accuracy": _mean(right), "log_score": _mean(log_true), "calibration_error": error, "bins": bins}


def _number(c: Tensor, contexts: list[Tensor]) -> Tensor:
    """The number of the context of each datum, (N,); columns in which the contexts do not differ are not compared."""
    every = torch.stack(contexts).cpu().reshape(len(contexts), -1)
    columns = (every != every[0]).any(0)
    given = c.cpu().reshape(len(c), -1)
    return (given[:, None, columns] == every[None, :, columns]).all(-1).int().argmax(-1)


def _evidence(
    vae: VAE, rows: Split, chosen: Tensor, contexts: list[Tensor], possible: Tensor, samples: int, seed: int
) -> dict[str, Tensor]:
    """log p(x|c) and effective sample sizes of the chosen rows, (n, C) each, with the same noise for every context."""
    estimator = Importance(samples=samples, dequantisations=1)
    log_evidence, ess = torch.full((2, len(chosen), len(contexts)), math.nan, dtype=torch.float64)
    for number in possible.nonzero().squeeze(-1).tolist():
        c = contexts[number].expand(len(chosen), *contexts[number].shape)
        found = estimator.measure(vae, rows.x[chosen], c, seed=seed, index=rows.index[chosen])
        log_evidence[:, number] = found.estimate
        ess[:, number] = found.diagnostics["effective_sample_size"]
    return {"log_evidence": log_evidence, "effective_sample_size": ess}


def _posterior(log_evidence: Tensor, frequencies: Tensor) -> Tensor:
    """log p(c|x), (N, C); if every class has zero weight, which leaves the data without information, p(c)."""
    possible = frequencies > 0
    log_joint = torch.where(possible, log_evidence + frequencies.log(), -math.inf)
    known = (log_joint > -math.inf).any(-1, keepdim=True)
    return torch.log_softmax(torch.where(known, log_joint, frequencies.log()), -1)


def _untrusted(ess: Tensor, chosen: Tensor, true: Tensor) -> int:
    chosen_and_true = torch.stack([chosen, true], -1)
    return int((ess.gather(-1, chosen_and_true) < FEW_EFFECTIVE).any(-1).sum())


def _mean(values: Tensor) -> Number:
    error = (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else math.nan
    return Number(values.mean().item(), error if math.isfinite(error) else None)


def _with_error(number: Number, digits: int) -> str:
    error = "" if number.standard_error is None else f" +- {number.standard_error:.{digits}f}"
    return f"{number.mean:.{digits}f}{error}"
