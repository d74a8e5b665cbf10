"""Tensors -> matplotlib figures, in one style; knows nothing of training."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from torch import Tensor

Limits = tuple[float, float] | None

TEXT = 9
GREY = "0.35"
BLUE = "#1f6fb4"
RED = "#c23b22"
TILE = 0.62
"""Inches of one picture in a row of pictures."""

MOST_SAMPLES = 512
"""Draws in one picture: each has axes of its own, which take matplotlib some hundredths of a second."""


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight", facecolor="white")
    return buffer.getvalue()


def is_image(shape: Sequence[int]) -> bool:
    """Whether data of that event shape are drawn as pictures: (H, W), (1, H, W) or (3, H, W); others as curves."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))


def reconstructions(rows: dict[str, Tensor], limits: Limits, *, conditional: bool = False) -> Figure:
    """Data (N, *E) above their reconstructions E[x|z], or E[x|z,c], z the posterior mean.

    Args:
        rows: Name of a row -> data (N, *E): first the data as the likelihood saw them, in the units of the data.
        limits: Values of black and white; None for those of the first row.
        conditional: Whether the model has a context, c.
    """
    first = next(iter(rows.values()))
    return _rows(rows, limits or _bounds(first), f"Reconstructions: {_mean(conditional)} at the posterior mean of z")


def _mean(conditional: bool) -> str:
    return "E[x|z,c]" if conditional else "E[x|z]"


def samples(means: Tensor, draws: Tensor, limits: Limits, *, conditional: bool = False, given: str | None = None) -> Figure:
    """Draws from the model: the means E[x|z] on the left, draws x ~ p(x|z) of the same z on the right, given c if there is one.

    Args:
        means: Shape (N, *E).
        draws: Shape (N, *E).
        limits: Values of black and white; None for those of the draws.
        conditional: Whether the model has a context, c.
        given: Which context all draws have, in words; None where they differ.
    """
    side = min(8, int(np.ceil(np.sqrt(len(means)))))
    height = int(np.ceil(len(means) / side))
    limits = limits or _bounds(draws)
    figure = Figure(figsize=(2 * side * _tile_width(means.shape[1:]) + 0.5, height * TILE))
    halves = figure.add_gridspec(1, 2, wspace=0.08, left=0, right=1, bottom=0, top=1)
    of = "" if given is None else f", c: {given}"
    titles = (
        (f"means {_mean(True)}\nz ~ p(z|c){of}", "draws x ~ p(x|z,c)\nthe same z and c")
        if conditional
        else (f"means {_mean(False)}, z ~ p(z)", "draws x ~ p(x|z), the same z")
    )
    for half, values, title in zip(halves, (means, draws), titles, strict=True):
        axes = half.subgridspec(height, side, wspace=0.06, hspace=0.06).subplots(squeeze=False)
        for i, axis in enumerate(axes.flat):
            _datum(axis, values[i] if i < len(values) else None, limits)
        axes[0, 0].set_title(title, fontsize=TEXT + 1, loc="left")
    return figure


def interpolation(path: Tensor, ends: Tensor, limits: Limits, of: str, *, conditional: bool = False) -> Figure:
    """Decoded points (N, *E) on the straight line between the posterior means of two data (2, *E), shown at its ends.

    Args:
        path: Shape (N, *E).
        ends: Shape (2, *E).
        limits: Values of black and white; None for those of the ends.
        of: What the data are, such as "test data".
        conditional: Whether the model has a context, c.
    """
    rows = {_mean(conditional): path}
    figure = _rows(rows, limits or _bounds(ends), f"Interpolation in the latent space between two {of}", margin=1)
    axes = np.reshape(figure.axes, (1, -1))[0]
    for axis, end in zip((axes[0], axes[-1]), ends, strict=True):
        _datum(axis, end, limits or _bounds(ends))
        axis.set_title("datum", fontsize=TEXT)
    return figure


