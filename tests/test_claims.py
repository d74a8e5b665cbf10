"""A run folder belongs to one process: real processes at once, and folders that vanish while a training writes there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from gallery.models import Studio

import pyrovae
from pyrovae import UserError, commands, runs
from pyrovae.commands import recipe
from pyrovae.system.claims import LOCK, Claim, TakenError, claim_next
from pyrovae.training import loop

TINY = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "epochs": 1, "device": "cpu", "progress": False}

WORKERS = 3

WORKER = f"""
import json
import sys
import pyrovae
print("ready", flush=True)
for line in sys.stdin:
    try:
        answer = str(pyrovae.train(**json.loads(line), **{TINY!r}).run)
    except pyrovae.UserError as error:
        answer = f"refused: {{error}}"
    print(answer, flush=True)
"""

HOLDER = """
import fcntl
import os
import sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(f"{os.getpid()} somewhere\\n")
file.flush()
print("held", flush=True)
sys.stdin.readline()
"""


def start(script: str, *arguments: object, cwd: Path) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], text=True, cwd=cwd, **pipes)


@pytest.fixture(scope="module")
def workers(tmp_path_factory) -> Iterator[Callable[..., list[str]]]:
    """Processes that have imported everything and train at once, each with options of its own: their runs, or refusals."""
    home = tmp_path_factory.mktemp("workers")
    processes = [start(WORKER, cwd=home) for _ in range(WORKERS)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * WORKERS

    def train(**options) -> list[str]:
        for seed, process in enumerate(processes):
            process.stdin.write(json.dumps({"seed": seed, **options}) + "\n")
        for process in processes:
            process.stdin.flush()
        return [process.stdout.readline().strip() for process in processes]

    train.home = home
    yield train
    for process in processes:
        process.communicate(timeout=60)


def seed_of(run: Path) -> int:
    return yaml.safe_load((run / "config.yaml").read_text())["seed"]


def test_trainings_at_once_without_a_folder_take_a_number_each(workers, tmp_path):
    """None is lost, and each has the weights that its own seed makes."""
    answers = workers()
    assert set(answers) == {f"runs/digits-{number}" for number in range(1, WORKERS + 1)}
    for seed, answer in enumerate(answers):
        run = workers.home / answer
        alone = commands.train(out=str(tmp_path / str(seed)), seed=seed, **TINY).run
        assert seed_of(run) == seed
        assert (run / runs.MODEL).read_bytes() == (alone / runs.MODEL).read_bytes()
        assert not (run / LOCK).exists()


@pytest.mark.parametrize("attempt", range(5))
def test_of_trainings_at_once_into_one_folder_one_is_done_and_the_others_are_refused(workers, tmp_path, attempt):
    out = f"run-{attempt}"
    answers = workers(out=out)
    (winner,) = [seed for seed, answer in enumerate(answers) if answer == out]
    refused = [answer for answer in answers if answer.startswith("refused: ")]
    assert len(refused) == WORKERS - 1
    assert all("at work there" in answer or "exists already" in answer for answer in refused)
    alone = commands.train(out=str(tmp_path / "alone"), seed=winner, **TINY).run
    assert seed_of(workers.home / out) == winner
    assert (workers.home / out / runs.MODEL).read_bytes() == (alone / runs.MODEL).read_bytes()


def test_the_second_to_resume_is_refused_in_one_line(run, tmp_path, cli, snapshot):
    holder = start(HOLDER, run / LOCK, cwd=tmp_path)
    assert holder.stdout.readline() == "held\n"
    before = snapshot(run)
    answer = cli("train", "--resume", "--epochs", 2, "--out", run)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert f"{run}: process {holder.pid} on somewhere is at work there; wait for it" in answer.err
    assert snapshot(run) == before
    holder.send_signal(signal.SIGKILL)  # its lock file stays, and its lock does not
    holder.communicate()
    assert (run / LOCK).is_file()
    assert len(commands.resume(run, epochs=2, device="cpu", progress=False).fit.history) == 2
    assert not (run / LOCK).exists()


AT_WORK = {
    "sweep": lambda folder: commands.sweep(out=str(folder), **TINY),
    "gallery": lambda folder: Studio(runs=folder, quick=True).folder("components"),
}


@pytest.mark.parametrize("name", AT_WORK)
def test_a_sweep_and_a_gallery_have_their_folder_to_themselves(tmp_path, name):
    with Claim(tmp_path / name), pytest.raises(UserError, match=rf"{name}: process {os.getpid()} .*at work there"):
        AT_WORK[name](tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# --- the folder -------------------------------------------------------------------------------------------------------------


def test_what_was_made_for_nothing_is_removed_again(tmp_path):
    with Claim(tmp_path / "a" / "b", new=True):
        assert (tmp_path / "a" / "b" / LOCK).is_file()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_the_user_made_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    Claim(tmp_path / "mine", new=True).release()
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path, snapshot):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TakenError, match="exists already and is left as it is"):
        Claim(tmp_path, new=True)
    assert snapshot(tmp_path) == {"mine.txt": b"mine"}


def test_numbers_that_are_taken_are_passed_over(tmp_path):
    (tmp_path / "run-1").write_text("a file")
    (tmp_path / "run-2").symlink_to("nowhere")
    (tmp_path / "run-3").mkdir()
    with claim_next(f"{tmp_path}/run-") as first, claim_next(f"{tmp_path}/run-") as second:
        assert [first.folder.name, second.folder.name] == ["run-4", "run-5"]


def test_a_lock_file_that_is_a_link_or_another_name_of_a_file_is_not_written(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / LOCK).symlink_to(tmp_path / "mine.txt")
    with pytest.raises(UserError, match="linked: could not be written"):
        Claim(tmp_path / "linked")
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / LOCK).hardlink_to(tmp_path / "mine.txt")
    Claim(tmp_path / "named").release()
    assert (tmp_path / "mine.txt").read_text() == "mine"


# --- gone while it trains -----------------------------------------------------------------------------------------------------


@pytest.fixture
def after_first_save(monkeypatch):
    """Something happens when the first epoch of two has been saved."""

    def set_up(happens) -> None:
        save, count = runs.save_state, []

        def saved(folder, *state):
            save(folder, *state)
            count.append(1)
            if len(count) == 1:
                happens(folder)

        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
        monkeypatch.setattr(recipe.runs, "save_state", saved)

    return set_up


def delete(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.mark.parametrize("happens", [delete, lambda folder: folder.rename(folder.with_name("moved"))], ids=["deleted", "renamed"])
def test_a_run_that_is_deleted_or_renamed_while_it_trains_is_whole_in_the_end(tmp_path, after_first_save, happens):
    expected = commands.train(out=str(tmp_path / "quiet"), **{**TINY, "epochs": 2}).run
    after_first_save(happens)
    with pytest.warns(UserWarning, match="run: was deleted or renamed while it trained; it is written again, whole"):
        made = commands.train(out=str(tmp_path / "run"), **{**TINY, "epochs": 2}).run
    for name in (runs.MODEL, runs.CONFIG):
        assert (made / name).read_bytes() == (expected / name).read_bytes()
    assert runs.load_state(made).epoch == 2
    assert not (made / LOCK).exists()
    if (tmp_path / "moved").exists():
        assert runs.load_state(tmp_path / "moved").epoch == 1
        assert len(commands.resume(tmp_path / "moved", device="cpu", progress=False).fit.history) == 2


def test_what_is_put_in_the_place_of_a_run_is_not_written_to(tmp_path, after_first_save, snapshot):
    def replace(folder: Path) -> None:
        folder.rename(folder.with_name("moved"))
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")

    after_first_save(replace)
    with pytest.raises(UserError, match="run: was replaced while this process wrote there, and is left as it is"):
        commands.train(out=str(tmp_path / "run"), **{**TINY, "epochs": 2})
    assert snapshot(tmp_path / "run") == {"mine.txt": b"mine"}
    assert pyrovae.load(tmp_path / "moved").latent_dim == 2
