"""The rows of a league -> a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyrovae.drawing.style import BLUE, GREY, RED, SMALL, TEXT, WIDTH, label, shortened

ROW = 0.24
"""Height of one run in inches."""

LETTERS = 40
"""The most letters of a run's name."""

FAR = 30
"""The axis is logarithmic if the largest difference exceeds the smallest by more than this factor."""


def league(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """How far each run is behind the best of its group, with two standard errors of the paired difference.

    Args:
        groups: Title -> its runs, best first: ``name``, ``difference`` (nats per datum), ``error`` (its standard error, or
            None) and ``bound`` (whether the number is a lower bound, which may be too low: drawn open).
    """
    heights = [len(rows) + 0.4 for rows in groups.values()]
    figure = Figure(figsize=(WIDTH, ROW * sum(heights) + 0.65 * len(heights) + 0.2), layout="constrained")
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (title, rows) in zip(axes, groups.items(), strict=True):
        for place, row in enumerate(rows):
            _run(axis, place, row)
        behind = sorted(-row["difference"] for row in rows if np.isfinite(row["difference"]) and row["difference"] < 0)
        if behind and behind[-1] > FAR * behind[0]:
            axis.set_xscale("symlog", linthresh=behind[0])
            axis.xaxis.set_major_formatter("{x:g}")
        if not behind:
            axis.set_xticks([0])
        axis.set_yticks(range(len(rows)), [shortened(row["name"], LETTERS) for row in rows])
        axis.set_ylim(len(rows) - 0.5, -0.6)
        axis.grid(axis="x", color="0.92")
        axis.set_axisbelow(True)
        axis.set_title(title, fontsize=TEXT + 1, loc="left")
        label(axis, "", "")
    axes[-1].set_xlabel(
        "log evidence less that of the best (nats per datum), ± 2 paired standard errors; open: a lower bound",
        fontsize=TEXT,
        color=GREY,
    )
    return figure


def _run(axis: Axes, place: int, row: Mapping[str, Any]) -> None:
    if not np.isfinite(row["difference"]):
        axis.annotate("-inf", (0, place), xycoords=("axes fraction", "data"), fontsize=SMALL, va="center", color=RED)
        return
    colour = RED if place == 0 else BLUE
    axis.errorbar(
        row["difference"], place, xerr=2 * (row["error"] or 0.0), fmt="o", markersize=5, color=colour, capsize=3, linewidth=1,
        markerfacecolor="white" if row["bound"] else colour,
    )  # fmt: skip
