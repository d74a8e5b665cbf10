"""The KL split by the aggregate posterior: closed forms, integrals, enumeration."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from estimates import elbo
from known_models import SHAPE, LinearGaussian, digit_vae, raw_scale
from scipy import integrate, special, stats
from torch import Tensor

import pyrovae
from pyrovae import VAE, UserError
from pyrovae.evidence import decomposition
from pyrovae.evidence.decomposition import Decomposition, decompose

PARTS = ("kl", "mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl")
MEANS = np.array([[-1.0, 0.3], [0.2, -0.4], [0.5, 1.1], [2.0, 0.9]])
SCALES = np.array([[0.3, 0.8], [0.5, 0.4], [0.9, 0.6], [0.4, 0.7]])


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gaussians(means: np.ndarray, scales: np.ndarray, **parts: object) -> tuple[VAE, Tensor]:
    """A VAE, and one-hot data n whose posteriors are N(means[n], scales[n]^2)."""
    count, latents = means.shape
    vae = VAE((count,), latents, "normal", network="linear", kind="reals", **parts)
    raw = np.concatenate([means, raw_scale(scales)], 1).T
    encoder = vae.encoder.layers[0]
    with torch.no_grad():
        encoder.weight.zero_()[: len(raw)] = torch.tensor(raw)
        encoder.bias.zero_()
    return vae, torch.eye(count)


def marginal(z: float, d: int) -> float:
    """The aggregate posterior of latent d, by scipy."""
    return stats.norm.pdf(z, MEANS[:, d], SCALES[:, d]).mean()


AXIS = np.linspace(-12, 12, 601)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), -1)


def negative_entropy(q: np.ndarray) -> float:
    """E[log q] of densities on ``GRID`` by the trapezoidal rule, of spectral accuracy for those that end within it."""
    cell = (AXIS[1] - AXIS[0]) ** 2
    assert q.sum() * cell == pytest.approx(1, abs=1e-6)
    return special.xlogy(q, q).sum() * cell


def expected_of_gaussians(latents: int) -> dict[str, float]:
    """The parts for ``MEANS`` and ``SCALES`` in one or two latents, by quadrature."""
    means, scales = MEANS[:, :latents], SCALES[:, :latents]
    kl = ((means**2 + scales**2 - 1) / 2 - np.log(scales)).sum(1).mean()
    of_each = -stats.norm.entropy(0, scales).sum(1).mean()
    marginals = [integrate.quad(lambda z, d=d: special.xlogy(marginal(z, d), marginal(z, d)), -12, 12)[0] for d in range(latents)]
    whole = (
        marginals[0] if latents == 1 else negative_entropy(stats.norm.pdf(GRID[..., None, :], means, scales).prod(-1).mean(-1))
    )
    return {
        "kl": kl,
        "mutual_information": of_each - whole,
        "marginal_kl": kl - (of_each - whole),
        "total_correlation": whole - sum(marginals),
        "dimension_wise_kl": kl - of_each + sum(marginals),
    }


def assert_within_errors(found: Decomposition, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        number = getattr(found, name)
        # 1e-9: what quadrature and float64 leave where every sample gives the same
        assert abs(number.mean - value) < 3 * number.monte_carlo_error + 1e-9, name


# --- against what is known ------------------------------------------------------------------------------------------------


def test_separate_posteriors_give_all_the_information_there_can_be():
    vae, x = gaussians(100 * np.arange(8.0)[:, None], np.full((8, 1), 0.1))
    found = decompose(vae, x, samples=3)
    assert found.log_n == math.log(8)
    assert found.mutual_information.mean == pytest.approx(math.log(8), abs=1e-12)


def test_equal_posteriors_give_none_and_the_kl_is_in_the_marginal():
    mean, scale = np.array([0.7, -1.2]), np.array([0.5, 1.4])
    vae, x = gaussians(np.tile(mean, (6, 1)), np.tile(scale, (6, 1)))
    found = decompose(vae, x, samples=300)
    by_latent = (mean**2 + scale**2 - 1) / 2 - np.log(scale)
    assert found.mutual_information.mean == pytest.approx(0, abs=1e-12)
    assert found.total_correlation.mean == pytest.approx(0, abs=1e-12)
    assert_within_errors(found, {"marginal_kl": by_latent.sum(), "dimension_wise_kl": by_latent.sum()})


@pytest.mark.parametrize("latents", [1, 2])
def test_the_parts_are_those_of_quadrature(latents):
    vae, x = gaussians(MEANS[:, :latents], SCALES[:, :latents])
    found, expected = decompose(vae, x, samples=4000, seed=1), expected_of_gaussians(latents)
    assert_within_errors(found, expected)
    assert found.mutual_information.monte_carlo_error < 0.01 < expected["mutual_information"]


@pytest.mark.parametrize("posterior", ["full_normal", {"name": "flow", "hidden": 8}])
def test_posteriors_that_do_not_factorise_have_the_information_of_quadrature(posterior):
    torch.manual_seed(1)
    vae = VAE((4,), 2, "normal", posterior=posterior, network="linear", kind="reals")
    with torch.no_grad():
        for parameter in vae.posterior_density.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        vae.encoder.layers[0].weight.normal_(std=0.5)
    x = torch.eye(4)
    with torch.no_grad():
        densities = [vae.posterior_of_preprocessed(datum).log_prob(torch.tensor(GRID)).exp().numpy() for datum in x]
    of_each, whole = np.mean([negative_entropy(q) for q in densities]), negative_entropy(np.mean(densities, 0))
    found = decompose(vae, x, samples=1000)
    assert of_each - whole > 0.1
    assert_within_errors(found, {"mutual_information": of_each - whole})
    assert found.total_correlation is None
    assert found.dimension_wise_kl is None
    assert found.marginal_kl.mean == pytest.approx(found.kl.mean - found.mutual_information.mean, abs=1e-12)


def test_bits_have_the_parts_of_enumeration():
    torch.manual_seed(0)
    vae = VAE((5,), 3, "normal", prior={"name": "bernoulli", "p": 0.3}, network="linear", kind="reals")
    with torch.no_grad():
        vae.encoder.layers[0].weight.normal_(std=1.5)
    x = torch.eye(5)
    p_one = special.expit(vae.posterior_params(x).squeeze(-2).detach().numpy())  # (N, D)
    states = np.array(np.meshgrid(*[[0, 1]] * 3, indexing="ij")).reshape(3, -1).T  # (8, D)
    of_each = np.where(states, p_one[:, None], 1 - p_one[:, None]).prod(-1)  # (N, 8)
    q, prior = of_each.mean(0), np.where(states, 0.3, 0.7).prod(-1)
    product = np.where(states, p_one.mean(0), 1 - p_one.mean(0)).prod(-1)
    expected = {
        "kl": special.rel_entr(of_each, prior).sum(1).mean(),
        "mutual_information": special.rel_entr(of_each, q).sum(1).mean(),
        "marginal_kl": special.rel_entr(q, prior).sum(),
        "total_correlation": special.rel_entr(q, product).sum(),
        "dimension_wise_kl": special.rel_entr(product, prior).sum(),
    }
    assert_within_errors(decompose(vae, x, samples=2000), expected)


def test_the_kl_is_that_of_the_elbo_of_the_same_samples():
    digits = pyrovae.load_dataset("digits").test.subset(40, 0)
    for likelihood in ("normal", "bernoulli"):  # dequantised and binarised levels
        vae = digit_vae(likelihood)
        kl = elbo(vae, digits.x, samples=3, seed=4, index=digits.index).diagnostics["kl"].mean().item()
        found = decompose(vae, digits.x, samples=3, seed=4, index=digits.index)
        assert found.kl.mean == pytest.approx(kl, abs=1e-9)


@pytest.mark.parametrize("prior", ["normal", "laplace"])
def test_the_parts_sum_to_the_kl(prior):
    found = decompose(digit_vae(prior=prior), pyrovae.load_dataset("digits").test.x[:300])
    kl, information, marginal, correlation, by_latent = (getattr(found, name).mean for name in PARTS)
    assert kl == pytest.approx(information + marginal, abs=1e-12)
    assert marginal == pytest.approx(correlation + by_latent, abs=1e-12)


# --- what there is not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["mixture", "vamp", "flow"])
def test_a_prior_that_does_not_factorise_has_no_dimension_wise_kl(prior):
    model = LinearGaussian()
    found = decompose(model.vae(prior=prior), model.draw(20))
    assert found.dimension_wise_kl is None
    assert found.total_correlation is not None
    assert found.marginal_kl.mean == pytest.approx(found.kl.mean - found.mutual_information.mean, abs=1e-12)


@pytest.mark.parametrize("context", ["none", "learned"])
def test_a_prior_that_depends_on_the_context_leaves_the_information_alone(context):
    digits = pyrovae.load_dataset("digits")
    vae = digit_vae(context="label", labels=digits.spec.labels, prior={"name": "normal", "context": context})
    vae.initialise(digits.train.x, digits.train.y)
    found = decompose(vae, digits.test.x[:50], digits.test.y[:50])
    there = {name for name in PARTS if getattr(found, name) is not None}
    assert there == (set(PARTS) if context == "none" else {"kl", "mutual_information"})
    (name, first), *others = found.lines()
    assert "mutual information" in first
    assert name == ("KL, split" if context == "none" else "information")
    assert ("no part of the KL" in others[0][1]) == (context == "learned")


# --- its error, its data, its settings ------------------------------------------------------------------------------------


def test_the_monte_carlo_error_is_the_spread_over_seeds():
    repeats = 300
    vae, x = gaussians(MEANS, SCALES)
    for samples in (1, 5):
        runs = [decompose(vae, x, seed=seed, samples=samples) for seed in range(repeats)]
        for name in PARTS:
            spread = np.var([getattr(run, name).mean for run in runs], ddof=1)
            squares = [getattr(run, name).monte_carlo_error ** 2 for run in runs]
            # the relative error of a variance of near-normal means from 300 of them, and that of the mean of the squares
            error = 3 * spread * math.sqrt(2 / (repeats - 1)) + 3 * stats.sem(squares)
            assert np.mean(squares) > spread - error, name
            if samples > 1:
                assert np.mean(squares) < spread + error, name


def test_at_most_so_many_data_are_scored_a_seeded_subset():
    model = LinearGaussian()
    vae, x = model.vae(), model.draw(30)
    found = decompose(vae, x, most=12, seed=5, samples=2)
    assert (found.n, found.of, found.log_n) == (12, 30, math.log(12))
    assert found.estimator == "mixture of the 12 posteriors, 2 samples of each"
    assert found == decompose(vae, x, most=12, seed=5, samples=2)
    assert found.kl != decompose(vae, x, most=12, seed=6, samples=2).kl
    assert decompose(vae, x).n == decompose(vae, x).of == 30


def test_noise_is_that_of_the_rows_whatever_is_computed_together(monkeypatch):
    model = LinearGaussian()
    vae, x = model.vae(), model.draw(40)
    whole = decompose(vae, x, samples=2).summary()
    monkeypatch.setattr(decomposition, "ROWS", 7)
    monkeypatch.setattr(decomposition, "ELEMENTS", {"cpu": 90})
    pieces = decompose(vae, x, samples=2).summary()
    order = torch.randperm(40)
    moved = decompose(vae, x[order], index=order, samples=2).summary()
    for name in PARTS:
        assert pieces[name] == pytest.approx(whole[name], abs=1e-11)
        assert moved[name] == pytest.approx(whole[name], abs=1e-11)


def test_the_summary_is_plain_data():
    model = LinearGaussian()
    found = decompose(model.vae(prior="mixture"), model.draw(3))
    assert json.loads(json.dumps(found.summary())) == found.summary()
    one = decompose(model.vae(), model.draw(1))
    assert one.summary()["mutual_information"] == {"mean": 0.0, "monte_carlo_error": None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples=0"),
        ({"most": 0}, "most=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        decompose(LinearGaussian().vae(), torch.zeros(2, *SHAPE), **options)


def test_what_has_no_density_is_refused():
    with pytest.raises(UserError, match="posterior delta"):
        decompose(digit_vae(posterior="delta"), torch.zeros(2, 8, 8))
    diverged = LinearGaussian().vae()
    with torch.no_grad():
        diverged.encoder.layers[0].bias.fill_(math.nan)
    with pytest.raises(UserError, match=r"2 data have densities .* NaN"):
        decompose(diverged, torch.zeros(2, *SHAPE))
