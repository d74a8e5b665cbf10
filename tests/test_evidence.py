"""The numbers that are reported, against models whose evidence is known."""

from __future__ import annotations

import json
import math
from typing import ClassVar

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from estimates import elbo, evaluate_split, importance
from known_models import EXACT, LATENTS, NOISE, SHAPE, SIZE, LinearGaussian, all_of, digit_vae, shift_for
from scipy import stats
from torch import Tensor
from torch.distributions.kl import kl_divergence

import pyrovae
from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec
from pyrovae.evidence import keyed
from pyrovae.evidence.reports.data_evaluation import DataEvaluation

# --- a guide that is the posterior --------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 7, 50, 500])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exact_guide_gives_the_exact_evidence_with_any_number_of_samples(samples, dtype):
    torch.set_default_dtype(dtype)
    try:
        model = LinearGaussian()
        x = model.draw(40)
        found = importance(model.vae(), x, samples=samples)
        expected = model.log_density(x)
    finally:
        torch.set_default_dtype(torch.float32)
    # log w sums 6 + 2 x 3 terms; a term's error is a few eps relative to the largest, here below 40, and the residuals
    # (x - m) / s carry the rounding of x, W z and the mean, 1 / s = 2.5 times as large
    tolerance = 1000 * torch.finfo(dtype).eps
    for name in ("log_evidence", "elbo"):
        np.testing.assert_allclose(found.diagnostics[name].numpy(), expected, rtol=0, atol=tolerance)
    ess = found.diagnostics["effective_sample_size"].numpy()
    np.testing.assert_allclose(ess, samples, rtol=tolerance)
    for name in ("log_evidence_error", "elbo_error"):
        # weights differ by rounding only; the error is the square root of a difference that rounding leaves
        error = found.diagnostics[name].numpy()
        assert np.isnan(error).all() if samples == 1 else (error < math.sqrt(tolerance)).all()


def test_elbo_and_importance_report_what_they_are_named_after(double_precision):
    model = LinearGaussian()
    vae, x = model.vae(shift=0.5), model.draw(5)
    low, high = elbo(vae, x, samples=60), importance(vae, x, samples=60)
    assert torch.equal(low.estimate, high.diagnostics["elbo"])
    assert torch.equal(low.monte_carlo_error, high.diagnostics["elbo_error"])
    assert torch.equal(high.estimate, high.diagnostics["log_evidence"])
    assert torch.equal(high.monte_carlo_error, high.diagnostics["log_evidence_error"])
    assert (high.estimate > low.estimate).all()  # Jensen, strict where the weights differ


# --- a guide that is off by a known KL ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kl", [0.05, 0.5, 2.0])
def test_elbo_of_a_shifted_guide_is_lower_by_the_kl(double_precision, kl):
    model = LinearGaussian()
    x = model.draw(100)
    found = elbo(model.vae(shift=shift_for(kl)), x, samples=200)
    gap = model.log_density(x).mean() - found.mean
    # log w - log p = -kl - a.eps with |a|^2 = 2 kl: standard error sqrt(2 kl / (100 x 200))
    assert abs(gap - kl) < 4 * math.sqrt(2 * kl / (100 * 200))
    assert found.mean_monte_carlo_error == pytest.approx(math.sqrt(2 * kl / (100 * 200)), rel=0.1)


@pytest.mark.parametrize("samples", [1, 10, 100])
def test_importance_estimates_p_without_bias(double_precision, samples):
    model = LinearGaussian()
    x = model.draw(2000)
    found = importance(model.vae(shift=shift_for(0.5)), x, samples=samples)
    ratio = np.exp(found.estimate.numpy() - model.log_density(x))
    # w / p is log-normal with mean 1 and variance e^(2 kl) - 1 = e - 1
    assert abs(ratio.mean() - 1) < 4 * math.sqrt((math.e - 1) / (2000 * samples))


def test_importance_is_below_and_rises_with_the_samples(double_precision):
    model = LinearGaussian()
    x = model.draw(1000)
    vae, truth = model.vae(shift=shift_for(0.5)), model.log_density(x)
    gaps = np.stack([importance(vae, x, samples=k).estimate.numpy() - truth for k in (1, 10, 100, 400)])
    means, errors = gaps.mean(1), gaps.std(1, ddof=1) / math.sqrt(1000)
    assert abs(means[0] + 0.5) < 4 * errors[0]  # one sample: the ELBO, lower by the KL
    assert (means < 4 * errors).all()
    rises = np.diff(gaps, axis=0)
    assert (rises.mean(1) > -4 * rises.std(1, ddof=1) / math.sqrt(1000)).all()
    assert (rises[:2].mean(1) > 4 * rises[:2].std(1, ddof=1) / math.sqrt(1000)).all()  # 0.41 and 0.08 nats
    # the delta method's bias is -(e - 1) / (2 K), up to terms in 1 / K^2
    assert means[2] == pytest.approx(-(math.e - 1) / 200, abs=4 * errors[2] + 1e-3)


