"""``figures``: which pictures are drawn, and that something is on them."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy import stats

from pyrovae import UserError, commands, runs
from pyrovae.contracts import DataSpec
from pyrovae.data import Dataset
from pyrovae.drawing import charts, pictures
from pyrovae.drawing.images import Images
from pyrovae.drawing.portraits import Portrait
from pyrovae.runs.opening import open_run
from pyrovae.vae import VAE

ALWAYS = {"reconstructions", "samples", "latent", "interpolation"}


def check(paths: list[Path], folder: Path, names: set[str]) -> None:
    """Exactly these PNG files, each of a sensible size and with something on it."""
    assert {path.name for path in paths} == {f"{name}.png" for name in names}
    assert set(folder.iterdir()) == set(paths)
    for path in paths:
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            assert image.format == "PNG"
            width, height = image.size
            assert 300 < width < 4000
            assert 100 < height < 4000
            grey = np.asarray(image.convert("L"), dtype=float)
        assert grey.std() > 5, f"{path.name} is blank"
        assert (grey < 128).mean() > 0.002, f"{path.name} is nearly white"


@pytest.fixture(scope="module")
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def cases(make_run, tmp_path_factory, random) -> dict[str, Path]:
    """Runs on spectra without labels (1-D latent), colour pictures without validation data, and a table with classes."""
    folder = tmp_path_factory.mktemp("figures")
    waves = np.sin(np.linspace(0, 6, 30) + random.uniform(0, 6, (60, 1)))
    np.save(folder / "spectra.npy", waves + 0.1 * random.normal(size=waves.shape))
    np.savez(folder / "colours.npz", train=random.uniform(size=(40, 3, 6, 5)), test=random.uniform(size=(12, 3, 6, 5)))
    np.savez(folder / "classes.npz", x=random.normal(size=(60, 4)), y=np.arange(60) % 25)
    colours = {"name": "file", "path": str(folder / "colours.npz"), "valid": 0}
    return {
        "spectra": make_run("spectra", data=str(folder / "spectra.npy"), likelihood="normal", latent_dim=1),
        "colours": make_run("colours", data=colours, likelihood="normal", latent_dim=3),
        "classes": make_run("classes", data=str(folder / "classes.npz"), likelihood="normal", preprocess="standardise"),
    }


def test_digits_with_a_plane_of_latents_have_a_grid(run):
    paths = commands.figures(run, device="cpu")
    check(paths, run / "figures", ALWAYS | {"grid", "learning_curves"})


@pytest.mark.parametrize(("case", "more"), [("spectra", set()), ("colours", set()), ("classes", {"grid"})])
def test_other_data_are_drawn_too(cases, tmp_path, case, more):
    out = tmp_path / "pictures"
    check(commands.figures(cases[case], out=str(out)), out, ALWAYS | {"learning_curves"} | more)
    assert not (cases[case] / "figures").exists()


def test_a_model_that_was_never_trained_here_has_no_learning_curves(tmp_path):
    folder = runs.save(VAE((8, 8), 5, "binomial", network="linear", kind="levels", levels=17), tmp_path / "run")
    data = commands.load_dataset("digits")
    assert isinstance(data, Dataset)
    check(commands.figures(folder, data=data), folder / "figures", ALWAYS)


def test_other_data_than_the_runs_are_drawn(run, tmp_path, monkeypatch):
    few_pictures(monkeypatch)
    own = commands.figures(run, out=str(tmp_path / "own"))
    np.save(tmp_path / "noise.npy", np.random.default_rng(1).integers(0, 17, (30, 8, 8)))
    other = commands.figures(run, data=tmp_path / "noise.npy", out=str(tmp_path / "other"))
    drawn = {(first.name, first.read_bytes() == second.read_bytes()) for first, second in zip(own, other, strict=True)}
    assert {("reconstructions.png", False), ("latent.png", False), ("samples.png", True)} <= drawn


def test_the_same_seed_draws_the_same_and_another_seed_does_not(run, tmp_path, monkeypatch):
    few_pictures(monkeypatch)
    first, again, other = (
        commands.figures(run, out=str(tmp_path / name), seed=seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    changed = {a.name for a, b in zip(first, other, strict=True) if a.read_bytes() != b.read_bytes()}
    assert {"samples.png", "reconstructions.png"} <= changed
    assert "learning_curves.png" not in changed


def test_before_training_is_what_the_seed_of_the_run_draws_again(digits_run, tmp_path):
    """The untrained model that is drawn has the weights that training started from: those of a run of the same seed."""
    config = yaml.safe_load((digits_run / "config.yaml").read_text())
    started = {}

    def keep(engine, y, c, kl_weight):
        started.update({name: tensor.clone() for name, tensor in engine.vae.state_dict().items()})
        raise StopIteration

    options = {key: value for key, value in config.items() if key != "run"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrovae.engines.Eager.step", keep)
        with pytest.raises(StopIteration):
            commands.train(**options, out=str(tmp_path / "again"), progress=False)
    untrained = pictures._untrained(open_run(digits_run, None, None, "cpu")).state_dict()
    assert started.keys() == untrained.keys()
    assert all(started[name].equal(untrained[name]) for name in started)


def test_a_sample_can_be_a_picture(digits_run, tmp_path):
    commands.sample(digits_run, count=9, out=str(tmp_path / "x.png"))
    with Image.open(tmp_path / "x.png") as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L"), dtype=float).std() > 5


def test_the_command_prints_what_it_wrote(cli, run, monkeypatch):
    few_pictures(monkeypatch)
    answer = cli("figures", run)
    assert (answer.code, answer.err) == (0, "")
    assert {Path(line) for line in answer.out.split()} == set((run / "figures").iterdir())
    assert all(re.search(r"\.png$", line) for line in answer.out.split())


# --- which figures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def point_run(make_run) -> Path:
    """A plain autoencoder with a plane of latents; not to be written to."""
    return make_run("point", posterior="delta", likelihood="binomial", epochs=2)


@pytest.fixture
def shown(monkeypatch) -> dict[str, tuple[tuple[Any, ...], Any]]:
    """What was given to the functions that draw, and the figures that they made, by name."""
    kept: dict[str, tuple[tuple[Any, ...], Any]] = {}
    for home, name in ((Images, "grid"), (charts, "learning_curves"), (Images, "samples"), (Images, "reconstructions")):
        draw = getattr(home, name)

        def keep(*given: Any, draw: Any = draw, name: str = name, **options: Any) -> Any:
            kept[name] = (given, draw(*given, **options))
            return kept[name][1]

        monkeypatch.setattr(home, name, keep)
    return kept


def test_only_the_figures_that_are_wanted_are_drawn(cli, run, monkeypatch):
    few_pictures(monkeypatch)
    answer = cli("figures", run, "--only", "grid, samples")
    assert (answer.code, answer.err) == (0, "")
    assert {path.name for path in (run / "figures").iterdir()} == {"grid.png", "samples.png"}
    assert len(answer.out.split()) == 2


@pytest.mark.parametrize(
    ("case", "only", "message"),
    [
        ("classes", "gird", r"only='gird': unknown; did you mean grid\? All: classes, grid"),
        ("spectra", "grid", "only='grid': needs a 2-D latent, this run has 1; instead only='latent'"),
        ("classes", "samples,relabelled", "only='relabelled': needs a conditional model, this run has no context; draw only"),
    ],
)
def test_figures_that_a_run_does_not_have_are_refused_with_what_it_has(cases, tmp_path, case, only, message):
    with pytest.raises(UserError, match=message):
        commands.figures(cases[case], only=only, out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_learning_curves_need_a_training(tmp_path):
    folder = runs.save(VAE((8, 8), 2, "binomial", network="linear", kind="levels", levels=17), tmp_path / "run")
    with pytest.raises(UserError, match=r"only='learning_curves': the run has no metrics\.csv; train writes it"):
        commands.figures(folder, data=commands.load_dataset("digits"), only="learning_curves")


def test_an_autoencoder_has_every_figure(point_run, tmp_path, monkeypatch):
    few_pictures(monkeypatch)
    with pytest.warns(UserWarning, match="does not fit its codes to the prior"):
        paths = commands.figures(point_run, out=str(tmp_path))
    assert {path.stem for path in paths} == ALWAYS | {"grid", "learning_curves"}
    assert set(tmp_path.iterdir()) == set(paths)


# --- the grid ------------------------------------------------------------------------------------------------------------


def test_a_grid_is_drawn_from_the_upper_left_and_has_the_values_of_z():
    tiles = torch.arange(9.0).reshape(3, 3, 1, 1).expand(3, 3, 2, 2)
    spec = DataSpec((2, 2), "levels", 9)
    figure = Images(spec, (0.0, 8.0)).grid(tiles, torch.tensor([-1.0, 0.0, 1.5]), torch.tensor([2.0, 0.0, -2.0]), "E[x|z]")
    assert figure.get_suptitle() == "E[x|z]"
    (axis,) = figure.axes
    assert not axis.xaxis_inverted()
    assert axis.yaxis_inverted()  # so a larger top is further down
    for i, image in enumerate(axis.get_images()):
        np.testing.assert_allclose(image.get_array(), np.full((2, 2, 3), i / 8))
        left, right, bottom, top = image.get_extent()
        assert (left + right) / 2 == pytest.approx(1 + i % 3 * (2 + 0.06 * 2))
        assert (top + bottom) / 2 == pytest.approx(1 + i // 3 * (2 + 0.06 * 2))
    assert [text.get_text() for text in axis.get_xticklabels()] == ["\N{MINUS SIGN}1.00", "1.50"]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["2.00", "\N{MINUS SIGN}2.00"]
    np.testing.assert_allclose(axis.get_xticks(), [1, 1 + 2 * 2.12])
    # No wide margins: the pictures fill the figure but for the numbers, the names of the axes and the title.
    figure.draw_without_rendering()
    box, inner = figure.get_tightbbox(), axis.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    assert inner.width > box.width - 0.8
    assert inner.height > box.height - 0.9


def mixture_cdf(vae: VAE) -> Any:
    """The marginal distribution functions of a mixture of normals, from its documented parameters."""
    module = vae.prior_module
    weights = torch.softmax(module.logits, 0).detach().double().numpy()[:, None]
    means, raw = module.params.detach().double().unbind(1)
    scales = np.exp(8 * np.tanh(raw.numpy() / 8))
    return lambda z: (weights * stats.norm.cdf(z[..., None, :], means.numpy(), scales)).sum(-2)


@pytest.mark.parametrize(
    ("prior", "cdf"),
    [
        ({"name": "normal"}, lambda vae: stats.norm.cdf),
        ({"name": "laplace"}, lambda vae: stats.laplace.cdf),
        ({"name": "uniform"}, lambda vae: stats.uniform.cdf),
        ({"name": "beta", "concentration1": 2.0, "concentration0": 5.0}, lambda vae: stats.beta(2, 5).cdf),
        ({"name": "mixture", "components": 3}, mixture_cdf),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_the_grid_lies_at_the_quantiles_of_any_prior(prior, cdf):
    """Most priors have no quantile function; the grid takes those of many draws."""
    torch.manual_seed(1)
    vae = VAE((4,), 2, "normal", prior=prior, network="linear")
    before = torch.random.get_rng_state()
    z = pictures.quantile_grid(vae, 5, seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert z.shape == (5, 5, 2)
    assert torch.equal(z, pictures.quantile_grid(vae, 5, seed=0))
    u = (np.arange(5) + 0.5) / 5
    found = cdf(vae)(z.double().numpy())
    # The distribution function at the u-quantile of n draws is Beta(n u, n (1 - u)), of variance u (1 - u) / n.
    tolerance = 4.5 * np.sqrt(u * (1 - u) / pictures.QUANTILE_DRAWS)
    assert (np.abs(found[..., 0] - u[None, :]) < tolerance[None, :]).all()  # rising to the right
    assert (np.abs(found[..., 1] - u[::-1, None]) < tolerance[::-1, None]).all()  # rising upwards


def test_the_grid_of_a_conditional_prior_is_that_of_the_context():
    vae = VAE(
        (4,),
        2,
        "normal",
        prior={"name": "normal", "context": "learned"},
        context="label",
        labels=[{"name": "class", "values": "ab"}],
    )
    with torch.no_grad():
        vae.prior_module.params.weight.normal_()
    for code in (0, 1):
        z = pictures.quantile_grid(vae, 3, seed=0, c=torch.tensor([code]))
        p = vae.prior(torch.tensor(code))
        u = stats.norm.cdf(z.numpy(), p.mean.detach().numpy(), p.stddev.detach().numpy())[1, 1]
        assert (np.abs(u - 0.5) < 4.5 * 0.5 / math.sqrt(pictures.QUANTILE_DRAWS)).all()


def test_the_grid_of_an_autoencoder_spans_the_encoded_data(point_run, shown, monkeypatch):
    few_pictures(monkeypatch)
    decoded = []
    decode = VAE.decode
    monkeypatch.setattr(VAE, "decode", lambda vae, z, c=None: decoded.append(z) or decode(vae, z, c))
    opened = open_run(point_run, None, None, "cpu")
    pictures.pictures(opened, 0, only=["grid"])
    encoded = commands.encode(point_run, split="test").mean  # 300 data: all of them are looked at
    (z,) = decoded
    side = Portrait.side
    steps = [np.linspace(encoded[:, i].min().item(), encoded[:, i].max().item(), side) for i in range(2)]
    np.testing.assert_allclose(z[..., 0], np.tile(steps[0], (side, 1)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(z[..., 1], np.tile(steps[1][::-1, None], (1, side)), rtol=1e-5, atol=1e-5)
    (_, tiles, z1, z2, title), _ = shown["grid"]
    assert tiles.shape == (side, side, 8, 8)
    assert torch.equal(z1, z[0, :, 0])
    assert torch.equal(z2, z[:, 0, 1])
    assert title == "E[x|z] at even steps over the encoded data"


# --- before training -----------------------------------------------------------------------------------------------------


def test_the_row_before_training_is_not_clipped(point_run, shown):
    """An untrained decoder may be outside the values that the data can have: its row has black and white of its own."""
    opened = open_run(point_run, None, None, "cpu")
    pictures.pictures(opened, 0, only=["reconstructions"])
    (_, rows, _, _), figure = shown["reconstructions"]
    (axis,) = figure.axes
    names = [text.get_text() for text in axis.get_yticklabels()]
    images = np.array([image.get_array() for image in axis.get_images()]).reshape(3, -1)
    assert names == ["data", "before training", "after training"]  # of a binomial all means are within
    assert images[0].max() == 1
    rows = {"data": rows["data"], "before training": rows["data"] * 0.01 - 5, "after training": rows["after training"]}
    (axis,) = Images(opened.vae.spec, (0.0, 16.0)).reconstructions(rows, [], "").axes
    names = [text.get_text() for text in axis.get_yticklabels()]
    images = np.array([image.get_array() for image in axis.get_images()]).reshape(3, -1)
    assert names == ["data", "before training\n(own grey scale)", "after training"]
    assert images[1].min() == 0
    assert images[1].max() == 1
    np.testing.assert_allclose(images[1], images[0], atol=1e-5)  # the same shapes, however small and dark


# --- learning curves -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "column", "name"), [("point", "valid_reconstruction", "reconstruction"), ("vae", "valid_elbo", "ELBO")]
)
def test_learning_curves_show_what_was_validated(point_run, digits_run, shown, kind, column, name):
    """A plain autoencoder has no ELBO: its curve is that of the reconstruction."""
    folder = point_run if kind == "point" else digits_run
    pictures.pictures(open_run(folder, None, None, "cpu"), 0, only=["learning_curves"])
    _, figure = shown["learning_curves"]
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    (axis,) = figure.axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    epochs, valid = ([float(row[key]) for row in rows] for key in ("epoch", column))
    assert lines[f"validation {name}"].get_xdata() == pytest.approx(epochs)
    assert lines[f"validation {name}"].get_ydata() == pytest.approx(valid)
    assert lines["training: minus the loss"].get_ydata() == pytest.approx([-float(row["loss"]) for row in rows])
    best = int(np.argmax(valid))
    (mark,) = (line for label, line in lines.items() if label.startswith("best:"))
    np.testing.assert_allclose(mark.get_xydata(), [[epochs[best], valid[best]]])
    assert mark.get_label() == f"best: {valid[best]:.2f} nats, epoch {best + 1}"
    assert axis.get_ylabel() == "nats per datum (higher is better)"
    assert all(math.isnan(float(row["valid_elbo"])) == (kind == "point") for row in rows)


def test_without_validation_data_there_is_the_loss_alone(cases, shown):
    pictures.pictures(open_run(cases["colours"], None, None, "cpu"), 0, only=["learning_curves"])
    (line,) = shown["learning_curves"][1].axes[0].get_lines()
    assert line.get_label() == "training: minus the loss"


def test_training_is_drawn_in_the_units_of_the_data(cases, shown):
    """Standardised data: log p(x) = log p(y) - sum log scale, the scales of the training data as numpy finds them."""
    opened = open_run(cases["classes"], None, None, "cpu")
    pictures.pictures(opened, 0, only=["learning_curves"])
    lines = {line.get_label(): line for line in shown["learning_curves"][1].axes[0].get_lines()}
    with open(cases["classes"] / "metrics.csv", newline="") as file:
        losses = np.array([float(row["loss"]) for row in csv.DictReader(file)])
    scales = opened.dataset.train.x.double().numpy().std(0)
    drawn = lines["training: minus the loss"].get_ydata()
    np.testing.assert_allclose(drawn, -losses - np.log(scales).sum(), rtol=1e-6)


@pytest.mark.parametrize("epochs", [1, 2, 5, 37, 1000])
def test_epochs_are_whole_numbers(epochs):
    history = [{"epoch": float(i + 1), "loss": 1.0 / (i + 1), "valid_elbo": -1.0 / (i + 1)} for i in range(epochs)]
    figure = charts.learning_curves(history, 0.0)
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticks()
    assert len(ticks) >= 1
    assert all(tick == round(tick) for tick in ticks)
    texts = {tick.label1.get_text() for tick in figure.axes[0].xaxis.get_major_ticks()}
    assert all(re.fullmatch(r"\W?[0-9]+", text) for text in texts)


def few_pictures(monkeypatch) -> None:
    """Fewer pictures a figure: for tests that do not look at them."""
    monkeypatch.setattr(Portrait, "sampled", 4)
    monkeypatch.setattr(Portrait, "side", 3)
