"""Importance sampling: streamed weights, their k-hat, and what the latents are drawn from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from estimates import importance
from known_models import LinearGaussian, assert_same_evidence, delta_method, digit_vae, shift_for
from scipy import special, stats
from torch import Tensor

import pyrovae
from pyrovae import VAE, UserError
from pyrovae.evidence.importance.pareto import tail_length, threshold
from pyrovae.evidence.importance.weights import Weights, ladder
from pyrovae.evidence.scoring import score


def streamed(log_weights: np.ndarray, piece: int) -> Weights:
    found = Weights(len(log_weights), torch.zeros(log_weights.shape[1]))
    for part in torch.tensor(log_weights).split(piece):
        found.add(part)
    return found


def heavy(samples: int, data: int = 6) -> np.ndarray:
    """Log-weights with tails from light to heavy, far from 0."""
    rng = np.random.default_rng(0)
    return rng.normal(-700, np.linspace(0.3, 6, data), (samples, data))


@pytest.mark.parametrize("samples", [1, 30, 1000, 5003])
@pytest.mark.parametrize("piece", [1, 50, 10_000])
def test_streamed_weights_are_those_of_scipy_and_arviz(samples, piece):
    if piece == 1 and samples > 1000:
        piece = 7
    log_weights = heavy(samples)
    found = streamed(log_weights, piece)
    w = np.exp(log_weights - log_weights.max(0))
    close = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(found.log_mean, special.logsumexp(log_weights, 0) - math.log(samples), **close)
    np.testing.assert_allclose(found.mean_log, log_weights.mean(0), **close)
    np.testing.assert_allclose(found.effective_sample_size, w.sum(0) ** 2 / (w**2).sum(0), **close)
    tail = found.tail()
    if samples == 1:
        assert found.log_mean_error(tail).error.isnan().all()
        assert tail.khat.isnan().all()
        return
    np.testing.assert_allclose(found.mean_log_error, stats.sem(log_weights), rtol=1e-7)
    # ArviZ takes log-likelihoods, whose importance weights are their inverses
    np.testing.assert_allclose(tail.khat, array_stats.psislw(-log_weights.T)[1], rtol=1e-9)
    assert found.largest.shape == (tail_length(samples) + 1, 6)


@pytest.mark.parametrize("samples", [3, 20, 30, 1000, 5003])
@pytest.mark.parametrize("of", ["log mean", "gap"])
def test_errors_are_the_larger_of_the_samples_and_of_the_fitted_tails(samples, of):
    log_weights = heavy(samples)
    found = streamed(log_weights, 50)
    spread = (found.log_mean_error if of == "log mean" else found.gap_error)(found.tail())
    error, degrees = delta_method(log_weights, of == "gap")
    np.testing.assert_allclose(spread.error, error, rtol=1e-7)
    np.testing.assert_allclose(spread.degrees, degrees, rtol=1e-6)


def test_the_fit_is_to_the_tail_as_it_was_drawn_where_there_is_none():
    for log_weights in (np.repeat([-1.0, -2.0], [10, 90]), np.full(100, -3.0)):  # tied; equal
        found = streamed(log_weights[:, None], 50)
        w = np.exp(log_weights)
        expected = stats.sem(w) / w.mean()
        np.testing.assert_allclose(found.log_mean_error(found.tail()).error, [expected], rtol=1e-7, atol=1e-8)


def test_memory_a_datum_is_of_the_order_of_the_square_root_of_the_samples():
    kept = Weights(100_000, torch.zeros(2))
    for _ in range(100):
        kept.add(torch.randn(1000, 2, dtype=torch.float64))
    assert kept.largest.shape == (int(3 * math.sqrt(100_000)) + 1, 2)
    assert not kept.waiting


def test_weights_of_zero_are_kept_out_of_the_tail():
    log_weights = heavy(2000)
    log_weights[::2] = -math.inf
    found = streamed(log_weights, 50)
    positive = special.logsumexp(log_weights[1::2], 0) - math.log(2000)
    np.testing.assert_allclose(found.log_mean, positive, rtol=1e-12)
    np.testing.assert_allclose(found.tail().khat, array_stats.psislw(-np.maximum(log_weights, -1e5).T)[1], rtol=1e-9)


@pytest.mark.parametrize(
    ("log_weights", "expected"),
    [
        (np.full(100, -3.0), -math.inf),  # bounded
        (np.full(100, -math.inf), math.nan),  # no weight at all
        (np.r_[np.full(99, -2000.0), 0.0], math.inf),  # one weight outweighs the rest beyond float64
        (np.repeat([-1.0, -2.0], [10, 90]), math.nan),  # tied, as with few discrete latents
    ],
)
def test_khat_of_degenerate_weights(log_weights, expected):
    np.testing.assert_equal(streamed(log_weights[:, None], 50).tail().khat.item(), expected)


@pytest.mark.parametrize("samples", [30, 100, 500, 5000, 100_000])
def test_threshold_is_that_of_arviz(samples):
    # the published rule, min(1 - 1 / log10 S, 0.7)
    assert threshold(samples) == pytest.approx(min(1 - 1 / np.log10(samples), 0.7))


def test_bounds_at_fewer_samples_rise_and_are_those_of_separate_groups(double_precision):
    model = LinearGaussian()
    x = model.draw(500)
    found = importance(model.vae(shift=shift_for(0.5)), x, samples=1000)
    gaps = found.diagnostics["bound"].numpy() - model.log_density(x)[:, None]
    assert ladder(1000) == [1, 5, 50, 500, 1000]
    means, errors = gaps.mean(0), gaps.std(0, ddof=1) / math.sqrt(500)
    assert abs(means[0] + 0.5) < 4 * errors[0]  # the ELBO, lower by the KL
    rises = np.diff(gaps, axis=1)
    assert (rises.mean(0) > -3 * rises.std(0, ddof=1) / math.sqrt(500)).all()
    np.testing.assert_allclose(found.diagnostics["bound"][:, -1], found.estimate, rtol=1e-12)
    np.testing.assert_allclose(found.diagnostics["bound"][:, 0], found.diagnostics["elbo"], rtol=1e-12)
    np.testing.assert_allclose(found.diagnostics["gap"], found.estimate - found.diagnostics["elbo"], rtol=1e-12, atol=1e-12)


# --- a guide that is too narrow or too wide -----------------------------------------------------------------------------


def test_a_guide_that_is_too_narrow_has_the_khat_of_theory(double_precision):
    """q = N(m, (s t)^2) for p = N(m, t^2): log w has an exponential tail of scale 1 - s^2, so k = 1 - s^2."""
    model = LinearGaussian(latents=1)
    x = model.draw(64)
    for factor in (0.5, 0.8):
        khat = importance(model.vae(), x, samples=20_000, proposal="widened", widen=factor).diagnostics["khat"].numpy()
        # log w = X (1 - s^2) / 2 with X a chi-square of one degree, whose hazard is 1/2 + 1/(2 x) far out: at the cutoff of the
        # 424 largest of 20,000 (X = 5.3) the local k is x / (x + 1) of 1 - s^2, and rises to it further out.
        low = (1 - factor**2) * 5 / 6
        assert low - 4 * khat.std() / 8 < khat.mean() < 1 - factor**2 + 4 * khat.std() / 8


def test_a_guide_that_is_too_wide_has_bounded_weights_and_the_same_evidence(double_precision):
    model = LinearGaussian(latents=2)
    x = model.draw(400)
    truth = model.log_density(x)
    found = importance(model.vae(), x, samples=500, proposal="widened", widen=2.0)
    # w / p = s^D exp(-|e|^2 (s^2 - 1) / 2) <= s^D
    one = importance(model.vae(), x, samples=1, proposal="widened", widen=2.0).estimate.numpy() - truth
    assert (one <= 2 * math.log(2) + 1e-9).all()
    assert one.max() > math.log(2)
    assert (found.diagnostics["khat"] < threshold(500)).all()
    ratio = np.exp(found.estimate.numpy() - truth)
    # E[w^2] / p^2 = (s^2 / sqrt(2 s^2 - 1))^D, for s = 2: 16 / 7
    assert abs(ratio.mean() - 1) < 3 * math.sqrt((16 / 7 - 1) / (400 * 500))


def integral(vae: VAE, x: Tensor, unit: bool) -> np.ndarray:
    """log of the integral of p(z) p(x|z) over one latent, for each datum, by scipy's Gauss-Legendre rule on 40 pieces."""
    nodes, weights = special.roots_legendre(40)
    # sin^2 takes the square roots out of beta densities at 0 and 1
    ends = np.linspace(0, math.pi / 2, 41) if unit else np.linspace(-40, 40, 41)
    half = (ends[1] - ends[0]) / 2
    t = (ends[:-1, None] + half * (nodes + 1)).ravel()
    z, slope = (np.sin(t) ** 2, np.sin(2 * t)) if unit else (t, np.ones_like(t))
    with torch.no_grad():
        log_joint = vae.log_joint(x, torch.tensor(z)[:, None, None]).numpy()
    return special.logsumexp(log_joint, 0, b=(np.tile(weights, 40) * half * slope)[:, None])


