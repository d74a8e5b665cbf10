"""TensorBoard events: what TensorBoard itself reads from them is metrics.csv."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pyrovae import UserError, commands, runs
from pyrovae.training import events

TINY = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "device": "cpu", "progress": False}


def scalars(run: Path) -> dict[str, dict[int, float]]:
    """Name -> step -> value, as TensorBoard reads them."""
    read = EventAccumulator(str(run / events.FOLDER))
    read.Reload()
    return {name: {event.step: event.value for event in read.Scalars(name)} for name in read.Tags()["scalars"]}


def columns(run: Path) -> dict[str, dict[int, float]]:
    """The same of metrics.csv, in the float32 that events have; columns that are never finite are left out."""
    rows = runs.read_metrics(run)
    names = [name for name in rows[0] if name != "epoch"]
    found = {name: {int(row["epoch"]): row[name] for row in rows if math.isfinite(row[name])} for name in names}
    return {name: values for name, values in found.items() if values}


def same(a: dict[str, dict[int, float]], b: dict[str, dict[int, float]]) -> bool:
    return a.keys() == b.keys() and all(
        a[name].keys() == b[name].keys() and all(a[name][e] == pytest.approx(b[name][e], rel=1e-6) for e in a[name]) for name in a
    )


def test_events_are_the_metrics_and_a_resumed_run_adds_its_own(tmp_path):
    commands.train(**TINY, epochs=2, tensorboard=True, out=str(tmp_path / "run"))
    assert same(scalars(tmp_path / "run"), columns(tmp_path / "run"))
    commands.resume(tmp_path / "run", epochs=3, progress=False)
    found = scalars(tmp_path / "run")
    assert same(found, columns(tmp_path / "run"))
    assert list(found["valid_elbo"]) == [1, 2, 3]


def test_a_plain_autoencoder_has_no_elbo_there_either(tmp_path):
    commands.train(**TINY, epochs=1, posterior="delta", tensorboard=True, out=str(tmp_path / "run"))
    found = scalars(tmp_path / "run")
    assert "valid_elbo" not in found
    assert same(found, columns(tmp_path / "run"))


def test_without_the_option_there_are_no_events(digits_run):
    assert not (digits_run / events.FOLDER).exists()


def test_the_missing_package_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"tensorboard: needs the package tensorboard; pip install 'pyrovae\[tensorboard\]'"):
        commands.train(**TINY, epochs=1, tensorboard=True, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
