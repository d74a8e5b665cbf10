"""Files are written whole, under names that nobody can guess, through no link of somebody else's; the dead leave no litter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyrovae import UserError, commands, runs
from pyrovae.system.files import TEMPORARY, write_whole

TINY = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "epochs": 1, "device": "cpu", "progress": False}

KILLED = """
import os
import signal
import sys
from pathlib import Path
from pyrovae.system import files
os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
"""
"""A process that dies when it has written a file and not yet renamed it."""


def killed(script: str, *arguments: object) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED + script, *map(str, arguments)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith(".tmp")]


# --- what the dead left -------------------------------------------------------------------------------------------------------


def test_temporary_files_of_the_dead_are_swept_by_the_next_writer(tmp_path):
    killed("files.write_whole(Path(sys.argv[1]) / 'file', b'half')", tmp_path)
    (left,) = temporaries(tmp_path)
    assert TEMPORARY.fullmatch(left)["name"] == "file"
    write_whole(tmp_path / "other", b"another name, in a folder that the user named")
    assert temporaries(tmp_path) == [left]
    write_whole(tmp_path / "other", b"any name, in a run", home=tmp_path)
    assert temporaries(tmp_path) == []


def test_a_file_that_is_being_written_is_not_swept(tmp_path, monkeypatch):
    replace, seen = os.replace, []

    def another_writes_meanwhile(temporary, path):
        if not seen:
            seen.append(temporary.name)
            write_whole(path, b"the other's", home=tmp_path)
            assert temporary.exists()
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", another_writes_meanwhile)
    write_whole(tmp_path / "file", b"ours", home=tmp_path)
    assert (tmp_path / "file").read_bytes() == b"ours"
    assert temporaries(tmp_path) == []


def test_files_that_are_not_ours_are_not_swept(tmp_path):
    names = [".file.tmp", ".file.0123.tmp", "file.0123456789abcdef.tmp", ".file.0123456789abcdeg.tmp", ".file.4711.tmp"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".file.0123456789abcdef.tmp").symlink_to(tmp_path / "elsewhere")
    write_whole(tmp_path / "file", b"content", home=tmp_path)
    assert set(temporaries(tmp_path)) == {*names, ".file.0123456789abcdef.tmp"}


def test_a_training_that_is_killed_at_its_first_file_leaves_a_place_for_another(tmp_path):
    killed(f"import pyrovae\npyrovae.train(out=sys.argv[1], **{TINY!r})", tmp_path / "run")
    assert temporaries(tmp_path / "run")
    made = commands.train(out=str(tmp_path / "run"), **TINY)
    assert runs.load(made.run).latent_dim == 2
    assert temporaries(made.run) == []


# --- links ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path) -> Path:
    """What belongs to the user, and is to stay as it is."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("importance.json", "importance.npz", "grid.png", "state.safetensors", "config.yaml", "metrics.csv"):
        (folder / name).write_text("mine")
    return folder


USES = {
    "training_state": lambda run: commands.resume(run, epochs=2, device="cpu", progress=False),
    "figures": lambda run: commands.figures(run, device="cpu"),
    "tensorboard": lambda run: commands.train(
        **{**commands.recorded_options(run), "tensorboard": True, "epochs": 2}, out=str(run), resume=True, progress=False
    ),
}


@pytest.mark.parametrize("name", USES)
def test_a_run_with_a_linked_folder_is_not_written_through_it(run, home, snapshot, name):
    if (run / name).exists():
        (run / name).rename(run / "moved")
        for path in (run / "moved").iterdir():
            path.rename(home / path.name)
    (run / name).symlink_to(home)
    before = snapshot(home)
    with pytest.raises(UserError, match=f"run/{name}: is a link, and nothing in .*run is written through links; remove it"):
        USES[name](run)
    assert snapshot(home) == before


def test_a_linked_file_of_a_run_is_replaced_and_what_it_leads_to_left_alone(run, home):
    for name in ("config.yaml", "metrics.csv", "training_state/state.safetensors"):
        (home / "original").write_bytes((run / name).read_bytes())
        (home / Path(name).name).unlink()
        (home / "original").rename(home / Path(name).name)
        (run / name).unlink()
        (run / name).symlink_to(home / Path(name).name)
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    commands.resume(run, epochs=2, device="cpu", progress=False)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before
    assert not any(path.is_symlink() for path in run.rglob("*"))
    assert runs.load_state(run).epoch == 2


def test_the_name_of_a_temporary_file_is_another_every_time_and_a_link_of_that_name_is_not_followed(tmp_path, monkeypatch):
    replace, names = os.replace, set()
    monkeypatch.setattr(os, "replace", lambda temporary, path: (names.add(temporary.name), replace(temporary, path))[1])
    for _ in range(20):
        write_whole(tmp_path / "file", b"content")
    assert len(names) == 20
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.setattr("pyrovae.system.files.secrets.token_hex", lambda count: "0" * 2 * count)
    (tmp_path / f".file.{'0' * 16}.tmp").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(UserError, match=r"file: could not be written \(File exists\)"):
        write_whole(tmp_path / "file", b"other content")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_folder_that_the_user_named_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    made = commands.train(out=str(tmp_path / "link" / "run"), **TINY)
    assert runs.load(tmp_path / "disk" / "run").latent_dim == made.vae.latent_dim
    (tmp_path / "run").symlink_to(tmp_path / "disk" / "run")
    assert len(commands.resume(tmp_path / "run", epochs=2, device="cpu", progress=False).fit.history) == 2
    assert (tmp_path / "run").is_symlink()