def rows_of(rows: dict[str, Tensor], limits: Limits, title: str) -> Figure:
    """A named row of data (N, *E) for each name.

    Args:
        rows: Name -> data.
        limits: Values of black and white; None for those of all rows.
        title: Of the figure.
    """
    if limits is None:
        bounds = [_bounds(values) for values in rows.values()]
        limits = min(low for low, _ in bounds), max(high for _, high in bounds)
    return _rows(rows, limits, title)


def latent_grid(pictures: Tensor, limits: Limits, at: str, *, conditional: bool = False) -> Figure:
    """Decoded latents (side, side, *E): z1 rises to the right, z2 upwards.

    Args:
        pictures: Shape (side, side, *E).
        limits: Values of black and white; None for those of the pictures.
        at: Where the latents are, such as "the prior's quantiles".
        conditional: Whether the model has a context, c.
    """
    side = len(pictures)
    limits = limits or _bounds(pictures)
    figure = Figure(figsize=(6, 6.3))
    figure.suptitle(f"Decoded grid: {_mean(conditional)} at {at}", fontsize=TEXT + 1, y=0.94)
    figure.supxlabel("$z_1$, rising to the right", fontsize=TEXT, y=0.05)
    figure.supylabel("$z_2$, rising upwards", fontsize=TEXT, x=0.06)
    axes = figure.subplots(side, side, squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.03})
    for i in range(side):
        for j in range(side):
            _datum(axes[i, j], pictures[i, j], limits)
    return figure


def latent_scatter(latents: Tensor, labels: Tensor | None, class_names: Sequence[str], of: str) -> Figure:
    """Posterior means (N, D) in the plane: their two principal axes if D > 2, along one axis if D = 1."""
    values = latents.double().numpy()
    names = ["$z_1$", "$z_2$"]
    if values.shape[1] > 2:
        centred = values - values.mean(0)
        _, spread, axes = np.linalg.svd(centred, full_matrices=False)
        share = spread**2 / np.maximum((spread**2).sum(), 1e-300)
        values = centred @ axes[:2].T
        names = [f"principal axis {i + 1} ({share[i]:.0%} of the variance)" for i in range(2)]
    elif values.shape[1] == 1:
        values = np.stack([values[:, 0], np.linspace(0, 1, len(values))], 1)
        names = ["$z_1$", "order in the data (from 0 to 1)"]
    figure = Figure(figsize=(6.2, 5))
    axis = figure.add_subplot()
    size = 20 if len(values) < 500 else 6
    codes = None if labels is None else labels.numpy()
    if codes is None:
        axis.scatter(values[:, 0], values[:, 1], s=size, color=BLUE, alpha=0.6, linewidths=0)
    else:
        present = np.unique(codes)
        for code, colour in zip(present, _colours(len(present)), strict=True):
            here = codes == code
            name = class_names[code] if code < len(class_names) else str(code)
            axis.scatter(values[here, 0], values[here, 1], s=size, color=colour, alpha=0.75, linewidths=0, label=name)
        if len(present) <= 20:
            axis.legend(
                fontsize=TEXT - 1,
                markerscale=7 / size**0.5,
                frameon=False,
                loc="center left",
                bbox_to_anchor=(1.0, 0.5),
                title="class",
            )
    axis.set_title(f"Posterior means of {len(values)} {of}", fontsize=TEXT + 1)
    label(axis, *names)
    return figure


