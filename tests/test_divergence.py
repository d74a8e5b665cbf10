"""Training that goes wrong: when it is noticed, what is kept, and whether doing what the message says works."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from estimates import elbo
from torch import Tensor

import pyrovae
from pyrovae import VAE, Dataset, Importance, commands, fit, runs
from pyrovae.contracts import DataSpec
from pyrovae.engines import Eager
from pyrovae.training import loop
from pyrovae.training.divergence import CHECK_STEPS, DivergedError, is_worse
from pyrovae.training.state import TrainingError, TrainingState

QUIET = {"device": "cpu", "progress": False}
TINY = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, **QUIET}
FLAGS = shlex.split("--network.hidden [8] --latent-dim 2 --device cpu")
STEPS_AN_EPOCH = 10  # 1248 training digits in batches of 128


def digit_vae(**options: object) -> VAE:
    torch.manual_seed(0)
    return VAE((8, 8), 2, network={"name": "mlp", "hidden": [8]}, kind="levels", levels=17, **options)


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[Eager], None]) -> list[int]:
    """Do something after that step of training; the steps that were done."""
    real, done = Eager.step, []

    def step_(self: Eager, *arguments: object) -> Tensor:
        loss = real(self, *arguments)
        done.append(len(done) + 1)
        if len(done) == step:
            act(self)
        return loss

    monkeypatch.setattr(Eager, "step", step_)
    return done


def poison(engine: Eager) -> None:
    with torch.no_grad():
        engine.parameters[-1].fill_(math.nan)


def no_memory(engine: Eager) -> None:
    torch.empty(2**50, dtype=torch.uint8)  # what torch says when the memory does not suffice


# --- the best of what is finite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("values", "best"), [(["bad", 1.0, 3.0, 2.0], 3), ([1.0, "bad", 0.5, 0.7], 1), (["bad", "bad", -9.0, "bad"], 3)]
)
def test_a_validation_that_is_not_finite_is_never_the_best(monkeypatch, bad, values, best):
    told = iter([bad if value == "bad" else value for value in values])

    def validated(*arguments: object) -> dict[str, float]:
        value = next(told)
        return {"valid_elbo": value, "valid_reconstruction": value}

    monkeypatch.setattr(loop, "validate", validated)
    result = fit(digit_vae(), pyrovae.load_dataset("digits"), epochs=4, **QUIET)
    assert (len(result.history), result.best_epoch) == (4, best)


# --- how soon it is noticed -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Encountered NaN:UserWarning")
@pytest.mark.parametrize("step", [1, 40, 100])
def test_divergence_within_a_long_epoch_is_noticed_within_so_many_steps(monkeypatch, step):
    """312 steps per epoch: the next step after a poisoned one has a loss that is NaN."""
    done = at_step(monkeypatch, step, poison)
    with pytest.raises(DivergedError, match=r"diverged in epoch 1 \(loss nan\): try a lower learning_rate"):
        fit(digit_vae(), pyrovae.load_dataset("digits"), epochs=1, batch_size=4, **QUIET)
    assert step < len(done) <= step + CHECK_STEPS


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Encountered NaN:UserWarning")
@pytest.mark.parametrize(
    ("act", "said"), [(poison, "diverged in epoch 11"), (no_memory, "batch_size=128: this needs more memory")]
)
def test_good_epochs_are_kept_however_short_they_were(tmp_path, monkeypatch, act, said):
    """All within the first seconds, before the clock has saved anything."""
    whole = commands.train(**TINY, epochs=10, out=str(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        at_step(patch, 10 * STEPS_AN_EPOCH + 3, act)
        with pytest.raises(TrainingError, match=f"{said}.*; epoch {whole.fit.best_epoch} is kept"):
            commands.train(**TINY, epochs=20, out=str(tmp_path / "run"))
    state = runs.load_state(tmp_path / "run")
    assert (state.epoch, state.step) == (10, 0)
    kept, expected = runs.load(tmp_path / "run").state_dict(), whole.vae.state_dict()
    assert [name for name in expected if not torch.equal(kept[name], expected[name])] == []
    assert commands.evaluate(tmp_path / "run", Importance(samples=5), limit=20).n == 20
    assert len(commands.resume(tmp_path / "run", **QUIET).fit.history) == 20


@pytest.mark.filterwarnings("ignore:Encountered NaN:UserWarning")
def test_a_model_in_memory_has_its_best_weights_again(monkeypatch):
    dataset, expected, vae = pyrovae.load_dataset("digits"), digit_vae(), digit_vae()
    best = fit(expected, dataset, epochs=3, **QUIET).best_epoch
    at_step(monkeypatch, 3 * STEPS_AN_EPOCH + 1, poison)
    with pytest.raises(DivergedError, match=f"epoch {best} is kept"):
        fit(vae, dataset, epochs=5, **QUIET)
    kept, wanted = vae.state_dict(), expected.state_dict()
    assert [name for name in wanted if not torch.equal(kept[name], wanted[name])] == []


@pytest.mark.parametrize("act", [poison, no_memory])
@pytest.mark.filterwarnings("ignore:Encountered NaN:UserWarning")
def test_where_nothing_was_good_the_name_of_the_run_is_free_again(tmp_path, monkeypatch, act):
    with monkeypatch.context() as patch:
        at_step(patch, 3, act)
        with pytest.raises(TrainingError):
            commands.train(**TINY, epochs=2, out=str(tmp_path / "run"))
    assert commands.train(**TINY, epochs=1, out=str(tmp_path / "run")).fit.best_epoch == 1


def test_an_error_that_is_not_about_memory_is_not_taken_for_one(monkeypatch):
    def broken(engine: Eager) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    at_step(monkeypatch, 3, broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fit(digit_vae(), pyrovae.load_dataset("digits"), epochs=1, **QUIET)


# --- worse than untrained ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["--learning-rate 1e6", "--learning-rate 1e6 --posterior delta --data.valid 0"])
def test_a_model_far_worse_than_untrained_is_an_error(cli, here, options):
    """The loss stays finite in float32: only the comparison with the untrained model tells."""
    line = ["train", *FLAGS, "--epochs", 2, *shlex.split(options), "--out", "run"]
    answer = cli(*line)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.endswith("untrained): try a lower --learning-rate\n")  # nothing good is said to be kept
    assert runs.load_state(here / "run").worse
    assert cli("train", "--resume", "--out", "run").code == 3


def test_a_sweep_says_so_every_time(cli, here):
    line = ["sweep", *FLAGS, "--epochs", 1, "--likelihood", "bernoulli,beta", "--learning-rate", "1e6", "--out", "all"]
    for _ in range(2):
        answer = cli(*line)
        assert answer.code == 2
        assert answer.err.splitlines()[-1].count("untrained): try a lower --learning-rate") == 2


FINE = [
    {"learning_rate": 1e-30},
    {"learning_rate": 0.1, "epochs": 1},
    {"kl_weight": 0.0, "learning_rate": 1e-2, "epochs": 8},
    {"kl_weight": 1e6},
    {"kl_warmup": 1000.0, "learning_rate": 1e-2, "epochs": 8},
    {"objective": "iwae", "particles": 20, "learning_rate": 1e-2},
    {"prior": "bernoulli", "learning_rate": 0.05},
    {"posterior": "delta", "data": {"name": "digits", "valid": 0}},
    {"likelihood": {"name": "normal", "scale": "network"}, "learning_rate": 3e-2},
    {"likelihood": "beta", "learning_rate": 0.1},
    {"clip_norm": 0.0, "batch_size": 8},
]


@pytest.mark.parametrize("options", FINE, ids=str)
def test_no_false_alarm(tmp_path, options):
    found = commands.train(**{**TINY, "epochs": 2, **options}, out=str(tmp_path / "run"))
    assert not runs.load_state(tmp_path / "run").worse
    assert found.fit.best_epoch > 0


def test_what_is_compared_is_what_was_maximised():
    """Without a KL term the codes go where they like: the ELBO is far worse than untrained, and nothing is wrong."""
    torch.manual_seed(0)
    x = torch.randn(300, 4)
    rows = {"train": torch.arange(300), "valid": torch.arange(0), "test": torch.arange(0)}
    vae = VAE((4,), 64, {"name": "normal", "scale": 1.0}, kind="reals", network={"name": "mlp", "hidden": [32]})
    dataset = Dataset("reals", DataSpec((4,), "reals"), x, None, rows)
    before = elbo(vae, x, samples=1).mean
    fit(vae, dataset, epochs=120, learning_rate=3e-2, kl_weight=0.0, **QUIET)
    assert is_worse(elbo(vae, x, samples=1).mean, before, size=4)


def test_a_state_without_the_comparison_still_goes_on(tmp_path):
    """As a run that was written before there was one."""
    states: list[TrainingState] = []
    fit(digit_vae(), pyrovae.load_dataset("digits"), epochs=1, save=states.append, **QUIET)
    states[-1].untrained = None
    resumed = fit(digit_vae(), pyrovae.load_dataset("digits"), epochs=2, resume=states[-1], **QUIET)
    assert len(resumed.history) == 2


# --- remedies that work -----------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path) -> Path:
    np.save(tmp_path / "large.npy", np.random.default_rng(0).normal(size=(300, 4)) * 1e30)
    return tmp_path / "large.npy"


@pytest.mark.filterwarnings("ignore:.*far from 1; preprocess='standardise'")  # said before, too
@pytest.mark.parametrize(
    ("chosen", "cause", "said", "remedy"),
    [
        (
            "--data {large} --likelihood normal",
            "",
            "the data reach *e+30: use --preprocess standardise",
            "--preprocess standardise",
        ),
        ("--data {large} --likelihood student_t", "", "use --preprocess standardise", "--preprocess standardise"),
        ("", "--kl-weight 1e38", "try a lower --kl-weight than 1e+38", "--kl-weight 1"),
        ("--likelihood normal", "--learning-rate 1e6", "try a lower --learning-rate", "--learning-rate 1e-3"),
        ("--clip-norm 0", "--learning-rate 1e6", "try a lower --learning-rate, or --clip-norm 10", "--learning-rate 1e-3"),
    ],
)
def test_the_remedy_fits_the_cause_and_works(cli, here, large, chosen, cause, said, remedy):
    line = ["train", *FLAGS, "--epochs", 2, *shlex.split(chosen.format(large=large))]
    answer = cli(*line, *shlex.split(cause), "--quiet", "--out", "run")
    assert (answer.code, answer.err.count("\n")) == (3, 1)
    assert all(part in answer.err for part in said.split("*"))
    assert "--learning-rate" in said or "--learning-rate" not in answer.err
    assert cli(*line, *shlex.split(remedy), "--out", "other").code == 0


def test_large_data_that_standardising_does_not_fit_are_to_be_rescaled(monkeypatch):
    torch.manual_seed(0)
    x = torch.rand(200, 3) * 1e30 + 1
    rows = {"train": torch.arange(150), "valid": torch.arange(150, 200), "test": torch.arange(0)}
    vae = VAE((3,), 2, "log_normal", kind="reals", network={"name": "mlp", "hidden": [8]})
    at_step(monkeypatch, 2, poison)
    with pytest.raises(DivergedError, match=r"the data reach 1e\+30: give them in larger units"):
        fit(vae, Dataset("reals", DataSpec((3,), "reals"), x, None, rows), epochs=2, **QUIET)
