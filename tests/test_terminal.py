"""What is printed fits the terminal: reports, notes, the list of parts; 100 columns where the output is redirected."""

from __future__ import annotations

import os
import pty
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import pyrovae
from pyrovae.cli.spelling import in_flags
from pyrovae.system.terminal import shortened, terminal_width, wrapped

SENTENCE = (
    "their log evidence is expected to be too low, by an unknown amount, and its Monte Carlo error is larger than can be seen"
)


@pytest.mark.parametrize("width", [40, 60, 100, 400])
def test_a_long_line_is_broken_as_textwrap_does_and_no_word_is_lost(width):
    text = f"NOT TO BE TRUSTED  {SENTENCE}\nshort   line"
    found = wrapped(text, 19, width)
    assert found.split() == text.split()
    assert max(map(len, found.splitlines())) <= width
    assert found.splitlines()[-1] == "short   line"
    first = textwrap.wrap(text.splitlines()[0], width, subsequent_indent=" " * 19)
    assert found.splitlines()[:-1] == first


def test_a_path_that_is_longer_than_a_line_stays_whole():
    path = "/tmp/" + "a-long-name/" * 20
    assert path in wrapped(f"written: {path} and more", 2, 60).split()


@pytest.mark.parametrize("width", range(4, 30))
def test_a_shortened_name_keeps_its_ends(width):
    name = "beta-mixture-conv-z20"
    short = shortened(name, width)
    assert len(short) == min(width, len(name))
    head, _, tail = short.partition("...")
    assert name.startswith(head)
    assert name.endswith(tail)


@pytest.mark.parametrize(("columns", "expected"), [("80", 80), ("200", 200), ("7", 40), ("many", 100)])
def test_the_environment_says_how_wide_the_terminal_is(monkeypatch, columns, expected):
    monkeypatch.setenv("COLUMNS", columns)
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "__stdout__", nothing)
        assert terminal_width() == expected


def test_a_terminal_is_asked_for_its_width():
    import fcntl
    import struct
    import termios

    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 73, 0, 0))
    code = "from pyrovae.system.terminal import terminal_width; print(terminal_width())"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    subprocess.run([sys.executable, "-c", code], stdout=its, env=environment, check=True, timeout=120)
    os.close(its)
    assert os.read(ours, 100).decode().strip() == "73"
    os.close(ours)


def report_of(command, run):
    """What the command line prints, from Python."""
    if command == "classify":
        return pyrovae.classify(run, samples=5, limit=40)
    return pyrovae.evaluate(run, {"name": "importance", "samples": 5}, limit=40)


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("command", ["evaluate", "classify"])
def test_the_notes_of_a_report_fit_the_terminal_and_say_the_same(make_run, tmp_path, cli, monkeypatch, command, columns):
    run = shutil.copytree(make_run("wrapped", likelihood="binomial", context="label"), tmp_path / "run")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.chdir(tmp_path)
    answer = cli(command, "run", "--samples", 5, "--limit", 40)
    monkeypatch.chdir(Path(__file__).parent)
    report, _, written = answer.out.partition("written ")
    assert max(map(len, report.splitlines())) <= columns
    assert "NOT TO BE TRUSTED" in report
    table = report_of(command, run).table(in_flags)
    assert report.split() == table.split()
    assert "run/" in written


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_the_list_fits_the_terminal_and_says_the_same(cli, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", "100000")
    whole = cli("list").out
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = cli("list").out
    assert narrow.split() == whole.split()
    assert max(map(len, narrow.splitlines())) <= columns


def test_one_role_is_listed_by_its_name_or_its_flag(cli):
    whole, role, flag = (cli("list", *which) for which in ([], ["network"], ["--network"]))
    assert role.out == flag.out
    assert role.out.split() == next(part for part in whole.out.split("\n\n") if part.startswith("--network")).split()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["likelihoods"], "list likelihoods: no such role; did you mean likelihood? All: "),
        (["--wide"], "list --wide: no such role; "),
        (["prior", "posterior"], "list prior posterior: lists one role or all; give one"),
    ],
)
def test_a_role_that_there_is_not_is_refused_in_one_line(cli, given, says):
    answer = cli("list", *given)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert answer.err.startswith(f"pyrovae list: error: {says}")


def test_a_finished_run_that_is_resumed_says_how_to_train_it_longer(cli, make_run, tmp_path):
    run = shutil.copytree(make_run("finished", epochs=2), tmp_path / "run")
    answer = cli("train", "--resume", "--out", run, "--quiet")
    first = answer.out.splitlines()[0]
    assert first.startswith("nothing to do: the run has finished its 2 epochs; train longer with: pyrovae train ")
    longer = shlex.split(first.partition("with: pyrovae ")[2])
    again = cli(*longer, "--quiet")
    assert (again.code, "nothing to do" in again.out, "of 4 is kept" in again.out) == (0, False, True)


def test_a_run_out_of_patience_that_is_resumed_says_so(make_run, tmp_path):
    run = shutil.copytree(make_run("impatient", epochs=30, patience=1, learning_rate=0.3), tmp_path / "run")
    done = len(pyrovae.runs.read_metrics(run))
    assert done < 30
    report = pyrovae.resume(run, progress=False).report()
    assert report.startswith(f"nothing to do: patience ended the training after {done} epochs; ")
