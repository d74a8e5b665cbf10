"""How data of every kind are drawn: what the axes say, that nothing is cut off and no texts lie on each other."""

from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from pyrovae.contracts import DataSpec
from pyrovae.drawing import style
from pyrovae.drawing.choice import portrait_of
from pyrovae.drawing.curves import Curves
from pyrovae.drawing.images import Images
from pyrovae.drawing.portraits import Portrait
from pyrovae.drawing.tables import Tables

COLUMNS = ("height_cm", "weight_kg", "a column whose name is as long as a sentence", "age")

SPECS = {
    "grey": DataSpec((8, 8), "levels", 17),
    "colour": DataSpec((3, 6, 9), "levels", 256),
    "curve": DataSpec((30,)),
    "block": DataSpec((2, 3, 4, 5)),
    "table": DataSpec((4,), columns=COLUMNS),
    "wide table": DataSpec((15,), columns=tuple(f"x{i}" for i in range(15))),
}

CLASSES = ["ant", "bee", "a class with a very long name, in two parts"]


def portrait(name: str) -> Portrait:
    spec = SPECS[name]
    return portrait_of(spec, None if spec.levels is None else (0.0, spec.levels - 1.0))


def data(name: str, *shape: int, seed: int = 0) -> torch.Tensor:
    spec = SPECS[name]
    z = torch.randn(*shape, *spec.event_shape, generator=torch.Generator().manual_seed(seed))
    return z if spec.levels is None else (z.abs() * spec.levels / 3).clamp(max=spec.levels - 1)


def drawn(kind: str, name: str) -> Figure:
    it = portrait(name)
    n = it.shown
    heads = [CLASSES[i % 3] for i in range(n)]
    rows = {label: data(name, n, seed=i) for i, label in enumerate(("data", "before training", "after training"))}
    match kind:
        case "reconstructions":
            return it.reconstructions(rows, heads, "Reconstructions: E[x|z,c] at the posterior mean of z")
        case "samples":
            titles = "means E[x|z,c], z ~ p(z|c),\ngiven the c above each", "draws x ~ p(x|z,c),\nthe same z and c"
            return it.samples(data(name, 20), data(name, 20, seed=1), [CLASSES[i % 3] for i in range(20)], titles)
        case "interpolation":
            return it.interpolation(
                data(name, 10), data(name, 2, seed=1), ("c = ant", "c = ant"), "E[x|z,c] on a line, given c = ant"
            )
        case "rows":
            return it.rows({label: data(name, n, seed=i) for i, label in enumerate(CLASSES)}, heads, "E[x|z,c] given each c")
        case "grid":
            z = torch.linspace(-2, 2, it.side)
            return it.grid(data(name, it.side, it.side), z, z.flip(0), "E[x|z] at the quantiles of p(z)")
        case _:
            return it.lowest(data(name, 20), [f"-{i}.0\n#{i}\nc = ant" for i in range(20)], "The data with the lowest log p(x|c)")


KINDS = ("reconstructions", "samples", "interpolation", "rows", "grid", "lowest")


@pytest.fixture(
    scope="module", params=[(kind, name) for kind in KINDS for name in SPECS], ids=lambda case: f"{case[0]}-{case[1]}"
)
def figure(request):
    return drawn(*request.param)


def test_kinds_of_data_have_their_portraits():
    kinds = {name: type(portrait(name)) for name in SPECS}
    assert kinds == {"grey": Images, "colour": Images, "curve": Curves, "block": Curves, "table": Tables, "wide table": Tables}


def test_a_figure_fits_a_page_and_nothing_is_cut_off(figure):
    """The file is what ``png`` writes: it has room for every artist, and no more than a README is wide (830 of 96 an inch)."""
    with Image.open(io.BytesIO(style.png(figure))) as image:
        width, height = (pixels / style.DPI for pixels in image.size)
    box = figure.get_tightbbox()
    assert width >= box.width
    assert height >= box.height
    assert width <= 830 / 96
    assert height <= 13


def test_no_text_lies_on_another(figure):
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if _is_shown(text, figure)]
    for (first, a), (second, b) in combinations(boxes, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across < 1 or down < 2, (first, second)  # pixels at 100 an inch


def _is_shown(text: Text, figure: Figure) -> bool:
    """Not a tick's label outside its axis, nor one that is switched off."""
    for axis in figure.axes:
        for side, limits in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
            for tick in (*side.get_major_ticks(), *side.get_minor_ticks()):
                if text in (tick.label1, tick.label2):
                    return text.get_visible() and min(limits) <= tick.get_loc() <= max(limits)
    return True


@pytest.mark.parametrize("kind", ["reconstructions", "samples", "interpolation", "rows", "lowest"])
@pytest.mark.parametrize("name", ["curve", "block"])
def test_the_axes_of_curves_have_names_and_cover_what_is_drawn(kind, name):
    figure = drawn(kind, name)
    assert "element" in {axis.get_xlabel() for axis in figure.axes}
    assert "value" in {axis.get_ylabel() for axis in figure.axes}
    size = SPECS[name].size
    for axis in figure.axes:
        for line in axis.get_lines():
            np.testing.assert_array_equal(line.get_xdata(), np.arange(size))
            assert axis.get_xlim()[0] < 0
            assert axis.get_xlim()[1] > size - 1
            assert axis.get_ylim()[0] < line.get_ydata().min()
            assert axis.get_ylim()[1] > line.get_ydata().max()
        assert all(tick == round(tick) for tick in axis.get_xticks() if kind != "interpolation")


@pytest.mark.parametrize("kind", KINDS)
def test_the_columns_of_a_table_have_a_panel_each_with_their_names(kind):
    figure = drawn(kind, "table")
    texts = {text.get_text().replace("\n", " ") for text in figure.findobj(Text)}
    assert {"height_cm", "weight_kg", "age"} <= texts
    assert any(text.startswith("a column whose") for text in texts)
    wide = drawn(kind, "wide table")
    assert "the first 12 of 15 columns" in wide.get_suptitle()


def test_classes_of_what_are_no_pictures():
    """A panel of curves for each class, or a line of values in the panel of each column, with the names of the classes."""
    curves = drawn("rows", "curve")
    assert [axis.get_title()[:6] for axis in curves.axes] == [name[:6] for name in CLASSES]
    assert all(len(axis.get_lines()) == Curves.shown for axis in curves.axes)
    table = drawn("rows", "table")
    assert [text.get_text()[:6] for text in table.axes[0].get_yticklabels()] == [name[:6] for name in CLASSES]
    for column, axis in enumerate(table.axes):
        for i, dots in enumerate(axis.collections):
            np.testing.assert_allclose(dots.get_offsets()[:, 0], data("table", Tables.shown, seed=i)[:, column])
            assert (abs(dots.get_offsets()[:, 1] - i) < 0.5).all()


def test_what_is_made_of_a_table_is_drawn_against_it():
    figure = drawn("reconstructions", "table")
    for column, axis in enumerate(figure.axes):
        before, after = axis.collections
        np.testing.assert_allclose(before.get_offsets()[:, 0], data("table", Tables.shown)[:, column])
        np.testing.assert_allclose(after.get_offsets()[:, 1], data("table", Tables.shown, seed=2)[:, column])


def test_values_that_are_not_finite_do_not_stop_a_figure():
    x = data("curve", 10)
    x[0, 0], x[1, 1] = torch.nan, torch.inf
    axes = portrait("curve").reconstructions({"data": x, "after training": x}, [], "").axes
    assert np.isfinite(axes[0].get_ylim()).all()
