"""The figures that are drawn from the evaluations of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyrovae.data import Split
from pyrovae.drawing import evidence_plots
from pyrovae.drawing.choice import portrait_of
from pyrovae.errors import NOT_GIVEN, UserError, command, option, suggest
from pyrovae.evidence.digests import model_digest, rows_digest
from pyrovae.evidence.importance.pareto import limits
from pyrovae.runs.opening import Opened, context_of
from pyrovae.runs.records import read_records

LOWEST = 20

OTHERS = ("annealed", "exact")
"""Estimators with which importance sampling is compared in a figure."""

Record = tuple[dict[str, Any], dict[str, Tensor]]


@final
@dataclass(frozen=True)
class _Evaluations:
    """A run, and the evaluations of the model as it is now.

    Args:
        opened: The run with its data.
        records: By estimator.
    """

    opened: Opened
    records: dict[str, list[Record]] = field(default_factory=dict)

    def widest(self, has: str = "log_evidence") -> Record | None:
        """The importance sampling record from the guide with this number, on the most data, then most samples; or None."""
        found = [record for record in self.records["importance"] if "elbo" in record[1] and record[0][has] is not None]
        return max(found, key=lambda record: (record[0]["n"], record[0]["samples"]), default=None)

    def on_same_data(self, estimator: str, record: Record) -> list[Record]:
        """Evaluations by another estimator of the same data."""
        return [other for other in self.records[estimator] if other[0]["data_sha256"] == record[0]["data_sha256"]]


def evidence_pictures(opened: Opened, only: Sequence[str] | None = None) -> dict[str, Figure]:
    """Every figure of the evaluations of a run by name; evaluations of weights that have since changed are left out.

    Args:
        opened: The run with its data.
        only: Names of the figures wanted; None for all that have an evaluation.

    Raises:
        UserError: If there is no evaluation to draw, or a name is unknown, with the command that makes one.
    """
    if not opened.vae.parts["posterior"].has_density:
        raise UserError(
            "evidence",
            NOT_GIVEN,
            f"{opened.folder} is a plain autoencoder, which has no evidence to draw",
            f"leave {option('evidence')} out",
        )
    digest = model_digest(opened.vae)
    records = {
        name: [record for record in read_records(opened.home, name) if record[0].get("model_sha256") == digest]
        for name in ("importance", "bdmc", *OTHERS)
    }
    evaluations = _Evaluations(opened, records)
    for wanted in only or ():
        if wanted not in EVIDENCE_FIGURES:
            raise UserError("only", wanted, "unknown", suggest(wanted, EVIDENCE_FIGURES))
    drawn = {name: draw(evaluations) for name, draw in EVIDENCE_FIGURES.items() if only is None or name in only}
    missing = [name for name, figure in drawn.items() if figure is None]
    if len(missing) == len(drawn) or (only is not None and missing):
        commands = dict.fromkeys(command("evaluate", opened.home, **NEEDS[name]) for name in missing)
        raise UserError(
            "evidence",
            NOT_GIVEN,
            f"{opened.folder} has no evaluation of its present weights to draw",
            f"make one with {' or '.join(commands)}",
        )
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _bound(evaluations: _Evaluations) -> Figure | None:
    record = evaluations.widest()
    if record is None:
        return None
    summary, arrays = record
    others = {}
    for estimator in OTHERS:
        for other, _ in evaluations.on_same_data(estimator, record):
            at = f", {other['options']['temperatures']:,} temperatures" if estimator == "annealed" else ""
            others[f"{estimator}{at}"] = other["log_evidence"]["mean"]
    rungs = [bound["samples"] for bound in summary["bounds"]]
    finite = {name: value for name, value in others.items() if value is not None}
    last = summary["log_evidence"]["monte_carlo_error"]
    return evidence_plots.bound_by_samples(rungs, arrays["bound"], last or 0.0, finite, summary["quantity"])


def _khat(evaluations: _Evaluations) -> Figure | None:
    record = evaluations.widest("khat")
    if record is None:
        return None
    summary, arrays = record
    # A file of an older version has no limits: they are those of a single k-hat.
    between = summary["khat"].get("limits") or limits(summary["samples"])
    return evidence_plots.khat_histogram(arrays["khat"], summary["khat"]["threshold"], summary["samples"], between)


def _annealing(evaluations: _Evaluations) -> Figure | None:
    of_data, of_simulated = (_comparable(evaluations.records[name]) for name in ("annealed", "bdmc"))
    real = {summary["options"]["temperatures"]: _line(summary["log_evidence"]) for summary, _ in of_data}
    simulated = {
        summary["options"]["temperatures"]: (_line(summary["lower"]), _line(summary["upper"])) for summary, _ in of_simulated
    }
    if not real and not simulated:
        return None
    importance = evaluations.on_same_data("importance", of_data[0]) if of_data else []
    best = max(importance, key=lambda record: record[0]["samples"], default=None)
    return evidence_plots.annealing(real, simulated, None if best is None else best[0]["log_evidence"]["mean"])


def _comparable(records: Sequence[Record]) -> list[Record]:
    """The largest group of records, on the most data, that differ only in the number of temperatures."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        summary = record[0]
        asked = {
            **summary["options"],
            "temperatures": None,
            "seed": summary["seed"],
            "of": summary.get("data_sha256", summary["n"]),
        }
        groups.setdefault(json.dumps(asked, sort_keys=True), []).append(record)
    return max(groups.values(), key=lambda group: (len(group), group[0][0]["n"]), default=[])


def _line(number: dict[str, float | None]) -> tuple[float, float]:
    mean, error = (number[name] for name in ("mean", "monte_carlo_error"))
    return math.nan if mean is None else mean, math.nan if error is None else error


def _lowest(evaluations: _Evaluations) -> Figure | None:
    record = evaluations.widest()
    if record is None:
        return None
    summary, arrays = record
    dataset, index = evaluations.opened.dataset, arrays["index"]
    if index.max() >= len(dataset.x):
        return None
    y = None if dataset.y is None else dataset.y[index]
    rows = Split(dataset.x[index], y, index)
    reads = evaluations.opened.vae.parts["context"].reads
    if rows_digest(rows, None if reads is None else getattr(rows, reads)) != summary["data_sha256"]:
        return None  # an evaluation of other data, which are not available here
    vae, order = evaluations.opened.vae, torch.argsort(arrays["estimate"])[:LOWEST]
    names = [f"{arrays['estimate'][i]:.1f}\n#{index[i]}" for i in order.tolist()]
    c = context_of(vae, rows)
    if c is not None:
        names = [f"{name}\nc = {given}" for name, given in zip(names, vae.context_module.named(c[order]), strict=True)]
    title = f"The data with the lowest {summary['quantity']} (nats; # row in the data set)"
    # The data as they were given, which a model of bits binarises.
    spec = vae.spec
    return portrait_of(spec, None if spec.levels is None else (0.0, spec.levels - 1.0)).lowest(rows.x[order], names, title)


EVIDENCE_FIGURES: dict[str, Callable[[_Evaluations], Figure | None]] = {
    "evidence_bound": _bound,
    "evidence_khat": _khat,
    "evidence_annealing": _annealing,
    "evidence_lowest": _lowest,
}

NEEDS: dict[str, dict[str, object]] = {
    "evidence_bound": {"estimator": {"name": "auto", "samples": 5000}},
    "evidence_khat": {"estimator": {"name": "auto", "samples": 5000}},
    "evidence_annealing": {"estimator": "bdmc"},
    "evidence_lowest": {"estimator": {"name": "auto", "samples": 5000}},
}
"""Which options of ``evaluate`` make what a figure shows."""
