"""What the gallery's figures are made of: mosaics of pictures, maps of latents, bars; and small PNG files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from pyrovae.drawing.style import BLUE, CLASS_COLOURS, DPI, GREY, TEXT, class_colour

MARK = np.asarray([[0.45, 0.08, 0.08], [1.0, 0.86, 0.80]])
"""What black and white become in a cell that is marked, so that dark cells show it too."""

TILE = 0.55
"""Inches of one picture in a mosaic."""

PALETTE = 128
"""Colours of a PNG file."""


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """The figure as a PNG file of few colours, a third as large as one of all colours."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(drawn, format="png", dpi=dpi, bbox_inches="tight", facecolor="white")
    with Image.open(drawn) as image:
        # The default method gives up colours that are rare: those of the points.
        few = image.convert("RGB").quantize(PALETTE, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(packed, format="PNG", optimize=True)
    return packed.getvalue()


def bare(axis: Axes) -> None:
    """No ticks and no frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def titled(axis: Axes, title: str) -> None:
    """A title above an axis."""
    axis.set_title(title, fontsize=TEXT + 1)


def mosaic(axis: Axes, pictures: Tensor, limits: tuple[float, float], marked: np.ndarray | None = None, gap: int = 1) -> None:
    """Grey pictures (rows, columns, H, W) side by side in one axis, those that are marked tinted.

    Args:
        axis: Where.
        pictures: Shape (rows, columns, H, W).
        limits: Values of black and white.
        marked: Shape (rows, columns), true where a picture is tinted; None for nowhere.
        gap: Pixels of white between pictures.
    """
    low, high = limits
    rows, columns, height, width = pictures.shape
    grey = np.clip((pictures.double().numpy() - low) / (high - low), 0, 1)
    tint = MARK[0] + grey[..., None] * (MARK[1] - MARK[0])
    chosen = np.zeros((rows, columns), bool) if marked is None else marked
    shown = np.where(chosen[..., None, None, None], tint, grey[..., None])
    canvas = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for i in range(rows):
        for j in range(columns):
            top, left = i * (height + gap), j * (width + gap)
            canvas[top : top + height, left : left + width] = shown[i, j]
    axis.imshow(canvas, interpolation="nearest")
    bare(axis)


def strips(rows: Mapping[str, Tensor], limits: tuple[float, float], title: str, note: str = "") -> Figure:
    """A named row of grey pictures (N, H, W) for each name.

    Args:
        rows: Name -> pictures, N the same for all.
        limits: Values of black and white.
        title: Above.
        note: Below, in small grey letters.
    """
    count, height, width = next(iter(rows.values())).shape
    figure = Figure(figsize=(count * TILE, len(rows) * TILE * height / width))
    axes = figure.subplots(
        len(rows), 1, squeeze=False, gridspec_kw={"hspace": 0.06, "left": 0, "right": 1, "bottom": 0, "top": 1}
    )
    for axis, (name, values) in zip(axes[:, 0], rows.items(), strict=True):
        mosaic(axis, values.unsqueeze(0), limits)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=TEXT)
    tall = figure.get_figheight()
    figure.suptitle(title, fontsize=TEXT + 1, y=1 + 0.1 / tall, va="bottom")
    if note:
        figure.text(0.5, -0.1 / tall, note, ha="center", va="top", fontsize=TEXT - 1, color=GREY)
    return figure


def scatter(axis: Axes, points: Tensor, codes: Tensor, size: float = 3) -> None:
    """Points (N, 2) in the colours of their classes (N,), in a shuffled order so that no class covers the others."""
    order = np.random.default_rng(0).permutation(len(points))
    values, colours = points.double().numpy()[order], np.asarray(CLASS_COLOURS)[codes.numpy()[order] % len(CLASS_COLOURS)]
    axis.scatter(values[:, 0], values[:, 1], s=size, c=colours, alpha=0.7, linewidths=0)
    axis.set_aspect("equal", adjustable="datalim")
    plain(axis)


def highlight(axis: Axes, points: Tensor, chosen: np.ndarray, colour: str) -> None:
    """All points (N, 2) in light grey, those that are chosen in a colour."""
    values = points.double().numpy()
    axis.scatter(values[:, 0], values[:, 1], s=1, color="0.87", linewidths=0)
    axis.scatter(values[chosen, 0], values[chosen, 1], s=1.5, color=colour, linewidths=0)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_color("0.8")


def plain(axis: Axes, x: str = "", y: str = "") -> None:
    """Small grey ticks, no frame above and on the right, names of the axes."""
    axis.set_xlabel(x, fontsize=TEXT, color=GREY)
    axis.set_ylabel(y, fontsize=TEXT, color=GREY)
    axis.tick_params(labelsize=TEXT - 2, colors=GREY)
    axis.spines[["top", "right"]].set_visible(False)


def legend_of_classes(figure: Figure, names: Sequence[str], y: float) -> None:
    """The colours of the classes in one line."""
    marks = [figure.axes[0].scatter([], [], s=25, color=class_colour(i), label=name) for i, name in enumerate(names)]
    place = {"loc": "center", "bbox_to_anchor": (0.5, y), "ncols": len(names)}
    figure.legend(marks, names, **place, frameon=False, fontsize=TEXT, handletextpad=0.1, columnspacing=1.0)


def bars(axis: Axes, values: Mapping[str, float], form: str, title: str, colours: Sequence[str] = (BLUE,)) -> None:
    """Horizontal bars from the top down, each with its number."""
    names = list(values)
    heights = list(values.values())
    shades = [colours[i % len(colours)] for i in range(len(names))]
    axis.barh(range(len(names)), heights, color=shades, height=0.65)
    for i, value in enumerate(heights):
        axis.text(max(value, 0.0), i, f" {value:{form}}", va="center", fontsize=TEXT - 1, color=GREY)
    axis.set_yticks(range(len(names)), names, fontsize=TEXT)
    axis.invert_yaxis()
    axis.set_xlim(min(0.0, *heights), max(heights) * 1.18)
    plain(axis)
    axis.tick_params(axis="y", labelsize=TEXT, colors="black", length=0)
    titled(axis, title)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers are rounded to four figures.

    Example:
        >>> print(table(["model", "nats"], [["vae-2", -151.23456], ["autoencoder-2", None]]))
        | model | nats |
        |---|---|
        | vae-2 | -151.2 |
        | autoencoder-2 | none |
    """
    lines = [" | ".join(head), *(" | ".join(_cell(value) for value in row) for row in rows)]
    lines = [f"| {line} |" for line in lines]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _cell(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
