"""A run meets data: its own, the same ones named again, moved ones, others."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from estimates import elbo, importance

import pyrovae
from pyrovae import Importance, UserError, commands, runs
from pyrovae.drawing import charts, pictures
from pyrovae.drawing.curves import Curves
from pyrovae.evidence.prepared import prepare_data
from pyrovae.runs.opening import open_run

TINY = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "epochs": 1, "device": "cpu", "progress": False}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.npy"
    np.save(path, np.random.default_rng(0).normal(size=(60, 4)))
    return path


@pytest.fixture
def table_run(table: Path, tmp_path: Path) -> Path:
    data = {"name": "file", "path": str(table), "split_seed": 7, "test": 0.5}
    return commands.train(data=data, likelihood="normal", out=str(tmp_path / "run"), **TINY).run


def test_the_same_data_named_again_are_split_as_the_run_split_them(table_run: Path, table: Path) -> None:
    """Otherwise rows that were trained on would count as test rows."""
    own = open_run(table_run, None, None, "cpu").dataset
    named = open_run(table_run, str(table), None, "cpu").dataset
    assert len(own.test) == 30
    assert torch.equal(named.test.index, own.test.index)


@pytest.mark.parametrize("split", ["test", "valid", "train", "all"])
def test_every_row_of_a_new_file_counts_for_nothing_of_it_was_trained_on(table_run: Path, tmp_path: Path, split: str) -> None:
    np.save(tmp_path / "other.npy", np.random.default_rng(1).normal(size=(60, 4)))
    found = open_run(table_run, str(tmp_path / "other.npy"), None, "cpu").dataset.split(split)
    assert found.index.tolist() == list(range(60))
    assert (
        commands.evaluate(table_run, Importance(samples=2), data=str(tmp_path / "other.npy"), split=split, device="cpu").n == 60
    )


def test_other_data_with_splits_of_their_own_keep_them(table_run: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(60, 4))
    np.savez(tmp_path / "parts.npz", train=x[:50], test=x[50:])
    assert open_run(table_run, str(tmp_path / "parts.npz"), None, "cpu").dataset.test.index.tolist() == list(range(50, 60))
    np.save(tmp_path / "other.npy", x)
    options = {"name": "file", "path": str(tmp_path / "other.npy"), "test": 20}
    assert len(open_run(table_run, options, None, "cpu").dataset.test) == 20


def test_new_data_of_a_model_whose_own_are_not_known_are_split(tmp_path: Path) -> None:
    """They may be those that it was trained on."""
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(60, 4)))
    saved = pyrovae.save(pyrovae.VAE((4,), 2, "normal", network="linear"), tmp_path / "saved")
    for run in (saved, runs.load(saved)):
        assert len(open_run(run, str(tmp_path / "x.npy"), None, "cpu").dataset.test) == 10  # a sixth


def test_draws_of_a_plain_autoencoder_are_made_with_a_warning(make_run) -> None:
    run = make_run("points", posterior="delta")
    with pytest.warns(UserWarning, match="does not fit its codes to the prior.*posterior='normal'"):
        assert len(commands.sample(run, count=3).x) == 3


def test_a_run_is_used_from_any_folder(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands.train(data=table.name, likelihood="normal", out="here", **TINY)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert commands.evaluate("../here", Importance(samples=5)).n == 10


def test_data_that_are_gone_are_named_with_the_run(table_run: Path, table: Path) -> None:
    table.unlink()
    with pytest.raises(UserError, match=r"run: the data of the run cannot be read .*table\.npy.* name them with data"):
        commands.evaluate(table_run)


@pytest.mark.parametrize("estimator", [elbo, importance])
def test_there_is_no_evidence_of_data_without_a_density(estimator) -> None:
    """Bytes under an unprepared Bernoulli model would give a finite number that is no log-probability."""
    vae = pyrovae.VAE((8, 8), 2, "bernoulli")
    with pytest.raises(UserError, match=r"data value \d+ at .* is outside the support"):
        estimator(vae, torch.full((3, 8, 8), 7, dtype=torch.uint8), samples=2)


def test_a_model_in_memory_stays_where_it_is() -> None:
    digits = pyrovae.load_dataset("digits")
    vae = pyrovae.VAE((8, 8), 2, "bernoulli", network={"name": "mlp", "hidden": [8]})
    before = [p.data_ptr() for p in vae.parameters()]
    pyrovae.evaluate(vae, Importance(samples=2), data=digits, limit=5)
    pyrovae.sample(vae, count=2)
    assert [p.data_ptr() for p in vae.parameters()] == before


def test_resuming_leaves_the_given_state_as_it_was() -> None:
    digits, states = pyrovae.load_dataset("digits"), []
    vae = pyrovae.VAE((8, 8), 2, "bernoulli", network={"name": "mlp", "hidden": [8]})
    pyrovae.fit(vae, digits, epochs=1, device="cpu", progress=False, save=states.append)
    (state,) = states
    kept = copy.deepcopy(state)
    results = [
        pyrovae.fit(copy.deepcopy(vae), digits, epochs=2, device="cpu", progress=False, resume=state, save=states.append)
        for _ in range(2)
    ]
    assert (state.epoch, len(state.history)) == (kept.epoch, len(kept.history)) == (1, 1)
    for number, slots in kept.optimizer["state"].items():
        assert all(torch.equal(value, state.optimizer["state"][number][name]) for name, value in slots.items())
    assert results[0].history[1]["valid_elbo"] == results[1].history[1]["valid_elbo"]


def test_a_repeated_run_writes_the_same_bytes(tmp_path: Path) -> None:
    made = [commands.train(out=str(tmp_path / name), **TINY).run / runs.MODEL for name in ("a", "b")]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_patience_that_stopped_a_run_is_reported(tmp_path: Path) -> None:
    options = {**TINY, "epochs": 30, "learning_rate": 1e-12, "patience": 2}
    result = commands.train(out=str(tmp_path / "run"), **options)
    assert result.fit.out_of_patience
    assert len(result.fit.history) < 30
    assert "stopped by patience" in result.report()


def test_a_model_that_has_not_met_its_data_is_not_saved(tmp_path: Path) -> None:
    vae = pyrovae.VAE((4,), 2, "normal", preprocess="standardise")
    with pytest.raises(UserError, match="has not met its data"):
        pyrovae.save(vae, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_config_file_may_name_a_data_file(table: Path, tmp_path: Path, cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("options.yaml").write_text(
        "data: table.npy\nlikelihood: normal\nposterior: null\nlatent_dim: 2\nepochs: 1\nout: made\n"
        "network: {name: mlp, hidden: [8]}\n"
    )
    answer = cli("train", "--config", "options.yaml", "--data.test", "0.25", "--quiet")
    assert (answer.code, answer.err) == (0, "")
    assert len(open_run("made", None, None, "cpu").dataset.test) == 15


def test_figures_say_which_data_they_show(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without test data, training data are shown and called so; without a seed there is no row before training."""
    data = {"name": "file", "path": str(table), "test": 0}
    run = commands.train(data=data, likelihood="normal", out=str(tmp_path / "run"), **TINY).run
    shown = {}

    for home, name in ((Curves, "reconstructions"), (charts, "latent_scatter"), (Curves, "interpolation")):
        draw = getattr(home, name)

        def keep(*given, draw=draw, name=name, **options):
            return shown.setdefault(name, (given, draw(*given, **options)))[1]

        monkeypatch.setattr(home, name, keep)
    pictures.pictures(open_run(run, None, None, "cpu"), 0)
    assert shown["latent_scatter"][1].axes[0].get_title(loc="left") == "Posterior means of 50 training data"
    assert "two training data" in shown["interpolation"][1].get_suptitle()
    assert list(shown["reconstructions"][0][1]) == ["data", "before training", "after training"]

    saved = pyrovae.save(runs.load(run), tmp_path / "saved")
    shown.clear()
    shutil.copy(run / runs.METRICS, saved)
    pictures.pictures(open_run(saved, str(table), None, "cpu"), 0)
    assert list(shown["reconstructions"][0][1]) == ["data", "after training"]


