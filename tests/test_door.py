"""Whatever goes wrong around the program leaves as one line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from pyrovae import UserError, commands
from pyrovae.errors import enough_memory
from pyrovae.system.door import leave


def left(capsys, error: BaseException, *tokens: str) -> tuple[int, str]:
    """Exit code and stderr of a program in which that is raised."""

    def work() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        leave(work, "pyrovae train", tokens)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return stop.value.code, printed.err.removeprefix("pyrovae train: error: ").rstrip("\n")


def allocation() -> RuntimeError:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(10**15)
    return failed.value


@pytest.mark.parametrize("error", [MemoryError(), allocation(), torch.OutOfMemoryError("CUDA out of memory."), OSError(12, "no")])
def test_a_shortage_of_memory_names_what_asked_for_it(capsys, error):
    code, line = left(capsys, error, "--batch_size=10000", "--epochs", "3", "--network.hidden", "[9999]")
    assert code == 2
    assert line.startswith("--batch-size 10000, --network.hidden [9999], this needs more memory than there is; try smaller")


def test_a_value_is_named_as_it_was_given(capsys):
    _, line = left(capsys, MemoryError(), "--data=my_data.npy", "--network=my_net", "--out", "limit")
    assert line.startswith("--network my_net, this needs more memory")


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/b.npy"), "a/b.npy: cannot be used (Permission denied); ask for"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: cannot be used (No space left on device); free some"),
        (OSError(errno.EMFILE, "Too many open files", "a"), "a: cannot be used (Too many open files); too many files are open"),
        (OSError(errno.ENAMETOOLONG, "File name too long", b"a\xff"), r"a\udcff: cannot be used (File name too long); see what"),
        (RecursionError("maximum recursion depth exceeded"), "what was read: is nested too deeply"),
        (RuntimeError("can't start new thread"), "can't start new thread: the system allows"),
    ],
)
def test_what_the_system_refuses_is_one_line(capsys, error, start):
    code, line = left(capsys, error)
    assert (code, line[: len(start)]) == (2, start)


def test_a_file_that_is_nested_too_deeply_is_named(capsys, here):
    (here / "deep.yaml").write_text("[" * 9)
    assert left(capsys, RecursionError(), "--config", "deep.yaml")[1].startswith("deep.yaml: is nested too deeply")


@pytest.mark.parametrize("error", [TypeError("ours"), KeyError("ours"), RuntimeError("ours"), ImportError("ours")])
def test_a_fault_of_ours_keeps_its_traceback(error):
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        leave(work, "pyrovae")


def test_in_python_too_little_memory_is_a_users_error(digits_run):
    with pytest.raises(UserError, match=r"count=1000000000000.* memory.*; draw fewer"):
        commands.sample(digits_run, count=10**12)
    with pytest.raises(KeyError), enough_memory("count", 1, "none"):
        raise KeyError("ours")


# --- real processes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_with(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    def run(line: str, before: Callable[[], object] | None = None, **files: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "pyrovae", *line.split()]
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **files}
        return subprocess.run(command, text=True, cwd=tmp_path, preexec_fn=before, timeout=120, check=False, **how)

    return run


@pytest.fixture
def full():
    with open("/dev/full", "w") as device:
        yield device


@pytest.mark.parametrize("line", ["list", "train --help"])
def test_a_full_stdout_is_told_in_one_line(run_with, full, line):
    answer = run_with(line, stdout=full)
    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1)
    assert "error: stdout: could not be written (No space left on device)" in answer.stderr


def test_a_closed_stdout_is_told_in_one_line_and_no_file_gets_its_number(run_with, run):
    answer = run_with(f"encode {run} --out codes.npz", lambda: os.close(1), stdout=None)
    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1)
    assert "error: stdout: could not be written (it is closed)" in answer.stderr
    assert (run.parent / "codes.npz").read_bytes()[:2] == b"PK"


def test_what_was_found_is_kept_where_it_cannot_be_printed(run_with, run, full):
    answer = run_with(f"evaluate {run} --samples 2 --limit 3", stdout=full)
    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1)
    assert (run / "evidence/importance.json").is_file()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("closed", [False, True])
def test_a_log_that_cannot_be_written_changes_no_exit_code(run_with, full, closed, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    where = {"before": lambda: os.close(2), "stderr": None} if closed else {"stderr": full}
    assert run_with("list", **where).returncode == 0
    refused = run_with("trian", **where)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_a_limit_on_memory_is_told_in_one_line(run_with):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))

    answer = run_with("train --epochs 1 --network.hidden [60000,60000]", limit)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    assert "more memory than there is" in answer.stderr


def test_a_path_without_an_encoding_is_printed_by_numbers(tmp_path):
    name = os.fsdecode(b"run-\xff")
    line = [sys.executable, "-m", "pyrovae", "train", "--quiet", "--epochs", "1", "--network.hidden", "[4]", "--out", name]
    answer = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert r"run: run-\udcff" in answer.stdout
    assert (tmp_path / name / "model.safetensors").is_file()


# --- command lines that say a thing twice or nothing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("train --epochs 3 --epochs 3", "--epochs: given twice"),
        ("train --batch-size 3 --batch_size=4", "--batch-size: given twice"),
        ("train --likelihood normal --likelihood.name beta", "--likelihood: given twice"),
        ("sweep --likelihood normal,normal --out new", "--likelihood normal: given twice"),
        ("sweep --latent-dim 2,2 --out new", "--latent-dim 2: given twice"),
        ("sweep --prior normal --prior mixture --out new", "--prior: given twice"),
        ("train --context label --context.attributes [class,class]", "--context.attributes class: given twice"),
        ("figures {run} --only grid,grid", "--only grid: given twice"),
        ("sample {label} --given class=3,class=4", "--given class: given twice"),
        ("train --config keys.yaml", "--config keys.yaml: epoch: no such option; did you mean epochs"),
        ("train --config resume.yaml", "--config resume.yaml: resume: true is no option of a file"),
        ("train --device cpu:99", "--device cpu:99: there is one CPU"),
        ("sweep --out=", "--out '': needs a folder"),
        ("train --out=", "--out '': needs a folder"),
        ("train --data=", "--data '': unknown"),
        ("train --config=", "--config '': needs a file"),
        ("train --data-root=", "--data-root '': needs a folder"),
        ("evaluate {run} --json=", "--json '': needs a file"),
        ("sample {run} --out=", "--out '': needs a file"),
        ("encode {run} --out=", "--out '': needs a file"),
        ("figures {run} --out=", "--out '': needs a folder"),
        ("compare {run} {label} --out=", "--out '': needs a folder"),
    ],
)
def test_what_is_said_twice_or_not_at_all_is_refused(cli, here, digits_run, make_run, line, flag):
    (here / "keys.yaml").write_text("epoch: 3\n")
    (here / "resume.yaml").write_text("resume: true\n")
    label = make_run("digits-label", context="label", likelihood="binomial")
    answer = cli(*line.format(run=digits_run, label=label).split())
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert flag in answer.err
    assert {path.name for path in here.iterdir()} == {"keys.yaml", "resume.yaml"}
