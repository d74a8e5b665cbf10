"""Training: what the loss means, what is kept, and that a stopped run goes on to the same last bit."""

from __future__ import annotations

import copy
import math
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from estimates import elbo
from torch import Tensor

import pyrovae
from pyrovae import VAE, Dataset, Importance, UserError, commands, fit, runs
from pyrovae.contracts import DataSpec, Evidence
from pyrovae.engines import Eager
from pyrovae.evidence import validation
from pyrovae.objectives import Elbo
from pyrovae.training import loop
from pyrovae.training.loop import TrainingState

TINY = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "device": "cpu", "progress": False}
QUIET = {"device": "cpu", "progress": False}
STEPS_AN_EPOCH = 10  # 1248 training digits in batches of 128


def digits_with(valid: int) -> dict[str, object]:
    return {"name": "digits", "valid": valid}


def tiny_vae(**options: object) -> VAE:
    torch.manual_seed(0)
    return VAE((8, 8), 2, network={"name": "mlp", "hidden": [8]}, **{"kind": "levels", "levels": 17, **options})


def bits(count: int = 10, valid: int = 0) -> Dataset:
    x = (torch.arange(count * 4).reshape(count, 2, 2) % 3 == 0).to(torch.uint8)
    rows = {"train": torch.arange(count - valid), "valid": torch.arange(count - valid, count), "test": torch.arange(0)}
    return Dataset("bits", DataSpec((2, 2), "binary", 2), x, None, rows)


def bit_vae() -> VAE:
    torch.manual_seed(0)
    return VAE((2, 2), 2, network={"name": "mlp", "hidden": [4]}, kind="binary")


def after_steps(monkeypatch: pytest.MonkeyPatch, count: int, act: Callable[[Eager], None]) -> None:
    """Do something once, after that many steps of training."""
    step, done = Eager.step, []

    def wrapped(self, y, c, kl_weight):
        loss = step(self, y, c, kl_weight)
        done.append(loss)
        if len(done) == count:
            act(self)
        return loss

    monkeypatch.setattr(Eager, "step", wrapped)


def press_ctrl_c(engine: Eager) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def poison(engine: Eager) -> None:
    with torch.no_grad():
        engine.parameters[0].fill_(math.nan)


def assert_same_weights(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, str]]:
    """Every number as its shortest exact text, so that NaN equals NaN."""
    return [{k: repr(v) for k, v in row.items() if k != "seconds"} for row in history]


def assert_same_run(a: Path, b: Path) -> None:
    """Best weights, last state and metrics of two run folders agree to the last bit."""
    first, second = runs.load_state(a), runs.load_state(b)
    assert_same_weights(runs.load(a).state_dict(), runs.load(b).state_dict())
    assert_same_weights(first.weights, second.weights)
    assert_same_weights(first.random, second.random)
    assert (first.epoch, first.step, first.best_epoch) == (second.epoch, second.step, second.best_epoch)
    assert without_seconds(first.history) == without_seconds(second.history)
    assert without_seconds(runs.read_metrics(a)) == without_seconds(runs.read_metrics(b))


# --- what is learned and what is reported -----------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["bernoulli", "binomial", "normal"])
def test_training_improves_the_validation_elbo(likelihood):
    dataset = pyrovae.load_dataset("digits")
    vae = tiny_vae(likelihood=likelihood)
    before = elbo(vae, dataset.valid.x, samples=1, index=dataset.valid.index).mean
    history = fit(vae, dataset, epochs=3, learning_rate=1e-2, **QUIET).history
    elbos = [before, *(row["valid_elbo"] for row in history)]
    assert elbos == sorted(elbos)
    assert elbos[-1] - elbos[0] > 5  # an untrained decoder is nats from any digit