@pytest.mark.parametrize(("name", "kl", "samples"), [("elbo", 0.5, 60), ("importance", 0.125, 500)])
def test_monte_carlo_error_is_calibrated(double_precision, name, kl, samples):
    model = LinearGaussian()
    vae, x = model.vae(shift=shift_for(kl)), model.draw(100)
    truth = model.log_density(x) - (kl if name == "elbo" else 0)
    estimator = {"elbo": elbo, "importance": importance}[name]
    scores = []
    for seed in range(10):
        found = estimator(vae, x, samples=samples, seed=seed)
        scores.append((found.estimate.numpy() - truth) / found.monte_carlo_error.numpy())
    # 1000 independent scores: the mean is good to 0.032, the standard deviation to 0.022. Student's t of 59 degrees is
    # wider by 1.7 %; the log of a mean of 500 weights is biased by -(e^0.25 - 1) / 1000, 0.012 errors.
    assert abs(np.mean(scores)) < 4 * 0.032 + 0.012
    assert 1 - 4 * 0.022 < np.std(scores) < 1.017 + 4 * 0.022


def test_evidence_of_a_nonlinear_model_is_its_integral():
    torch.manual_seed(1)
    vae = VAE((5,), 1, "bernoulli", network={"name": "mlp", "hidden": [7], "activation": "tanh"}, kind="binary")
    with torch.no_grad():
        vae.decoder.layers[-1].weight.mul_(6)  # far from linear
    x = torch.tensor([[(i >> bit) & 1 for bit in range(5)] for i in range(32)]).float()
    z = torch.linspace(-9, 9, 20001)
    with torch.no_grad():
        log_joint = vae.log_joint(x, z[:, None, None]).double()
    truth = np.log(np.trapezoid(log_joint.exp().numpy(), z.double().numpy(), axis=0))
    assert np.exp(truth).sum() == pytest.approx(1, abs=1e-5)  # of all 32 data; float32 densities
    found = importance(vae, x, samples=2000)
    ratio = np.exp(found.estimate.numpy() - truth)
    error = np.linalg.norm(found.monte_carlo_error) / 32
    assert abs(ratio.mean() - 1) < 4 * error
    assert (found.diagnostics["elbo"].numpy() < truth + 4 * found.diagnostics["elbo_error"].numpy()).all()


# --- zeros and mistakes -------------------------------------------------------------------------------------------------


class Censored(dist.TorchDistribution):
    """A likelihood whose log-probability is replaced where the latents say so."""

    arg_constraints: ClassVar = {}

    def __init__(self, base: dist.TorchDistribution, where: Tensor, value: float) -> None:
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base, self.where, self.value = base, where, value

    def log_prob(self, x: Tensor) -> Tensor:
        return self.base.log_prob(x).masked_fill(self.where, self.value)


def censor(vae: VAE, value: float, bound: float) -> VAE:
    """log p(x|z) := value wherever the first latent lies below the bound."""
    likelihood = vae.likelihood
    vae.likelihood = lambda z, c=None: Censored(likelihood(z, c), z[..., 0] < bound, value)
    return vae


def test_weights_of_zero_are_legal(double_precision):
    """With p(x|z) = 0 for z_1 < 0 and the guide otherwise exact, p(x) is p_0(x) times the posterior's chance of z_1 > 0."""
    model = LinearGaussian()
    x = model.draw(400)
    mean = model.to_mean[0] @ (x.reshape(-1, SIZE).numpy() - model.bias).T
    chance = stats.norm.sf(0, mean, model.posterior_scale[0])
    found = importance(censor(model.vae(), -math.inf, 0.0), x, samples=120)
    counts = np.exp(found.estimate.numpy() - model.log_density(x)) * 120
    np.testing.assert_allclose(counts, counts.round(), atol=1e-6)
    error = np.sqrt((chance * (1 - chance) / 120).sum())
    assert abs((counts / 120 - chance).sum()) < 4 * error
    np.testing.assert_allclose(found.diagnostics["effective_sample_size"][counts > 0.5].numpy(), counts[counts > 0.5], rtol=1e-6)
    assert (found.diagnostics["elbo"][counts.round() < 120] == -math.inf).all()
    assert (counts.round() == 0).any()  # some data with no weight at all
    assert (found.estimate[counts.round() == 0] == -math.inf).all()
    assert ((counts > 0.5) & (counts < 119.5)).any()


