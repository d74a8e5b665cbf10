"""What every figure must be: colours that can be told apart, shapes that do not lie, nothing cut off, sharp on dense screens."""

from __future__ import annotations

import io
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from pyrovae.drawing import charts, differences, style

# --- colours -------------------------------------------------------------------------------------------------------------

SRGB_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
"""IEC 61966-2-1, white point D65."""

SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Of linear sRGB, severity 1.0 (Machado, Oliveira and Fernandes, 2009)."""

JUST_NOTICEABLE = 2.3
"""In CIELAB (Mahy, Van Eycken and Oosterlinck, 1994, Evaluation of Uniform Color Spaces)."""


def lab(colour, sight="normal") -> np.ndarray:
    """CIELAB of an sRGB colour as it is seen (CIE 15:2004)."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(SIGHT[sight]) @ linear, 0, 1)
    t = SRGB_TO_XYZ @ seen / SRGB_TO_XYZ.sum(1)
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_cielab_is_that_of_the_books():
    np.testing.assert_allclose(lab("red"), [53.24, 80.09, 67.20], atol=0.02)
    np.testing.assert_allclose(lab("white"), [100, 0, 0], atol=0.02)


@pytest.fixture(scope="module")
def map_of_ten():
    """A latent map of ten classes of ten data."""
    codes = torch.arange(10).repeat_interleave(10)
    z = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    return charts.latent_scatter(z, codes, [f"class {i}" for i in range(10)], "test data")


def drawn_colours(figure) -> list[tuple[float, ...]]:
    """The colours of the points on white paper."""
    faces = {tuple(dots.get_facecolor()[0]) for dots in figure.axes[0].collections if len(dots.get_offsets())}
    return [tuple(1 - alpha * (1 - np.array(rgb))) for *rgb, alpha in sorted(faces)]


@pytest.mark.parametrize(("sight", "least"), [("normal", 15), ("protanopia", 8), ("deuteranopia", 8), ("tritanopia", 8)])
def test_ten_classes_can_be_told_apart(map_of_ten, sight, least):
    """One just noticeable difference is enough for large patches; dots of 2 mm take eight (Stone, Szafir and Setlur, 2014)."""
    colours = drawn_colours(map_of_ten)
    assert len(colours) == 10
    nearest = min(np.linalg.norm(lab(a, sight) - lab(b, sight)) for a, b in combinations(colours, 2))
    assert nearest > least * JUST_NOTICEABLE
    assert min(np.linalg.norm(lab(a, sight) - lab("white", sight)) for a in colours) > least * JUST_NOTICEABLE


def test_a_class_has_the_same_colour_whichever_are_there():
    z = torch.zeros(2, 2)
    faces = []
    for codes in ([3, 3], [7, 3], [3, 9]):
        figure = charts.latent_scatter(z, torch.tensor(codes), [str(i) for i in range(10)], "test data")
        faces.append({tuple(dots.get_facecolor()[0]) for dots in figure.axes[0].collections if len(dots.get_offsets())})
    assert faces[0] <= faces[1]
    assert faces[0] <= faces[2]


def test_sixty_classes_differ_in_colour_or_marker():
    assert len({(style.class_colour(i), style.class_marker(i)) for i in range(60)}) == 60


# --- shapes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stretch", [1.0, 50.0, 0.02])
@pytest.mark.parametrize("size", [2, 5])
def test_a_unit_of_a_latent_map_is_as_long_in_x_as_in_y(stretch, size):
    z = torch.randn(60, size, generator=torch.Generator().manual_seed(0)) * torch.tensor([stretch] + [1.0] * (size - 1))
    figure = charts.latent_scatter(z, None, (), "test data")
    figure.draw_without_rendering()
    axis = figure.axes[0]
    corners = axis.transData.transform([(0, 0), (1, 0), (0, 1)])
    assert corners[1, 0] - corners[0, 0] == pytest.approx(corners[2, 1] - corners[0, 1], rel=0.005)  # where matplotlib stops
    low, high = axis.viewLim.get_points()
    points = axis.collections[0].get_offsets()
    assert ((points >= low) & (points <= high)).all()


def test_one_latent_is_drawn_with_a_row_for_each_class():
    codes = torch.tensor([0, 2, 2, 0])
    axis = charts.latent_scatter(torch.arange(4.0).unsqueeze(-1), codes, ["ant", "bee", "cat"], "test data").axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["ant", "cat"]
    for dots in axis.collections:
        for x, y in dots.get_offsets():
            assert abs(y - (0 if x in (0, 3) else 1)) < 0.5


# --- sizes ---------------------------------------------------------------------------------------------------------------


def league(n: int):
    rows = [{"name": f"{i + 1}  run-{i}", "difference": -(float(i) ** 2), "error": i / 9, "bound": i % 3 == 0} for i in range(n)]
    return differences.league({"log p(x): probability of the data as they were given": rows})


def latent_map():
    return charts.latent_scatter(torch.randn(80, 2), torch.arange(80) % 40, ["a class with a very long name"] * 40, "test data")


def learning_curves():
    return charts.learning_curves([{"epoch": i + 1.0, "loss": 3.0, "valid_elbo": -4.0} for i in range(9)], 0.0)


def calibration():
    edges = [i / 10 for i in range(11)]
    bins = [
        {"low": low, "high": high, "confidence": (low + high) / 2, "accuracy": low, "count": 10 ** (i % 4)}
        for i, (low, high) in enumerate(pairwise(edges))
    ]
    return charts.calibration(bins, 0.05)


FIGURES = {
    "latent": latent_map,
    "learning curves": learning_curves,
    "calibration": calibration,
    "league of 1": lambda: league(1),
    "league of 100": lambda: league(100),
}


@pytest.fixture(params=FIGURES, scope="module")
def figure(request):
    return FIGURES[request.param]()


def test_figures_are_sharp_where_a_pixel_of_a_page_is_two_of_the_screen(figure):
    """An inch is 96 pixels of a page (CSS); what is as wide as a README has no more than its 830."""
    with Image.open(io.BytesIO(style.png(figure))) as image:
        width = image.size[0] / style.DPI
        assert image.info["dpi"] == pytest.approx((style.DPI, style.DPI), rel=1e-3)
    assert style.DPI >= 2 * 96
    assert width <= 830 / 96


def test_nothing_lies_outside_the_figure(figure):
    figure.draw_without_rendering()
    box = figure.get_tightbbox()  # inches
    slack = 0.1  # what matplotlib's own padding may be off by
    assert box.x0 > -slack
    assert box.y0 > -slack
    assert box.x1 < figure.get_figwidth() + slack
    assert box.y1 < figure.get_figheight() + slack


def test_the_runs_of_a_long_league_do_not_overlap():
    figure = league(100)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 100
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))
