"""Rows of a table, with a panel for each column, since each column has its own name and units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pyrovae.drawing.portraits import Portrait, bounds, panel_grid
from pyrovae.drawing.style import BLACK, BLUE, GREY, LIGHT, RED, SMALL, TEXT, WIDTH, class_colour, label, shortened

MOST = 12
"""The most columns that are drawn."""

BESIDE = 4
"""The most panels side by side."""

LETTERS = 24
"""The most letters of a column's name."""


@final
@dataclass(frozen=True)
class Tables(Portrait):
    """A panel for each column, in its units."""

    shown = 200
    sampled = 1000
    side = 25
    alike = "in all lines"
    mixed = "c ~ p(c)"

    def reconstructions(self, rows: Mapping[str, Tensor], heads: Sequence[str], title: str) -> Figure:
        """The reconstruction of each datum against the datum itself; on the diagonal the two are equal."""
        (_, data), *made = rows.items()
        figure, axes = self._panels(1.7, title)
        styles = {1: [(BLUE, "o")], 2: [(LIGHT, "x"), (BLUE, "o")]}[len(made)]
        for column, axis in enumerate(axes):
            for (name, values), (colour, marker) in zip(made, styles, strict=True):
                thin = 0.7 if marker == "x" else 0
                axis.scatter(
                    data[:, column], values[:, column], s=9, color=colour, marker=marker, linewidths=thin, alpha=0.8, label=name
                )
            low, _ = bounds([values[:, column] for values in rows.values()])
            axis.axline((low, low), slope=1, color=GREY, linewidth=0.8, linestyle="--", label="equal")
            label(axis, shortened(self.spec.columns[column], LETTERS), "E[x|z]" if column % BESIDE == 0 else "")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
        return figure

    def samples(self, means: Tensor, draws: Tensor, heads: Sequence[str], titles: tuple[str, str]) -> Figure:
        """How the draws and their means are distributed in each column."""
        figure, axes = self._panels(1.6, "")
        bins = min(25, max(5, math.isqrt(len(draws))))
        for column, axis in enumerate(axes):
            edges = np.linspace(*bounds([means[:, column], draws[:, column]]), bins + 1).tolist()
            axis.hist(means[:, column].double().numpy(), edges, histtype="step", color=RED, linewidth=1.2, label=titles[0])
            axis.hist(draws[:, column].double().numpy(), edges, color=BLUE, alpha=0.5, label=titles[1])
            label(axis, shortened(self.spec.columns[column], LETTERS), "draws" if column % BESIDE == 0 else "")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=SMALL, frameon=False)
        return figure

    def interpolation(self, path: Tensor, ends: Tensor, heads: tuple[str, str], title: str) -> Figure:
        """Each column along the line, and the data at its ends."""
        figure, axes = self._panels(1.5, title)
        place = np.linspace(0, 1, len(path))
        for column, axis in enumerate(axes):
            axis.plot(place, path[:, column], ".-", color=BLUE, linewidth=1, label="decoded")
            for x, end, marker, head in zip((0, 1), ends, "sD", heads, strict=True):
                axis.plot(x, end[column], marker, color=BLACK, markersize=4, label=head.replace("\n", ", "))
            axis.set_title(shortened(self.spec.columns[column], LETTERS), fontsize=TEXT, color=GREY)
            label(axis, "place on the line" if column % BESIDE == 0 else "", "")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
        return figure

    def rows(self, rows: Mapping[str, Tensor], heads: Sequence[str], title: str) -> Figure:
        """A line of dots for each condition, with its median."""
        figure, axes = self._panels(0.7 + 0.22 * len(rows), title, names=[shortened(name, 18) for name in rows])
        noise = np.random.default_rng(0)
        for column, axis in enumerate(axes):
            for place, values in enumerate(rows.values()):
                found = values[:, column].double().numpy()
                height = place + noise.uniform(-0.25, 0.25, len(found))
                axis.scatter(found, height, s=5, color=class_colour(place), alpha=0.6, linewidths=0)
                axis.plot([np.median(found)] * 2, [place - 0.38, place + 0.38], color=BLACK, linewidth=1.2)
            label(axis, shortened(self.spec.columns[column], LETTERS), "")
        return figure

    def grid(self, decoded: Tensor, z1: Tensor, z2: Tensor, title: str) -> Figure:
        """Each column over the plane, as colours."""
        figure, axes = self._panels(2.0, title)
        for column, axis in enumerate(axes):
            values = decoded[..., column].double().numpy()
            mesh = axis.pcolormesh(z1.numpy(), z2.numpy(), values, cmap="cividis", shading="nearest")
            label(axis, "$z_1$", "$z_2$" if column % BESIDE == 0 else "")
            bar = figure.colorbar(mesh, ax=axis, location="top", pad=0.02)
            bar.set_label(shortened(self.spec.columns[column], LETTERS), fontsize=TEXT, color=GREY)
            bar.ax.tick_params(labelsize=SMALL, colors=GREY)
            bar.locator = MaxNLocator(nbins=3)
        return figure

    def lowest(self, data: Tensor, names: Sequence[str], title: str) -> Figure:
        """A line for each datum with its values in all columns."""
        figure, axes = self._panels(0.7 + 0.16 * len(data), title, names=[name.replace("\n", "  ") for name in names])
        for column, axis in enumerate(axes):
            axis.plot(data[:, column].double().numpy(), range(len(data)), "o", color=BLUE, markersize=3.5)
            axis.set_ylim(len(data) - 0.5, -0.5)
            axis.grid(axis="y", color="0.92")
            label(axis, shortened(self.spec.columns[column], LETTERS), "")
        return figure

    def _panels(self, tall: float, title: str, names: Sequence[str] = ()) -> tuple[Figure, list[Axes]]:
        """A panel for each column; names, if given, label the lines that all panels share."""
        count = min(len(self.spec.columns), MOST)
        height, width = panel_grid(count, BESIDE)
        figure = Figure(figsize=(min(WIDTH, 1.0 + 1.9 * width), tall * height + 0.6), layout="constrained")
        axes = list(figure.subplots(height, width, squeeze=False, sharey="row" if names else "none").flat)
        for axis in axes[count:]:
            axis.remove()
        for axis in axes[:count]:
            axis.xaxis.set_major_locator(MaxNLocator(nbins=4))
            if names:
                axis.set_yticks(range(len(names)), names)
                axis.set_ylim(len(names) - 0.5, -0.5)
            else:
                axis.yaxis.set_major_locator(MaxNLocator(nbins=5))
        left = len(self.spec.columns) - count
        if title or left:
            more = f"the first {count} of {len(self.spec.columns)} columns" if left else ""
            figure.suptitle("\n".join(filter(None, (title, more))), fontsize=TEXT + 1)
        return figure, axes[:count]
