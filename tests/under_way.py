"""A program that says when it is in the middle of something: ``python under_way.py STEP PROGRAM ARGUMENTS``.

Before that step of training, or that piece of an evaluation, it prints "ready" and waits a moment. Signals are as in a process
that was started by hand in the foreground, except SIGHUP, which a parent may have ignored.
"""

from __future__ import annotations

import fcntl
import functools
import runpy
import signal
import sys
import termios
import time

import torch

from pyrovae import training
from pyrovae.engines import Eager
from pyrovae.evidence import estimators

STEP_SECONDS, PIECE_SECONDS = 0.2, 60.0
"""A step is finished; a piece of an evaluation may be long, and is not waited for."""
STEP, PROGRAM = int(sys.argv[1]), sys.argv[2]
calls = 0


def watched(function, seconds):
    @functools.wraps(function)
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == STEP:
            print("ready", flush=True)
            time.sleep(seconds)
        return function(*arguments, **options)

    return call


signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
if sys.stdin.isatty():  # a session of its own, whose terminal this becomes
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
torch.set_num_threads(1)
training.WITHIN_EPOCH_SECONDS = 0.0
Eager.step = watched(Eager.step, STEP_SECONDS)
estimators.ESTIMATORS["importance"] = watched(estimators.ESTIMATORS["importance"], PIECE_SECONDS)
sys.argv = sys.argv[2:]
if PROGRAM == "pyrovae":
    runpy.run_module("pyrovae", run_name="__main__")
else:
    runpy.run_path(PROGRAM, run_name="__main__")
