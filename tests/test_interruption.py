"""Signals: real ones, sent to real processes that train, evaluate, sweep, show the demo and draw the gallery."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import pyrovae
from pyrovae import Importance, commands, runs
from pyrovae.system.interruption import SIGNALS, Interrupted, exiting, finishing, raising
from pyrovae.training import loop
from pyrovae.training.loop import TrainingState, fit

UNDER_WAY = Path(__file__).with_name("under_way.py")
SCRIPTS = Path(__file__).parents[1] / "scripts"
SECONDS = 2.0
"""What was asked for: so long after the signal the process has ended."""

EPOCHS, STEPS_AN_EPOCH = 2, 39  # 1248 training digits in batches of 32
TINY = shlex.split(f"--network.hidden [8] --latent-dim 2 --batch-size 32 --epochs {EPOCHS} --device cpu")
OPTIONS = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "batch_size": 32, "epochs": EPOCHS, "device": "cpu"}
ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def quickly(*numbers: signal.Signals) -> list[object]:
    """Every signal: these in any case, the others where there is time."""
    return [pytest.param(n, id=n.name, marks=[] if n in numbers else pytest.mark.slow) for n in ALL]


@dataclass(frozen=True)
class Ended:
    """How a process ended after a signal: seconds until it was under way, and from the signal to its end."""

    code: int
    started: float
    seconds: float
    out: str
    err: str


def send(number: int, step: int, *program: object, folder: Path, prefix: tuple[str, ...] = ()) -> Ended:
    """Run a program in a folder and send it the signal when it is at that step."""
    command = [*prefix, sys.executable, str(UNDER_WAY), str(step), *map(str, program)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    launched = time.monotonic()
    with subprocess.Popen(command, cwd=folder, text=True, **pipes) as process:
        for line in process.stdout:
            if line == "ready\n":
                break
        process.send_signal(number)
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
        return Ended(process.returncode, began - launched, time.monotonic() - began, out, err)


def assert_stopped(ended: Ended, number: int) -> None:
    assert (ended.code, "Traceback" in ended.err) == (128 + number, False), ended.err
    # On a busy machine starting takes longer than those seconds, too.
    assert ended.seconds < max(SECONDS, ended.started)


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


def assert_same_run(a: Path, b: Path) -> None:
    """Best weights, last state and history agree to the last bit; only times differ."""
    first, second = runs.load_state(a), runs.load_state(b)
    assert differing(runs.load(a).state_dict(), runs.load(b).state_dict()) == []
    for name in ("weights", "random"):
        assert differing(getattr(first, name), getattr(second, name)) == []
    moments, others = first.optimizer["state"], second.optimizer["state"]
    assert moments.keys() == others.keys()
    assert [differing(moments[i], others[i]) for i in moments] == [[] for _ in moments]
    histories = [[{k: v for k, v in row.items() if k != "seconds"} for row in state.history] for state in (first, second)]
    assert histories[0] == histories[1]
    assert (first.epoch, first.step, first.best_epoch) == (second.epoch, second.step, second.best_epoch)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    return commands.train(**OPTIONS, out=str(tmp_path_factory.mktemp("runs") / "whole"), progress=False).run


def assert_goes_on(run: Path, uninterrupted: Path) -> None:
    assert commands.resume(run, device="cpu", progress=False).fit.signal is None
    assert_same_run(run, uninterrupted)


# --- training ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", quickly(signal.SIGINT))
def test_a_signal_finishes_the_step_and_saves(tmp_path, uninterrupted, number):
    step = STEPS_AN_EPOCH + 5 if number == signal.SIGTERM else 7
    ended = send(number, step, "pyrovae", "train", *TINY, "--out", "run", folder=tmp_path)
    assert_stopped(ended, number)
    assert ended.out.splitlines()[-1] == "interrupted; go on with: pyrovae train --resume --out run"
    state = runs.load_state(tmp_path / "run")
    assert state.epoch * STEPS_AN_EPOCH + state.step == step
    assert_goes_on(tmp_path / "run", uninterrupted)


def test_nohup_is_respected(tmp_path, uninterrupted):
    ended = send(signal.SIGHUP, 7, "pyrovae", "train", *TINY, "--out", "run", folder=tmp_path, prefix=("nohup",))
    assert ended.code == 0, ended.err
    assert_same_run(tmp_path / "run", uninterrupted)


def test_a_terminal_that_closes_is_a_signal(tmp_path, uninterrupted):
    """Then nothing can be printed any more, neither the bar nor the last line."""
    ours, theirs = pty.openpty()
    command = [sys.executable, str(UNDER_WAY), "7", "pyrovae", "train", *TINY, "--out", "run"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        said = b""
        while b"ready\r\n" not in said:
            said += os.read(ours, 1000)
        time.sleep(0.05)  # for what wrote it to return
        os.close(ours)
        assert process.wait(timeout=60) == 128 + signal.SIGHUP
    assert_goes_on(tmp_path / "run", uninterrupted)


def test_timeout_sends_its_signal_twice(tmp_path, uninterrupted):
    """To the program and to its group: the second must not stop it from saving."""
    ended = send(signal.SIGTERM, 7, "pyrovae", "train", *TINY, "--out", "run", folder=tmp_path, prefix=("timeout", "60"))
    assert_stopped(ended, signal.SIGTERM)
    assert_goes_on(tmp_path / "run", uninterrupted)


def test_a_kill_within_a_long_epoch_costs_no_more_than_the_clock_allows(tmp_path, uninterrupted):
    """Here the clock saves after every step."""
    step = 20
    ended = send(signal.SIGKILL, step, "pyrovae", "train", *TINY, "--out", "run", folder=tmp_path)
    assert ended.code == -signal.SIGKILL
    state = runs.load_state(tmp_path / "run")
    assert (state.epoch, state.step) == (0, step - 1)
    assert_goes_on(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(
    "options", [{}, {"likelihood": "normal"}, {"prior": "bernoulli"}], ids=["dynamic bits", "dequantised", "score function"]
)
def test_every_state_within_an_epoch_goes_on_to_the_same_last_bit(monkeypatch, options):
    monkeypatch.setattr(loop, "WITHIN_EPOCH_SECONDS", -1.0)
    states: list[TrainingState] = []

    def train(resume: TrainingState | None = None) -> TrainingState:
        torch.manual_seed(0)
        vae = pyrovae.VAE((8, 8), 2, network={"name": "mlp", "hidden": [8]}, kind="levels", levels=17, **options)
        dataset = pyrovae.load_dataset("digits")
        states.clear()
        fit(vae, dataset, epochs=2, batch_size=300, device="cpu", progress=False, resume=resume, save=states.append)
        return states[-1]

    whole, within = train(), list(states)
    assert {(state.epoch, state.step) for state in within} >= {(0, 1), (0, 4), (1, 2), (1, 5)}
    for state in within:
        again = train(state)
        assert (differing(again.weights, whole.weights), differing(again.random, whole.random)) == ([], [])
        assert [row["valid_elbo"] for row in again.history] == [row["valid_elbo"] for row in whole.history]


@pytest.mark.parametrize("long", [False, True])
def test_a_signal_during_validation_does_not_wait_for_it(tmp_path, monkeypatch, uninterrupted, long):
    """Nor does one that came in the last step, where validation is known to take long; either way it is done again."""
    whole, calls = loop.validate, []

    def interrupted(vae, *given):
        calls.append(torch.random.get_rng_state())
        if len(calls) == 2:
            vae.eval()
            torch.rand(3)
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("waited")
        return whole(vae, *given)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", interrupted)
        if long:
            patch.setattr(loop, "SHORT_SECONDS", 0.0)
            at_step(patch, 2 * STEPS_AN_EPOCH, lambda: signal.raise_signal(signal.SIGTERM))
        found = commands.train(**OPTIONS, out=str(tmp_path / "run"), progress=False)
    assert (found.fit.signal, len(found.fit.history), found.vae.training) == (signal.SIGTERM, 1, True)
    assert len(calls) == (1 if long else 2)
    assert_goes_on(tmp_path / "run", uninterrupted)


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act) -> None:
    """Do something during that step of training."""
    real, steps = loop.Eager.step, iter(range(1, 10**6))

    def step_(*arguments):
        if next(steps) == step:
            act()
        return real(*arguments)

    monkeypatch.setattr(loop.Eager, "step", step_)


# --- evaluation, sweeps, the demo, the gallery --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", quickly(signal.SIGHUP))
def test_an_evaluation_keeps_what_is_done(run, number):
    line = ["evaluate", run, "--samples", "60"]
    ended = send(number, 3, "pyrovae", *line, folder=run)  # pieces of 16, 32, ...
    assert_stopped(ended, number)
    assert ended.err.splitlines()[-1] == "interrupted: 48 of 300 data are kept: the same command goes on with the others"
    (kept,) = (run / "evidence").iterdir()
    assert len(load_file(kept)["estimate"]) == 48
    commands.evaluate(run, Importance(samples=60))
    assert sorted(path.name for path in (run / "evidence").iterdir()) == ["importance.json", "importance.npz"]


@pytest.mark.parametrize("number", quickly(signal.SIGTERM))
def test_a_sweep_stops_and_goes_on(tmp_path, uninterrupted, number):
    ended = send(number, 85, "pyrovae", "sweep", "--seed", "7,0", *TINY, "--out", "all", folder=tmp_path)
    assert_stopped(ended, number)
    assert ended.out.splitlines()[-1] == "interrupted after 1 runs; the same command goes on"
    found = commands.sweep(**{**OPTIONS, "seed": [7, 0]}, out=str(tmp_path / "all"), samples=2, limit=20, progress=False)
    assert (len(found.runs), found.trained) == (2, 1)
    assert_same_run(found.runs[1], uninterrupted)


@pytest.mark.parametrize("number", quickly(signal.SIGINT))
def test_the_demo_does_not_take_a_signal_for_completion(tmp_path, number):
    ended = send(number, 15, SCRIPTS / "demo.py", "--epochs", "3", folder=tmp_path)
    assert_stopped(ended, number)
    assert "interrupted; go on with: pyrovae train --resume --out runs/demo\n" in ended.out
    assert not (tmp_path / "runs" / "demo" / "evidence").exists()
    state = runs.load_state(tmp_path / "runs" / "demo")
    assert (state.epoch, state.step) == (1, 5)
    again = send(number, 3, SCRIPTS / "demo.py", "--epochs", "1", folder=tmp_path)  # begins anew
    assert_stopped(again, number)
    assert runs.load_state(tmp_path / "runs" / "demo").step == 3


@pytest.mark.parametrize("number", quickly(signal.SIGTERM))
def test_the_gallery_keeps_the_model_that_it_trains(tmp_path, number):
    line = [SCRIPTS / "gallery.py", "sizes", "--quick", "--device", "cpu"]
    ended = send(number, 3, *line, folder=tmp_path)
    assert_stopped(ended, number)
    assert ended.err.splitlines()[-1].endswith("is kept: the same command goes on with it")
    (part,) = (tmp_path / "runs" / "gallery-quick").glob(".*.part")
    assert runs.load_state(part).step == 3
    again = send(number, 1, *line, folder=tmp_path)
    assert_stopped(again, number)
    assert runs.load_state(part).step == 4


# --- the mechanism ------------------------------------------------------------------------------------------------------------


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.fixture
def by_default() -> object:
    """Signals as in a program that was started by hand."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_noted_or_raised_and_nothing_is_left_installed(by_default, number):
    before = handlers()
    with finishing() as request:
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)  # a repetition
        assert request.number == number
    with pytest.raises(Interrupted) as raised, raising():
        signal.raise_signal(number)
    assert raised.value.number == number
    with pytest.raises(SystemExit, match=f"^{128 + number}$"), exiting():
        signal.raise_signal(number)
    assert handlers() == before


def test_what_is_done_after_a_signal_is_not_interrupted_by_its_repetition(by_default):
    done = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            done.append(True)

    with pytest.raises(Interrupted), raising():
        work()
    assert done == [True]


def test_ctrl_c_after_another_signal_interrupts_at_once(by_default):
    with pytest.raises(KeyboardInterrupt), finishing() as request:  # noqa: PT012  (which of the two raises is the point)
        signal.raise_signal(signal.SIGTERM)
        assert request.asked
        signal.raise_signal(signal.SIGINT)


def test_a_programs_own_handlers_stay(by_default):
    got = []
    signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with finishing() as request:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert not request.asked
    assert got == [signal.SIGTERM]


def test_outside_the_main_thread_nothing_is_installed(by_default):
    before, seen = handlers(), []

    def work() -> None:
        with finishing() as request, raising():
            seen.append((handlers(), request.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
