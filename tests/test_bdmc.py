"""Bidirectional Monte Carlo on models whose evidence is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from estimates import annealed, bdmc, certify
from known_models import EXACT, LinearGaussian, digit_vae, shift_for
from scipy import special, stats
from torch import Tensor

import pyrovae
from pyrovae import VAE, UserError
from pyrovae.evidence.annealing.sandwich import Sandwich, simulate
from pyrovae.evidence.scoring import estimating

LEAST_P = 1e-3  # seeds are fixed: a right sampler fails such a test once in a thousand choices of them


def simulated(vae: VAE, count: int, c: Tensor | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    with estimating(vae):
        return simulate(vae, c, seed, list(range(count)))


def within(values: np.ndarray, expected: float) -> bool:
    """Whether their mean is, by 3 standard errors."""
    return abs(values.mean() - expected) < 3 * values.std(ddof=1) / math.sqrt(len(values))


@pytest.mark.parametrize("start", ["prior", "guide"])
@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
def test_the_evidence_is_between_the_bounds_of_a_linear_gaussian_model(schedule, start):
    model = LinearGaussian()
    vae = model.vae(shift=shift_for(1.0))
    found = bdmc(vae, temperatures=30, chains=8, leapfrog=2, schedule=schedule, start=start, data=150)
    log_p = model.log_density(simulated(vae, 150)[1])
    lower, upper = found.lower.numpy() - log_p, found.upper.numpy() - log_p
    # forwards the weights are unbiased for p, backwards for 1 / p: that is what makes the logarithms bounds
    assert within(np.exp(lower), 1)
    assert within(np.exp(-upper), 1)
    assert lower.mean() < 3 * lower.std() / math.sqrt(150)
    assert upper.mean() > -3 * upper.std() / math.sqrt(150)
    np.testing.assert_allclose(found.gap, found.upper - found.lower)
    assert found.mean_gap == pytest.approx(found.gap.mean().item())
    assert found.mean_gap_error == pytest.approx(stats.sem(found.gap.numpy()))


def test_the_gap_closes_as_temperatures_are_added():
    vae = LinearGaussian().vae()
    gaps = [bdmc(vae, temperatures=t, chains=4, leapfrog=2, data=80).gap.numpy() for t in (2, 10, 60)]
    for few, more in itertools.pairwise(gaps):
        assert (few - more).mean() > 3 * stats.sem(few - more)
    assert gaps[-1].mean() < 0.5
    assert gaps[-1].mean() > -3 * stats.sem(gaps[-1])


def test_bounds_of_bits_against_enumeration():
    """One visit a temperature: an order that is not the same backwards, so the reversal is needed for an upper bound."""
    torch.manual_seed(3)
    vae = VAE((5,), 4, "bernoulli", prior={"name": "bernoulli", "p": 0.3}, network={"name": "mlp", "hidden": [7]}, kind="binary")
    with torch.no_grad():
        vae.decoder.layers[-1].weight.mul_(6)
        states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
        probability = torch.sigmoid(vae.decoder(states)).squeeze(-2).double().numpy()
    log_prior = stats.bernoulli(0.3).logpmf(states.numpy()).sum(-1)
    y = simulated(vae, 300)[1].numpy()
    log_likelihood = stats.bernoulli(probability).logpmf(y[:, None]).sum(-1)
    log_p = special.logsumexp(log_likelihood + log_prior, -1)
    for leapfrog in (1, 3):
        found = bdmc(vae, temperatures=12, chains=2, leapfrog=leapfrog, data=300)
        assert within(np.exp(found.lower.numpy() - log_p), 1)
        assert within(np.exp(log_p - found.upper.numpy()), 1)


def test_simulated_data_are_the_models():
    model = LinearGaussian()
    z, y = simulated(model.vae(), 2000)
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > LEAST_P
    centred = y.double().numpy().reshape(2000, -1) - model.bias
    distances = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(model.covariance()), centred)
    assert stats.kstest(distances, stats.chi2(model.size).cdf).pvalue > LEAST_P
    noise = (centred - z.double().numpy() @ model.weight.T) / model.noise
    assert stats.kstest(noise.ravel(), "norm").pvalue > LEAST_P


def test_the_bound_from_below_is_that_of_annealing_on_the_same_data(double_precision):
    model = LinearGaussian()
    vae = model.vae()
    found = bdmc(vae, temperatures=10, chains=4, data=5)
    forward = annealed(vae, simulated(vae, 5)[1], temperatures=10, chains=4)
    np.testing.assert_allclose(found.lower, forward.estimate, **EXACT)
    np.testing.assert_allclose(found.lower_error, forward.monte_carlo_error, rtol=1e-8)
    torch.testing.assert_close(found.diagnostics["acceptance"], forward.diagnostics["acceptance"])


def assert_same(found: Sandwich, expected: Sandwich, rows: slice = slice(None)) -> None:
    """Up to the rounding of products of other shapes, in float64."""
    for name in ("lower", "upper", "lower_error", "upper_error"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name)[rows], rtol=1e-9, atol=1e-9)
    assert found.diagnostics.keys() == expected.diagnostics.keys()
    for name, values in found.diagnostics.items():
        np.testing.assert_allclose(values, expected.diagnostics[name][rows], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "prior", [{"name": "normal", "context": "learned"}, "vamp", "beta", "bernoulli"], ids=["learned", "vamp", "beta", "bits"]
)
def test_a_slice_of_the_data_gets_the_same_numbers(double_precision, prior):
    digits = pyrovae.load_dataset("digits")
    vae = digit_vae(prior=prior, context="label", labels=digits.spec.labels)
    vae.initialise(digits.train.x, digits.train.y)
    given = {"temperatures": 8, "chains": 4, "leapfrog": 2, "data": 7}
    whole = bdmc(vae, **given)
    assert whole.diagnostics["acceptance"].shape == whole.diagnostics["reverse_acceptance"].shape == (7, 7)
    assert (whole.diagnostics["reverse_effective_sample_size"] <= 4).all()
    assert_same(bdmc(vae, **given, rows=9), whole)
    assert_same(bdmc(vae, **given, index=torch.arange(7)[2:5]), whole, slice(2, 5))
    assert (bdmc(vae, **given, seed=1).lower != whole.lower).all()


def test_data_of_a_conditional_model_are_of_their_contexts():
    """p(x|c) with labels that move x by 100: data simulated under one label and scored under another would have no evidence."""
    digits = pyrovae.load_dataset("digits")
    torch.manual_seed(0)
    vae = VAE((4,), 2, "normal", kind="reals", network="linear", context="label", labels=digits.spec.labels)
    with torch.no_grad():
        vae.decoder.layers[0].weight[:, 2:].mul_(100)
    found = bdmc(vae, temperatures=30, chains=4, data=12)
    assert found.lower.min() > -40  # 4 elements of a scale near 1
    assert abs(found.mean_gap) < 1


def test_numbers_are_in_the_units_of_the_data():
    """Levels are dequantised: y = x / L on the unit cube, so both bounds move by -D log L, the log-determinant."""
    torch.manual_seed(0)
    vae = VAE((2, 3), 2, {"name": "normal", "scale": 0.4}, kind="levels", levels=4, network="linear")
    found = bdmc(vae, temperatures=60, chains=8, leapfrog=2, data=120)
    y = simulated(vae, 120)[1].double().numpy().reshape(120, 6)
    with torch.no_grad():
        layer = vae.decoder.layers[0]
        weight, bias = layer.weight.double().numpy(), layer.bias.double().numpy()
    log_p = stats.multivariate_normal(bias, weight @ weight.T + 0.16 * np.eye(6)).logpdf(y) - 6 * math.log(4)
    assert within(np.exp(found.lower.numpy() - log_p), 1)
    assert within(np.exp(log_p - found.upper.numpy()), 1)


@pytest.mark.parametrize(
    ("likelihood", "kind", "of"),
    [
        ("normal", "levels", "log density of dequantised data in the units of the levels"),  # the case above
        ("beta", "binary", "log density of dequantised data in the units of the levels"),
        ("normal", "reals", "log density in the units of the data"),
        ("binomial", "levels", "log probability of the data"),
        ("bernoulli", "levels", "binarised: not comparable with grey"),
    ],
)
def test_bounds_say_what_of(likelihood, kind, of):
    """Simulated values of dequantised data are reals, of which log p is a density and no bound on a probability."""
    vae = VAE((2, 3), 2, likelihood, kind=kind, levels={"levels": 4, "binary": 2}.get(kind), network="linear")
    found = certify(vae, simulated=2, temperatures=3, chains=2)
    assert found.units == f"nats per datum ({of}), higher is better"


def test_one_chain_and_one_datum_have_no_error():
    found = bdmc(LinearGaussian().vae(), temperatures=3, chains=1, data=1)
    assert found.lower_error.isnan().all()
    assert found.upper_error.isnan().all()
    assert found.mean_gap_error is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperatures": 1}, "temperatures=1: needs an integer of at least 2"),
        ({"chains": 0}, "chains=0"),
        ({"leapfrog": 0}, "leapfrog=0"),
        ({"schedule": "cosine"}, "schedule='cosine': unknown"),
        ({"start": "here"}, "start='here': unknown"),
        ({"data": 0}, "simulated=0: needs an integer of at least 1"),
        ({"data": 3, "index": torch.tensor([3])}, "index 3: simulated=3 are simulated"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_options_are_refused_in_one_line(given, message):
    with pytest.raises(UserError, match=message):
        bdmc(LinearGaussian().vae(), **given)


def test_models_without_evidence_are_refused():
    with pytest.raises(UserError, match=r"estimator='bdmc': .*delta"):
        bdmc(digit_vae(posterior="delta"))
    unprepared = VAE((4,), 2, "normal", preprocess="standardise", kind="reals")
    with pytest.raises(UserError, match=r"estimator='bdmc': .*no data yet"):
        bdmc(unprepared)