def bits_vae(prior: object, latents: int = 1) -> tuple[VAE, Tensor]:
    torch.manual_seed(3)
    vae = VAE((5,), latents, "bernoulli", prior=prior, network={"name": "mlp", "hidden": [7]}, kind="binary")
    with torch.no_grad():
        vae.decoder.layers[-1].weight.mul_(4)
    return vae, torch.tensor([[(i >> bit) & 1 for bit in range(5)] for i in (0, 3, 9, 21, 31)]).to(torch.get_default_dtype())


@pytest.mark.parametrize(("proposal", "widen"), [("guide", None), ("prior", None), ("widened", 1.5), ("widened", 3.0)])
@pytest.mark.parametrize("prior", ["normal", "laplace", "student_t", "uniform", "beta"])
def test_every_proposal_estimates_the_same_integral(double_precision, prior, proposal, widen):
    vae, x = bits_vae(prior)
    found = importance(vae, x, samples=4000, proposal=proposal, widen=widen)
    ratio = np.exp(found.estimate.numpy() - integral(vae, x, prior in ("uniform", "beta")))
    assert abs(ratio.mean() - 1) < 3 * np.linalg.norm(found.monte_carlo_error) / len(x)


@pytest.mark.parametrize(("proposal", "widen"), [("guide", None), ("prior", None), ("widened", 3.0)])
def test_every_proposal_of_bits_estimates_the_same_sum(double_precision, proposal, widen):
    vae, x = bits_vae("bernoulli", latents=3)
    states = torch.tensor([[(i >> bit) & 1 for bit in range(3)] for i in range(8)]).double()
    with torch.no_grad():
        truth = special.logsumexp(vae.log_joint(x, states[:, None]).numpy(), 0)
    found = importance(vae, x, samples=4000, proposal=proposal, widen=widen)
    ratio = np.exp(found.estimate.numpy() - truth)
    assert abs(ratio.mean() - 1) < 3 * np.linalg.norm(found.monte_carlo_error) / len(x)