def test_an_evidence_of_zero_is_a_number_for_the_report(double_precision):
    model = LinearGaussian()
    x = model.draw(5)
    report = evaluate_split(censor(model.vae(), -math.inf, math.inf), all_of(x, DataSpec(SHAPE)), samples=20)
    assert report.log_evidence.mean == -math.inf
    assert report.untrusted == 5
    assert json.loads(report.to_json())["log_evidence"]["mean"] is None
    assert "-inf" in report.table()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("estimator", [elbo, importance])
def test_nan_and_infinite_weights_are_errors(double_precision, estimator, value):
    model = LinearGaussian()
    vae, x = censor(model.vae(), value, math.inf), model.draw(3)
    with pytest.raises(UserError, match=r"3 data have log-weights .*the first is row 11; .*diverged"):
        estimator(vae, x, samples=60, index=torch.tensor([11, 5, 7]))


def test_one_bad_datum_is_named_by_its_row(double_precision):
    model = LinearGaussian()
    x = model.draw(6)
    x[4, 1, 1] = math.nan
    with pytest.raises(UserError, match=r"data value nan at \(4, 1, 1\)"):
        importance(model.vae(), x, samples=3, index=torch.arange(100, 106))


@pytest.mark.parametrize("samples", [0, -1, 2.5, True])
def test_number_of_samples_is_checked(samples):
    with pytest.raises(UserError, match=f"samples={samples}: needs an integer of at least 1"):
        elbo(digit_vae(), torch.zeros(2, 8, 8), samples=samples)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"estimator": "importanec"},
            r"estimator='importanec': unknown; did you mean importance\? All: all, annealed, bdmc, elbo, exact, importance",
        ),
        ({"samples": 0}, "samples=0"),
        ({"limit": 0}, "limit=0"),
        ({"seed": -1}, "seed=-1"),
        ({"split": "tset"}, "split='tset': unknown.*train.*valid.*test.*all"),
    ],
)
def test_evaluation_refuses_what_it_cannot_do(options, message):
    with pytest.raises(UserError, match=message):
        evaluate_split(digit_vae(), pyrovae.load_dataset("digits"), **options)


# --- parts of the ELBO --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["bernoulli", "binomial", "normal"])
def test_elbo_is_reconstruction_minus_kl_and_kl_is_a_sum_over_dimensions(double_precision, likelihood):
    found = importance(digit_vae(likelihood), pyrovae.load_dataset("digits").x[:12], samples=120).diagnostics
    torch.testing.assert_close(found["elbo"] + found["kl"], found["reconstruction"], **EXACT)
    torch.testing.assert_close(found["kl_per_dimension"].sum(-1), found["kl"], **EXACT)


@pytest.mark.parametrize("parts", [{"posterior": "flow"}, {"posterior": "full_normal"}, {"prior": "mixture"}], ids=str)
def test_a_kl_that_is_no_sum_over_dimensions_is_not_split(parts):
    report = evaluate_split(digit_vae(**parts), pyrovae.load_dataset("digits"), samples=5, limit=4)
    assert report.kl_per_dimension is None
    assert json.loads(report.to_json())["kl_per_dimension"] is None
    assert report.elbo.mean == pytest.approx(report.reconstruction - report.kl)


def test_kl_and_reconstruction_agree_with_closed_forms(double_precision):
    model = LinearGaussian()
    vae, x = model.vae(shift=0.3), model.draw(50)
    found = elbo(vae, x, samples=2000).diagnostics
    with torch.no_grad():
        q = vae.posterior_of_preprocessed(x)
        kl = kl_divergence(q.base_dist, torch.distributions.Normal(torch.zeros(LATENTS), torch.ones(LATENTS)))
    # log q - log p of one sample and dimension: (z^2 - eps^2) / 2 + const = ((m + s eps)^2 - eps^2) / 2 + const
    m, s = q.mean.detach(), q.stddev.detach()
    error = torch.sqrt(((m * s) ** 2 + (s**2 - 1) ** 2 / 2).sum(0) / 2000) / 50
    assert ((found["kl_per_dimension"] - kl).mean(0).abs() < 4 * error).all()
    # E_q |x - W z - b|^2 = |x - W m - b|^2 + sum s^2 |w|^2
    weight = torch.tensor(model.weight)
    residual = x.reshape(50, SIZE) - m @ weight.T - torch.tensor(model.bias)
    scatter = (s**2 * (weight**2).sum(0)).sum(-1)
    expected = -((residual**2).sum(-1) + scatter) / (2 * NOISE**2) - SIZE * math.log(NOISE * math.sqrt(2 * math.pi))
    pull = residual @ weight * s / NOISE**2
    spread = (pull**2).sum(-1) + ((s**2 * (weight**2).sum(0) / NOISE**2) ** 2 / 2).sum(-1)
    error = torch.sqrt(spread.sum() / 2000) / 50
    assert abs((found["reconstruction"] - expected).mean()) < 4 * error


