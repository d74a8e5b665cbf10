"""``figures --evidence``: what a run's evaluations found, as pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import Annealed, Bdmc, Importance, UserError, commands, runs
from pyrovae.drawing import evidence_plots
from pyrovae.drawing.evidence_pictures import EVIDENCE_FIGURES, evidence_pictures
from pyrovae.runs.opening import open_run

FEW = {"chains": 2, "leapfrog": 1}


@pytest.fixture(scope="module")
def evaluated(digits_run, tmp_path_factory) -> Path:
    """A run with evaluations of several kinds."""
    run = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(digits_run, run, ignore=shutil.ignore_patterns("evidence"))
    for samples, limit in ((50, 30), (600, 40)):
        commands.evaluate(run, Importance(samples=samples), limit=limit)
    for temperatures in (3, 6):
        commands.evaluate(run, Annealed(temperatures=temperatures, **FEW), limit=40)
        commands.evaluate(run, Bdmc(temperatures=temperatures, simulated=3, **FEW))
    return run


@pytest.fixture
def run(evaluated, tmp_path) -> Path:
    return shutil.copytree(evaluated, tmp_path / "run")


def test_every_evaluation_is_drawn(run, cli):
    answer = cli("figures", run, "--evidence")
    assert answer.code == 0, answer.err
    assert answer.out.split() == [str(run / "figures" / f"{name}.png") for name in EVIDENCE_FIGURES]
    for path in answer.out.split():
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L"), dtype=float)
        assert grey.std() > 5
    assert not (run / "figures" / "samples.png").exists()


def lines(figure) -> list[np.ndarray]:
    """The points that are drawn, without the ends of their error bars."""
    return [line.get_xydata() for axis in figure.axes for line in axis.get_lines() if line.get_marker() == "o"]


def test_the_bound_is_drawn_against_the_samples_it_was_computed_from(run):
    figure = evidence_pictures(open_run(run, None, None, "cpu"), ["evidence_bound"])["evidence_bound"]
    with np.load(_widest(run)) as arrays:
        means = arrays["bound"].mean(0)
    drawn = lines(figure)[0]
    np.testing.assert_allclose(drawn[:, 0], [1, 5, 50, 500, 600])
    np.testing.assert_allclose(drawn[:, 1], means, rtol=1e-12)
    names = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert names == {"importance", "annealed, 3 temperatures", "annealed, 6 temperatures"}


def _widest(run: Path) -> Path:
    """The arrays of the evaluation of most data."""
    return max((run / "evidence").glob("importance*.npz"), key=lambda path: len(np.load(path)["estimate"]))


def test_bounds_are_drawn_against_the_temperatures(run):
    figure = evidence_pictures(open_run(run, None, None, "cpu"), ["evidence_annealing"])["evidence_annealing"]
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["The data", "Data simulated from the model"]
    of_data, lower, upper = lines(figure)
    found = {t: commands.evaluate(run, Bdmc(temperatures=t, simulated=3, **FEW)) for t in (3, 6)}
    np.testing.assert_allclose(lower[:, 1], [found[t].lower.mean for t in (3, 6)], rtol=1e-6)
    np.testing.assert_allclose(upper[:, 1], [found[t].upper.mean for t in (3, 6)], rtol=1e-6)
    assert np.isfinite(of_data).all()


def test_the_lowest_are_those_with_the_lowest_evidence(run):
    figure = evidence_pictures(open_run(run, None, None, "cpu"), ["evidence_lowest"])["evidence_lowest"]
    with np.load(_widest(run)) as arrays:
        order = arrays["estimate"].argsort()[:20]
        expected = [f"{arrays['estimate'][i]:.1f}\n#{arrays['index'][i]}" for i in order]
    assert [text.get_text() for text in figure.axes[0].texts] == expected


def test_evaluations_of_other_weights_are_not_drawn(run):
    vae = runs.load(run)
    with torch.no_grad():
        next(vae.parameters()).add_(0.1)
    runs.save_weights(run, vae.state_dict(), runs.read_config(run))
    with pytest.raises(UserError, match=r"no evaluation of its present weights.*pyrovae\.evaluate\(.*'samples': 5000\}\)"):
        commands.figures(run, evidence=True)


def test_what_cannot_be_drawn_is_said_with_the_command_that_makes_it(run, cli, snapshot):
    for path in (run / "evidence").glob("[ab]*"):
        path.unlink()
    assert cli("figures", run, "--evidence").out.count(".png") == 3
    shutil.rmtree(run / "figures")
    before = snapshot(run)
    for line, message in (
        (["--only", "evidence_annealing"], "pyrovae evaluate"),
        (["--only", "evidence_kaht"], "--only evidence_kaht: unknown; did you mean evidence_khat"),
        (["--only", "samples"], "--only samples: unknown"),
    ):
        answer = cli("figures", run, "--evidence", *line)
        assert answer.code == 2
        assert message in answer.err
    assert snapshot(run) == before


def test_pictures_of_other_data_have_a_folder_of_their_own(run, cli, tmp_path):
    np.save(tmp_path / "others.npy", np.random.default_rng(0).integers(0, 17, (30, 8, 8)).astype(np.uint8))
    cli("figures", run, "--only", "samples,reconstructions")
    before = {path.name: path.read_bytes() for path in (run / "figures").iterdir()}
    answer = cli("figures", run, "--only", "reconstructions", "--data", tmp_path / "others.npy")
    assert answer.code == 0, answer.err
    assert answer.out.strip() == str(run / "figures" / "others" / "reconstructions.png")
    assert {path.name: path.read_bytes() for path in (run / "figures").iterdir() if path.is_file()} == before


def test_khats_beyond_the_limits_are_counted_and_coloured():
    khat = torch.tensor([0.1, 0.5, 0.69, 0.71, 3.0, torch.inf, -torch.inf, torch.nan])
    figure = evidence_plots.khat_histogram(khat, 0.7, 5000, [0.58, 0.8])
    assert "28.6% of 7 too large,\n28.6% cannot be told" in figure.axes[0].get_title(loc="left")
    (bars,) = figure.axes[0].containers
    counts = {}
    for bar in bars:
        colour = bar.get_facecolor()
        counts[colour] = counts.get(colour, 0) + bar.get_height()
    assert list(counts.values()) == [3, 2, 2]  # from left to right: small enough, unclear, too large


def test_the_k_hats_of_an_older_file_are_drawn(run, cli):
    before = json.loads((run / "evidence" / "importance.json").read_text())
    del before["khat"]["limits"], before["cannot_tell"], before["untrusted_by"]
    (run / "evidence" / "importance.json").write_text(json.dumps(before))
    answer = cli("figures", run, "--evidence", "--only", "evidence_khat")
    assert answer.code == 0, answer.err
    assert "evidence_khat.png" in answer.out
