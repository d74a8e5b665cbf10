"""The short forms of what ``make attack`` counts: all of it is withstood."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ATTACK = Path(__file__).parents[1] / "scripts" / "attack"
ROWS = {
    "bad command lines": 12,
    "damaged and hostile files: code run": 6,
    "damaged and hostile files: silent": 6,
    "damaged and hostile files: traceback": 6,
    "kills: the end of a run that was killed": 1,
    "faults: training that explodes": 1,
    "faults: a full disk": 1,
    "faults: a limit on memory": 1,
    "faults: a limit on files": 1,
    "faults: no right to read or write": 1,
    "faults: closed and full streams": 1,
}


def attack(*options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ATTACK, *options], capture_output=True, text=True, timeout=3000, check=False)


def held(table: str) -> dict[str, str]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")]
    return {row[0]: row[2] for row in cells[1:]}


def test_some_of_each_kind_is_withstood():
    answer = attack("--quick")
    assert (answer.returncode, answer.stderr) == (0, "")
    found = held(answer.stdout)
    assert {what: found[what] for what in ROWS} == {what: f"{count} of {count}" for what, count in ROWS.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("lines", 300), ("files", 300), ("kills", 30), ("faults", 120)])
def test_many_of_each_kind_are_withstood(kind, count):
    answer = attack("--only", kind, "--count", str(count), "--seed", "1")
    assert (answer.returncode, answer.stderr) == (0, "")


def test_what_is_not_withstood_is_told_and_the_exit_code_says_so(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ATTACK)
    from report import Count, table

    count = Count("kind", "nothing")
    assert not count.perfect
    count.note(True, "")
    assert count.perfect
    count.note(False, "the second")
    assert not count.perfect
    assert "| kind   | nothing | 1 of 2 |" in table([count])
