"""Several at once: the processes of torchrun."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import pyrovae
from pyrovae import UserError, commands

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
