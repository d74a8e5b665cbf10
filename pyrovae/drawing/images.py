"""Pictures (H, W), (1, H, W) or (3, H, W), side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyrovae.drawing.portraits import Limits, Portrait, bounds, panel_grid
from pyrovae.drawing.style import BLACK, GREY, SMALL, TEXT, TINY, WIDTH, number, shared_range, shortened, titled

TILE = 0.62
"""Inches of one picture, where the figure has room for it."""

GAP = 0.06
"""Gap between pictures, as a fraction of their height."""

LETTER = 0.6
"""Approximate width of a letter, as a fraction of its height."""

OUTSIDE = 0.2
"""A row with a larger share of its values outside the limits has limits of its own."""

SLACK = 0.02
"""How far outside the limits values may be, as a fraction of their range."""


@final
@dataclass(frozen=True)
class Images(Portrait):
    """Grey or colour pictures in rows."""

    def reconstructions(self, rows: Mapping[str, Tensor], heads: Sequence[str], title: str) -> Figure:
        return self.rows(rows, heads, title)

    def samples(self, means: Tensor, draws: Tensor, heads: Sequence[str], titles: tuple[str, str]) -> Figure:
        side = min(8, int(np.ceil(np.sqrt(len(means)))))
        height, width = panel_grid(len(means), side)
        limits = self.limits or bounds([draws])
        room = 0.4 if heads else GAP
        tile = self._tile(2 * width + 1)
        figure = Figure(figsize=(2 * width * tile[0] + 0.3, height * tile[1] * (1 + room)))
        for axis, values, title in zip(_side_by_side(figure), (means, draws), titles, strict=True):
            axis.set_title(title, fontsize=TEXT + 1, loc="left", pad=14 if heads else 6)
            cells = [[i * width + j for j in range(width)] for i in range(height)]
            canvas = _Canvas(axis, (height, width), self._pixels(), room)
            for i, line in enumerate(cells):
                for j, which in enumerate(line):
                    if which < len(values):
                        canvas.put(i, j, self._rgb(values[which], limits))
                        if heads:
                            canvas.caption(i, j, shortened(heads[which], _letters(tile[0], TINY)), above=True)
            canvas.show()
        return figure

    def interpolation(self, path: Tensor, ends: Tensor, heads: tuple[str, str], title: str) -> Figure:
        limits = self.limits or bounds([ends])
        tile = self._tile(len(path) + 2.4)
        figure = Figure(figsize=((len(path) + 2.4) * tile[0], tile[1]))
        parts = figure.subplots(1, 3, width_ratios=[1, len(path), 1], gridspec_kw=_FULL | {"wspace": 0.06})
        for axis, values, head in zip(parts, (ends[:1], path, ends[1:]), (heads[0], "", heads[1]), strict=True):
            canvas = _Canvas(axis, (1, len(values)), self._pixels())
            for j, value in enumerate(values):
                canvas.put(0, j, self._rgb(value, limits))
            canvas.heads([head] if head else [])
            canvas.show()
        titled(figure, title)
        return figure

    def rows(self, rows: Mapping[str, Tensor], heads: Sequence[str], title: str) -> Figure:
        width = max(len(values) for values in rows.values())
        shown = bounds([next(iter(rows.values()))])
        # Dequantised levels are up to one larger than the levels themselves.
        shared = shown if self.limits is None else shared_range([self.limits, shown])
        tile = self._tile(width, WIDTH - 1.2)
        figure = Figure(figsize=(width * tile[0], len(rows) * tile[1]))
        axis = figure.add_axes((0, 0, 1, 1))
        canvas = _Canvas(axis, (len(rows), width), self._pixels())
        names = []
        for i, (name, values) in enumerate(rows.items()):
            limits, note = _limits_of(values, shared)
            names.append(shortened(name, 18, lines=2) + note)
            for j, value in enumerate(values):
                canvas.put(i, j, self._rgb(value, limits))
        canvas.names(names)
        canvas.heads([shortened(head, _letters(tile[0], SMALL), lines=2) for head in heads])
        canvas.show()
        titled(figure, title)
        return figure

    def grid(self, decoded: Tensor, z1: Tensor, z2: Tensor, title: str) -> Figure:
        side = len(decoded)
        limits = self.limits or bounds([decoded])
        tile = self._tile(side, 6.0)
        figure = Figure(figsize=(side * tile[0], side * tile[1]))
        axis = figure.add_axes((0, 0, 1, 1))
        canvas = _Canvas(axis, (side, side), self._pixels())
        for i in range(side):
            for j in range(side):
                canvas.put(i, j, self._rgb(decoded[i, j], limits))
        canvas.numbers(z1, z2)
        canvas.show()
        titled(figure, title)
        return figure

    def lowest(self, data: Tensor, names: Sequence[str], title: str) -> Figure:
        height, width = panel_grid(len(data), 10)
        limits = self.limits or bounds([data])
        tile = self._tile(width)
        # Room for as many lines of text as the names need, in units of the height of a picture.
        room = max(name.count("\n") + 1.5 for name in names) * SMALL * 1.25 / 72 / tile[1]
        figure = Figure(figsize=(width * tile[0], height * tile[1] * (1 + room)))
        axis = figure.add_axes((0, 0, 1, 1))
        canvas = _Canvas(axis, (height, width), self._pixels(), room)
        for which, (value, name) in enumerate(zip(data, names, strict=True)):
            canvas.put(*divmod(which, width), self._rgb(value, limits))
            canvas.caption(*divmod(which, width), name)
        canvas.show()
        titled(figure, title)
        return figure

    def _pixels(self) -> tuple[int, int]:
        height, width = self.spec.event_shape[-2:]
        return height, width

    def _tile(self, columns: float, room: float = WIDTH) -> tuple[float, float]:
        """Width and height of one picture in inches, gaps included, when ``columns`` of them share ``room`` inches."""
        height, width = self._pixels()
        shape = min(max(width / height, 0.5), 3.0)
        wide = min(TILE * shape, room / columns)
        return wide, wide / shape

    def _rgb(self, value: Tensor, limits: Limits) -> np.ndarray:
        """Values between the limits as colours (H, W, 3) from 0 to 1."""
        low, high = limits
        scaled = np.clip((value.double().numpy() - low) / (high - low), 0, 1)
        scaled = scaled.reshape(-1, *self._pixels())
        colours: np.ndarray = np.broadcast_to(scaled, (3, *self._pixels())).transpose(1, 2, 0)
        return colours


_FULL = {"left": 0, "right": 1, "bottom": 0, "top": 1}


def _side_by_side(figure: Figure) -> np.ndarray:
    axes: np.ndarray = figure.subplots(1, 2, gridspec_kw=_FULL | {"wspace": 0.08})
    return axes


def _letters(inches: float, size: float) -> int:
    """How many letters of a given size fit."""
    return max(3, int(inches * 72 / (LETTER * size)))


def _limits_of(values: Tensor, shared: Limits) -> tuple[Limits, str]:
    """The values drawn black and white in a row, and a remark where they differ from those of the other rows."""
    low, high = shared
    slack = SLACK * (high - low)
    outside = ((values < low - slack) | (values > high + slack)).double().mean().item()
    return (shared, "") if outside <= OUTSIDE else (bounds([values]), "\n(own grey scale)")


class _Canvas:
    """Pictures of one size in the cells of one axis.

    Args:
        axis: Where.
        cells: Rows and columns.
        pixels: Height and width of a picture.
        room: Between the rows, in heights of a picture.
    """

    def __init__(self, axis: Axes, cells: tuple[int, int], pixels: tuple[int, int], room: float = GAP) -> None:
        (self.high, self.wide), (rows, columns) = pixels, cells
        self.axis = axis
        self.across, self.down = (GAP if room else 0) * self.high, room * self.high
        self.extent = columns * (self.wide + self.across) - self.across, rows * (self.high + self.down) - self.down
        self.cells = cells
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)

    def put(self, row: int, column: int, rgb: np.ndarray) -> None:
        left, top = self._corner(row, column)
        self.axis.imshow(rgb, extent=(left, left + self.wide, top + self.high, top), interpolation="auto")

    def caption(self, row: int, column: int, text: str, *, above: bool = False) -> None:
        left, top = self._corner(row, column)
        place, size = (top, TINY) if above else (top + self.high, SMALL - 1)
        self.axis.annotate(
            text, (left + self.wide / 2, place), (0, 1.5 if above else -2), textcoords="offset points", ha="center",
            va="bottom" if above else "top", fontsize=size, color=GREY, linespacing=1.1,
        )  # fmt: skip

    def names(self, texts: Sequence[str]) -> None:
        """Of the rows, on the left."""
        places = [self._corner(row, 0)[1] + self.high / 2 for row in range(self.cells[0])]
        self.axis.set_yticks(places, texts, fontsize=TEXT, color=BLACK)
        self.axis.tick_params(axis="y", length=0, pad=6)

    def heads(self, texts: Sequence[str]) -> None:
        """Of the columns, above; none where there are no texts."""
        if texts:
            places = [self._corner(0, column)[0] + self.wide / 2 for column in range(len(texts))]
            self.axis.set_xticks(places, texts, fontsize=SMALL, color=GREY)
            self.axis.tick_params(axis="x", length=0, pad=3, top=True, labeltop=True, bottom=False, labelbottom=False)

    def numbers(self, z1: Tensor, z2: Tensor) -> None:
        """Values of every other row and column."""
        chosen = range(0, len(z1), 2)
        self.axis.set_xticks([self._corner(0, i)[0] + self.wide / 2 for i in chosen], [number(z1[i]) for i in chosen])
        self.axis.set_yticks([self._corner(i, 0)[1] + self.high / 2 for i in chosen], [number(z2[i]) for i in chosen])
        self.axis.tick_params(labelsize=SMALL, colors=GREY)
        self.axis.set_xlabel("$z_1$", fontsize=TEXT, color=GREY)
        self.axis.set_ylabel("$z_2$", fontsize=TEXT, color=GREY)

    def show(self) -> None:
        """Fill the axis with the cells; to be called last."""
        self.axis.set_xlim(0, self.extent[0])
        self.axis.set_ylim(self.extent[1], 0)
        self.axis.set_aspect("auto")

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        return column * (self.wide + self.across), row * (self.high + self.down)
