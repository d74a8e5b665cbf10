"""Estimates of log p(x) and their diagnostics -> matplotlib figures, in the style of ``drawing``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from pyrovae.drawing.style import BLUE, GREY, RED, SMALL, TEXT, UNCLEAR, WIDTH, label

HIGHEST_KHAT = 1.5
"""Larger k-hats are drawn here."""


def bound_by_samples(
    samples: Sequence[int], bounds: Tensor, last_error: float, others: Mapping[str, float], quantity: str
) -> Figure:
    """The importance-weighted bound against the number of samples.

    Args:
        samples: Numbers of samples, rising.
        bounds: The bound of each datum at each, (N, rungs), in nats.
        last_error: Monte Carlo error of the mean at the last rung.
        others: Name -> mean log evidence of the same data by another estimator, drawn as a line.
        quantity: ``log p(x)`` or ``log p(x|c)``.
    """
    values = bounds.double().numpy()
    means = values.mean(0)
    # The errors are those of the difference from the last rung, so variation shared by all rungs does not hide the increase.
    errors = (values - values[:, -1:]).std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros_like(means)
    errors = np.hypot(errors, last_error)
    figure, axis = _single()
    axis.errorbar(samples, means, yerr=2 * errors, fmt="o-", color=BLUE, markersize=4, linewidth=1, capsize=3, label="importance")
    for (name, value), style in zip(others.items(), ("--", ":", "-."), strict=False):
        axis.axhline(value, color=RED, linewidth=1, linestyle=style, label=name)
    axis.set_xscale("log")
    axis.set_xticks(samples, [f"{count:,}" for count in samples])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize=TEXT, loc="lower right")
    axis.set_title(f"Bound on {quantity}, mean of {len(values):,} data", fontsize=TEXT + 1, loc="left")
    label(
        axis,
        "importance samples per datum",
        "nats per datum, ± 2 standard errors\n(paired with the last, and its Monte Carlo error)",
    )
    return figure


def khat_histogram(khat: Tensor, threshold: float, samples: int, limits: Sequence[float]) -> Figure:
    """Histogram of the Pareto k-hats, with the threshold for the shape and the limits between which the result is undecided.

    Args:
        khat: (N,).
        threshold: The largest shape that is reliable.
        samples: K.
        limits: See ``pareto.limits``.
    """
    values = khat.double().numpy()
    values = values[~np.isnan(values)]
    low = min(-0.5, float(values[np.isfinite(values)].min(initial=-0.5)))
    shown = np.clip(values, low, HIGHEST_KHAT)
    figure, axis = _single()
    edges = np.linspace(low, HIGHEST_KHAT, 41)
    drawn: Any = axis.hist(shown, edges.tolist(), color=BLUE)
    counts, _, bars = drawn
    centres = (edges[:-1] + edges[1:]) / 2
    for bar, centre in zip(bars, centres, strict=True):
        bar.set_color(BLUE if centre <= limits[0] else RED if centre > limits[1] else UNCLEAR)
    axis.axvline(threshold, color=GREY, linewidth=1)
    axis.axvspan(*limits, color=UNCLEAR, alpha=0.15, linewidth=0)
    axis.set_ylim(top=1.15 * max(counts.max(), 1))  # room above the bars for the label of the line
    axis.annotate(
        f" reliable below {threshold:.2f}", (threshold, 0.99), xycoords=("data", "axes fraction"), fontsize=SMALL, va="top"
    )
    kinds = {"small enough": BLUE, "cannot be told": UNCLEAR, "too large": RED}
    marks = [Patch(color=colour, label=name) for name, colour in kinds.items()]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    above, between = (values > limits[1]).mean(), ((values > limits[0]) & (values <= limits[1])).mean()
    axis.set_title(
        f"Pareto k-hat of {samples:,} weights a datum: {above:.1%} of {len(values):,} too large,\n{between:.1%} cannot be told",
        fontsize=TEXT + 1,
        loc="left",
    )
    label(axis, f"k-hat (beyond {HIGHEST_KHAT:g}: in the last bar); a mode that is never visited does not show", "data")
    return figure


def annealing(
    real: Mapping[int, tuple[float, float]],
    simulated: Mapping[int, tuple[tuple[float, float], tuple[float, float]]],
    importance: float | None,
) -> Figure:
    """Bounds against the number of temperatures: of the data by annealing, of simulated data from both sides.

    Args:
        real: Temperatures -> lower bound on the data's log evidence and its Monte Carlo error, nats per datum.
        simulated: Temperatures -> (lower, error), (upper, error) on that of simulated data.
        importance: Log evidence of the same real data by importance sampling; None without it.
    """
    panels = [name for name, values in (("real", real), ("simulated", simulated)) if values]
    figure = Figure(figsize=(WIDTH / 2 * max(len(panels), 1.4), 3.2), layout="constrained")
    axes = dict(zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True))
    if real:
        _bounds_line(axes["real"], real, BLUE, "annealing: lower bound")
        if importance is not None:
            axes["real"].axhline(importance, color=GREY, linewidth=1, linestyle="--", label="importance")
        axes["real"].set_title("The data", fontsize=TEXT + 1, loc="left")
    if simulated:
        _bounds_line(axes["simulated"], {t: lower for t, (lower, _) in simulated.items()}, BLUE, "lower bound")
        _bounds_line(axes["simulated"], {t: upper for t, (_, upper) in simulated.items()}, RED, "upper bound")
        axes["simulated"].set_title("Data simulated from the model", fontsize=TEXT + 1, loc="left")
    for axis in axes.values():
        axis.set_xscale("log")
        shown = sorted({*real, *simulated})
        axis.set_xticks(shown, [f"{count:,}" for count in shown])
        axis.minorticks_off()
        axis.legend(frameon=False, fontsize=TEXT)
        label(axis, "temperatures", "nats per datum, ± 2 Monte Carlo errors")
    return figure


def _single() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    return figure, figure.subplots()


def _bounds_line(axis: Axes, values: Mapping[int, tuple[float, float]], colour: str, name: str) -> None:
    counts = sorted(values)
    means, errors = np.array([values[count] for count in counts], dtype=float).T
    axis.errorbar(
        counts, means, yerr=2 * np.nan_to_num(errors), fmt="o-", color=colour, markersize=4, linewidth=1, capsize=3, label=name
    )
