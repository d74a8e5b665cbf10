"""Interrupting an evaluation, going on with it, and what evaluations may replace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pyrovae import Annealed, Importance, commands
from pyrovae.evidence import resumable as measuring
from pyrovae.evidence.resumable import in_pieces


@pytest.fixture
def run(digits_run, tmp_path) -> Path:
    """A copy of the digits run that has no evidence yet."""
    return shutil.copytree(digits_run, tmp_path / "run", ignore=shutil.ignore_patterns("evidence"))


class Memory:
    """Keeps results in memory."""

    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}

    def load(self) -> dict[str, Tensor]:
        return self.found

    def save(self, found: Mapping[str, Tensor]) -> None:
        self.found = dict(found)


def test_pieces_are_all_the_data_once():
    seen = []

    def measure(part: slice) -> dict[str, Tensor]:
        seen.append((part.start, part.stop))
        return {"row": torch.arange(100)[part]}

    assert in_pieces(measure, 100, None, "")["row"].tolist() == list(range(100))
    assert len(seen) > 1
    assert [stop for _, stop in seen[:-1]] == [start for start, _ in seen[1:]]


def test_an_interrupted_evaluation_goes_on_where_it_stopped():
    kept, calls = Memory(), []

    def measure(part: slice) -> dict[str, Tensor]:
        calls.append(part)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"row": torch.arange(200)[part]}

    with pytest.raises(KeyboardInterrupt, match="48 of 200 data are kept: the same command goes on"):
        in_pieces(measure, 200, kept, "")
    assert kept.found["row"].tolist() == list(range(48))
    assert in_pieces(measure, 200, kept, "")["row"].tolist() == list(range(200))
    assert calls[3].start == 48


def test_what_is_complete_is_kept_until_it_has_been_written(monkeypatch):
    monkeypatch.setattr(measuring, "WORTH_SECONDS", 0.0)
    kept, calls = Memory(), []

    def measure(part: slice) -> dict[str, Tensor]:
        calls.append(part)
        return {"row": torch.arange(30)[part]}

    first = in_pieces(measure, 30, kept, "")
    done = len(calls)
    assert torch.equal(in_pieces(measure, 30, kept, "")["row"], first["row"])
    assert len(calls) == done


def test_all_goes_on_after_an_interruption(run, cli, monkeypatch):
    """Importance sampling is complete when annealing is interrupted: it is not done again."""
    monkeypatch.setattr(measuring, "WORTH_SECONDS", 0.0)
    line = ["evaluate", run, "--estimator", "all", "--samples", 30, "--limit", 40, "--simulated", 2, "--temperatures", 3]
    sizes = stop_after(0, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(Annealed, "measure", _interrupted)
        assert cli(*line).code == 130
    assert sum(sizes) == 40
    assert cli(*line).code == 0
    assert sum(sizes) == 40
    assert not list((run / "evidence").glob(".partial*"))


def _interrupted(self, vae, x, c=None, *, seed=0, index=None):
    raise KeyboardInterrupt


def test_a_kill_loses_only_what_was_not_saved_yet(monkeypatch):
    monkeypatch.setattr(measuring, "SAVE_SECONDS", 0.0)
    kept = Memory()

    def measure(part: slice) -> dict[str, Tensor]:
        if part.start >= 48:
            raise RuntimeError("killed")
        return {"row": torch.arange(200)[part]}

    with pytest.raises(RuntimeError):
        in_pieces(measure, 200, kept, "")
    assert kept.found["row"].tolist() == list(range(48))


def stop_after(count: int, monkeypatch) -> list[int]:
    """Make the estimator be interrupted at that call; the sizes of its pieces."""
    sizes: list[int] = []

    whole = Importance.measure

    def interrupted(self, vae, x, c=None, **noise):
        sizes.append(len(x))
        if len(sizes) == count:
            raise KeyboardInterrupt
        return whole(self, vae, x, c, **noise)

    monkeypatch.setattr(Importance, "measure", interrupted)
    return sizes


def test_the_command_line_is_interrupted_and_goes_on(run, cli, monkeypatch):
    whole = commands.evaluate(run, Importance(samples=60), json=str(run / "whole.json"))
    shutil.rmtree(run / "evidence")
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        answer = cli("evaluate", run, "--samples", 60)
        assert answer.code == 130
        assert answer.err.strip().endswith("interrupted: 48 of 300 data are kept: the same command goes on with the others")
    assert [path.name.split("-")[0] for path in (run / "evidence").iterdir()] == [".partial"]
    with monkeypatch.context() as patch:
        sizes = stop_after(0, patch)
        assert cli("evaluate", run, "--samples", 60).code == 0
        assert sum(sizes) == 300 - 48
    assert sorted(path.name for path in (run / "evidence").iterdir()) == ["importance.json", "importance.npz"]
    again = json.loads((run / "evidence" / "importance.json").read_text())
    # pieces of other sizes are matrix products of other shapes: float32 rounding, relative to about 30 nats
    assert again["log_evidence"]["mean"] == pytest.approx(whole.log_evidence.mean, rel=1e-6)
    with np.load(run / "evidence" / "importance.npz") as arrays:
        np.testing.assert_allclose(arrays["estimate"], whole.per_datum["estimate"], rtol=1e-5)


@pytest.mark.parametrize("other", [["--samples", 61], ["--seed", 1], ["--limit", 200], ["--split", "valid"]], ids=str)
def test_another_question_does_not_go_on_with_these_results(run, cli, monkeypatch, other):
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        assert cli("evaluate", run, "--samples", 60).code == 130
    sizes = stop_after(0, monkeypatch)
    options = other if "--samples" in other else ["--samples", 60, *other]
    assert cli("evaluate", run, *options).code == 0
    assert sum(sizes) in (200, 250, 300)  # all of them


def test_no_evaluation_replaces_the_answer_to_another_question(run, cli):
    first = cli("evaluate", run, "--samples", 30)
    assert first.out.strip().splitlines()[-1].split()[-1] == str(run / "evidence" / "importance.json")
    before = (run / "evidence" / "importance.json").read_bytes()
    names = set()
    for other in (
        ["--samples", 31],
        ["--samples", 30, "--split", "valid"],
        ["--samples", 30, "--limit", 5],
        ["--data", "digits"],
    ):
        answer = cli("evaluate", run, *other)
        assert answer.code == 0
        names.add(answer.out.strip().splitlines()[-1].split()[-1])
    assert len(names) == 4
    assert (run / "evidence" / "importance.json").read_bytes() == before
    files = {path.name for path in (run / "evidence").iterdir()}
    assert len(files) == 10
    assert cli("evaluate", run, "--samples", 30).code == 0
    assert {path.name for path in (run / "evidence").iterdir()} == files


def test_a_damaged_file_is_replaced(run, cli):
    (run / "evidence").mkdir()
    (run / "evidence" / "importance.json").write_text("{")
    assert cli("evaluate", run, "--samples", 20).code == 0
    assert json.loads((run / "evidence" / "importance.json").read_text())["samples"] == 20


@pytest.mark.parametrize("name", ["found.txt", "found", "r.yaml"])
def test_numbers_are_written_to_json_files_only(run, cli, snapshot, name):
    before = snapshot(run)
    answer = cli("evaluate", run, "--json", run / name)
    assert answer.code == 2
    assert "needs a name that ends in .json" in answer.err
    assert snapshot(run) == before
