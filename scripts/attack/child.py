"""pyrovae's command line in a forked child, which dies, runs out of things or hangs without harm to who looks at it."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pyrovae import commands  # noqa: F401  (imported once, here, and not in every child)
from pyrovae.cli.program import main

torch.set_num_threads(1)  # threads do not live through a fork, and the models are tiny

HUNG = 124
"""The exit code of a child that had to be ended, as of timeout(1)."""


@dataclass(frozen=True)
class Answer:
    """What a child left: its exit code (minus the signal that ended it) and what it printed."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The last line on stderr."""
        return (self.err.strip().splitlines() or [""])[-1]


def ask(arguments: Sequence[str], folder: Path, **how: object) -> Answer:
    """The answer of ``pyrovae ARGUMENTS`` in a folder; ``how`` as in ``child``."""
    return child(lambda: main(list(arguments)), folder, **how)


def child(
    work: Callable[[], object],
    folder: Path,
    *,
    seconds: float = 60,
    before: Callable[[], object] | None = None,
    kill_after: float | None = None,
) -> Answer:
    """What work does in a process of its own.

    Args:
        work: What is done there.
        folder: Where it is done.
        seconds: After which the child has hung.
        before: What is done to the child first: limits, closed files.
        kill_after: Seconds until SIGKILL.
    """
    logs = [folder.parent / f".{folder.name}.{name}" for name in ("out", "err")]
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which torch starts and we do not use
        pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = _inside(work, folder, logs, before)
        except BaseException as error:
            os.write(2, b"Traceback: not even that could be printed: " + type(error).__name__.encode())
        finally:
            os._exit(code)  # whatever happens, the child does not go on as its parent
    code = _ended(pid, seconds if kill_after is None else kill_after, HUNG if kill_after is None else -signal.SIGKILL)
    out, err = (log.read_text(encoding="utf-8", errors="replace") for log in logs)
    for log in logs:
        log.unlink()
    return Answer(code, out, err)


def _inside(work: Callable[[], object], folder: Path, logs: Sequence[Path], before: Callable[[], object] | None) -> int:
    """What the interpreter itself does around a program."""
    os.setsid()
    os.chdir(folder)
    for number, log in enumerate(logs, 1):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  (until the end)
    try:
        if before is not None:
            before()
        work()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        code = 1
        os.write(2, traceback.format_exc().encode())
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError:
        os.write(2, b"Traceback: output could not be flushed at exit\n")
        code = 120
    return code


def _ended(pid: int, seconds: float, killed: int) -> int:
    """The exit code of a child, which is killed, with what it started, when its time is over."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return killed
