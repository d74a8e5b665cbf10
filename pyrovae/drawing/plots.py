"""Tensors -> matplotlib figures, in one style; knows nothing of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyrovae.drawing.style import BLUE, GREY, TEXT

Limits = tuple[float, float] | None

TILE = 0.62
"""Inches of one picture in a row of pictures."""

MOST_SAMPLES = 512
"""Draws in one picture: each has axes of its own, which take matplotlib some hundredths of a second."""


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
