"""What was computed is shown where it cannot be written; runs on storage that can only be read are used like others."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyrovae import Importance, UserError, commands
from pyrovae.evidence import resumable as measuring
from pyrovae.system.files import Unwritten

pytestmark = pytest.mark.filterwarnings("always::pyrovae.system.files.Unwritten")

LINE = ("--samples", 20, "--limit", 30, "--device", "cpu")
ASKED = {"estimator": Importance(samples=20), "limit": 30, "device": "cpu"}


def refused(number: int, path: object) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@pytest.fixture
def read_only(monkeypatch):
    """Nothing below a folder can be written: permissions would not stop root."""

    def set_up(folder: Path) -> None:
        def is_below(path: object) -> bool:
            place = Path(path).absolute() if isinstance(path, str | os.PathLike) else Path()
            return folder.absolute() in (place, *place.parents)

        def guarded(name: str, writes) -> None:
            original = getattr(os, name)

            def call(*given, **more):
                if any(map(is_below, given)) and writes(*given):
                    raise refused(errno.EROFS, given[0])
                return original(*given, **more)

            monkeypatch.setattr(os, name, call)

        guarded("open", lambda path, flags=0, *rest: bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
        for name in ("mkdir", "replace", "rename", "unlink", "rmdir", "truncate"):
            guarded(name, lambda *given: True)
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and not (mode & os.W_OK and is_below(path)))

    return set_up


def fill_the_disk(monkeypatch, folder: Path) -> None:
    replace = os.replace

    def full(temporary, path):
        if folder in Path(path).parents:
            raise refused(errno.ENOSPC, path)
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", full)


def numbers(out: str) -> list[str]:
    return [line for line in out.splitlines() if not line.startswith(("written", " ", "seconds"))]


# --- evaluate ---------------------------------------------------------------------------------------------------------------


def test_an_evaluation_of_a_run_that_can_only_be_read_is_shown_and_kept_elsewhere(run, tmp_path, cli, read_only, snapshot):
    expected = cli("evaluate", run, *LINE).out
    for path in (run / "evidence").iterdir():
        path.unlink()
    (run / "evidence").rmdir()
    before = snapshot(run)
    read_only(run)
    answer = cli("evaluate", run, *LINE, "--json", tmp_path / "found.json")
    assert answer.code == 0
    assert answer.err == (f"pyrovae: note: {run}/evidence: cannot be written; what was to be written is shown, and not kept\n")
    assert numbers(answer.out) == numbers(expected)
    assert answer.out.splitlines()[-1] == f"{'written':<18} {tmp_path}/found.json"
    assert json.loads((tmp_path / "found.json").read_text())["n"] == 30
    assert snapshot(run) == before


@pytest.mark.parametrize("estimator", ["elbo", "importance", "bdmc", "all"])
def test_no_evaluation_is_lost_on_a_full_disk(run, cli, monkeypatch, estimator):
    options = [*LINE, "--estimator", estimator]
    if estimator in ("bdmc", "all"):
        options += ["--temperatures", 3, "--simulated", 3]
    if estimator == "bdmc":
        options = options[4:]
    expected = cli("evaluate", run, *options)
    assert expected.code == 0
    for path in (run / "evidence").iterdir():
        path.unlink()
    fill_the_disk(monkeypatch, run)
    answer = cli("evaluate", run, *options)
    assert answer.code == 0
    assert numbers(answer.out) == numbers(expected.out)
    assert "written" not in answer.out
    assert f"could not be written ({os.strerror(errno.ENOSPC)})" in answer.err
    assert list((run / "evidence").iterdir()) == []


def test_numbers_that_were_to_go_into_a_file_and_could_not_are_shown_and_end_with_an_error(run, tmp_path, cli, monkeypatch):
    (tmp_path / "full").mkdir()
    fill_the_disk(monkeypatch, tmp_path / "full")
    answer = cli("evaluate", run, *LINE, "--json", tmp_path / "full" / "found.json")
    assert answer.code == 2
    assert answer.out.splitlines()[-1] == f"{'written':<18} {run}/evidence/importance.json"
    assert answer.err.splitlines()[-1] == (
        f"pyrovae evaluate: error: --json {tmp_path}/full/found.json: could not be written, the numbers are above; "
        "choose another place"
    )


def test_a_place_that_can_be_seen_to_be_closed_is_refused_before_the_work(run, tmp_path, read_only, monkeypatch):
    (tmp_path / "closed").mkdir()
    read_only(tmp_path / "closed")
    monkeypatch.setattr("pyrovae.commands.run_estimator", lambda *given, **options: pytest.fail("worked"))
    with pytest.raises(UserError, match=r"json='.*found\.json': could not be written there; choose another place"):
        commands.evaluate(run, json=str(tmp_path / "closed" / "found.json"))


def test_results_that_cannot_be_kept_meanwhile_do_not_end_the_evaluation(run, monkeypatch):
    expected = commands.evaluate(run, **ASKED).log_evidence
    monkeypatch.setattr(measuring, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "WORTH_SECONDS", 0.0)
    fill_the_disk(monkeypatch, run)
    with pytest.warns(Unwritten) as said:
        assert commands.evaluate(run, **ASKED).log_evidence == expected
    names = [str(warning.message).split(": could")[0].rsplit("/", 1)[-1] for warning in said]
    assert [name.split("-")[0] for name in names] == [".partial", "importance.npz"]


def test_a_linked_folder_of_evidence_is_not_written_and_the_numbers_are_shown(run, tmp_path, cli, snapshot):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "importance.json").write_text("mine")
    (run / "evidence").symlink_to(tmp_path / "home")
    answer = cli("evaluate", run, *LINE)
    print(answer)
    assert (answer.code, "written" in answer.out) == (0, False)
    assert "log evidence" in answer.out
    assert f"note: {run}/evidence: is a link" in answer.err
    assert snapshot(tmp_path / "home") == {"importance.json": b"mine"}


def test_a_limit_of_the_system_on_the_size_of_files_is_a_full_disk(run, tmp_path):
    """A real process under a real limit."""
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "from pyrovae.cli.program import main\n"
        "main(sys.argv[1:])\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", script, "evaluate", run, *LINE]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0
    assert "log evidence" in done.stdout
    assert "could not be written (File too large)" in done.stderr
    assert list((run / "evidence").iterdir()) == []


# --- the other commands -------------------------------------------------------------------------------------------------------


def test_every_command_uses_a_run_that_can_only_be_read(make_run, tmp_path, cli, read_only, snapshot):
    run = make_run("conditional-reading", context="label")
    before = snapshot(run)
    read_only(run)
    assert cli("sample", run, "--count", 4, "--out", tmp_path / "x.npz").code == 0
    assert cli("encode", run, "--out", tmp_path / "z.npz").code == 0
    assert cli("figures", run, "--out", tmp_path / "figures").code == 0
    classified = cli("classify", run, "--samples", 2, "--limit", 20)
    assert (classified.code, "accuracy" in classified.out, "written" in classified.out) == (0, True, False)
    drawn = cli("classify", run, "--samples", 2, "--limit", 20, "--out", tmp_path / "calibration.png")
    assert drawn.out.splitlines()[-1] == f"{'written':<18} {tmp_path}/calibration.png"
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")
    compared = cli("compare", run, make_run("conditional-other", context="label", seed=1), *LINE)
    assert (compared.code, "log evidence" in compared.out) == (0, True), compared
    assert len(np.load(tmp_path / "z.npz")["mean"]) == 1797
    assert snapshot(run) == before
    refused = cli("figures", run)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--out" in refused.err


def test_a_league_that_cannot_be_written_is_shown(make_run, tmp_path, cli, monkeypatch):
    runs = [make_run("one"), make_run("two", seed=1)]
    (tmp_path / "full").mkdir()
    fill_the_disk(monkeypatch, tmp_path / "full")
    answer = cli("compare", *runs, *LINE, "--out", tmp_path / "full")
    assert (answer.code, "log evidence" in answer.out) == (2, True)
    assert answer.err.splitlines()[-1].startswith(f"pyrovae compare: error: --out {tmp_path}/full: could not be written")