@pytest.mark.parametrize("prior", [{"name": "normal", "context": "learned"}, "vamp", "flow", "mixture"], ids=str)
@pytest.mark.parametrize("proposal", ["prior", "widened"])
def test_proposals_do_not_depend_on_chunks_or_company(double_precision, prior, proposal):
    digits = pyrovae.load_dataset("digits")
    vae = digit_vae(prior=prior, context="label", labels=digits.spec.labels)
    vae.initialise(digits.train.x, digits.train.y)
    x, y, index = digits.x[:6], digits.y[:6], torch.arange(6)
    whole = importance(vae, x, y, samples=70, proposal=proposal, index=index)
    assert_same_evidence(importance(vae, x, y, samples=70, proposal=proposal, index=index, rows=60), whole)
    alone = importance(vae, x[4:5], y[4:5], samples=70, proposal=proposal, index=index[4:5])
    np.testing.assert_allclose(alone.estimate, whole.estimate[4:5], rtol=1e-9)


def test_the_prior_as_proposal_knows_nothing_of_the_guide(double_precision):
    vae, x = bits_vae("normal")
    before = importance(vae, x, samples=60, proposal="prior").estimate
    with torch.no_grad():
        for parameter in vae.encoder.parameters():
            parameter.add_(1.0)
    assert torch.equal(importance(vae, x, samples=60, proposal="prior").estimate, before)
    assert not torch.equal(importance(vae, x, samples=60).estimate, importance(vae, x, samples=60, seed=1).estimate)


