"""Several at once: the processes of torchrun, the threads of a program."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import pyrovae
from pyrovae import VAE, Importance, UserError, commands, fit
from pyrovae.engines import Eager

TINY = shlex.split("--network.hidden [8] --latent-dim 2 --epochs 1 --device cpu")
LAUNCHED = [
    {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"},
    {"WORLD_SIZE": "16", "RANK": "5"},
    {"WORLD_SIZE": "2", "LOCAL_RANK": "1"},
]
ALONE = [{"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, {"WORLD_SIZE": "2"}, {"RANK": "3"}, {"WORLD_SIZE": "", "RANK": "0"}]


def set_up(monkeypatch: pytest.MonkeyPatch, launched: dict[str, str]) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in launched.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("launched", LAUNCHED, ids=str)
def test_one_of_several_processes_is_refused_before_anything_is_written(cli, here, run, monkeypatch, snapshot, launched):
    set_up(monkeypatch, launched)
    before = snapshot(run)
    for line in (
        ["train", *TINY, "--out", "new"],
        ["train", "--resume", "--out", run, "--epochs", 2],
        ["sweep", *TINY, "--likelihood", "bernoulli,binomial", "--out", "new"],
    ):
        answer = cli(*line)
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert f"WORLD_SIZE {launched['WORLD_SIZE']}, rank " in answer.err
        assert "start it without torchrun" in answer.err
    assert list(here.iterdir()) == []
    assert snapshot(run) == before
    with pytest.raises(UserError, match="without torchrun"):
        commands.resume(run, epochs=2)


@pytest.mark.parametrize("launched", ALONE, ids=str)
def test_a_process_of_its_own_trains(cli, here, monkeypatch, launched):
    set_up(monkeypatch, launched)
    assert cli("train", *TINY, "--out", "run").code == 0


def test_fit_writes_nothing_and_is_free_to_be_one_of_several(monkeypatch):
    set_up(monkeypatch, LAUNCHED[0])
    dataset = pyrovae.load_dataset("digits")
    vae = pyrovae.VAE((8, 8), 2, network={"name": "mlp", "hidden": [8]}, kind="levels", levels=17)
    assert len(pyrovae.fit(vae, dataset, epochs=1, device="cpu", progress=False).history) == 1


@pytest.mark.slow
def test_torchrun_itself(tmp_path: Path):
    launcher = shlex.split("-m torch.distributed.run --standalone --nproc-per-node 2 -m pyrovae train --out run")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *TINY],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode != 0
    assert "pyrovae train: error: WORLD_SIZE 2, rank " in done.stderr
    assert list(tmp_path.iterdir()) == []


# --- threads ------------------------------------------------------------------------------------------------------------------

MODELS = [
    {"likelihood": "bernoulli"},
    {"likelihood": "normal"},
    {"prior": "bernoulli"},
    {"prior": {"name": "vamp", "components": 3}},
]
QUIET = {"epochs": 3, "device": "cpu", "progress": False}
SECONDS = 60


def made(number: int) -> VAE:
    torch.manual_seed(number)
    return VAE((8, 8), 2, network={"name": "mlp", "hidden": [8]}, kind="levels", levels=17, **MODELS[number])


@pytest.fixture(scope="module")
def digits() -> pyrovae.Dataset:
    return pyrovae.load_dataset("digits")


@pytest.fixture(scope="module")
def by_itself(digits) -> list[dict[str, Tensor]]:
    """Weights of each model, trained with nothing else going on."""
    models = [made(number) for number in range(len(MODELS))]
    for number, vae in enumerate(models):
        fit(vae, digits, seed=number, **QUIET)
    return [vae.state_dict() for vae in models]


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    return [name for name in a if not torch.equal(a[name], b[name])]


def run_at_once(*tasks: Callable[[], object]) -> None:
    """Each in a thread of its own, begun together; an error of any of them is raised here."""
    errors: list[BaseException] = []
    together = threading.Barrier(len(tasks))

    def work(task: Callable[[], object]) -> None:
        together.wait()
        try:
            task()
        except BaseException as error:  # raised again below, in the thread of the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads), "they wait for each other"
    if errors:
        raise errors[0]


@pytest.fixture
def switching(monkeypatch) -> None:
    """Threads are switched in the middle of every step."""
    real = Eager.step

    def step(self: Eager, *arguments: object) -> Tensor:
        threading.Event().wait(1e-4)
        return real(self, *arguments)

    monkeypatch.setattr(Eager, "step", step)


@pytest.mark.usefixtures("switching")
def test_fits_in_threads_end_as_each_would_alone(digits, by_itself):
    models = [made(number) for number in range(len(MODELS))]
    before = torch.random.get_rng_state()
    run_at_once(*(lambda n=n, vae=vae: fit(vae, digits, seed=n, **QUIET) for n, vae in enumerate(models)))
    assert [differing(vae.state_dict(), alone) for vae, alone in zip(models, by_itself, strict=True)] == [[]] * len(models)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.usefixtures("switching")
def test_whatever_else_goes_on_in_other_threads_changes_nothing(digits, by_itself, run):
    expected = commands.evaluate(run, Importance(samples=20), limit=40).log_evidence.mean
    drawn = commands.sample(run, count=20).x
    vae, found, stop = made(1), [], threading.Event()

    def train() -> None:
        fit(vae, digits, seed=1, **{**QUIET, "log": lambda row: stop.wait(0.2)})
        stop.set()

    def others() -> None:
        while not stop.is_set():
            evaluation = commands.evaluate(run, Importance(samples=20), limit=40)
            found.append((evaluation.log_evidence.mean, torch.equal(commands.sample(run, count=20).x, drawn)))

    run_at_once(train, others)
    assert differing(vae.state_dict(), by_itself[1]) == []
    assert set(found) == {(expected, True)}


def test_a_callback_may_train_and_wait_for_a_thread_that_trains(digits, by_itself):
    """Nothing is locked while it is called, so neither waits for the other for ever."""
    outer, nested, threaded = made(0), made(1), made(3)

    def log(row: dict[str, float]) -> None:
        if row["epoch"] == 2:
            torch.rand(5)  # the callback's own noise is no part of the training
            fit(nested, digits, seed=1, **QUIET)
            run_at_once(lambda: fit(threaded, digits, seed=3, **QUIET))

    run_at_once(lambda: fit(outer, digits, seed=0, log=log, **QUIET))
    found = [vae.state_dict() for vae in (outer, nested, threaded)]
    assert [differing(a, b) for a, b in zip(found, (by_itself[0], by_itself[1], by_itself[3]), strict=True)] == [[]] * 3


def test_one_vae_is_trained_by_one_call_at_a_time(digits):
    vae, refused = made(0), []

    def log(row: dict[str, float]) -> None:
        with pytest.raises(UserError, match=r"is being trained by another call of fit; .*copy\.deepcopy"):
            fit(vae, digits, **QUIET)
        refused.append(row["epoch"])

    fit(vae, digits, log=log, **QUIET)
    assert refused == [1, 2, 3]
    fit(vae, digits, **QUIET)  # afterwards it may be trained on
