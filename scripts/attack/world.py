"""The files and runs that are attacked: small, made in a child, none of them anybody's own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from child import ask

# The bad input of the tests is that of the attacks too.
sys.path.append(str(Path(__file__).parents[2] / "tests"))
from damage import write_arrays

TRAIN = ["train", "--network.hidden", "[8]", "--latent-dim", "2", "--device", "cpu"]


def build(folder: Path) -> None:
    """Two runs of digits, one of them conditional, and files of data."""
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder)
    random = np.random.default_rng(0)
    np.save(folder / "table.npy", random.normal(size=(40, 3)))
    (folder / "table.csv").write_text("a,b,kind\n" + "".join(f"{a:.3f},{b:.3f},x\n" for a, b in random.normal(size=(40, 2))))
    for name, more in (("run", []), ("label", ["--context", "label"])):
        answer = ask([*TRAIN, "--epochs", "2", "--out", name, *more], folder, seconds=120)
        if answer.code:
            raise SystemExit(f"the run to attack could not be trained: {answer.err}")
