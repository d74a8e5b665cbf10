"""The noise of the estimators: what may not move a number, several dequantisations, and keys that never meet."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from estimates import evaluate_split, importance
from known_models import EXACT, SHAPE, SIZE, LinearGaussian, assert_same_evidence, delta_method, digit_vae, shift_for
from scipy import special, stats
from torch import Tensor

import pyrovae
from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec, Evidence
from pyrovae.evidence import keyed
from pyrovae.families import Normal
from pyrovae.objectives import weight_latents

# --- what may not move a number -----------------------------------------------------------------------------------------


@pytest.fixture(params=["bernoulli", "binomial", "normal"])
def digits_case(request, double_precision) -> tuple[VAE, Tensor, Tensor, Evidence]:
    """A model, data, their rows in a larger set, and a reference estimate of 120 samples: three blocks."""
    x = pyrovae.load_dataset("digits").x[100:112]
    vae, index = digit_vae(request.param), torch.arange(100, 112)
    return vae, x, index, importance(vae, x, samples=120, index=index)


@pytest.mark.parametrize("rows", [1, 51, 333, 10**6])
def test_evidence_does_not_depend_on_the_size_of_the_chunks(digits_case, rows):
    vae, x, index, expected = digits_case
    assert_same_evidence(importance(vae, x, samples=120, index=index, rows=rows), expected)


def test_evidence_does_not_depend_on_order_or_company(digits_case):
    vae, x, index, expected = digits_case
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    mixed = importance(vae, x[order], samples=120, index=index[order])
    back = order.argsort()
    diagnostics = {name: tensor[back] for name, tensor in mixed.diagnostics.items()}
    assert_same_evidence(replace(mixed, diagnostics=diagnostics), expected)
    alone = importance(vae, x[7:8], samples=120, index=index[7:8])
    assert_same_evidence(alone, replace(expected, diagnostics={n: t[7:8] for n, t in expected.diagnostics.items()}))


@pytest.mark.parametrize("samples", [1, 2, 49, 50, 51, 100, 101, 120])
def test_more_samples_continue_the_same_stream(digits_case, samples):
    """The estimate of K samples is made of the first K log-weights, wherever the blocks end."""
    vae, x, index, _ = digits_case
    with torch.no_grad():
        u = keyed.uniform(0, index.tolist(), (8, 8)) if vae.transform.needs_noise else None
        y = vae.transform(x, u)
        params, q = vae.posterior_params(y), vae.posterior_of_preprocessed(y)
        blocks = [keyed.posterior_samples(vae.posterior_density, params, q, 0, index.tolist(), block) for block in range(3)]
        z = torch.cat(blocks)[:samples]
        log_weights = (vae.log_joint(y, z) - vae.posterior_of_preprocessed(y).log_prob(z)).numpy()
    log_det = vae.transform.log_abs_det_jacobian()
    found = importance(vae, x, samples=samples, index=index)
    expected = special.logsumexp(log_weights, axis=0) - math.log(samples) + log_det
    np.testing.assert_allclose(found.estimate.numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(found.diagnostics["elbo"].numpy(), log_weights.mean(0) + log_det, rtol=1e-9)
    weights = np.exp(log_weights - log_weights.max(0))
    np.testing.assert_allclose(
        found.diagnostics["effective_sample_size"].numpy(), weights.sum(0) ** 2 / (weights**2).sum(0), rtol=1e-8
    )
    if samples > 1:
        np.testing.assert_allclose(found.monte_carlo_error.numpy(), delta_method(log_weights, of_gap=False)[0], rtol=1e-6)
        spread = log_weights.std(0, ddof=1) / math.sqrt(samples)
        np.testing.assert_allclose(found.diagnostics["elbo_error"].numpy(), spread, rtol=1e-6)


KINDS = [
    ("bernoulli", "normal", "full_normal"),
    ("bernoulli", "normal", {"name": "flow", "hidden": 8}),
    ("binomial", "mixture", {"name": "flow", "hidden": 8, "transform": "spline"}),
    ("bernoulli", "uniform", "beta"),
    ("beta", "bernoulli", "bernoulli"),
    ("categorical", {"name": "vamp", "components": 3}, "normal"),
    ("logistic", "normal", {"name": "normal", "scale": "element"}),
]


@pytest.mark.parametrize(("likelihood", "prior", "posterior"), KINDS, ids=lambda value: str(value))
def test_no_model_depends_on_chunks_order_or_company(double_precision, likelihood, prior, posterior):
    x, index = pyrovae.load_dataset("digits").x[100:107], torch.arange(100, 107)
    vae = digit_vae(likelihood, prior=prior, posterior=posterior)
    expected = importance(vae, x, samples=70, index=index)
    for rows in (1, 173, 10**6):
        assert_same_evidence(importance(vae, x, samples=70, index=index, rows=rows), expected)
    order = torch.tensor([4, 1, 6, 0, 2, 5, 3])
    mixed = importance(vae, x[order], samples=70, index=index[order])
    assert_same_evidence(mixed, replace(expected, diagnostics={n: t[order] for n, t in expected.diagnostics.items()}))
    alone = importance(vae, x[3:4], samples=70, index=index[3:4])
    assert_same_evidence(alone, replace(expected, diagnostics={n: t[3:4] for n, t in expected.diagnostics.items()}))
    other = importance(vae, x, samples=70, index=index, seed=1)
    assert ((other.estimate - expected.estimate).abs() > 1e-9).all()


def test_other_seeds_and_other_rows_have_other_noise(digits_case):
    vae, x, index, expected = digits_case
    for other in (importance(vae, x, samples=120, seed=1, index=index), importance(vae, x, samples=120, index=index + 1)):
        assert ((other.estimate - expected.estimate).abs() > 1e-6).all()


def test_training_objects_do_not_reach_the_evidence(digits_case):
    vae, x, index, expected = digits_case
    vae.train()
    with weight_latents(0.1):
        assert_same_evidence(importance(vae, x, samples=120, index=index), expected)
    assert vae.training


def test_a_subset_reports_the_numbers_of_its_rows():
    dataset, vae = pyrovae.load_dataset("digits"), digit_vae()
    part = dataset.test.subset(9, seed=4)
    assert len(set(part.index.tolist())) == 9
    whole = importance(vae, dataset.test.x, samples=3, seed=4, index=dataset.test.index)
    positions = torch.isin(dataset.test.index, part.index)
    limited = evaluate_split(vae, dataset, samples=3, limit=9, seed=4)
    assert limited.n == 9
    assert limited.log_evidence.mean == pytest.approx(whole.estimate[positions].mean().item(), rel=1e-5)  # float32
    everything = evaluate_split(vae, dataset, samples=3, seed=4, limit=10**6)
    assert everything.n == len(dataset.test)
    assert everything.log_evidence.mean == pytest.approx(whole.mean, rel=1e-5)


def test_a_datum_has_the_same_number_in_every_split():
    dataset, vae = pyrovae.load_dataset("digits"), digit_vae()
    whole = importance(vae, dataset.x, samples=2)
    test = evaluate_split(vae, dataset, samples=2)
    assert test.log_evidence.mean == pytest.approx(whole.estimate[dataset.test.index].mean().item(), rel=1e-5)  # float32


# --- several dequantisations ---------------------------------------------------------------------------------------------


def levels_of(model: LinearGaussian, count: int) -> tuple[VAE, Tensor, Tensor]:
    """A model of dequantised levels whose posterior is not exact, data, and their rows."""
    vae = model.vae(shift=0.7, kind="levels", levels=9, preprocess="dequantise")
    x = (torch.arange(count * SIZE).reshape(count, *SHAPE) * 7 % 9).to(torch.uint8)
    return vae, x, torch.arange(5, 5 + count)


@pytest.mark.parametrize("samples", [1, 50, 60])
def test_estimates_of_several_dequantisations_are_averaged(double_precision, monkeypatch, samples):
    """Each draw is that of an estimator that sees only its uniform noise and its block of samples."""
    vae, x, index = levels_of(LinearGaussian(), 6)
    found = importance(vae, x, samples=samples, seed=3, index=index, dequantisations=3)
    uniform, posterior_samples = keyed.uniform, keyed.posterior_samples
    singles = []
    for draw in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(keyed, "uniform", lambda seed, data, shape, _, draw=draw: uniform(seed, data, shape, draw))
            patch.setattr(
                keyed,
                "posterior_samples",
                lambda *given, draw=draw: posterior_samples(*given[:5], given[5] + draw * math.ceil(samples / 50), given[6]),
            )
            singles.append(importance(vae, x, samples=samples, seed=3, index=index))
    old = importance(vae, x, samples=samples, seed=3, index=index)
    assert torch.equal(singles[0].estimate, old.estimate)
    for name in ("log_evidence", "elbo"):
        each = torch.stack([single.diagnostics[name] for single in singles]).numpy()
        assert (each.std(0) > 1e-3).all()
        np.testing.assert_allclose(found.diagnostics[name].numpy(), each.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.diagnostics[f"{name}_error"].numpy(), stats.sem(each), rtol=1e-9)
    fewest = torch.stack([single.diagnostics["effective_sample_size"] for single in singles]).amin(0)
    torch.testing.assert_close(found.diagnostics["effective_sample_size"], fewest)
    assert torch.equal(found.estimate, found.diagnostics["log_evidence"])
    assert_same_evidence(importance(vae, x, samples=samples, seed=3, index=index, dequantisations=3, rows=7), found)


def test_the_error_of_several_dequantisations_is_calibrated(double_precision):
    """The guide is exact, so that all noise is the dequantisation's: log p(y) of y = (x + u) / L with a known mean."""
    model = LinearGaussian()
    vae = model.vae(kind="levels", levels=9, preprocess="dequantise")
    _, x, index = levels_of(model, 60)
    truth = []
    for draw in range(400):
        u = torch.rand(60, *SHAPE, generator=torch.Generator().manual_seed(draw))
        truth.append(model.log_density((x + u) / 9) - SIZE * math.log(9))
    truth = np.mean(truth, 0)
    found = importance(vae, x, samples=1, index=index, dequantisations=40)
    scores = (found.estimate.numpy() - truth) / found.monte_carlo_error.numpy()
    # 60 scores with an error of the truth of sqrt(40 / 400) scores: standard deviation 1.05 and some Student's t
    assert abs(scores.mean()) < 4 * 1.1 / math.sqrt(60)
    assert 1.08 * (1 - 4 / math.sqrt(120)) < scores.std() < 1.08 * (1 + 4 / math.sqrt(120))