def learning_curves(history: Sequence[dict[str, float]]) -> Figure:
    """The validation ELBO in the units of the data, and the loss that was minimised, by epoch."""
    epochs = [row["epoch"] for row in history]
    # A plain autoencoder has no ELBO; runs of older versions have no column of reconstructions.
    scores = {"valid_elbo": "ELBO", "valid_reconstruction": "reconstruction"}
    score = next((name for name in scores if not all(np.isnan(row.get(name, np.nan)) for row in history)), None)
    validated = score is not None
    figure = Figure(figsize=(7.6 if validated else 4, 3))
    axes = figure.subplots(1, 2 if validated else 1, squeeze=False, gridspec_kw={"wspace": 0.35})[0]
    marker = "o" if len(epochs) < 30 else None
    if validated:
        axes[0].plot(epochs, [row[score] for row in history], color=BLUE, marker=marker, markersize=3)
        axes[0].set_title(f"Validation {scores[score]} (higher is better)", fontsize=TEXT + 1)
        label(axes[0], "epoch", "nats per datum")
    axes[-1].plot(epochs, [row["loss"] for row in history], color=RED, marker=marker, markersize=3)
    axes[-1].set_title("Training loss, preprocessed data", fontsize=TEXT + 1)
    label(axes[-1], "epoch", "nats per datum (lower is better)")
    return figure


def calibration(bins: Sequence[Mapping[str, float | int | None]], error: float) -> Figure:
    """A reliability diagram: accuracy by confidence, on the diagonal where they agree, above the number of data.

    Args:
        bins: Intervals of the confidence: ``low``, ``high``, ``confidence`` and ``accuracy`` (None without data), ``count``.
        error: The expected calibration error.
    """
    figure = Figure(figsize=(4.4, 5))
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.12})
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="calibrated")
    full = [row for row in bins if row["count"]]
    low, width = [row["low"] for row in full], [row["high"] - row["low"] for row in full]
    accuracy = [row["accuracy"] for row in full]
    upper.bar(low, accuracy, width, align="edge", color=BLUE, alpha=0.75, edgecolor="white", label="accuracy of the bin")
    upper.plot(
        [row["confidence"] for row in full], accuracy, "o", color=RED, markersize=4, clip_on=False, label="at its mean confidence"
    )
    upper.set(xlim=(0, 1), ylim=(0, 1.02))
    upper.legend(fontsize=TEXT - 1, frameon=False, loc="upper left")
    upper.set_title(f"Calibration of p(c|x): expected error {error:.4f}", fontsize=TEXT + 1)
    label(upper, "", "share that is right")
    lower.bar(low, [row["count"] for row in full], width, align="edge", color=GREY, edgecolor="white")
    label(lower, "confidence: the largest p(c|x) of a datum", "data")
    return figure


def league(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """How far each run is behind the best of its group, with two standard errors of the paired difference.

    Args:
        groups: Title -> its runs, best first: ``name``, ``difference`` (nats per datum), ``error`` (its standard error, or
            None) and ``bound`` (whether the number is a lower bound, which may be too low: drawn open).
    """
    heights = [len(rows) + 1.6 for rows in groups.values()]
    figure = Figure(figsize=(7.6, 0.28 * sum(heights) + 0.6 * len(heights)))
    axes = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights, "hspace": 0.9})[:, 0]
    for axis, (title, rows) in zip(axes, groups.items(), strict=True):
        for place, row in enumerate(rows):
            if not np.isfinite(row["difference"]):
                axis.annotate("-inf", (0, place), xycoords=("axes fraction", "data"), fontsize=TEXT - 1, va="center", color=RED)
                continue
            colour = RED if place == 0 else BLUE
            error = 2 * (row["error"] or 0.0)
            axis.errorbar(
                row["difference"], place, xerr=error, fmt="o", markersize=5, color=colour, capsize=3, linewidth=1,
                markerfacecolor="white" if row["bound"] else colour,
            )  # fmt: skip
        behind = sorted(-row["difference"] for row in rows if np.isfinite(row["difference"]) and row["difference"] < 0)
        if behind and behind[-1] > 30 * behind[0]:
            axis.set_xscale("symlog", linthresh=behind[0])
            axis.xaxis.set_major_formatter("{x:g}")
        axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.grid(axis="x", color="0.92")
        axis.set_axisbelow(True)
        axis.set_title(title, fontsize=TEXT + 1, loc="left")
        label(axis, "", "")
    axes[-1].set_xlabel("log evidence - that of the best (nats per datum), +- 2 paired standard errors; open: a lower bound")
    axes[-1].xaxis.label.set(fontsize=TEXT, color=GREY)
    return figure


