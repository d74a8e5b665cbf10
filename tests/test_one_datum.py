"""A single new datum is encoded, scored, classified and drawn; only to train on it is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pyrovae
from pyrovae import Dataset, UserError
from pyrovae.contracts import DataSpec

X = np.random.default_rng(0).normal(size=(30, 3))
KINDS = np.array(["odd", "even"] * 15)
TINY = {"likelihood": "normal", "network": "linear", "latent_dim": 2, "epochs": 1, "device": "cpu", "progress": False}


def written(folder: Path, ending: str, count: int) -> str:
    """The first rows as a file of that sort."""
    path = folder / f"rows{count}.{ending}"
    if ending == "csv":
        lines = [f"{','.join(map(repr, row))},{kind}" for row, kind in zip(X[:count].tolist(), KINDS, strict=False)]
        path.write_text("\n".join(["a,b,c,kind", *lines]))
    else:
        np.savez(path, x=X[:count], y=KINDS[:count])
    return str(path)


@pytest.fixture(scope="module", params=["csv", "npz"])
def run(request, make_run, tmp_path_factory) -> Path:
    path = written(tmp_path_factory.mktemp("one"), request.param, 30)
    data = {"name": "csv", "path": path, "label": "kind"} if request.param == "csv" else path
    return make_run(f"one-datum-{request.param}", data=data, context="label", **TINY)


def test_a_row_alone_has_the_number_that_it_has_among_others(run: Path, tmp_path: Path) -> None:
    ending = run.name.removeprefix("one-datum-")
    several, one = (written(tmp_path, ending, count) for count in (30, 1))
    run = shutil.copytree(run, tmp_path / "run")
    # float32: six digits; exact evidence and means have no noise
    close = {"rtol": 1e-5, "atol": 1e-5}
    exact = [pyrovae.evaluate(run, "exact", data=path, split="all", device="cpu") for path in (several, one)]
    assert (exact[1].n, exact[1].log_evidence.standard_error) == (1, None)
    torch.testing.assert_close(exact[0].per_datum["estimate"][:1], exact[1].per_datum["estimate"], **close)
    encoded = [pyrovae.encode(run, data=path, device="cpu") for path in (several, one)]
    torch.testing.assert_close(encoded[0].mean[:1], encoded[1].mean, **close)
    classified = [pyrovae.classify(run, data=path, samples=50, split="all", device="cpu") for path in (several, one)]
    torch.testing.assert_close(*(found.per_datum["log_evidence"][:1] for found in classified), **close)
    few = pyrovae.All(samples=5, temperatures=5, chains=2, simulated=2)
    assert all(found.n == 1 for found in pyrovae.evaluate(run, few, data=one, device="cpu").evaluations.values())
    assert all(path.is_file() for path in pyrovae.figures(run, data=one, out=tmp_path / "drawn", device="cpu"))


def test_a_picture_alone_is_read(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    assert torch.equal(pyrovae.load_dataset(str(tmp_path)).x, torch.from_numpy(pixels[None]))


def test_a_single_datum_is_not_trained_on(tmp_path: Path) -> None:
    path = written(tmp_path, "npz", 1)
    said = r"data=.*rows1\.npz': has one datum; needs at least 2 to train on"
    with pytest.raises(UserError, match=said):
        pyrovae.train(data=path, out=str(tmp_path / "run"), **TINY)
    assert not (tmp_path / "run").exists()
    rows = {"train": torch.arange(1), "valid": torch.arange(0), "test": torch.arange(0)}
    dataset = Dataset("mine", DataSpec((3,)), torch.zeros(1, 3), None, rows)
    with pytest.raises(UserError, match="data='mine': has one datum"):
        pyrovae.fit(pyrovae.VAE((3,), 1, "normal"), dataset, progress=False)