def all_zero(vae: VAE) -> VAE:
    """q(z|x) = p(z) and p(x|z) a fair coin for each element: every datum has log evidence -size log 2, and no KL."""
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
    return vae


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 64])
def test_loss_is_a_mean_per_datum_whatever_the_batches(batch_size):
    dataset, vae = bits(count=14, valid=4), all_zero(bit_vae())
    (row,) = fit(vae, dataset, epochs=1, batch_size=batch_size, learning_rate=1e-30, **QUIET).history
    assert row["loss"] == pytest.approx(4 * math.log(2), rel=1e-6)  # float32
    assert row["valid_elbo"] == pytest.approx(-4 * math.log(2), rel=1e-6)
    assert row["valid_bits_per_dim"] == pytest.approx(1.0, rel=1e-6)


def test_loss_of_an_epoch_weighs_a_small_last_batch_by_its_size(monkeypatch):
    seen = []
    step = Eager.step

    def recorded(self, y, c, kl_weight):
        loss = step(self, y, c, kl_weight)
        seen.append((loss.item(), len(y)))
        return loss

    monkeypatch.setattr(Eager, "step", recorded)
    (row,) = fit(bit_vae(), bits(10), epochs=1, batch_size=4, learning_rate=0.1, **QUIET).history
    losses, sizes = zip(*seen, strict=True)
    assert sizes == (4, 4, 2)
    assert row["loss"] == pytest.approx(np.average(losses, weights=sizes), rel=1e-12)


def test_an_epoch_visits_every_datum_once_in_another_order_each_time(monkeypatch):
    seen = []

    def watched(self, y, c, kl_weight):
        seen.extend(y[:, 0, 0].int().tolist())
        return torch.zeros(())

    monkeypatch.setattr(Eager, "step", watched)
    x = torch.arange(12, dtype=torch.uint8).reshape(12, 1, 1)
    rows = {"train": torch.arange(11), "valid": torch.arange(0), "test": torch.arange(11, 12)}
    vae = VAE((1, 1), 1, "binomial", network="linear", kind="levels", levels=12)
    fit(vae, Dataset("counted", DataSpec((1, 1), "levels", 12), x, None, rows), epochs=3, batch_size=4, **QUIET)
    orders = [seen[start : start + 11] for start in (0, 11, 22)]
    assert [sorted(order) for order in orders] == [list(range(11))] * 3
    assert len({tuple(order) for order in orders}) == 3


def test_valid_elbo_does_not_know_the_kl_weight():
    dataset, vae = pyrovae.load_dataset("digits"), tiny_vae()
    result = fit(vae, dataset, epochs=2, learning_rate=1e-2, kl_weight=0.01, **QUIET)
    valid = dataset.valid
    found = elbo(vae, valid.x, samples=1, seed=0, index=valid.index)
    unweighted = found.diagnostics["reconstruction"].mean() - found.diagnostics["kl"].mean()
    assert result.best_epoch == 2
    assert result.history[-1]["valid_elbo"] == pytest.approx(unweighted.item(), rel=1e-9)
    assert found.diagnostics["kl"].mean() > 1  # so that a weight of 0.01 would show


def test_the_history_has_the_reconstruction_beside_the_elbo():
    dataset, vae = pyrovae.load_dataset("digits"), tiny_vae()
    result = fit(vae, dataset, epochs=1, learning_rate=1e-2, **QUIET)
    found = elbo(vae, dataset.valid.x, samples=1, seed=0, index=dataset.valid.index).diagnostics
    (row,) = result.history
    assert row["valid_reconstruction"] == pytest.approx(found["reconstruction"].mean().item(), rel=1e-12)
    assert row["valid_reconstruction"] - row["valid_elbo"] == pytest.approx(found["kl"].mean().item(), rel=1e-9)


def test_bytes_stay_bytes(monkeypatch):
    dataset, vae = pyrovae.load_dataset("digits"), tiny_vae()
    seen, transform = set(), type(vae.transform)
    exactly = transform.exactly
    monkeypatch.setattr(transform, "exactly", lambda self, x, u=None: seen.add(x.dtype) or exactly(self, x, u))
    fit(vae, dataset, epochs=1, **QUIET)
    assert seen == {torch.uint8}
    assert dataset.x.dtype == torch.uint8
    assert torch.equal(dataset.x, pyrovae.load_dataset("digits").x)