def test_streams_of_noise_never_meet(double_precision, monkeypatch):
    """Every (datum, stream) is asked for once, at the largest numbers of samples and draws that are accepted."""
    vae, x, index = levels_of(LinearGaussian(), 1)
    key, asked = keyed._key, []
    monkeypatch.setattr(keyed, "_key", lambda *given: (asked.append(given), key(*given))[1])
    for samples, draws in [(51_150, 1), (12_750, 4), (10_150, 5), (50, 512)]:
        asked.clear()
        importance(vae, x, samples=samples, index=index, dequantisations=draws)
        assert len(asked) == len(set(asked)) == draws * (samples // 50 + 1)
        with pytest.raises(UserError, match=rf"samples={samples + 1}.*noise for {samples:,} samples per datum"):
            importance(vae, x, samples=samples + 1, index=index, dequantisations=draws)


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_number_of_dequantisations_is_checked(value):
    with pytest.raises(UserError, match=f"dequantisations={value}: needs an integer of at least 1"):
        importance(digit_vae(), torch.zeros(2, 8, 8), samples=2, dequantisations=value)


def test_only_dequantised_data_are_drawn_several_times():
    digits = pyrovae.load_dataset("digits")
    for likelihood, expected in (("bernoulli", None), ("binomial", None), ("normal", 3), ("beta", 3)):
        report = evaluate_split(digit_vae(likelihood), digits, samples=2, limit=2, dequantisations=3)
        assert report.dequantisations == expected
        assert ("3 dequantisations" in report.table()) == (expected == 3)
    vae, x = digit_vae("binomial"), digits.x[:3]
    assert torch.equal(importance(vae, x, samples=4, dequantisations=3).estimate, importance(vae, x, samples=4).estimate)


# --- noise --------------------------------------------------------------------------------------------------------------


def standard_noise(seed: int, data: list[int], block: int, latents: int = 4) -> Tensor:
    """The standard normal noise of a block, (BLOCK, len(data), latents)."""
    density, params = Normal().build(DataSpec((latents,))), torch.zeros(len(data), 2, latents)
    return keyed.posterior_samples(density, params, density(params), seed, data, block)


@pytest.fixture(params=["from noise", "datum by datum"])
def path(request, monkeypatch) -> str:
    """Both ways of sampling: families with a map from noise, and those that have none."""
    if request.param == "datum by datum":
        monkeypatch.setattr(Normal, "from_noise", lambda self, distribution, noise: None)
    return request.param


def test_noise_is_standard_normal(path):
    noise = torch.stack([standard_noise(seed, list(range(40)), block) for seed in (0, 1) for block in (0, 1)])
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 1e-3


def test_preprocessing_noise_is_uniform():
    u = keyed.uniform(0, list(range(200)), (8, 8))
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-3
    assert u.min() >= 0
    assert u.max() < 1


def test_no_two_keys_share_their_noise(path):
    data = [*range(150), 10**6, 2**22 - 1]
    noise = torch.stack([standard_noise(seed, data, block) for seed in (0, 1, 2**31) for block in (0, 1, 2, 900)])
    keys = noise.transpose(1, 2).reshape(-1, keyed.BLOCK * 4)
    assert len(keys) == 12 * len(data)
    assert len(torch.unique(keys, dim=0)) == len(keys)
    # float32 normals coincide by chance now and then; whole samples of four must not
    assert len(torch.unique(noise.reshape(-1, 4), dim=0)) == noise.numel() / 4


def test_neighbouring_keys_are_uncorrelated(path):
    noise = torch.stack([standard_noise(seed, list(range(60)), block) for seed in (0, 1) for block in (0, 1)])
    by_key = noise.transpose(1, 2).reshape(2, 2, 60, -1).double()
    pairs = [(by_key[0], by_key[1]), (by_key[:, 0], by_key[:, 1]), (by_key[:, :, 1:], by_key[:, :, :-1])]
    for a, b in pairs:
        assert abs((a * b).mean()) < 4 / math.sqrt(a.numel())  # products of independent normals have variance 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((0, 0, 0), (0, 0, 1024), id="beyond 51,150 samples"),
        pytest.param((0, 0, 1), (0, 2**22, 0), id="beyond 4,194,304 data"),
        pytest.param((0, 0, 0), (2**32, 0, 0), id="seeds beyond 32 bits"),
    ],
)
def test_noise_never_repeats_silently(first, second):
    """Two keys (seed, datum, block) far apart have other noise; to refuse the far one is as good."""
    near, (seed, datum, block) = standard_noise(first[0], [first[1]], first[2]), second
    with suppress(UserError):
        assert not torch.equal(near, standard_noise(seed, [datum], block))


def test_families_without_a_map_from_noise_are_sampled_as_well(double_precision, monkeypatch):
    monkeypatch.setattr(Normal, "from_noise", lambda self, distribution, noise: None)
    model = LinearGaussian()
    x, before = model.draw(60), torch.random.get_rng_state()
    np.testing.assert_allclose(importance(model.vae(), x, samples=70).estimate.numpy(), model.log_density(x), **EXACT)

    vae = model.vae(shift=shift_for(0.5))
    state = torch.random.get_rng_state()
    found = importance(vae, x, samples=70)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert before.shape == state.shape
    gap = model.log_density(x).mean() - found.diagnostics["elbo"].mean().item()
    assert abs(gap - 0.5) < 4 * math.sqrt(1 / (60 * 70))  # as for the shifted guide above
    assert_same_evidence(importance(vae, x, samples=70, rows=3), found)
    alone = importance(vae, x[9:10], samples=70, index=torch.tensor([9]))
    assert_same_evidence(alone, replace(found, diagnostics={n: t[9:10] for n, t in found.diagnostics.items()}))