@pytest.mark.parametrize("proposal", ["guide", "prior", "widened"])
def test_every_dequantisation_has_samples_of_its_own(double_precision, proposal):
    """Else the error over draws leaves out the noise of z: the spread over seeds tells."""
    model = LinearGaussian(latents=1)
    vae = model.vae(shift=1.5, kind="levels", levels=200, preprocess="dequantise")
    x = (torch.arange(60).reshape(10, 2, 3) * 7 % 200).to(torch.uint8)
    found = [importance(vae, x, samples=5, seed=seed, dequantisations=4, proposal=proposal) for seed in range(60)]
    spread = torch.stack([each.estimate for each in found]).var(0).mean().sqrt()
    error = torch.stack([each.monte_carlo_error**2 for each in found]).mean().sqrt()
    # 590 and 1,800 degrees of freedom, of log-weights with heavier tails than normal ones: 5 % each at the most
    assert abs(spread / error - 1) < 3 * math.hypot(0.05, 0.05)


def test_the_error_of_the_gap_is_that_of_its_spread(double_precision):
    model = LinearGaussian()
    vae, x = model.vae(shift=shift_for(0.125)), model.draw(20)
    found = [importance(vae, x, samples=100, seed=seed).diagnostics for seed in range(100)]
    spread = torch.stack([each["gap"] for each in found]).std(0)
    error = torch.stack([each["gap_error"] for each in found]).pow(2).mean(0).sqrt()
    # 20 ratios of standard deviations of 100 values: 1 / sqrt(2 x 99 x 20) and the delta method's own 1 / 100
    assert abs((spread / error).mean() - 1) < 4 * (1 / math.sqrt(2 * 99 * 20) + 0.01)


# --- repeated runs --------------------------------------------------------------------------------------------------------


def test_repeated_runs_are_independent_and_their_spread_is_the_error(double_precision):
    model = LinearGaussian()
    vae, x = model.vae(shift=shift_for(0.125)), model.draw(300)
    once, found = (importance(vae, x, samples=100, repeats=repeats) for repeats in (1, 20))
    assert not torch.equal(once.estimate, found.estimate)
    scores = (found.estimate.numpy() - model.log_density(x)) / found.monte_carlo_error.numpy()
    # the bound of 100 samples is biased by -(e^0.25 - 1) / 200 nats; an error is about sqrt((e^0.25 - 1) / 2000)
    bias = -(math.exp(0.25) - 1) / 200 / math.sqrt((math.exp(0.25) - 1) / 2000)
    # a score is Student's t of 19 degrees: its standard deviation is sqrt(19 / 17)
    spread = math.sqrt(19 / 17)
    assert abs(scores.mean() - bias) < 4 * spread / math.sqrt(300)
    assert abs(scores.std() / spread - 1) < 4 * math.sqrt((3 + 6 / 15 - 1) / 4 / 300)
    assert torch.equal(
        importance(vae, x, samples=100, repeats=1, seed=3).estimate, importance(vae, x, samples=100, seed=3).estimate
    )


# --- memory, and bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 9 bytes")])
def test_chunks_are_halved_until_they_fit(error):
    vae, x = bits_vae("normal")
    sizes = []

    def measure(y: Tensor, c: Tensor | None, data: list[int], draw: int) -> dict[str, Tensor]:
        sizes.append(len(y))
        if len(y) > 2:
            raise error
        return {"sum": y.sum(-1), "row": torch.tensor(data)}

    found = score(vae, x, None, measure, data_rows=5)
    assert found["row"].tolist() == list(range(5))
    assert torch.equal(found["sum"], x.sum(-1))
    assert sizes == [5, 2, 2, 1]

    def never(y: Tensor, c: Tensor | None, data: list[int], draw: int) -> dict[str, Tensor]:
        raise error

    with pytest.raises(UserError, match="one datum does not fit the memory; use device='cpu'"):
        score(vae, x, None, never, data_rows=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proposal": "giude"}, r"proposal='giude': unknown; did you mean guide"),
        ({"widen": 2.0}, r"widen=2.0: is for proposal='widened'; leave it out, or add that"),
        ({"proposal": "widened", "widen": 0.0}, r"widen=0.0: needs a finite number above 0"),
        ({"proposal": "widened", "widen": math.inf}, r"widen=inf: needs a finite number above 0"),
        ({"repeats": 0}, r"repeats=0: needs an integer of at least 1"),
        ({"samples": 10**6}, r"samples=1000000: there is noise for 51,150 samples"),
    ],
)
def test_bad_options_are_refused(options, message):
    vae, x = bits_vae("normal")
    with pytest.raises(UserError, match=message):
        importance(vae, x, **options)
