"""What a run's logs and evaluations say is believed only where it is what the run wrote: edited, short and empty ones are not."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrovae import Importance, UserError, commands, runs
from pyrovae.evidence import resumable as measuring
from pyrovae.runs.records import Partial, read_records

OF_DATA = {"limit": 30, "device": "cpu"}
ASKED = {"estimator": Importance(samples=20), **OF_DATA}


@pytest.fixture
def evaluated(run) -> Path:
    commands.evaluate(run, **ASKED)
    return run


def rewrite(name: str, change: Callable[[str], str | bytes]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        path = run / "evidence" / f"importance.{name}"
        found = change(path.read_text() if name == "json" else path.read_bytes())
        path.write_bytes(found.encode() if isinstance(found, str) else found)

    return damage


def edit(**numbers: object) -> Callable[[Path], None]:
    return rewrite("json", lambda text: json.dumps({**json.loads(text), **numbers}))


def better_arrays(run: Path) -> None:
    """Arrays and summary agree with each other, and not with what was found."""
    path = run / "evidence" / "importance.npz"
    with np.load(path) as arrays:
        found = dict(arrays)
    with zipfile.ZipFile(path) as archive:
        comment = archive.comment
    found["estimate"] = found["estimate"] + 1
    np.savez(path, **found)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment
    summary = json.loads((run / "evidence" / "importance.json").read_text())
    summary["log_evidence"]["mean"] += 1
    (run / "evidence" / "importance.json").write_text(json.dumps(summary))


def encrypted(content: bytes) -> bytes:
    """The flag of every member that says it needs a password."""
    changed = bytearray(content)
    for mark, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = changed.find(mark)
        while start >= 0:
            changed[start + at] |= 1
            start = changed.find(mark, start + 1)
    return bytes(changed)


FALSE = {
    "empty_json": rewrite("json", lambda text: ""),
    "short_json": rewrite("json", lambda text: text[: len(text) // 2]),
    "json_list": rewrite("json", lambda text: "[]"),
    "nested_json": rewrite("json", lambda text: "[" * 100_000),
    "numbers_of_text": edit(log_evidence="high", n="30"),
    "no_numbers": rewrite("json", lambda text: '{"estimator": "importance"}'),
    "better_numbers": edit(log_evidence={"mean": -1.0, "standard_error": 0.1, "monte_carlo_error": 0.1}),
    "better_arrays": better_arrays,
    "empty_npz": rewrite("npz", lambda content: b""),
    "short_npz": rewrite("npz", lambda content: content[: len(content) // 2]),
    "flipped_npz": rewrite("npz", lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:]),
    "encrypted_npz": rewrite("npz", encrypted),
    "other_npz": lambda run: np.savez(run / "evidence" / "importance.npz", estimate=np.zeros(30)),
    "no_npz": lambda run: (run / "evidence" / "importance.npz").unlink(),
}


def without_digest(run: Path) -> None:
    """As evaluations were written before."""
    with zipfile.ZipFile(run / "evidence" / "importance.npz", "a") as archive:
        archive.comment = b""


def test_an_evaluation_without_a_digest_is_used_as_before(evaluated):
    without_digest(evaluated)
    assert len(list(read_records(evaluated, "importance"))) == 1
    assert commands.figures(evaluated, evidence=True, device="cpu")


OF_BEFORE = {
    "numbers_of_text": edit(log_evidence="high"),
    "other_count": edit(n=31),
    "options_of_text": edit(options="none"),
    "no_numbers": rewrite("json", lambda text: '{"estimator": "importance"}'),
    "better_numbers": edit(log_evidence={"mean": -1.0, "standard_error": 0.1, "monte_carlo_error": 0.1}),
    "better_elbo": edit(elbo={"mean": -1.0, "standard_error": 0.1, "monte_carlo_error": 0.1}),
    "fewer_bounds": edit(bounds=[]),
    "other_bounds": edit(bounds=[{"samples": 1, "mean": -1.0}, {"samples": 5, "mean": -1.0}, {"samples": 20, "mean": -1.0}]),
    "khat_of_text": edit(khat="low"),
    "other_npz": lambda run: np.savez(run / "evidence" / "importance.npz", estimate=np.zeros(30)),
    "a_single_number": lambda run: np.savez(run / "evidence" / "importance.npz", estimate=np.zeros(())),
}


@pytest.mark.parametrize("name", OF_BEFORE)
def test_a_false_evaluation_without_a_digest_is_not_used(evaluated, name):
    without_digest(evaluated)
    OF_BEFORE[name](evaluated)
    assert list(read_records(evaluated, "importance")) == []


@pytest.mark.parametrize("name", FALSE)
def test_a_false_evaluation_is_not_used(evaluated, make_run, name):
    """``compare`` evaluates anew and ranks by the true number; the figures of evidence say that there is none."""
    assert len(list(read_records(evaluated, "importance"))) == 1
    truth = commands.evaluate(evaluated, **ASKED).log_evidence.mean
    FALSE[name](evaluated)
    assert list(read_records(evaluated, "importance")) == []
    with pytest.raises(UserError, match=r"has no evaluation of its present weights to draw; make one with pyrovae\.evaluate\("):
        commands.figures(evaluated, evidence=True, device="cpu")
    league = commands.compare([evaluated, make_run("digits-beside", seed=1)], samples=20, **OF_DATA)
    assert {row.run: row.log_evidence for row in league.rows}[str(evaluated)] == truth


def test_the_digest_of_an_evaluation_is_no_array_of_it(evaluated):
    path = evaluated / "evidence" / "importance.npz"
    with np.load(path) as arrays:
        assert {array.shape[0] for array in arrays.values()} == {30}
    with zipfile.ZipFile(path) as archive:
        assert len(archive.comment) == 64


# --- evaluations under way ------------------------------------------------------------------------------------------------------


def interrupted(run: Path, monkeypatch) -> Path:
    """An evaluation of which all data are done and nothing is written yet."""
    monkeypatch.setattr(measuring, "WORTH_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("pyrovae.runs.records.Partial.remove", lambda self: None)
        commands.evaluate(run, **ASKED)
    (path,) = (run / "evidence").glob(".partial-*")
    return path


PARTIALS = {
    "empty": lambda content: b"",
    "short": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
    "text": lambda content: b"some text",
}


@pytest.mark.parametrize("name", PARTIALS)
def test_false_results_of_an_evaluation_under_way_are_computed_again(run, monkeypatch, name):
    path = interrupted(run, monkeypatch)
    truth = json.loads((run / "evidence" / "importance.json").read_text())["log_evidence"]
    path.write_bytes(PARTIALS[name](path.read_bytes()))
    assert commands.evaluate(run, **ASKED).log_evidence.summary() == truth


def test_results_of_another_evaluation_and_of_uneven_length_are_not_taken(run):
    first, second = Partial(run, {"seed": 0}), Partial(run, {"seed": 1})
    found = {"estimate": torch.zeros(3)}
    first.save(found)
    assert first.load().keys() == found.keys()
    shutil.copy(first.path, second.path)
    assert second.load() == {}
    first.save({"estimate": torch.zeros(3), "error": torch.zeros(2)})
    assert first.load() == {}


def test_more_results_than_data_are_not_taken():
    class Longer:
        def load(self):
            return {"row": torch.full((300,), 7)}

        def save(self, found):
            raise AssertionError("not worth it")

    assert measuring.in_pieces(lambda part: {"row": torch.arange(200)[part]}, 200, Longer(), "")["row"].tolist() == list(
        range(200)
    )


# --- metrics.csv ----------------------------------------------------------------------------------------------------------------

LINES = {
    "short": lambda lines: lines[:2],
    "header_only": lambda lines: lines[:1],
    "empty": lambda lines: [],
    "swapped": lambda lines: [lines[0], lines[2], lines[1]],
    "other_number": lambda lines: [*lines[:2], lines[2].replace("-", "-1", 1)],
    "no_column": lambda lines: [",".join(line.split(",")[:-1]) for line in lines],
    "other_column": lambda lines: [lines[0].replace("loss", "gain"), *lines[1:]],
    "cut": lambda lines: [*lines[:2], lines[2][: len(lines[2]) // 2]],
    "more_cells": lambda lines: [*lines[:2], f"{lines[2]},1"],
    "underscore": lambda lines: [*lines[:2], lines[2].replace("2,", "0_2,", 1)],
    "word": lambda lines: [*lines[:2], lines[2].replace("2,", "two,", 1)],
    "nul": lambda lines: [*lines[:2], "\0"],
    "quote": lambda lines: [*lines[:2], '"2'],
}


@pytest.mark.parametrize("name", LINES)
def test_a_false_log_of_the_training_is_refused_in_one_line(make_run, tmp_path, cli, name):
    run = shutil.copytree(make_run("two-epochs-logged", epochs=2), tmp_path / "run")
    lines = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text("".join(f"{line}\n" for line in LINES[name](lines)))
    answer = cli("figures", run, "--only", "learning_curves")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "metrics.csv: is damaged (" in answer.err
    (run / "metrics.csv").unlink()  # as it says
    assert cli("evaluate", run, "--samples", 2, "--limit", 5).code == 0
    commands.resume(run, epochs=3, device="cpu", progress=False)
    assert [row["epoch"] for row in runs.read_metrics(run)] == [1, 2, 3]


def test_a_row_more_than_the_state_knows_is_what_a_kill_leaves(make_run, tmp_path):
    run = shutil.copytree(make_run("two-epochs-logged", epochs=2), tmp_path / "run")
    with open(run / "metrics.csv", "a") as file:
        file.write("3,1.0,-2.0,-1.0,0.5,1.0,9.0\n")
    assert len(runs.read_metrics(run)) == 3
    shutil.rmtree(run / "training_state")
    assert len(runs.read_metrics(run)) == 3
    assert not math.isnan(runs.read_metrics(run)[0]["seconds"])
