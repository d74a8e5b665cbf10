"""Numbers of a run -> figures: the data in the latent space, the course of the training, the calibration of p(c|x)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

from pyrovae.drawing.style import (
    BLUE,
    GREY,
    LIGHT,
    RED,
    SMALL,
    TEXT,
    class_colour,
    class_marker,
    label,
    shortened,
    whole_numbers,
)

SIDE = 5.0
"""Inches of a square chart."""

FLATTEST = 0.45
"""Smallest height of a latent map, as a fraction of its width."""

FEW = 500
"""Fewer points than this are drawn larger."""

FEW_EPOCHS = 30
"""With fewer epochs than this, each has a marker."""

MOST_NAMED = 60
"""With more classes than this there is no legend."""

FAR = 20
"""The axis is logarithmic if the largest count exceeds the smallest by more than this factor."""

CONFIDENCE = 0.95
"""Confidence level of the intervals in the calibration figure."""


def latent_scatter(
    latents: Tensor, labels: Tensor | None, class_names: Sequence[str], data_name: str, label_name: str = "class"
) -> Figure:
    """Posterior means (N, D) in the plane, one unit as long in x as in y: their two principal axes if D > 2.

    With one latent, each class has a row of its own.

    Args:
        latents: Shape (N, D).
        labels: Codes of their classes (N,); None without labels.
        class_names: Names of the codes 0, 1, ...
        data_name: Name of the data, such as "test data".
        label_name: Name of the label that the codes stand for.
    """
    values = latents.double().numpy()
    codes = None if labels is None else labels.numpy()
    present = [] if codes is None else np.unique(codes).tolist()
    names = {code: class_names[code] if code < len(class_names) else str(code) for code in present}
    figure = Figure(figsize=(SIDE + 0.8, SIDE), layout="constrained")
    axis = figure.add_subplot()
    if values.shape[1] == 1:
        places = np.zeros(len(values)) if codes is None else np.searchsorted(present, codes).astype(float)
        # So that data of one class do not cover each other; the height within a row means nothing.
        points = np.stack([values[:, 0], places + np.random.default_rng(0).uniform(-0.3, 0.3, len(values))], 1)
        label(axis, "$z_1$", "" if codes is None else label_name)
        axis.set_yticks(range(len(present)), [shortened(names[code], 16) for code in present])
        axis.set_ylim(max(len(present), 1) - 0.4, -0.6)
        if codes is None:
            figure.set_figheight(SIDE / 2)
    else:
        points, titles = _plane(values)
        label(axis, *titles)
        axis.set_aspect("equal", adjustable="datalim")
        wide, tall = np.maximum(np.ptp(points, axis=0), 1e-12)
        figure.set_figheight(SIDE * min(max(tall / wide, FLATTEST), 1.2))
    size = 20 if len(values) < FEW else 6
    if codes is None:
        axis.scatter(points[:, 0], points[:, 1], s=size, color=BLUE, alpha=0.6, linewidths=0)
    # Drawn class by class, the last class would cover the others, so slices of each class are drawn in a mixed order.
    order = np.random.default_rng(1).permutation(len(values))
    for piece in np.array_split(order, 8):
        if codes is None:
            break
        for code in np.unique(codes[piece]).tolist():
            here = piece[codes[piece] == code]
            axis.scatter(
                points[here, 0], points[here, 1], s=size, color=class_colour(code), marker=class_marker(code), alpha=0.85,
                linewidths=0,
            )  # fmt: skip
    if values.shape[1] > 1 and 0 < len(present) <= MOST_NAMED:
        marks = [
            axis.scatter([], [], s=40, color=class_colour(code), marker=class_marker(code), label=shortened(names[code], 16))
            for code in present
        ]
        figure.legend(
            handles=marks, fontsize=SMALL, frameon=False, loc="outside right upper", title=label_name, title_fontsize=SMALL,
            ncols=math.ceil(len(present) / 20),
        )  # fmt: skip
    axis.set_title(f"Posterior means of {len(values):,} {data_name}", fontsize=TEXT + 1, loc="left")
    return figure


def _plane(values: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """Points (N, 2) and what their coordinates are."""
    if values.shape[1] == 2:
        return values, ("$z_1$", "$z_2$")
    centred = values - values.mean(0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    share = spread**2 / np.maximum((spread**2).sum(), 1e-300)
    first, second = (f"principal axis {i + 1} ({share[i]:.0%} of the variance)" for i in range(2))
    return centred @ axes[:2].T, (first, second)


def learning_curves(history: Sequence[Mapping[str, float]], log_det: float) -> Figure:
    """Training and validation in one panel by epoch, in nats per datum of the data as given: higher is better.

    The training curve is minus the loss plus the log determinant of the preprocessing, so that both are of the same data; it is
    no ELBO where the objective is another bound or the KL term has a weight. The epoch of the best validation score is marked.

    Args:
        history: The rows of metrics.csv.
        log_det: log |dy/dx| of the preprocessing y(x), which is the same for all data.
    """
    epochs = [row["epoch"] for row in history]
    # A plain autoencoder has no ELBO; runs of older versions have no column of reconstructions.
    scores = {"valid_elbo": "ELBO", "valid_reconstruction": "reconstruction"}
    score = next((name for name in scores if not all(math.isnan(row.get(name, math.nan)) for row in history)), None)
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axis = figure.add_subplot()
    style: dict[str, Any] = {"marker": "o" if len(epochs) < FEW_EPOCHS else None, "markersize": 3, "linewidth": 1.4}
    trained = [log_det - row["loss"] for row in history]
    axis.plot(epochs, trained, color=RED, linestyle="--", label="training: minus the loss", **style)
    if score is not None:
        valid = [row.get(score, math.nan) for row in history]
        best = int(np.nanargmax(valid))
        axis.plot(epochs, valid, color=BLUE, label=f"validation {scores[score]}", **style)
        axis.axvline(epochs[best], color=LIGHT, linewidth=1, linestyle=":")
        name = f"best: {valid[best]:.2f} nats, epoch {epochs[best]:.0f}"
        axis.plot(epochs[best], valid[best], "*", color=BLUE, markersize=12, markeredgecolor="white", zorder=4, label=name)
    axis.legend(fontsize=SMALL, frameon=False, loc="lower right")
    axis.set_title("Learning curves" if score is not None else "Learning curve", fontsize=TEXT + 1, loc="left")
    axis.margins(x=0.02)
    whole_numbers(axis)
    label(axis, "epoch", "nats per datum (higher is better)")
    return figure


def calibration(bins: Sequence[Mapping[str, float | int | None]], error: float) -> Figure:
    """A reliability diagram: accuracy by confidence, on the diagonal where they agree, above the number of data.

    The error bars are 95% Wilson intervals of a binomial proportion, with k of the n data in the bin right, p = k/n and z = 1.96:
    (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n). Unlike p +- 2 standard errors, they have nonzero width even if
    all of the data are right.

    Source: Wilson (1927), Probable Inference, the Law of Succession, and Statistical Inference.

    Args:
        bins: Intervals of the confidence: ``low``, ``high``, ``confidence`` and ``accuracy`` (None without data), ``count``.
        error: The expected calibration error.
    """
    figure = Figure(figsize=(4.6, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="calibrated")
    full: list[Mapping[str, Any]] = [row for row in bins if row["count"]]
    low, width = [row["low"] for row in full], [row["high"] - row["low"] for row in full]
    accuracy = np.array([row["accuracy"] for row in full])
    upper.bar(low, accuracy, width, align="edge", color=BLUE, alpha=0.35, edgecolor="white", label="accuracy of the bin")
    intervals = [_wilson(row["accuracy"], int(row["count"])) for row in full]
    lengths = np.abs(np.array(intervals).T - accuracy)
    upper.errorbar(
        [row["confidence"] for row in full], accuracy, yerr=lengths, fmt="o", color=RED, markersize=4, capsize=3, linewidth=1,
        clip_on=False, label=f"at its mean confidence,\n{CONFIDENCE:.0%} Wilson interval",
    )  # fmt: skip
    upper.set(xlim=(0, 1), ylim=(0, 1.02))
    upper.set_title(f"Calibration of p(c|x): expected error {error:.4f}", fontsize=TEXT + 1, loc="left")
    label(upper, "", "share that is right")
    counts = [row["count"] for row in full]
    lower.bar(low, counts, width, align="edge", color=GREY, edgecolor="white")
    if max(counts) > FAR * min(counts):
        lower.set_yscale("log")
        lower.set_ylim(bottom=0.5)
        lower.yaxis.set_major_formatter("{x:g}")
    label(lower, "confidence: the largest p(c|x) of a datum", "data in the bin")
    # Bars may be anywhere in the panel: the legend is outside.
    figure.legend(*upper.get_legend_handles_labels(), fontsize=SMALL, frameon=False, loc="outside lower center", ncols=3)
    return figure


def _wilson(share: float, count: int) -> tuple[float, float]:
    found = stats.binomtest(round(share * count), count).proportion_ci(CONFIDENCE, method="wilson")
    return found.low, found.high
