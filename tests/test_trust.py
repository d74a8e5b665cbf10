"""Which data are trusted, which are not, and of which it cannot be told: against weights whose tail is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from estimates import evaluate_split, importance, judge
from known_models import LinearGaussian, all_of
from scipy import stats
from test_coverage import GUIDES, SEEDS, over_seeds

from pyrovae.contracts import DataSpec
from pyrovae.evidence.importance.pareto import khat, limits, tail_length, threshold
from pyrovae.evidence.scoring import as_evidence

DATA = 400


def states(log_weights: np.ndarray, looks: int) -> np.ndarray:
    """Shares of trusted, unclear and untrusted data of (K, data x looks) log-weights, all with enough effective samples."""
    samples = len(log_weights)
    largest = torch.tensor(np.sort(log_weights, 0)[-tail_length(samples) - 1 :])
    mean = khat(largest, samples).reshape(-1, looks).mean(-1)
    arrays = {"khat": mean, "effective_sample_size": torch.full_like(mean, 11.0)}
    return judge("importance", arrays, {"samples": samples}, looks).state.bincount(minlength=3).numpy() / len(mean)


def share(value: float) -> object:
    """A share of the data up to four binomial errors, and the twentieth by which the asymptotic error of k-hat is off."""
    return pytest.approx(value, abs=4 * math.sqrt(value * (1 - value) / DATA) + 0.05)


@pytest.mark.parametrize("looks", [1, 4])
@pytest.mark.parametrize("samples", [100, 500, 2000])
def test_of_data_at_the_threshold_one_in_six_lies_beyond_each_limit(samples, looks):
    weights = stats.genpareto(threshold(samples)).rvs((samples, DATA * looks), random_state=1)
    trusted, unclear, untrusted = states(np.log(weights), looks)
    sixth = stats.norm.sf(1)
    assert (trusted, untrusted) == (share(sixth), share(sixth))
    assert unclear == share(1 - 2 * sixth)


@pytest.mark.parametrize("looks", [1, 4])
@pytest.mark.parametrize("samples", [50, 100, 500])
def test_near_ideal_weights_are_hardly_ever_untrusted(samples, looks):
    weights = np.random.default_rng(2).normal(scale=0.1, size=(samples, DATA * looks))
    trusted, _, untrusted = states(weights, looks)
    assert untrusted <= (0.04 if samples == 50 and looks == 1 else 0.01)
    assert trusted > {50: 0.5, 100: 0.8, 500: 0.99}[samples]
    # more draws tell more, where the largest of four would have been flagged more often
    assert looks == 1 or trusted > 0.9


@pytest.mark.parametrize(("samples", "untrusted"), [(500, 0.6), (2000, 0.75)])
def test_weights_without_a_mean_are_untrusted(samples, untrusted):
    found = states(np.log(stats.genpareto(1.0).rvs((samples, DATA), random_state=3)), 1)
    assert found[2] > untrusted
    assert found[0] < 0.05


def test_few_samples_cannot_tell():
    arrays = {"khat": torch.tensor([-1.0, 5.0, math.nan, 0.1]), "effective_sample_size": torch.tensor([40.0, 40, 40, 9])}
    assert judge("importance", arrays, {"samples": 49}).state.tolist() == [1, 1, 1, 2]
    # tied weights of bits have no k-hat, and no tail
    assert judge("importance", arrays, {"samples": 500}).state.tolist() == [0, 2, 0, 2]


def test_limits_close_in_on_the_threshold():
    for samples in (50, 100, 1000, 10_000, 1_000_000):
        low, high = limits(samples)
        assert low < threshold(samples) < high
        narrower = limits(samples, looks=4)
        assert high - low == pytest.approx(2 * (narrower[1] - narrower[0]))
    assert high - low < 0.07


def test_good_data_of_few_samples_are_not_called_too_low(double_precision):
    """100 samples, a guide that is fair: nearly none untrusted, for the mean error against the exact evidence is small."""
    model = LinearGaussian()
    x = model.draw(600)
    found = evaluate_split(model.vae(**GUIDES["middling"]), all_of(x, DataSpec((2, 3))), samples=100)
    error = found.per_datum["estimate"].numpy() - model.log_density(x)
    khats = found.per_datum["khat"].numpy()
    # the delta method's bias is -(e - 1) / 200, also of those whose k-hat is above the threshold: these are not too low
    assert abs(error.mean()) < 0.02
    assert error[khats > threshold(100)].mean() > 0
    assert (khats > threshold(100)).mean() > 0.1
    assert found.untrusted / 600 < 0.06
    assert found.cannot_tell / 600 > 0.3


@pytest.mark.parametrize("samples", [100, 500])
@pytest.mark.parametrize("guide", [{"stretch": 0.7}, {"stretch": 0.5}, {"shift": 2.0}], ids=str)
def test_few_numbers_are_wrong_without_a_word(double_precision, guide, samples):
    """Of poor guides: at most 5 %, up to three binomial errors, are outside their 95 % and yet called trusted."""
    model = LinearGaussian()
    found = over_seeds(importance, model.vae(**guide), model.draw(3), samples=samples)
    trust = judge("importance", found.diagnostics, {"samples": samples})
    number = as_evidence(found.diagnostics)
    estimate = number.estimate.reshape(SEEDS, 3).numpy()
    quantile = stats.t.ppf(0.975, number.degrees_of_freedom.numpy())
    outside = np.abs(estimate - estimate.mean(0)).ravel() > quantile * number.monte_carlo_error.numpy()
    assert (outside & (trust.state == 0).numpy()).mean() < 0.05 + 3 * math.sqrt(0.05 * 0.95 / SEEDS)
