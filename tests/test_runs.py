"""Run folders: what is written is whole, intact and plain; what is loaded is what was saved."""

from __future__ import annotations

import csv
import errno
import hashlib
import math
import os
import pickle
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from estimates import importance
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from pyrovae import Importance, commands, runs
from pyrovae.contracts import DataSpec
from pyrovae.errors import UserError
from pyrovae.system.files import write_whole
from pyrovae.training import loop
from pyrovae.training.loop import TrainingState, fit
from pyrovae.vae import VAE

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
TINY = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "device": "cpu", "progress": False}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bitwise, NaN included."""
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and torch.equal(a[k].view(-1).view(torch.uint8), b[k].view(-1).view(torch.uint8)) for k in a
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- a round trip ---------------------------------------------------------------------------------------------------------

LEVELS = DataSpec((3, 4), "levels", 9)
REALS = DataSpec((5,))
MODELS = {
    "bernoulli": (LEVELS, {"likelihood": "bernoulli"}),
    "binomial": (LEVELS, {"likelihood": "binomial", "network": {"name": "mlp", "hidden": (7, 3), "activation": "tanh"}}),
    "dequantised": (LEVELS, {"likelihood": {"name": "normal", "scale": "element"}, "network": "linear"}),
    "fixed-scale": (REALS, {"likelihood": {"name": "normal", "scale": 0.3}, "posterior": {"name": "normal", "scale": "learned"}}),
    "standardised": (REALS, {"likelihood": "normal", "preprocess": "standardise"}),
    "standardised-over-everything": (
        REALS,
        {"preprocess": {"name": "standardise", "over": "everything"}, "likelihood": "normal"},
    ),
    "bits": (LEVELS, {"likelihood": "bernoulli", "prior": "bernoulli"}),
    "pseudo-inputs": (LEVELS, {"likelihood": "bernoulli", "prior": {"name": "vamp", "components": 3}}),
    "flow": (LEVELS, {"likelihood": "beta", "posterior": {"name": "flow", "transform": "spline", "hidden": 4}}),
    "betas": (LEVELS, {"likelihood": "categorical", "prior": "beta"}),
    "thresholded": (REALS, {"preprocess": {"name": "binarise", "threshold": 0.1}, "likelihood": "bernoulli"}),
}


def data_of(spec: DataSpec) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if spec.levels is None:
        return 3 + 2 * torch.randn(40, *spec.event_shape, generator=generator)
    return torch.randint(0, spec.levels, (40, *spec.event_shape), generator=generator)


@pytest.fixture(params=MODELS)
def prepared(request) -> tuple[VAE, torch.Tensor]:
    """A VAE with random weights that has met its data."""
    spec, options = MODELS[request.param]
    vae = VAE(spec.event_shape, 2, **options, kind=spec.kind, levels=spec.levels)
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = data_of(spec)
    vae.prepare(spec, x)
    return vae, x


def test_a_loaded_vae_has_the_same_weights_and_evidence_to_the_last_bit(prepared, tmp_path):
    vae, x = prepared
    loaded = runs.load(runs.save(vae, tmp_path / "run"))
    assert same(vae.state_dict(), loaded.state_dict())
    assert vae.config() == loaded.config()
    first, second = (importance(model, x, samples=20, seed=3) for model in (vae, loaded))
    assert torch.equal(first.estimate, second.estimate)
    assert torch.equal(first.diagnostics["elbo"], second.diagnostics["elbo"])


@pytest.mark.parametrize("over", ["data", "everything"])
def test_standardisation_is_kept_as_mean_and_scale_of_the_training_data(tmp_path, over):
    x = np.random.default_rng(0).normal(3, [1, 5, 0.2], (60, 3))
    np.savez(tmp_path / "x.npz", train=x[:40], valid=x[40:50], test=x[50:])
    options = {"likelihood": "normal", "preprocess": {"name": "standardise", "over": over}, "epochs": 1}
    trained = commands.train(tmp_path / "x.npz", **options, **TINY, out=str(tmp_path / "run"))
    axis = 0 if over == "data" else None
    for transform in (trained.vae.transform, runs.load(tmp_path / "run").transform):
        np.testing.assert_allclose(transform.mean, np.broadcast_to(x[:40].mean(axis), 3), rtol=1e-6)
        np.testing.assert_allclose(transform.scale, np.broadcast_to(x[:40].std(axis), 3), rtol=1e-6)


def test_a_run_holds_what_the_design_promises_and_no_more(make_run):
    found = files(make_run("only-trained"))
    assert found == {
        "config.yaml",
        "model.safetensors",
        "metrics.csv",
        "training_state/state.safetensors",
        "training_state/seconds.json",
    }


def test_the_recorded_data_are_those_of_the_digits(digits_run):
    data = yaml.safe_load((digits_run / "config.yaml").read_text())["run"]["data"]
    images = load_digits().images
    assert data["sha256"] == hashlib.sha256(images.astype("uint8").tobytes()).hexdigest()
    assert sum(data["sizes"].values()) == len(images)
    assert (data["event_shape"], data["levels"]) == (list(images.shape[1:]), int(images.max()) + 1)
    assert data["labels"] == [{"name": "class", "values": [str(name) for name in load_digits().target_names]}]


def test_loading_leaves_the_callers_random_state_as_it_was(digits_run):
    before = torch.random.get_rng_state()
    runs.load(digits_run)
    assert torch.equal(before, torch.random.get_rng_state())


def test_save_leaves_a_folder_with_something_in_it_alone(tmp_path, prepared):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        runs.save(prepared[0], tmp_path)
    assert files(tmp_path) == {"mine.txt"}


# --- intact -----------------------------------------------------------------------------------------------------------------


def test_any_flipped_bit_of_the_weights_is_found(run):
    path = run / "model.safetensors"
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for position in [*range(0, header, 3), *range(header, len(content), 97), len(content) - 1]:
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError, match=r"model\.safetensors"):
            runs.load(run)


def test_weights_cut_anywhere_are_found(run):
    path = run / "model.safetensors"
    content = path.read_bytes()
    for length in [*range(0, 32, 5), *range(32, len(content), 211), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"model\.safetensors: is damaged"):
            runs.load(run)


# --- whole or not at all -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_earlier_file_and_no_other(tmp_path, monkeypatch, failing):
    write_whole(tmp_path / "file", b"earlier")

    def full(*arguments):
        raise FULL

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(UserError, match=rf"file: could not be written \({os.strerror(errno.ENOSPC)}\)"):
        write_whole(tmp_path / "file", b"later")
    assert (tmp_path / "file").read_bytes() == b"earlier"
    assert files(tmp_path) == {"file"}


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, original=original: (calls.append(name), original(*args))[1])
    write_whole(tmp_path / "new" / "file", b"content")
    assert calls[-3:] == ["fsync", "replace", "fsync"]  # the last is the folder's: the name is on the disk too
    assert (tmp_path / "new" / "file").read_bytes() == b"content"


def fill_the_disk(monkeypatch, after: int) -> None:
    """The so-many-th file that is written meets a full disk, and every later one."""
    fsync, count = os.fsync, []

    def full(descriptor):
        count.extend([1] if stat.S_ISREG(os.fstat(descriptor).st_mode) else [])
        if len(count) > after:
            raise FULL
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)


@pytest.fixture(scope="module")
def uninterrupted(make_run) -> Path:
    return make_run("three-epochs", epochs=3, likelihood="binomial")


@pytest.mark.parametrize("written", range(1, 9))
def test_a_disk_that_fills_up_during_training_costs_no_saved_state(tmp_path, monkeypatch, uninterrupted, written):
    """config.yaml is one file, every save four more: the disk is full in the first save or in the second."""
    folder = tmp_path / "run"
    options = {key: value for key, value in commands.recorded_options(uninterrupted).items() if key != "device"}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
        fill_the_disk(patch, written)
        with pytest.raises(UserError, match="could not be written"):
            commands.train(**options, device="cpu", out=str(folder), progress=False)
    assert not [name for name in files(folder) if "tmp" in name]
    if written >= 5:
        assert runs.load(folder).latent_dim == 2
        assert runs.load_state(folder).epoch == 1
    commands.resume(folder, device="cpu", progress=False)
    assert same(weights(folder), weights(uninterrupted))


# --- plain data -----------------------------------------------------------------------------------------------------------


def test_nothing_that_is_loaded_is_unpickled(run, monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("unpickled")

    def plain(stream, loader):
        assert issubclass(loader, yaml.SafeLoader)
        return load(stream, loader)

    load = yaml.load
    for module, name in [(pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load"), (torch.jit, "load")]:
        monkeypatch.setattr(module, name, forbidden)
    monkeypatch.setattr(yaml, "load", plain)
    assert runs.load(run).latent_dim == 2
    assert runs.load_state(run).epoch == 1
    assert commands.evaluate(run, Importance(samples=2), limit=5).n == 5
    assert len(commands.resume(run, epochs=2, device="cpu", progress=False).fit.history) == 2


# --- the training state ---------------------------------------------------------------------------------------------------


def small_vae() -> VAE:
    torch.manual_seed(0)
    return VAE((8, 8), 2, "binomial", network={"name": "mlp", "hidden": (8,)}, kind="levels", levels=17)


def save_state(folder: Path, state: TrainingState) -> None:
    runs.save_state(folder, state, runs.write_config(folder, small_vae(), {}, {}))


def train_in_memory(epochs: int, resume: TrainingState | None = None) -> TrainingState:
    vae = small_vae()
    states = []
    dataset = commands.load_dataset({"name": "digits", "valid": 100})
    fit(vae, dataset, epochs=epochs, device="cpu", progress=False, resume=resume, save=states.append, seed=5)
    return states[-1]


def optimizer_tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    return {f"{i}/{name}": value for i, slots in state.optimizer["state"].items() for name, value in slots.items()}


def test_a_training_state_comes_back_to_the_last_bit(tmp_path):
    state = train_in_memory(2)
    save_state(tmp_path, state)
    loaded = runs.load_state(tmp_path)
    for name in ("weights", "best_weights", "random"):
        assert same(getattr(state, name), getattr(loaded, name)), name
    assert same(optimizer_tensors(state), optimizer_tensors(loaded))
    plain = ("epoch", "step", "loss_sum", "seconds", "best_epoch", "history")
    assert [getattr(state, name) for name in plain] == [getattr(loaded, name) for name in plain]
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    groups = zip(state.optimizer["param_groups"], loaded.optimizer["param_groups"], strict=True)
    for group, again in groups:
        assert {*adam.param_groups[0], "initial_lr"} == set(again)  # which the scheduler adds
        assert {k: list(v) if isinstance(v, tuple) else v for k, v in group.items()} == again


def test_training_goes_on_from_a_loaded_state_as_if_it_had_never_stopped(tmp_path):
    save_state(tmp_path, train_in_memory(1))
    resumed, whole = train_in_memory(3, resume=runs.load_state(tmp_path)), train_in_memory(3)
    assert same(resumed.weights, whole.weights)
    assert same(resumed.random, whole.random)
    assert same(optimizer_tensors(resumed), optimizer_tensors(whole))


def test_a_run_that_never_saved_has_no_state(run):
    shutil.rmtree(run / "training_state")
    assert runs.load_state(run) is None


def test_metrics_have_a_row_an_epoch(uninterrupted):
    with open(uninterrupted / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for row in rows:
        elbo, loss = float(row["valid_elbo"]), float(row["loss"])
        assert elbo < 0 < loss
        assert float(row["valid_bits_per_dim"]) == pytest.approx(-elbo / 64 / math.log(2))
        assert float(row["kl_weight"]) == 1
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert runs.read_metrics(uninterrupted) == [{name: float(value) for name, value in row.items()} for row in rows]


# --- what could not be opened again -------------------------------------------------------------------------------------------


def replace_layer(vae: VAE) -> None:
    name = next(n for n, m in vae.named_modules() if isinstance(m, torch.nn.ReLU))
    parent, _, last = name.rpartition(".")
    setattr(vae.get_submodule(parent), last, torch.nn.Tanh())


REPLACED = {
    "decoder": (lambda vae: setattr(vae, "decoder", torch.nn.Linear(2, 64)), r"vae\.decoder: is not what the options"),
    "layer": (replace_layer, r"vae\.(en|de)coder\.\S+: is not what the options"),
    "wider": (
        lambda vae: setattr(vae, "decoder", VAE((8, 8), 2, "binomial", network="linear", levels=17).decoder),
        r"vae\.decoder\S*: is not what the options",
    ),
    "method": (lambda vae: setattr(vae, "decode", lambda z: z), r"vae\.decode: is not what the options"),
    "more": (lambda vae: setattr(vae, "extra", torch.nn.Linear(1, 1)), r"vae\.extra: is not what the options"),
    "parameter": (lambda vae: vae.register_parameter("extra", torch.nn.Parameter(torch.zeros(1))), r'vae\..*"extra"'),
    "double": (lambda vae: vae.double(), r"vae\.\S+: is not what the options"),
}


@pytest.mark.parametrize("name", REPLACED)
def test_a_model_that_its_options_do_not_make_is_not_saved(tmp_path, name):
    vae = small_vae()
    change, said = REPLACED[name]
    change(vae)
    with pytest.raises(UserError, match=rf"{said}.*torch\.save"):
        runs.save(vae, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_saved_model_may_have_notes_and_be_in_use(tmp_path):
    """Attributes and hooks that are no part of the model are its owner's business."""
    vae = small_vae()
    vae.notes = "mine"
    vae.decoder.register_forward_hook(lambda module, given, out: None)
    assert same(runs.load(runs.save(vae, tmp_path / "run")).state_dict(), vae.state_dict())
