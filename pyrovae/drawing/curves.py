"""Curves, spectra and other vectors: the value of each element against its index from 0."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pyrovae.drawing.portraits import Limits, Portrait, bounds, panel_grid
from pyrovae.drawing.style import (
    BLACK,
    BLUE,
    FRAME,
    GREY,
    LIGHT,
    RED,
    SMALL,
    TEXT,
    TINY,
    WIDTH,
    class_colour,
    label,
    number,
    shortened,
)

ALONG = "cividis"
"""Colours from one end of a line to the other: lightness increases along it, so that colour-blind readers see the order."""

FEW = 30
"""With fewer elements than this, each has a dot."""


@final
@dataclass(frozen=True)
class Curves(Portrait):
    """Lines over the elements; data of several dimensions are flattened in element order; panels share their axes."""

    side = 9
    alike = "in a colour"

    def reconstructions(self, rows: Mapping[str, Tensor], heads: Sequence[str], title: str) -> Figure:
        """One panel per datum, with the datum and its reconstructions."""
        first = next(iter(rows.values()))
        figure, axes = self._panels(len(first), 5, 1.25, bounds(rows.values()), title)
        styles = (
            {"color": BLACK, "linewidth": 0.9},
            {"color": RED, "linewidth": 0.8, "linestyle": ":"},
            {"color": BLUE, "linewidth": 1.3, "linestyle": "-"},
        )
        # Without a recorded seed there is no row from before training; the last row is from after training in either case.
        chosen = [styles[0], *styles[4 - len(rows) :]]
        for (name, values), style in zip(rows.items(), chosen, strict=True):
            for axis, value in zip(axes, values, strict=True):
                self._line(axis, value, **style)
            axes[0].lines[-1].set_label(name)
        _heads(axes, heads)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
        return figure

    def samples(self, means: Tensor, draws: Tensor, heads: Sequence[str], titles: tuple[str, str]) -> Figure:
        """Each draw, with its mean plotted on top."""
        side = min(8, math.ceil(math.sqrt(len(means))))
        figure, axes = self._panels(len(means), side, 0.85, bounds([means, draws]), "")
        for axis, mean, draw in zip(axes, means, draws, strict=True):
            self._line(axis, draw, color=LIGHT, linewidth=0.7)
            self._line(axis, mean, color=BLUE, linewidth=1.2)
        _heads(axes, heads)
        draw, mean = axes[0].lines
        figure.legend([mean, draw], titles, loc="outside upper left", ncols=2, fontsize=TEXT, frameon=False)
        return figure

    def interpolation(self, path: Tensor, ends: Tensor, heads: tuple[str, str], title: str) -> Figure:
        """All points of the line in one panel, coloured by their place on it."""
        figure, (axis,) = self._panels(1, 1, 3.2, bounds([path, ends]), title)
        for i, value in enumerate(path):
            self._line(axis, value, color=colormaps[ALONG](i / max(len(path) - 1, 1)), linewidth=1.2)
        for end, head, style, place in zip(ends, heads, (":", "--"), (0.0, 1.0), strict=True):
            self._line(axis, end, color=BLACK, linewidth=1, linestyle=style)
            axis.lines[-1].set_label(f"{head.replace(chr(10), ', ')} (place {place:g})")
        axis.legend(fontsize=SMALL, frameon=False, loc="upper left", bbox_to_anchor=(0, 1.0))
        low, high = axis.get_ylim()
        axis.set_ylim(low, high + 0.25 * (high - low))  # above the curves there is room for the legend
        bar = figure.colorbar(ScalarMappable(Normalize(0, 1), ALONG), ax=axis, pad=0.02)
        bar.set_label("place on the line", fontsize=TEXT, color=GREY)
        bar.ax.tick_params(labelsize=SMALL, colors=GREY)
        return figure

    def rows(self, rows: Mapping[str, Tensor], heads: Sequence[str], title: str) -> Figure:
        """A panel for each condition; a datum, or the same noise, has the same colour in all."""
        figure, axes = self._panels(len(rows), 4, 1.5, bounds(rows.values()), title)
        for axis, (name, values) in zip(axes, rows.items(), strict=True):
            for i, value in enumerate(values):
                self._line(axis, value, color=class_colour(i), linewidth=0.9)
            axis.set_title(shortened(name, 24), fontsize=TEXT, color=BLACK)
        if heads:
            names = [shortened(head, 12) for head in heads]
            figure.legend(axes[0].lines, names, loc="outside lower center", ncols=5, fontsize=SMALL, frameon=False)
        return figure

    def grid(self, decoded: Tensor, z1: Tensor, z2: Tensor, title: str) -> Figure:
        side = len(decoded)
        low, high = self._range(bounds([decoded]))
        figure = Figure(figsize=(WIDTH - 0.5, WIDTH - 1.5))
        axes = figure.subplots(
            side, side, squeeze=False, sharex=True, sharey=True,
            gridspec_kw={"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0, "hspace": 0},
        )  # fmt: skip
        for i, line in enumerate(axes):
            for j, axis in enumerate(line):
                self._line(axis, decoded[i, j], color=BLUE, linewidth=0.8)
                axis.set(xticks=[], yticks=[], xlim=self._elements(), ylim=(low, high))
                axis.spines[:].set_color(FRAME)
            line[0].set_ylabel(number(z2[i]), fontsize=SMALL, color=GREY, rotation=0, ha="right", va="center", labelpad=4)
        for j, axis in enumerate(axes[-1]):
            axis.set_xlabel(number(z1[j]), fontsize=SMALL, color=GREY, labelpad=3)
        scale = f"in a panel: elements 0 to {self.spec.size - 1} to the right, values {low:.3g} to {high:.3g} upwards"
        tall, wide = figure.get_figheight(), figure.get_figwidth()
        figure.text(0.5, -0.28 / tall, "$z_1$", fontsize=TEXT, color=GREY, ha="center", va="top")
        figure.text(-0.45 / wide, 0.5, "$z_2$", fontsize=TEXT, color=GREY, ha="right", va="center", rotation=90)
        figure.text(0.5, 1 + 0.05 / tall, f"{title}\n{scale}", fontsize=TEXT, ha="center", va="bottom")
        return figure

    def lowest(self, data: Tensor, names: Sequence[str], title: str) -> Figure:
        figure, axes = self._panels(len(data), 5, 1.15, bounds([data]), title)
        for axis, value, name in zip(axes, data, names, strict=True):
            self._line(axis, value, color=BLUE, linewidth=0.9)
            axis.set_title(name.replace("\n", "  "), fontsize=SMALL - 1, color=GREY, pad=2)
        return figure

    def _panels(self, count: int, most: int, tall: float, shown: Limits, title: str) -> tuple[Figure, list[Axes]]:
        """A number of panels with the same axes; only the outermost panels have tick labels."""
        height, width = panel_grid(count, most)
        extra = 0.9 if title else 0.8
        figure = Figure(figsize=(min(WIDTH, max(6.5, 2.2 * width)), tall * height + extra), layout="constrained")
        grid = figure.subplots(height, width, sharex=True, sharey=True, squeeze=False)
        axes = list(grid.flat)
        for axis in axes[count:]:
            axis.remove()
        size = SMALL if width < 6 else TINY
        for axis in axes[:count]:
            axis.set(xlim=self._elements(), ylim=self._range(shown))
            axis.xaxis.set_major_locator(MaxNLocator(nbins=3 if width > 2 else 8, integer=True, min_n_ticks=1))
            axis.yaxis.set_major_locator(MaxNLocator(nbins=3 if height > 2 else 5))
            label(axis, "", "")
            axis.tick_params(labelsize=size, length=2)
        for column in range(width):
            # The tick labels are on the lowest panel of each column, which need not be in the last row.
            axes[max(i for i in range(count) if i % width == column)].xaxis.set_tick_params(labelbottom=True)
        label(axes[(height - 1) * width], "element", "value")
        axes[(height - 1) * width].tick_params(labelsize=size, length=2)
        if title:
            figure.suptitle(title, fontsize=TEXT + 1)
        return figure, axes[:count]

    def _elements(self) -> Limits:
        return -0.02 * self.spec.size - 0.1, 1.02 * (self.spec.size - 1) + 0.1

    def _range(self, shown: Limits) -> Limits:
        low, high = shown
        return low - 0.05 * (high - low), high + 0.05 * (high - low)

    def _line(self, axis: Axes, value: Tensor, **style: Any) -> None:
        values = value.double().numpy().ravel()
        dots: dict[str, Any] = {"marker": ".", "markersize": 3} if len(values) < FEW else {}
        axis.plot(np.arange(len(values)), values, **dots, **style)


def _heads(axes: Sequence[Axes], heads: Sequence[str]) -> None:
    for axis, head in zip(axes, heads, strict=False):
        axis.set_title(shortened(head, 16), fontsize=SMALL, color=GREY, pad=2)
