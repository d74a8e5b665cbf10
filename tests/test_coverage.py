"""What the Monte Carlo errors promise: how often they cover the mean that an estimator has over its noise."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from estimates import annealed, evaluate_split, importance, judge
from known_models import LinearGaussian, all_of, shift_for
from scipy import stats
from torch import Tensor

import pyrovae
from pyrovae import VAE
from pyrovae.contracts import Evidence, Trust
from pyrovae.evidence.reports.numbers import Number
from pyrovae.evidence.scoring import as_evidence

SEEDS = 200


def over_seeds(estimator, vae: VAE, x: Tensor, **options: object) -> Evidence:
    """Each datum once for every seed, in order of the seeds: noise is keyed by the row that it is said to have."""
    rows = torch.arange(SEEDS * len(x))
    return estimator(vae, x.repeat(SEEDS, *[1] * (x.ndim - 1)), index=rows, **options)


def assert_covers(values: np.ndarray, errors: np.ndarray, degrees: np.ndarray, told: np.ndarray, what: str) -> None:
    """Of (seeds, data): intervals by Student's t cover the mean over seeds as often as they say, up to three binomial errors.

    Those that are told not to be trusted may be wrong: only the others are counted.
    """
    off = np.abs(values - values.mean(0)) / errors
    assert told.mean() < 0.1  # the guides are fair
    for level in (0.68, 0.95):
        covered = (off < stats.t.ppf((1 + level) / 2, degrees))[~told].mean()
        assert abs(covered - level) < 3 * math.sqrt(level * (1 - level) / SEEDS), f"{what}: {level:.0%} covers {covered:.1%}"


def assert_all_cover(found: Evidence, data: int, trust: Trust) -> None:
    """Each number of each datum, and its mean over data."""
    told = trust.untrusted.reshape(SEEDS, data).numpy()
    names = [name for name in ("elbo", "log_evidence", "gap") if name in found.diagnostics]
    for name in names:
        number = as_evidence(found.diagnostics, name)
        seeds = [t.reshape(SEEDS, data) for t in (number.estimate, number.monte_carlo_error, number.degrees_of_freedom)]
        assert_covers(*(t.numpy() for t in seeds), told, f"{name} of a datum")
        means = [summary(*of_seed) for of_seed in zip(*seeds, strict=True)]
        assert_covers(*np.array(means).T, np.zeros(SEEDS, dtype=bool), f"mean {name}")


def summary(estimate: Tensor, error: Tensor, degrees: Tensor) -> tuple[float, float, float]:
    found = Number.of(Evidence(estimate=estimate, monte_carlo_error=error, degrees_of_freedom=degrees))
    return found.mean, found.monte_carlo_error, found.degrees_of_freedom


# log w is normal with standard deviations 1/2 and 1, and 1 / w bounded; and log w has an exponential tail, k = 1 - stretch^2.
GUIDES = {
    "good": {"shift": shift_for(0.125)},
    "middling": {"shift": shift_for(0.5)},
    "wide": {"stretch": 1.3},
    "a little narrow": {"stretch": 0.9},
    "narrow": {"stretch": 0.8},
}


@pytest.mark.parametrize(
    ("guide", "samples"),
    # At 100 samples the gap of the narrowest covers 88 %: of its tail there are twenty weights.
    [*((guide, 500) for guide in GUIDES), *((guide, 100) for guide in GUIDES if guide != "narrow")],
)
def test_errors_of_importance_sampling_cover_its_own_mean(double_precision, guide, samples):
    model = LinearGaussian()
    found = over_seeds(importance, model.vae(**GUIDES[guide]), model.draw(5), samples=samples)
    assert_all_cover(found, 5, judge("importance", found.diagnostics, {"samples": samples}))


@pytest.mark.parametrize("draws", [2, 4])
@pytest.mark.parametrize("guide", ["good", "middling"])
def test_errors_of_dequantised_data_cover_too(double_precision, guide, draws):
    """The noise of u is known from as many values as there are draws."""
    vae = LinearGaussian().vae(**GUIDES[guide], kind="levels", levels=9, preprocess="dequantise")
    x = (torch.arange(30).reshape(5, 2, 3) * 7 % 9).to(torch.uint8)
    found = over_seeds(importance, vae, x, samples=100, dequantisations=draws)
    assert_all_cover(found, 5, judge("importance", found.diagnostics, {"samples": 100}, draws))


@pytest.mark.parametrize("repeats", [2, 5])
def test_errors_of_repeated_runs_cover_too(double_precision, repeats):
    model = LinearGaussian()
    vae = model.vae(**GUIDES["middling"])
    found = over_seeds(importance, vae, model.draw(5), samples=100, repeats=repeats)
    assert_all_cover(found, 5, judge("importance", found.diagnostics, {"samples": 100}, repeats))


@pytest.mark.parametrize("chains", [4, 8])
def test_errors_of_annealing_cover_its_own_mean(double_precision, chains):
    model = LinearGaussian()
    found = over_seeds(annealed, model.vae(), model.draw(3), temperatures=40, chains=chains, leapfrog=2)
    assert_all_cover(found, 3, judge("annealed", found.diagnostics, {"chains": chains}))


@pytest.mark.slow
@pytest.mark.parametrize("samples", [500, 2000])
@pytest.mark.parametrize("likelihood", ["binomial", "normal"])
def test_errors_of_a_trained_model_cover_its_own_mean(make_run, likelihood, samples):
    """On digits: of each datum that its diagnostics seldom call untrusted, and of their mean."""
    run = make_run(f"covered-{likelihood}", likelihood=likelihood, epochs=40)
    vae, digits = pyrovae.load(run), pyrovae.load_dataset("digits")
    rows, draws = digits.test.subset(20, 0), 4 if likelihood == "normal" else 1
    found = over_seeds(importance, vae, rows.x, samples=samples, dequantisations=draws)
    trust = judge("importance", found.diagnostics, {"samples": samples}, draws)
    fair = trust.untrusted.reshape(SEEDS, 20).double().mean(0) < 0.1
    assert fair.sum() >= 6
    kept = fair.repeat(SEEDS)
    arrays = {name: values[kept] for name, values in found.diagnostics.items()}
    assert_all_cover(as_evidence(arrays), int(fair.sum()), judge("importance", arrays, {"samples": samples}, draws))


@pytest.mark.slow
def test_errors_of_annealing_a_trained_model_cover_its_own_mean(make_run):
    """Eight chains per datum, read with as many degrees of freedom as there are effective chains, less one."""
    vae, rows = pyrovae.load(make_run("covered-binomial", likelihood="binomial", epochs=40)), pyrovae.load_dataset("digits").test
    found = over_seeds(annealed, vae, rows.x[:4], temperatures=60, chains=8)
    assert_all_cover(found, 4, judge("annealed", found.diagnostics, {"chains": 8}))


def test_degrees_of_freedom_of_a_mean_are_those_of_equal_variances_and_of_a_single_one():
    """A mean of n data with f degrees each has n f where all errors are alike; a datum that outweighs the others has its own."""
    generator = np.random.default_rng(0)
    n, f = 40, 5
    found = []
    for _ in range(2000):
        error = torch.tensor(np.sqrt(generator.chisquare(f, n) / f))
        degrees = torch.full((n,), float(f), dtype=torch.float64)
        found.append(Evidence(estimate=error, monte_carlo_error=error, degrees_of_freedom=degrees).mean_degrees_of_freedom)
    # up to terms in 1 / n
    assert np.mean(found) == pytest.approx(n * f, rel=3 / n)
    one, degrees = torch.tensor([1.0, 1e-6, 1e-6]), torch.full((3,), float(f))
    outweighs = Evidence(estimate=one, monte_carlo_error=one, degrees_of_freedom=degrees)
    assert outweighs.mean_degrees_of_freedom == pytest.approx(f)
    assert Number.of(Evidence(estimate=one, monte_carlo_error=one)).degrees_of_freedom is None


def test_few_degrees_of_freedom_are_told_in_the_table():
    vae = LinearGaussian().vae(kind="levels", levels=9, preprocess="dequantise")
    x = (torch.arange(300).reshape(50, 2, 3) * 7 % 9).to(torch.uint8)
    one, many = (evaluate_split(vae, all_of(x[:count], vae.spec), samples=30) for count in (1, 50))
    assert one.log_evidence.degrees_of_freedom == pytest.approx(3)  # four draws
    assert "95 % is within 3.18 of them (3 degrees of freedom)" in one.table()
    assert many.log_evidence.degrees_of_freedom > 50
    assert "degrees of freedom" not in many.table()
    assert json.loads(many.to_json())["log_evidence"]["degrees_of_freedom"] == many.log_evidence.degrees_of_freedom
    assert many.per_datum["degrees_of_freedom"].tolist() == [3.0] * 50
