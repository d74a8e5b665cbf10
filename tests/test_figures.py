"""``figures``: which pictures are drawn, and that something is on them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pyrovae import commands, runs
from pyrovae.data import Dataset
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
    from pyrovae.opening import open_run
    from pyrovae.pictures import _untrained

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
    untrained = _untrained(open_run(digits_run, None, None, "cpu")).state_dict()
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


def few_pictures(monkeypatch) -> None:
    """Fewer pictures a figure: for tests that do not look at them."""
    monkeypatch.setattr("pyrovae.pictures.SAMPLED", 4)
    monkeypatch.setattr("pyrovae.pictures.GRID", 3)
