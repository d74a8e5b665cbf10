"""Fixtures that several files share: the command line in process and out of it, and tiny runs to look at."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

torch.set_num_threads(1)  # the models are tiny: threads would wait for each other, and for those of other processes


@dataclass(frozen=True)
class Answer:
    """What a command line left: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Tensors are float64 unless they are told otherwise."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def open_tables() -> Iterator[None]:
    """What is registered in a test is forgotten after it."""
    from pyrovae.parts import ROLES

    before = {role: dict(table._lines) for role, table in ROLES.items()}
    yield
    for role, lines in before.items():
        ROLES[role]._lines = lines


@pytest.fixture
def cli(capsys) -> Callable[..., Answer]:
    """Run the real command line in this process."""
    from pyrovae.cli.program import main

    def run(*arguments: object) -> Answer:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Answer(stop.value.code or 0, printed.out, printed.err)

    return run


@pytest.fixture
def shell(tmp_path) -> Callable[..., Answer]:
    """Run Python in a process of its own, in a folder of its own."""

    def run(*arguments: object) -> Answer:
        command = [sys.executable, *(str(argument) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes | None]]:
    """Every path under a folder with its content; None for a folder."""

    def read(folder: Path) -> dict[str, bytes | None]:
        return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}

    return read


@pytest.fixture(scope="session")
def make_run(tmp_path_factory) -> Callable[..., Path]:
    """Train a tiny model once a session: ``make_run(name, **options of train)``; the folder is not to be written to."""
    home = tmp_path_factory.mktemp("runs")

    def make(name: str, **options: Any) -> Path:
        from pyrovae import commands

        tiny = {"network": {"name": "mlp", "hidden": [16]}, "latent_dim": 2, "epochs": 1, "device": "cpu", "progress": False}
        if not (home / name).exists():
            commands.train(**{**tiny, **options}, out=str(home / name))
        return home / name

    return make


@pytest.fixture(scope="session")
def digits_run(make_run) -> Path:
    """``train --epochs 1 --network.hidden [16] --latent-dim 2`` on digits; not to be written to."""
    return make_run("digits")


@pytest.fixture
def run(digits_run, tmp_path) -> Path:
    """A copy of the digits run to write to."""
    assert not (digits_run / "evidence").exists(), "a test has written into the run that all share"
    return shutil.copytree(digits_run, tmp_path / "run")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to be in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