def test_looking_at_a_batch_leaves_gradients_and_training_mode_on() -> None:
    """Also for a caller who stops after the first batch."""
    digits = pyrovae.load_dataset("digits")
    vae = pyrovae.VAE((8, 8), 2, "bernoulli", network={"name": "mlp", "hidden": [8]})
    vae.prepare(digits.spec, digits.train.x)
    batches = prepare_data(vae, digits, "all").batches(rows=100)
    assert next(batches)[0].shape == (100, 8, 8)
    assert torch.is_grad_enabled()
    assert vae.training
    encoding = commands.encode(vae, data=digits)
    assert not encoding.mean.requires_grad
    assert torch.is_grad_enabled()
    assert vae.training


def test_a_moved_table_is_read_as_the_runs_own(tmp_path):
    rows = ["a,b,kind", *(f"{i % 7},{i % 5}.5,{'odd' if i % 2 else 'even'}" for i in range(60))]
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    data = {"name": "csv", "path": str(tmp_path / "table.csv"), "label": "kind"}
    options = {"likelihood": "normal", "latent_dim": 2, "network": "linear", "epochs": 1, "device": "cpu", "progress": False}
    commands.train(data=data, out=str(tmp_path / "run"), **options)
    moved = (tmp_path / "table.csv").rename(tmp_path / "moved.csv")
    found = commands.encode(tmp_path / "run", data=str(moved), device="cpu")
    assert found.mean.shape == (60, 2)
    assert found.y.tolist() == [i % 2 for i in range(60)]  # even, odd: in the order of the alphabet
