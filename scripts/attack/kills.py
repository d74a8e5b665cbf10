"""A training killed by SIGKILL at random times and gone on with ends as one that nobody killed, to the last bit."""

from __future__ import annotations

import csv
import random
import shutil
import time
from pathlib import Path

from child import Answer, ask
from report import Count, in_time
from world import TRAIN

MANY, MOST = 150, 4
"""Trainings of the long form; kills of one at most."""

EPOCHS = 6
KINDS = (
    [],
    ["--likelihood", "normal", "--batch-size", "400"],
    ["--context", "label", "--prior.context", "learned"],
    ["--prior", "bernoulli", "--patience", "50"],
    ["--data", "table.npy", "--likelihood", "normal", "--preprocess", "standardise", "--batch-size", "7"],
)
"""Options of the trainings."""


def run(folder: Path, count: int | None, seed: int) -> list[Count]:
    """Train so many."""
    dice = random.Random(seed)
    lost = Count("kills: a run that was saved", "goes on, and can be evaluated")
    same = Count("kills: the end of a run that was killed", "bitwise the uninterrupted one")
    litter = Count("kills: files left beside the run's own", "none")
    whole, seconds = {}, {}
    for number in in_time(range(count or MANY)):
        kind = dice.randrange(len(KINDS))
        if kind not in whole:
            began = time.monotonic()
            _train(folder, f"whole-{kind}", KINDS[kind])
            seconds[kind] = time.monotonic() - began
            whole[kind] = _state(folder / f"whole-{kind}")
        name, kills = f"killed-{number}", dice.randint(1, MOST)
        survived = _killed(folder, name, kind, [dice.uniform(0, 1.2 * seconds[kind]) for _ in range(kills)], lost)
        if survived:
            found = _state(folder / name)
            differing = [file for file in whole[kind] if found.get(file) != whole[kind][file]]
            same.note(not differing, f"{name} {KINDS[kind]}: {', '.join(differing)} differ")
            extra = sorted(found.keys() - whole[kind].keys())
            litter.note(not extra, f"{name}: {', '.join(extra)}")
        shutil.rmtree(folder / name, ignore_errors=True)
    return [lost, same, litter]


def _killed(folder: Path, name: str, kind: int, times: list[float], lost: Count) -> bool:
    """Train, kill after each of these seconds, go on, and let it end; whether it did."""
    for seconds in (*times, None):
        saved = (folder / name / "training_state/state.safetensors").is_file()
        answer = _train(folder, name, KINDS[kind], kill_after=seconds)
        if answer.code in (0, -9):
            if saved:
                lost.note(True, "")
            continue
        if saved:
            lost.note(False, f"{name} {KINDS[kind]}: exit {answer.code}, {answer.line}")
            return False
        # Nothing had been saved: what the kill left is no run, and is begun again.
        shutil.rmtree(folder / name)
        if _train(folder, name, KINDS[kind]).code:
            return False
    return True


def _train(folder: Path, name: str, options: list[str], **how: object) -> Answer:
    resumed = (folder / name / "config.yaml").is_file()
    line = ["train", "--resume", "--out", name] if resumed else [*TRAIN, "--epochs", str(EPOCHS), *options, "--out", name]
    return ask(line, folder, before=_saving_often, **how)


def _saving_often() -> None:
    """Save after every epoch and within epochs, so that a kill meets every state."""
    from pyrovae.training import loop

    loop.CHECKPOINT_SECONDS = 0.0
    loop.WITHIN_EPOCH_SECONDS = 0.05


def _state(run: Path) -> dict[str, object]:
    """Every file of a run as it must be again, but for the seconds that it took."""
    found: dict[str, object] = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = str(path.relative_to(run))
        if name == "training_state/seconds.json":
            continue
        if name == "metrics.csv":
            with path.open(newline="") as file:
                found[name] = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
        else:
            found[name] = path.read_bytes()
    return found