def tiles(values: Tensor, names: Sequence[str], limits: Limits, title: str, side: int = 10) -> Figure:
    """Data (N, *E) in rows of ten, each with a text under it.

    Args:
        values: Data.
        names: Their texts.
        limits: Values of black and white; None for those of the data.
        title: Of the figure.
        side: Data in a row.
    """
    height = -(-len(values) // side)
    figure = Figure(figsize=(side * _tile_width(values.shape[1:]) * 1.15, height * TILE * 1.75))
    figure.suptitle(title, fontsize=TEXT + 1, y=1.0 + 0.08 / figure.get_figheight(), va="bottom")
    axes = figure.add_gridspec(height, side, left=0, right=1, bottom=0, top=1, wspace=0.15, hspace=0.75).subplots(squeeze=False)
    for i, axis in enumerate(axes.flat):
        _datum(axis, values[i] if i < len(values) else None, limits or _bounds(values))
        if i < len(values):
            axis.set_xlabel(names[i], fontsize=TEXT - 2, color=GREY, labelpad=2)
    return figure


def _rows(rows: dict[str, Tensor], limits: tuple[float, float], title: str, margin: int = 0) -> Figure:
    """A row of data for each name, with so many empty places at either end."""
    width = max(len(values) for values in rows.values()) + 2 * margin
    event_shape = next(iter(rows.values())).shape[1:]
    figure = Figure(figsize=(width * _tile_width(event_shape), len(rows) * TILE))
    figure.suptitle(title, fontsize=TEXT + 1, y=1.0 + (0.3 if margin else 0.12) / figure.get_figheight(), va="bottom")
    grid = figure.add_gridspec(len(rows), width, left=0, right=1, bottom=0, top=1, wspace=0.06, hspace=0.06)
    axes = grid.subplots(squeeze=False)
    for line, (name, values) in zip(axes, rows.items(), strict=True):
        for i, axis in enumerate(line, -margin):
            _datum(axis, values[i] if 0 <= i < len(values) else None, limits)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=TEXT)
    return figure


def _tile_width(event_shape: Sequence[int]) -> float:
    """Inches: pictures keep their shape, curves get more room."""
    if not is_image(event_shape):
        return 1.8 * TILE
    return TILE * min(max(event_shape[-1] / event_shape[-2], 0.5), 3.0)


def _datum(axis: Axes, value: Tensor | None, limits: tuple[float, float]) -> None:
    """One datum: a picture where its shape is one, else a curve over its elements."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(value is not None)
        spine.set_color("0.85")
    if value is None:
        return
    low, high = limits
    array = value.double().numpy()
    if not is_image(array.shape):
        axis.plot(array.ravel(), color=BLUE, linewidth=0.8)
        margin = 0.05 * (high - low)
        axis.set_ylim(low - margin, high + margin)
    elif array.ndim == 3 and array.shape[0] == 3:
        axis.imshow(np.clip((array.transpose(1, 2, 0) - low) / (high - low), 0, 1))
    else:
        axis.imshow(array.reshape(array.shape[-2:]), cmap="gray", vmin=low, vmax=high)


def _bounds(values: Tensor) -> tuple[float, float]:
    low, high = values.min().item(), values.max().item()
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _colours(count: int) -> list[np.ndarray]:
    """Distinct colours: ten tuned ones, or hues around the circle for more."""
    ten = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#c9a300", "#b07aa1", "#d4659a", "#9c755f", "#6b6b6b"]
    return ten[:count] if count <= 10 else [hsv_to_rgb((i / count, 0.75, 0.8)) for i in range(count)]


def label(axis: Axes, x: str, y: str) -> None:
    """Name the axes."""
    axis.set_xlabel(x, fontsize=TEXT, color=GREY)
    axis.set_ylabel(y, fontsize=TEXT, color=GREY)
    axis.tick_params(labelsize=TEXT - 1, colors=GREY)
    axis.spines[["top", "right"]].set_visible(False)
