"""What a file may ask of this machine: no endless reading, no growth without bounds, no more memory than there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pyrovae import Importance, UserError, commands, runs
from pyrovae.runs import records
from pyrovae.system import bounds


def repeated(levels: int) -> str:
    """Ten to the power of that many values in a few lines."""
    first = f"a0: &a0 [{', '.join('x' * 10)}]\n"
    return first + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, levels))


def merged(levels: int) -> str:
    first = "a0: &a0 {x: 1}\n"
    return first + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, levels))


HOSTILE = {
    "aliases of aliases": (repeated(10), "aliases that repeat more than 10000 values"),
    "merged aliases": (merged(9), "aliases that repeat more than 10000 values"),
    "its own part": ("a: &a [*a]\n", "aliases that repeat more than 10000 values"),
    "brackets": ("a: " + "[" * 100_000, "more than 50 collections within each other"),
    "dashes": ("- " * 100_000, "more than 50 collections within each other"),
    "large": ("a: " + "b" * 2**24, "more than 16 MiB, which is too much for such a file"),
    "a date that is none": ("a: 2001-99-99", "month must be in 1..12"),
    "an endless number": ("a: " + "9" * 5000, "limit"),
    "an object": ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    "no such anchor": ("a: *b", "undefined alias"),
    "no text": ("\udcff", "can't decode byte 0xff"),
}


@pytest.mark.parametrize(("text", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_configurations_are_refused_in_one_line(text: str, said: str, cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    answer = cli("train", "--config", path, "--out", tmp_path / "out")
    assert answer.code == 2
    assert answer.err.startswith(f"pyrovae train: error: --config {path}: cannot be read (")
    assert said in answer.err
    assert answer.err.count("\n") == 1
    with pytest.raises(UserError, match=r"config\.yaml: is damaged \(.*; restore it or train again"):
        runs.read_config(tmp_path)


def test_configurations_within_the_bounds_are_what_yaml_says(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    deep = "a: " + "[" * 49 + "1" + "]" * 49
    for text in ("a: &a [1, {b: c}]\nd: *a\n", repeated(3), deep, "", "a: 2001-01-01", merged(3)):
        path.write_text(text)
        assert bounds.read_yaml(path) == yaml.safe_load(text)


def test_our_own_configurations_of_many_labels_are_read(tmp_path: Path) -> None:
    config = {"labels": [{"name": "species", "values": [f"species number {i}" for i in range(5000)]}]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(config))
    assert bounds.read_yaml(tmp_path / "x.yaml") == config


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe that nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_pipes_and_devices_are_no_configurations(cli: Any, pipe: Path) -> None:
    for path in (pipe, Path("/dev/zero"), pipe.parent):
        answer = cli("train", "--config", path)
        assert answer.code == 2
        assert answer.err.startswith(f"pyrovae train: error: --config {path}: cannot be read (no regular file)")


def test_what_stands_in_the_place_of_an_evaluation_is_not_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run from somebody else: pipes, devices and archives that grow are left out, and the evaluation beside them is found."""
    commands.evaluate(run, Importance(samples=5), limit=4, device="cpu")
    evidence = run / "evidence"
    true = (evidence / "importance.json").read_text()
    os.mkfifo(evidence / "importance-pipe.json")
    (evidence / "importance-device.json").symlink_to("/dev/zero")
    for name in ("pipe", "device", "large"):
        (evidence / f"importance-of-{name}.json").write_text(true)
    os.mkfifo(evidence / "importance-of-pipe.npz")
    (evidence / "importance-of-device.npz").symlink_to("/dev/zero")
    np.savez_compressed(evidence / "importance-of-large.npz", log_evidence=np.zeros(10**7))
    monkeypatch.setattr(bounds, "free_memory", lambda: 10**7)
    found = list(records.read_records(run, "importance"))
    assert [summary["n"] for summary, _ in found] == [4]
    with np.load(evidence / "importance.npz") as arrays:
        assert found[0][1].keys() == set(arrays.files)
        for name in arrays.files:
            np.testing.assert_array_equal(found[0][1][name], arrays[name])


def test_a_limit_of_the_process_is_seen() -> None:
    """With room for 3 GB more, as ``ulimit -v`` leaves it, no more is said to be free."""
    code = """
import resource, sys
from pathlib import Path
from pyrovae.system.bounds import free_memory
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 10**9, resource.RLIM_INFINITY))
print(free_memory())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    machine = bounds.free_memory()
    assert 0 < int(done.stdout) <= min(3 * 10**9, machine + 10**9)


def test_what_does_not_fit_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds.check_memory(10**6, "x.npy: x", "take less")
    monkeypatch.setattr(bounds, "free_memory", lambda: 2 * 10**9)
    bounds.check_memory(2 * 10**9, "x.npy: x", "take less")
    with pytest.raises(UserError, match=r"^x\.npy: x needs 3\.0 GB of memory, and 2\.0 GB are free; take less$"):
        bounds.check_memory(3 * 10**9, "x.npy: x", "take less")
