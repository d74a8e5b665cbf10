"""What is printed fits the terminal: reports, notes, the list of parts; 100 columns where the output is redirected."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import pyrovae
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
    table = getattr(pyrovae, command)(run, samples=5, limit=40).table()
    assert report.split() == table.split()
    assert "run/" in written
