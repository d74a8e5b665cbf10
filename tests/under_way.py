"""A program that says when it is in the middle of something: ``python under_way.py STEP PROGRAM ARGUMENTS``.

Before that step of training, or that piece of an evaluation, it prints "ready" and waits a moment. Signals are as in a process
that was started by hand in the foreground, except SIGHUP, which a parent may have ignored.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import runpy
import signal
import sys
import termios
import time
from pathlib import Path

import torch

from pyrovae.engines import Eager
from pyrovae.evidence import Importance
from pyrovae.training import loop

STEP_SECONDS, PIECE_SECONDS = 0.3, 60.0
"""A step is finished; a piece of an evaluation may be long, and is not waited for."""
calls = itertools.count(1)


def watched(function, seconds, at):
    @functools.wraps(function)
    def call(*arguments, **options):
        if next(calls) == at:
            print("ready", flush=True)
            time.sleep(seconds)
        return function(*arguments, **options)

    return call


def main(step, program):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.stdin.isatty():  # a session of its own, whose terminal this becomes
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    torch.set_num_threads(1)
    loop.WITHIN_EPOCH_SECONDS = 0.0
    Eager.step = watched(Eager.step, STEP_SECONDS, step)
    Importance.measure = watched(Importance.measure, PIECE_SECONDS, step)
    sys.argv = sys.argv[2:]
    if program == "pyrovae":
        runpy.run_module("pyrovae", run_name="__main__")
    else:
        sys.path.insert(0, str(Path(program).parent))  # as `python PROGRAM` does
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
