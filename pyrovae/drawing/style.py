"""The one style of all figures: sizes, colours, texts, and how a figure becomes a PNG file."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from torch import Tensor

DPI = 192
"""Pixels per inch of figure: twice the 96 that a browser assumes, so that figures look sharp on dense screens."""

WIDTH = 7.5
"""Width of the widest figure in inches: 720 CSS pixels, which a README shows without shrinking the text."""

TEXT = 9
SMALL = TEXT - 1
TINY = 6.5
"""Used only where nothing larger fits."""

BLACK = "0.1"
GREY = "0.35"
LIGHT = "0.65"
FRAME = "0.85"
BLUE = "#1f6fb4"
RED = "#c23b22"
UNCLEAR = "#c9a227"

CLASS_COLOURS = (
    "#2700ff",
    "#ffb127",
    "#b11400",
    "#00d8b1",
    "#623b9d",
    "#9db162",
    "#eb27ff",
    "#763b3b",
    "#4e899d",
    "#ebb1ff",
)
"""Ten colours that maximise the smallest CIELAB distance of any two, for normal sight and each of the three dichromacies.

Source: Machado, Oliveira and Fernandes (2009), A Physiologically-based Model for Simulation of Color Vision Deficiency.
"""

CLASS_MARKERS = ("o", "s", "^", "D", "v", "P")
"""One marker per pass through the colours: class 10 has the colour of class 0 and a different marker."""


def png(figure: Figure) -> bytes:
    """The figure as a PNG file of ``DPI`` pixels an inch; nothing that is drawn is cut off."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.06, facecolor="white")
    return buffer.getvalue()


def class_colour(code: int) -> str:
    """The colour of class 0, 1, ...; the same class has the same colour in every figure."""
    return CLASS_COLOURS[code % len(CLASS_COLOURS)]


def class_marker(code: int) -> str:
    """The marker of class 0, 1, ...: with the colour, 60 different ones."""
    return CLASS_MARKERS[code // len(CLASS_COLOURS) % len(CLASS_MARKERS)]


def shortened(text: str, width: int, lines: int = 1) -> str:
    """A text wrapped to a number of lines of about ``width`` letters; an ellipsis replaces what does not fit.

    Example:
        >>> shortened("smile=no,glasses=yes,beard=no", 12, lines=2)
        'smile=no,\\nglasses=yes…'
        >>> shortened("toluene", 12)
        'toluene'
    """
    parts = textwrap.wrap(text.replace(",", ", "), width) or [""]
    kept = [part.replace(", ", ",")[:width] for part in parts[:lines]]
    if len(parts) > lines:
        kept[-1] = kept[-1].rstrip(",")[: width - 1] + "…"
    return "\n".join(kept)


def number(value: float | Tensor) -> str:
    """A number with two digits after the point and the same minus sign as matplotlib's ticks.

    Example:
        >>> number(-0.5)
        '\N{MINUS SIGN}0.50'
    """
    return f"{float(value):.2f}".replace("-", "\N{MINUS SIGN}")


def label(axis: Axes, x: str, y: str) -> None:
    """Name the axes."""
    axis.set_xlabel(x, fontsize=TEXT, color=GREY)
    axis.set_ylabel(y, fontsize=TEXT, color=GREY)
    axis.tick_params(labelsize=SMALL, colors=GREY)
    axis.spines[["top", "right"]].set_visible(False)


def titled(figure: Figure, title: str) -> None:
    """A title above everything that the figure shows; to be called last."""
    FigureCanvasAgg(figure)
    top = Bbox.union([box for axis in figure.axes if (box := axis.get_tightbbox()) is not None]).y1 / figure.bbox.height
    figure.suptitle(title, fontsize=TEXT + 1, y=top + 0.08 / figure.get_figheight(), va="bottom")


def whole_numbers(axis: Axes) -> None:
    """Ticks of the x axis at whole numbers only."""
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axis.xaxis.set_major_formatter("{x:.0f}")


def shared_range(bounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The smallest range that contains all of these."""
    return min(low for low, _ in bounds), max(high for _, high in bounds)