def test_active_units_are_those_whose_mean_moves():
    """Five latents: two that the encoder ignores, one just below and one just above the threshold of 0.01, one lively."""
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    x = (x - x.mean(0)) / x.std(0, correction=0)
    vae = VAE((4,), 5, {"name": "normal", "scale": 1.0}, network="linear", kind="reals")
    with torch.no_grad():
        weight, bias = vae.encoder.layers[0].weight, vae.encoder.layers[0].bias
        weight.zero_()
        weight[1, 0], weight[2, 1], weight[4, 2] = math.sqrt(0.0095), math.sqrt(0.0105), 1.0
        bias.copy_(torch.linspace(-3, 3, 10))
    report = evaluate_split(vae, all_of(x, DataSpec((4,))), samples=2)
    assert (report.active_units, report.latent_dim) == (2, 5)
    expected = x[:, 2] * 1.0 + bias[4].item()
    found = elbo(vae, x, samples=1).diagnostics["posterior_mean"][:, 4]
    torch.testing.assert_close(found.float(), expected, rtol=1e-5, atol=1e-6)  # float32


# --- units --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("estimator", "key"), [("elbo", "elbo"), ("importance", "log_evidence")])
def test_bits_per_dim_and_errors_by_hand(estimator, key):
    dataset, vae = pyrovae.load_dataset("digits"), digit_vae("binomial")
    report = evaluate_split(vae, dataset, estimator=estimator, samples=10, limit=30)
    rows = dataset.test.subset(30, 0)
    found = {"elbo": elbo, "importance": importance}[estimator](vae, rows.x, samples=10, index=rows.index)
    estimate, error = found.estimate.numpy(), found.monte_carlo_error.numpy()
    number = getattr(report, key)
    assert number.mean == pytest.approx(estimate.mean())
    assert number.standard_error == pytest.approx(stats.sem(estimate))
    assert number.monte_carlo_error == pytest.approx(math.sqrt((error**2).sum()) / 30)
    assert report.bits_per_dim == pytest.approx(-estimate.mean() / 64 / math.log(2))
    assert (report.n, report.samples, report.bits_per_dim_kind) == (30, 10, "exact")
    assert report.elbo.mean == pytest.approx(report.reconstruction - report.kl)
    assert sum(report.kl_per_dimension) == pytest.approx(report.kl)
    ess = found.diagnostics["effective_sample_size"].numpy()
    np.testing.assert_allclose(
        [report.effective_sample_size[name] for name in ("mean", "median", "minimum")],
        [ess.mean(), np.median(ess), ess.min()],
        rtol=1e-9,
    )
    assert report.untrusted == ((ess < 10).sum() if estimator == "importance" else None)
    assert (report.log_evidence is None) == (estimator == "elbo")


def test_a_fair_coin_for_each_element_is_one_bit_per_dim():
    vae = VAE((3, 4), 2, "bernoulli", network="linear", kind="binary")
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
    x = (torch.arange(60).reshape(5, 3, 4) % 2).to(torch.uint8)
    report = evaluate_split(vae, all_of(x, DataSpec((3, 4), "binary", 2)), samples=5)
    assert report.bits_per_dim == pytest.approx(1.0, rel=1e-6)  # float32
    assert report.log_evidence.mean == pytest.approx(-12 * math.log(2), rel=1e-6)
    assert report.effective_sample_size["minimum"] == pytest.approx(5, rel=1e-6)


def test_numbers_that_cannot_be_known_are_none(double_precision):
    model = LinearGaussian()
    one = importance(model.vae(shift=0.5), model.draw(1), samples=5)
    assert one.standard_error is None
    assert one.mean_monte_carlo_error > 0
    single = importance(model.vae(shift=0.5), model.draw(4), samples=1)
    assert single.mean_monte_carlo_error is None
    assert single.standard_error > 0