# --- which weights are kept -------------------------------------------------------------------------------------------


def test_the_weights_of_the_highest_validation_elbo_are_kept():
    dataset = bits(count=24, valid=12)
    vae = bit_vae()
    result = fit(vae, dataset, epochs=30, batch_size=12, learning_rate=0.3, seed=3, **QUIET)
    elbos = [row["valid_elbo"] for row in result.history]
    assert result.best_epoch == 1 + int(np.argmax(elbos))
    assert result.best_epoch < 30  # otherwise the last weights would do
    again = elbo(vae, dataset.valid.x, samples=1, seed=3, index=dataset.valid.index).mean
    assert again == max(elbos)


def scripted(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> list[dict[str, Tensor]]:
    """Validation ELBOs by decree; the weights at each validation."""
    weights = []

    def told(vae, x, c, **options):
        weights.append({name: tensor.clone() for name, tensor in vae.state_dict().items()})
        estimate = torch.tensor([values[len(weights) - 1]])
        return Evidence(estimate=estimate, monte_carlo_error=torch.zeros(1), diagnostics={"reconstruction": estimate + 1})

    monkeypatch.setattr(validation, "Elbo", lambda **options: SimpleNamespace(measure=told))
    return weights


@pytest.mark.parametrize(
    ("patience", "values", "epochs", "best"),
    [
        (2, [1.0, 3.0, 2.0, 2.5, 9.0, 9.0], 4, 2),
        (3, [1.0, 3.0, 2.0, 2.5, 9.0, 2.0], 6, 5),
        (1, [1.0, 1.0, 9.0, 9.0, 9.0, 9.0], 2, 1),
        (0, [3.0, 2.0, 1.0, 0.0, -1.0, -2.0], 6, 1),
    ],
)
def test_patience_stops_and_the_best_epoch_is_kept(monkeypatch, patience, values, epochs, best):
    weights = scripted(monkeypatch, values)
    vae = bit_vae()
    result = fit(vae, bits(10, valid=2), epochs=6, patience=patience, **QUIET)
    assert (len(result.history), result.best_epoch, result.interrupted) == (epochs, best, False)
    assert_same_weights(vae.state_dict(), weights[best - 1])


def test_without_validation_data_the_last_weights_are_kept():
    states: list[TrainingState] = []
    dataset, vae = pyrovae.load_dataset(digits_with(valid=0)), tiny_vae()
    result = fit(vae, dataset, epochs=3, save=lambda state: states.append(copy.deepcopy(state)), **QUIET)
    assert result.best_epoch == 3
    assert all(math.isnan(row["valid_elbo"]) for row in result.history)
    assert_same_weights(vae.state_dict(), states[-1].weights)


# --- what starts from data ---------------------------------------------------------------------------------------------


def pseudo_inputs(vae: VAE) -> Tensor:
    return vae.prior_module.inputs.detach().clone()


def vamp_vae(**options: object) -> VAE:
    return tiny_vae(prior={"name": "vamp", "components": 6}, likelihood="binomial", **options)


def test_pseudo_inputs_start_at_training_data_and_only_once():
    dataset, vae = pyrovae.load_dataset("digits"), vamp_vae()
    unset = pseudo_inputs(vae)
    fit(vae, dataset, epochs=1, learning_rate=1e-30, **QUIET)
    started = pseudo_inputs(vae)
    seen = dataset.train.x.double() / 16  # what the encoder sees of levels
    gaps = torch.cdist(started.double().flatten(1), seen.flatten(1)).min(1)
    # noise of 0.01 on 64 pixels: a distance of 0.08; two digits are far further apart
    assert (gaps.values < 0.01 * 8 * 1.5).all()
    assert len(gaps.indices.unique()) == 6
    assert torch.cdist(unset.double().flatten(1), seen.flatten(1)).min() > 0.5
    fit(vae, dataset, epochs=1, learning_rate=1e-30, seed=9, **QUIET)  # trained on: not started again
    torch.testing.assert_close(pseudo_inputs(vae), started, rtol=0, atol=1e-12)


def test_pseudo_inputs_are_trained_and_saved(tmp_path):
    options = {**TINY, "prior": {"name": "vamp", "components": 3}, "learning_rate": 1e-2}
    short, long = (pyrovae.train(**options, epochs=epochs, out=str(tmp_path / f"{epochs}")) for epochs in (1, 4))
    moved = (pseudo_inputs(long.vae) - pseudo_inputs(short.vae)).abs()
    assert moved.max() > 0.01
    assert torch.equal(pseudo_inputs(runs.load(long.run)), pseudo_inputs(long.vae))
    assert runs.load(long.run).prior_module.initialised


# --- stopping and going on --------------------------------------------------------------------------------------------

RUNS = [
    pytest.param({}, id="dynamic bits"),
    pytest.param({"likelihood": "normal", "particles": 2, "clip_norm": 0.5, "seed": 3}, id="dequantised"),
    pytest.param({"data": digits_with(valid=0), "likelihood": "binomial", "kl_warmup": 3.0}, id="no validation"),
    pytest.param({"prior": "bernoulli"}, id="score function"),
    pytest.param({"prior": {"name": "vamp", "components": 4}, "objective": "iwae", "particles": 2}, id="pseudo-inputs"),
]


@pytest.mark.parametrize("options", RUNS)
def test_two_and_two_epochs_are_four(tmp_path, options):
    whole = pyrovae.train(**TINY, **options, epochs=4, out=str(tmp_path / "whole"))
    pyrovae.train(**TINY, **options, epochs=2, out=str(tmp_path / "halves"))
    torch.rand(7)  # the caller's random state is no part of a run
    halves = pyrovae.resume(tmp_path / "halves", epochs=4, **QUIET)
    assert len(whole.fit.history) == 4
    assert_same_weights(whole.vae.state_dict(), halves.vae.state_dict())
    assert without_seconds(whole.fit.history) == without_seconds(halves.fit.history)
    assert_same_run(tmp_path / "whole", tmp_path / "halves")


@pytest.mark.parametrize("options", RUNS)
@pytest.mark.parametrize("count", [1, STEPS_AN_EPOCH, STEPS_AN_EPOCH + 4])
def test_ctrl_c_loses_nothing(tmp_path, monkeypatch, options, count):
    pyrovae.train(**TINY, **options, epochs=3, out=str(tmp_path / "whole"))
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        after_steps(patch, count, press_ctrl_c)
        stopped = pyrovae.train(**TINY, **options, epochs=3, out=str(tmp_path / "stopped"))
    assert stopped.fit.interrupted
    assert signal.getsignal(signal.SIGINT) is before
    state = runs.load_state(tmp_path / "stopped")
    assert state.epoch * steps_an_epoch(stopped) + state.step == count
    resumed = pyrovae.resume(tmp_path / "stopped", **QUIET)
    assert not resumed.fit.interrupted
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def steps_an_epoch(result: commands.TrainResult) -> int:
    return math.ceil(len(result.dataset.train) / 128)


def test_ctrl_c_in_the_last_step_is_no_interruption(monkeypatch):
    after_steps(monkeypatch, 2 * STEPS_AN_EPOCH, press_ctrl_c)
    result = fit(tiny_vae(), pyrovae.load_dataset("digits"), epochs=2, **QUIET)
    assert (len(result.history), result.interrupted) == (2, False)


def test_a_second_ctrl_c_interrupts_at_once(monkeypatch):
    def twice(engine: Eager) -> None:
        press_ctrl_c(engine)
        press_ctrl_c(engine)

    after_steps(monkeypatch, 3, twice)
    # A process that was started in the background may have been told to ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(tiny_vae(), pyrovae.load_dataset("digits"), epochs=1, **QUIET)
    finally:
        signal.signal(signal.SIGINT, before)


def test_resuming_what_is_finished_changes_nothing(tmp_path):
    first = pyrovae.train(**TINY, epochs=1, out=str(tmp_path / "run"))
    again = pyrovae.resume(tmp_path / "run", **QUIET)
    assert_same_weights(first.vae.state_dict(), again.vae.state_dict())
    assert without_seconds(first.fit.history) == without_seconds(again.fit.history)


def test_fit_outside_the_main_thread_gives_the_same():
    dataset = pyrovae.load_dataset("digits")
    here, there = tiny_vae(), tiny_vae()
    fit(here, dataset, epochs=1, **QUIET)
    thread = threading.Thread(target=fit, args=(there, dataset), kwargs={"epochs": 1, **QUIET})
    thread.start()
    thread.join()
    assert_same_weights(here.state_dict(), there.state_dict())


# --- the caller's random state ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return pyrovae.train(**TINY, epochs=1, out=str(tmp_path_factory.mktemp("runs") / "run")).run


USES = {
    "fit": lambda run: fit(tiny_vae(), pyrovae.load_dataset("digits"), epochs=1, seed=5, **QUIET),
    "train": lambda run: pyrovae.train(**TINY, epochs=1, out=f"{run}-{random.SystemRandom().random()}"),
    "resume": lambda run: pyrovae.resume(run, **QUIET),
    "evaluate": lambda run: pyrovae.evaluate(run, Importance(samples=2), limit=9, device="cpu"),
    "sample": lambda run: pyrovae.sample(run, count=3, device="cpu"),
    "encode": lambda run: pyrovae.encode(run, device="cpu"),
}


@pytest.mark.parametrize("use", USES)
def test_the_callers_random_state_is_left_alone(run, use):
    # tiny_vae seeds torch itself: run it once before, so that "fit" starts where it ends
    tiny_vae()
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    USES[use](run)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


def test_results_depend_on_the_seed_and_not_on_the_callers_random_state(tmp_path):
    def weights(name: str, callers: int, seed: int) -> dict[str, Tensor]:
        torch.manual_seed(callers)
        return pyrovae.train(**TINY, epochs=1, seed=seed, out=str(tmp_path / name)).vae.state_dict()

    first = weights("first", callers=1, seed=0)
    assert_same_weights(first, weights("second", callers=2, seed=0))
    other = weights("other", callers=1, seed=1)
    assert not any(torch.equal(first[name], other[name]) for name in first)


# --- divergence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [digits_with(valid=100), digits_with(valid=0)])
def test_a_huge_learning_rate_is_reported_and_nothing_else_is_said(data):
    dataset = pyrovae.load_dataset(data)
    vae = tiny_vae(likelihood={"name": "normal", "scale": "network"})
    with pytest.raises(UserError, match="learning_rate"):
        fit(vae, dataset, epochs=20, learning_rate=1e6, clip_norm=0.0, **QUIET)


@pytest.mark.filterwarnings("ignore:Encountered NaN:UserWarning")
@pytest.mark.parametrize("options", [{}, {"data": digits_with(valid=0)}], ids=["validated", "not validated"])
@pytest.mark.parametrize("at_its_end", [False, True], ids=["within an epoch", "at its end"])
def test_divergence_keeps_the_last_good_state(tmp_path, monkeypatch, options, at_its_end):
    """NaN weights, once in the middle of the third epoch and once after its last step, whose loss was still finite."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    pyrovae.train(**TINY, **options, epochs=4, out=str(tmp_path / "whole"))
    folder = tmp_path / "diverged"
    trained = pyrovae.train(**TINY, **options, epochs=1, out=str(folder))
    steps = steps_an_epoch(trained)
    with monkeypatch.context() as patch:
        after_steps(patch, steps + (steps if at_its_end else 4), poison)
        with pytest.raises(UserError, match="learning_rate"):
            pyrovae.resume(folder, epochs=4, **QUIET)
    state = runs.load_state(folder)
    assert all(torch.isfinite(tensor).all() for tensor in [*state.weights.values(), *runs.load(folder).state_dict().values()])
    assert (state.epoch, state.step) == (2, 0)
    pyrovae.resume(folder, epochs=4, **QUIET)
    assert_same_run(tmp_path / "whole", folder)


# --- clipping ---------------------------------------------------------------------------------------------------------


def gradient_norms(monkeypatch: pytest.MonkeyPatch, clip_norm: float) -> tuple[np.ndarray, dict[str, Tensor]]:
    """Global norms of the gradients that the optimizer was given, and the weights in the end."""
    norms = []
    step = torch.optim.Adam.step

    def watched(self, *arguments, **options):
        gradients = [p.grad.double().flatten() for group in self.param_groups for p in group["params"]]
        norms.append(torch.cat(gradients).norm().item())
        return step(self, *arguments, **options)

    vae = tiny_vae()
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", watched)
        fit(vae, pyrovae.load_dataset("digits"), epochs=1, clip_norm=clip_norm, **QUIET)
    assert len(norms) == STEPS_AN_EPOCH
    return np.array(norms), vae.state_dict()


def test_clipping_bounds_the_norm_of_the_gradient(monkeypatch):
    free, weights = gradient_norms(monkeypatch, clip_norm=0.0)
    assert (free > 0.1).all()
    clipped, _ = gradient_norms(monkeypatch, clip_norm=0.1)
    assert (clipped <= 0.1 * (1 + 1e-5)).all()  # float32
    np.testing.assert_allclose(clipped, 0.1, rtol=1e-4)  # torch divides by the norm + 1e-6
    loose, same = gradient_norms(monkeypatch, clip_norm=1e9)
    np.testing.assert_array_equal(loose, free)
    assert_same_weights(weights, same)


def test_clipping_is_of_the_mean_loss_and_keeps_the_direction():
    x = bits(8).x.float()
    flat = {}
    for clip_norm in (0.0, 0.01):
        vae = bit_vae()
        engine = Eager(vae, Elbo().build(1), torch.optim.SGD(vae.parameters(), lr=0.0), clip_norm)
        torch.manual_seed(0)
        engine.step(x, None, 1.0)
        flat[clip_norm] = torch.cat([p.grad.flatten() for p in vae.parameters()])
    expected = flat[0.0] * 0.01 / flat[0.0].norm()
    torch.testing.assert_close(flat[0.01], expected, rtol=1e-3, atol=1e-8)  # as above, and float32


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7", "cpu:99", "mps", "meta", "gpu", "", "cuda:x"])
def test_a_device_that_is_not_there_is_refused(monkeypatch, tmp_path, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=f"device={device!r}:.*cpu"):
        fit(bit_vae(), bits(), epochs=1, device=device, progress=False)
    with pytest.raises(UserError, match=f"device={device!r}:.*cpu"):
        pyrovae.train(**{**TINY, "device": device}, epochs=1, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("batch_size", -4),
        ("learning_rate", 0.0),
        ("learning_rate", -1e-3),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("clip_norm", -1.0),
        ("clip_norm", math.nan),
        ("kl_weight", -1.0),
        ("kl_warmup", math.inf),
        ("patience", -1),
        ("patience", 3),
        ("particles", 0),
        ("particles", True),
        ("seed", -1),
        ("seed", 1.5),
        ("objective", "elob"),
    ],
)
def test_an_argument_out_of_range_is_named(option, value):
    with pytest.raises(UserError) as refused:
        fit(bit_vae(), bits(), **{"epochs": 1, **QUIET, option: value})
    assert refused.value.option == option
    assert repr(refused.value.value) == repr(value)
