"""Faults around the program: a full disk, little memory, few files, no rights, closed streams, numbers that explode."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from child import Answer, ask
from report import Count, in_time
from safetensors.torch import load
from world import TRAIN

LINES: dict[str, list[str]] = {
    "train": [*TRAIN, "--epochs", "2", "--out", "made"],
    "resume": ["train", "--resume", "--out", "hurt", "--epochs", "4"],
    "evaluate": ["evaluate", "hurt", "--limit", "20", "--samples", "50"],
    "annealed": ["evaluate", "hurt", "--estimator", "annealed", "--limit", "3", "--temperatures", "5"],
    "classify": ["classify", "label-hurt", "--limit", "5", "--samples", "3"],
    "encode": ["encode", "hurt", "--out", "made.npz"],
    "sample": ["sample", "hurt", "--count", "4", "--out", "made.png"],
    "figures": ["figures", "hurt", "--only", "samples,learning_curves"],
    "compare": ["compare", "hurt", "run", "--limit", "5", "--samples", "3", "--out", "made"],
    "sweep": ["sweep", "--network.hidden", "[4]", "--epochs", "1", "--limit", "3", "--samples", "3", "--out", "made"],
    "list": ["list"],
}
STREAMS = ("stdin", "stdout", "stderr")

EXPLODING = [
    ["--learning-rate", "1e30"],
    ["--learning-rate", "1e6", "--clip-norm", "0"],
    ["--kl-weight", "1e38"],
    ["--data", "exploding.npy", "--likelihood", "normal"],
    ["--data", "exploding.npy", "--likelihood", "student_t"],
    ["--likelihood", "beta", "--learning-rate", "1e20"],
    ["--prior", "flow", "--learning-rate", "1e15"],
    ["--posterior", "flow", "--learning-rate", "1e15"],
    ["--objective", "iwae", "--particles", "3", "--learning-rate", "1e25"],
]
"""Options with which training diverges, or comes near it."""


@dataclass(frozen=True)
class Trial:
    """A command and what is done to its process first.

    Args:
        count: The row that it belongs to.
        what: In words.
        line: The command line.
        before: What is done.
        judge: Whether the answer, in that folder, is a good one.
    """

    count: str
    what: str
    line: list[str]
    before: Callable[[], object]
    judge: Callable[[Answer, Path], bool]


WANTED = {
    "training that explodes": "exit 2 and one line, or finite numbers",
    "a full disk": "exit 0 or 2, one line; the run before is whole",
    "a limit on memory": "exit 0 or 2, one line",
    "a limit on files": "exit 0, 1 or 2, one line",
    "no right to read or write": "exit 0 or 2, one line",
    "closed and full streams": "stdout: exit 1, one line; others: exit 0",
}


def run(folder: Path, count: int | None, seed: int) -> list[Count]:
    """Make them happen, or some of each."""
    np.save(folder / "exploding.npy", np.random.default_rng(0).normal(size=(40, 3)) * 1e30)
    dice = random.Random(seed)
    trials = [*_exploding(), *(t for name in LINES for t in (*_disk(name), *_limits(name), *_rights(name), *_streams(name)))]
    dice.shuffle(trials)
    counts = {name: Count(f"faults: {name}", wanted) for name, wanted in WANTED.items()}
    for trial in in_time(trials):
        if count is not None and counts[trial.count].tried >= max(1, count // len(counts)):
            continue
        answer = _ask(folder, trial.line, trial.before)
        folder.chmod(0o755)
        counts[trial.count].note(
            trial.judge(answer, folder), f"{' '.join(trial.line[:4])}, {trial.what}: exit {answer.code}, {answer.line[:300]}"
        )
    return list(counts.values())


def _ask(folder: Path, line: list[str], before: Callable[[], object]) -> Answer:
    """The answer of a command on fresh copies of the runs."""
    for name in ("hurt", "label-hurt", "made", "made.npz", "made.png"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.copytree(folder / "run", folder / "hurt")
    shutil.copytree(folder / "label", folder / "label-hurt")
    return ask(line, folder, before=before, seconds=120)


def _fails_well(answer: Answer, codes: tuple[int, ...] = (2,)) -> bool:
    """Whether it ended with one of these exit codes and one line, or well."""
    errors = sum(": error: " in line for line in answer.err.splitlines())
    return answer.code == 0 or (answer.code in codes and errors == 1 and "Traceback" not in answer.err)


def _exploding() -> Iterator[Trial]:
    for more in EXPLODING:
        line = [*TRAIN, "--epochs", "3", *more, "--out", "made"]
        yield Trial("training that explodes", " ".join(more), line, lambda: None, _is_refused_or_finite)


def _is_refused_or_finite(answer: Answer, folder: Path) -> bool:
    return _fails_well(answer, (2, 3)) and (answer.code != 0 or _is_finite(folder / "made"))


def _is_finite(run: Path) -> bool:
    tensors = load((run / "model.safetensors").read_bytes())
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def _disk(name: str) -> Iterator[Trial]:
    """A disk that is full at the n-th file that is synced."""
    for nth in range(6):
        yield Trial("a full disk", f"full at file {nth}", LINES[name], partial(_full_after, nth), _leaves_the_run_whole)


def _leaves_the_run_whole(answer: Answer, folder: Path) -> bool:
    return _fails_well(answer) and ask(["evaluate", "hurt", "--limit", "3", "--samples", "2"], folder).code == 0


def _full_after(count: int) -> None:
    synced, left = os.fsync, [count]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(descriptor)

    os.fsync = fsync


def _limits(name: str) -> Iterator[Trial]:
    for megabytes in (0, 2, 5, 10, 20, 40, 80, 160):
        yield Trial("a limit on memory", f"{megabytes} MB more", LINES[name], partial(_limit_memory, megabytes), _judge())
    for kind, value in ((resource.RLIMIT_NOFILE, 8), (resource.RLIMIT_NOFILE, 12), (resource.RLIMIT_FSIZE, 4000)):
        before = partial(resource.setrlimit, kind, (value, value))
        yield Trial("a limit on files", f"limit {kind} of {value}", LINES[name], before, _judge(1, 2))


def _judge(*codes: int) -> Callable[[Answer, Path], bool]:
    return lambda answer, folder: _fails_well(answer, codes or (2,))


def _limit_memory(megabytes: int) -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _rights(name: str) -> Iterator[Trial]:
    """Files that may not be read and folders that may not be written, for somebody without root's privileges."""
    for file in ("hurt", "hurt/config.yaml", "hurt/model.safetensors", "hurt/training_state/state.safetensors", "."):
        for mode in (0o000, 0o555):
            before = partial(_take_rights, file, mode)
            yield Trial("no right to read or write", f"mode {mode:o} of {file}", LINES[name], before, _judge())


def _take_rights(file: str, mode: int) -> None:
    Path(file).chmod(mode)
    # capset(2): no capabilities, so that the modes of files hold for root too.
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capset(header, none)


def _streams(name: str) -> Iterator[Trial]:
    for number, stream in enumerate(STREAMS):
        for how in (_close, _fill) if number else (_close,):
            judge = _tells_of_stdout if number == 1 else _is_good
            yield Trial("closed and full streams", f"{stream} {how.__name__}", LINES[name], partial(how, number), judge)


def _is_good(answer: Answer, folder: Path) -> bool:
    return answer.code == 0


def _tells_of_stdout(answer: Answer, folder: Path) -> bool:
    return answer.code == 1 and _fails_well(answer, (1,)) and "error: stdout: could not be written" in answer.line


def _close(number: int) -> None:
    os.close(number)
    setattr(sys, STREAMS[number], None)


def _fill(number: int) -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), number)