def test_dequantised_evidence_is_a_density_of_the_levels(double_precision):
    """log p(x) := log p(y) - size log L with y = (x + u) / L; p(y) is known exactly."""
    model, levels = LinearGaussian(), 9
    vae = model.vae(kind="levels", levels=levels, preprocess="dequantise")
    x = (torch.arange(20 * SIZE).reshape(20, *SHAPE) * 7 % levels).to(torch.uint8)
    index = torch.arange(5, 25)
    found = importance(vae, x, samples=4, seed=3, index=index)
    y = (x + keyed.uniform(3, index.tolist(), SHAPE)) / levels
    np.testing.assert_allclose(found.estimate.numpy(), model.log_density(y) - SIZE * math.log(levels), **EXACT)
    np.testing.assert_allclose(found.diagnostics["elbo"].numpy(), found.estimate.numpy(), **EXACT)
    report = evaluate_split(vae, all_of(x, vae.spec), samples=4)
    assert report.bits_per_dim_kind == "dequantisation bound"


def test_dequantised_evidence_averages_to_the_probability_of_a_level(double_precision):
    """E_u[p(y)] / L is the integral of the density over the level's bin, and the log is below in expectation."""
    model, levels, repeats = LinearGaussian((1,), 1, noise=0.1), 4, 4000
    vae = model.vae(kind="levels", levels=levels, preprocess="dequantise")
    scale = math.sqrt(model.covariance()[0, 0])
    for level in range(levels):
        chance = np.diff(stats.norm.cdf(np.array([level, level + 1]) / levels, model.bias[0], scale))[0]
        found = importance(vae, torch.full((repeats, 1), level, dtype=torch.uint8), samples=1).estimate.numpy()
        ratio = np.exp(found) / chance
        assert abs(ratio.mean() - 1) < 4 * stats.sem(ratio)
        assert found.mean() < math.log(chance) + 4 * stats.sem(found)


@pytest.mark.parametrize("over", ["data", "everything"])
def test_standardised_evidence_is_in_the_units_of_the_data(double_precision, over):
    """x = mean + scale y with y of the known model: its density is a normal of moved mean and stretched covariance."""
    model = LinearGaussian()
    rng = np.random.default_rng(4)
    x = torch.tensor(rng.normal(size=(60, *SHAPE)) * np.array([[1, 20, 0.01], [5, 3, 1]]) + 7)
    vae = model.vae(preprocess={"name": "standardise", "over": over})
    vae.prepare(DataSpec(SHAPE), x)
    flat = x.reshape(60, SIZE).numpy()
    axis = 0 if over == "data" else None
    mean, scale = np.broadcast_to(flat.mean(axis), SIZE), np.broadcast_to(flat.std(axis), SIZE)
    truth = stats.multivariate_normal(mean + scale * model.bias, scale[:, None] * model.covariance() * scale)
    found = importance(vae, x, samples=6)
    np.testing.assert_allclose(found.estimate.numpy(), truth.logpdf(flat), rtol=1e-8)
    by_y = model.log_density(torch.tensor((flat - mean) / scale)) - np.log(scale).sum()
    np.testing.assert_allclose(found.estimate.numpy(), by_y, rtol=1e-8)


def test_bits_of_another_data_set_are_marked():
    report = evaluate_split(digit_vae("bernoulli"), pyrovae.load_dataset("digits"), samples=1, limit=2)
    assert "binarised" in report.bits_per_dim_kind
    reals = LinearGaussian()
    assert evaluate_split(reals.vae(), all_of(reals.draw(3), DataSpec(SHAPE)), samples=1).bits_per_dim_kind == "density"


def test_the_number_of_a_conditional_model_is_named():
    digits = pyrovae.load_dataset("digits")
    conditional = digit_vae(context="label", labels=digits.spec.labels)
    conditional.initialise(digits.train.x, digits.train.y)
    for vae, quantity in ((digit_vae(), "log p(x)"), (conditional, "log p(x|c)")):
        report = evaluate_split(vae, digits, samples=2, limit=3)
        assert report.quantity == json.loads(report.to_json())["quantity"] == quantity
        assert line_of(report, "log evidence").endswith(f"  {quantity}")
        bound = evaluate_split(vae, digits, estimator="elbo", samples=2, limit=3)
        assert line_of(bound, "ELBO").endswith(f"  bound on {quantity}")


def line_of(report: DataEvaluation, name: str) -> str:
    (line,) = (line for line in report.table().splitlines() if line.startswith(name))
    return line
