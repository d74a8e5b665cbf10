"""Posteriors against SciPy, changes of variables and finite differences, and their divergences from priors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from cases import Case, PosteriorCase, cases
from scipy import integrate, special, stats
from torch import Tensor
from torch.distributions import kl_divergence

from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec, Density
from pyrovae.parts import make
from pyrovae.priors import PRIORS

D = 3
DRAWS = 20_000
EPS = torch.finfo(torch.float64).eps


def rows(names: str | None = None) -> pytest.MarkDecorator:
    """The rows of the posteriors that are named; all without names."""
    found = [case for case in cases("posterior") if names is None or case.family in names.split()]
    return pytest.mark.parametrize("case", found, ids=str)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def built(case: Case | PosteriorCase, batch: tuple[int, ...] = (5,)) -> tuple[Density, Tensor]:
    """The posterior of D latents and raw parameters for it."""
    density = case.density(event_shape=(D,))
    return density, torch.randn(*batch, *density.params_shape, dtype=torch.float64)


def normal_log_density(noise: Tensor) -> Tensor:
    return torch.tensor(stats.norm.logpdf(noise.numpy()).sum(-1))


# --- the contract -----------------------------------------------------------------------------------------------------


@rows()
@pytest.mark.parametrize("batch", [(), (5,), (2, 5)], ids=str)
def test_shapes_and_support(case: Case | PosteriorCase, batch: tuple[int, ...]) -> None:
    density, params = built(case, batch)
    q = density(params)
    assert (q.batch_shape, q.event_shape) == (batch, (D,))
    z = q.sample((7,))
    assert z.shape == (7, *batch, D)
    assert z.dtype == torch.float64
    assert density.support.check(z).all()
    assert q.has_rsample == case.part.reparametrised
    assert case.part.mean(q).shape == case.part.stddev(q).shape == (*batch, D)
    if case.part.has_density:
        assert q.log_prob(z).shape == (7, *batch)
    expanded = q.expand((4, *batch))  # as a plate of particles does
    assert expanded.sample().shape == (4, *batch, D)


@rows()
def test_values_outside_the_support_are_known(case: Case | PosteriorCase) -> None:
    support = case.density().support
    assert support.check(torch.tensor(case.values)).all()
    assert not support.check(torch.tensor(case.outside)).any()


@rows()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_raw_parameters_are_survived(case: Case | PosteriorCase, dtype: torch.dtype) -> None:
    density = case.density(dtype, event_shape=(D,))
    extremes = torch.tensor([-1000.0, -30.0, 0.0, 30.0, 1000.0], dtype=dtype)
    params = extremes[torch.randint(5, (50, *density.params_shape))].requires_grad_()
    q = density(params)
    z = q.rsample() if case.part.reparametrised else q.sample()
    assert density.support.check(z).all()
    if case.part.has_density:
        q.log_prob(z).sum().backward()
        assert torch.isfinite(q.log_prob(z)).all()
        assert torch.isfinite(params.grad).all()


@rows()
def test_supports_meet_those_of_priors(case: Case | PosteriorCase) -> None:
    prior = getattr(case, "prior", None) or next(
        name for name in ("normal", "uniform", "bernoulli") if PRIORS[name].natural_posterior == case.family
    )
    vae = VAE((4,), D, prior=prior, posterior={"name": case.family, **case.options})
    z_prior, z_posterior = vae.prior().sample((50,)), vae.posterior_of_preprocessed(torch.ones(50, 4)).sample()
    assert vae.prior_module.support.check(z_posterior).all()
    assert vae.posterior_density.support.check(z_prior).all()


@pytest.mark.parametrize(
    ("prior", "posterior"), [("uniform", "normal"), ("bernoulli", "flow"), ("normal", "beta"), ("uniform", "delta")]
)
def test_other_supports_are_refused_with_both_names(prior: str, posterior: str) -> None:
    natural = PRIORS[prior].natural_posterior
    with pytest.raises(UserError, match=rf"^posterior='{posterior}': .*prior='{prior}' .*try posterior='{natural}'$"):
        VAE((4,), D, prior=prior, posterior=posterior)


REFUSED = [(case, *refused) for case in cases("posterior") for refused in case.refused]


@pytest.mark.parametrize(("case", "option", "value"), REFUSED, ids=str)
def test_bad_options_are_refused(case: Case | PosteriorCase, option: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^posterior\.{option}='?{value}'?: "):
        make("posterior", {"name": case.family, option: value})


def test_a_flow_needs_latents_to_bend_and_units_for_them() -> None:
    with pytest.raises(UserError, match=r"posterior='flow': .*latent_dim=2"):
        VAE((4,), 1, posterior="flow")
    with pytest.raises(UserError, match=r"posterior\.hidden=2: .*3 latents"):
        VAE((4,), 3, posterior={"name": "flow", "hidden": 2})


# --- densities --------------------------------------------------------------------------------------------------------


@rows("full_normal")
def test_log_density_is_scipys(case: PosteriorCase) -> None:
    density, params = built(case, (40,))
    z = 2 * torch.randn(40, D, dtype=torch.float64)
    found = density(params).log_prob(z).numpy()
    # SciPy inverts L L^T, whose condition is at most some 1e6 for these parameters.
    np.testing.assert_allclose(found, case.log_density(z.numpy(), params.numpy()), rtol=1e6 * EPS, atol=1e-10)


@rows("flow")
def test_log_density_of_a_flow_is_the_change_of_variables(case: PosteriorCase) -> None:
    """log q(z) = log N(e) - log|det dz/de|, the determinant by differentiating the map from noise."""
    density, params = built(case, (12,))
    noise = torch.randn(12, D, dtype=torch.float64)
    noise[:2] *= 3  # beyond the splines' bound too
    q = density(params)
    jacobians = [
        torch.autograd.functional.jacobian(lambda e, one=one: density.family.from_noise(density(one), e), e)
        for one, e in zip(params, noise, strict=True)
    ]
    expected = normal_log_density(noise) - torch.linalg.slogdet(torch.stack(jacobians)).logabsdet
    z = density.family.from_noise(q, noise)
    assert (z - density(params).base_dist.mean).abs().max() > 1  # bent, not the noise itself
    # Some hundred operations on numbers of order 10, of which splines take differences; so does the inversion.
    for found in (q.log_prob(z), density(params).log_prob(z.clone())):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@rows("flow")
def test_a_flow_bends_latents_by_each_other(case: PosteriorCase) -> None:
    """The Jacobian is not diagonal, nor is it the same for two data."""
    density, params = built(case, (2,))
    noise = torch.randn(D, dtype=torch.float64)
    first, second = (
        torch.autograd.functional.jacobian(lambda e, one=one: density.family.from_noise(density(one), e), noise) for one in params
    )
    assert (first - first.diag().diag()).abs().max() > 1e-3
    assert not torch.allclose(first / first.diag(), second / second.diag(), rtol=1e-3)


@rows("normal full_normal flow")
def test_an_encoder_near_0_starts_near_a_standard_normal(case: Case | PosteriorCase) -> None:
    density = case.part.build(DataSpec((D,))).double()
    q = density(torch.zeros(density.params_shape, dtype=torch.float64))
    z = torch.randn(200, D, dtype=torch.float64)
    # A spline at its start is the identity within 0.002 nats a layer and latent; the others are so exactly.
    tolerance = 2 * D * 0.002 if "spline" in str(case) else 1e-12
    assert (q.log_prob(z) - normal_log_density(z)).abs().max() < tolerance
    torch.testing.assert_close(case.part.mean(q), torch.zeros(D, dtype=torch.float64), rtol=0, atol=1e-2)


def test_an_encoder_near_0_starts_at_the_uniform_density_and_at_fair_bits() -> None:
    for name, value, log_density in (("beta", 0.3, 0.0), ("bernoulli", 1.0, math.log(0.5))):
        density = make("posterior", name).build(DataSpec((D,)))
        q = density(torch.zeros(density.params_shape))
        torch.testing.assert_close(q.log_prob(torch.full((D,), value)), torch.tensor(D * log_density))


# --- samples ----------------------------------------------------------------------------------------------------------


@rows("normal full_normal flow")
def test_the_map_from_noise_draws_what_sampling_draws(case: Case | PosteriorCase) -> None:
    density, params = built(case, ())
    made = density.family.from_noise(density(params), torch.randn(DRAWS, D, dtype=torch.float64)).detach().numpy()
    drawn = density(params).sample((DRAWS,)).numpy()
    directions = np.concatenate([np.eye(D), np.ones((1, D)), np.array([[1.0, -1.0, 0.5]])])
    distances = [stats.ks_2samp(made @ direction, drawn @ direction).statistic for direction in directions]
    # Kolmogorov: two sets differ by more than 2 sqrt(2 / n) with a probability of 2 exp(-8) = 7e-4.
    assert max(distances) <= 2 * math.sqrt(2 / DRAWS)


def test_covariance_of_the_full_normal() -> None:
    (case,) = (case for case in cases("posterior") if case.family == "full_normal")
    density, params = built(case, ())
    q = density(params)
    z = case.part.from_noise(q, torch.randn(DRAWS, D, dtype=torch.float64)).numpy()
    covariance = q.covariance_matrix.numpy()
    # Wishart: the variance of a sample covariance is (c_ij^2 + c_ii c_jj) / n.
    error = np.sqrt((covariance**2 + np.outer(np.diag(covariance), np.diag(covariance))) / DRAWS)
    assert (np.abs(np.cov(z.T) - covariance) <= 4 * error).all()
    assert (np.abs(covariance - np.diag(np.diag(covariance))) > 10 * error).any()


def test_bits_from_noise_have_their_chances_and_no_gradient() -> None:
    density = make("posterior", "bernoulli").build(DataSpec((7,)))
    logits = torch.tensor([[-700.0, -8.0, -1.0, 0.0, 2.0, 8.0, 700.0]], dtype=torch.float64, requires_grad=True)
    bits = density.family.from_noise(density(logits), torch.randn(DRAWS, 7, dtype=torch.float64))
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    assert not bits.requires_grad
    chance = special.expit(logits.detach().numpy()[0])
    assert (np.abs(bits.mean(0).numpy() - chance) <= 4 * np.sqrt(chance * (1 - chance) / DRAWS)).all()


@rows("normal full_normal flow delta")
def test_gradient_of_a_sample_is_that_of_finite_differences(case: Case | PosteriorCase) -> None:
    density, params = built(case, (2,))
    noise = torch.randn(2, D, dtype=torch.float64)
    assert case.part.reparametrised
    learned = list(density.parameters())
    assert torch.autograd.gradcheck(
        lambda given, *_: density.family.from_noise(density(given), noise),
        (params.requires_grad_(), *learned),
        fast_mode=True,  # along random directions: a flow has thousands of parameters
    )

    def sample(params: Tensor) -> Tensor:
        torch.manual_seed(1)
        return density(params).rsample()

    assert torch.autograd.gradcheck(sample, params)


@pytest.mark.parametrize("raw", [(0.0, 0.0), (1.0, -1.0), (-0.5, 1.5)])
def test_pathwise_gradients_of_a_beta_sample_are_those_of_its_moments(raw: tuple[float, float]) -> None:
    """The sampler rejects, so that only averages can be compared: dE[z]/draw and dE[z^2]/draw of the documented moments."""
    density = make("posterior", "beta").build(DataSpec((DRAWS,)))
    params = torch.tensor(raw, dtype=torch.float64).repeat(DRAWS, 1).T.clone().requires_grad_()
    z = density(params).rsample()

    def moments(raw: np.ndarray) -> np.ndarray:
        mean = 1e-4 + (1 - 2e-4) * special.expit(raw[0])
        # A posterior's concentrations are 1/2 + half of those that mean and concentration say.
        one, zero = (0.5 + 0.5 * 2 * np.exp(8 * np.tanh(raw[1] / 8)) * share for share in (mean, 1 - mean))
        mean, concentration = one / (one + zero), one + zero
        return np.array([mean, mean**2 + mean * (1 - mean) / (concentration + 1)])

    step = 1e-6 * np.eye(2)
    expected = np.array([(moments(raw + h) - moments(raw - h)) / 2e-6 for h in step])  # (raw parameter, moment)
    for order in (1, 2):
        found = torch.autograd.grad((z**order).sum(), params, retain_graph=True)[0].numpy()  # (raw parameter, draw)
        error = found.std(1) / math.sqrt(DRAWS)
        assert (np.abs(found.mean(1) - expected[:, order - 1]) <= 4 * error).all()


@rows("flow")
def test_mean_and_scale_of_a_flow_are_those_of_fixed_draws(case: PosteriorCase) -> None:
    density, params = built(case, (4,))
    q = density(params)
    before = torch.random.get_rng_state()
    mean, scale = case.part.mean(q), case.part.stddev(q)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(mean, case.part.mean(density(params)))
    torch.testing.assert_close(mean[2], case.part.mean(density(params[2])), rtol=1e-12, atol=1e-12)  # whatever its company
    z = q.sample((DRAWS,))
    true_scale = z.std(0)
    kurtosis = (((z - z.mean(0)) / true_scale) ** 4).mean(0)
    assert ((mean - z.mean(0)).abs() <= 4 * true_scale / math.sqrt(128)).all()
    assert ((scale / true_scale - 1).abs() <= 4 * ((kurtosis - 1) / (4 * 128)).sqrt()).all()


# --- divergences ------------------------------------------------------------------------------------------------------


def test_divergence_of_the_normal_posterior_from_the_prior() -> None:
    prior = VAE((4,), D).double().prior()
    density = VAE((4,), D).posterior_density
    q = density(torch.randn(5, *density.params_shape, dtype=torch.float64))
    mean, scale = q.mean, q.stddev
    closed = 0.5 * (mean**2 + scale**2 - 1).sum(-1) - scale.log().sum(-1)
    # Sums of D terms below 100.
    torch.testing.assert_close(kl_divergence(q, prior), closed, rtol=0.0, atol=100 * 8 * D * EPS)
    z = q.sample((DRAWS,))
    difference = q.log_prob(z) - prior.log_prob(z)
    assert ((difference.mean(0) - closed).abs() <= 3 * difference.std(0) / math.sqrt(DRAWS)).all()


def test_divergence_of_the_full_normal_posterior_from_the_prior() -> None:
    vae = VAE((4,), D, posterior="full_normal").double()
    q, prior = vae.posterior_density(torch.randn(5, D + 1, D, dtype=torch.float64)), vae.prior()
    sigma, mean = q.covariance_matrix, q.mean
    closed = 0.5 * (sigma.diagonal(dim1=-2, dim2=-1).sum(-1) + (mean**2).sum(-1) - D - torch.linalg.slogdet(sigma).logabsdet)
    standard = torch.distributions.MultivariateNormal(torch.zeros(D).double(), torch.eye(D).double())
    torch.testing.assert_close(kl_divergence(q, standard), closed, rtol=1e-10, atol=1e-10)
    z = q.sample((DRAWS,))
    difference = q.log_prob(z) - prior.log_prob(z)
    assert ((difference.mean(0) - closed).abs() <= 4 * difference.std(0) / math.sqrt(DRAWS)).all()


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_divergence_of_bits_from_bits_is_the_sum_over_all_codes(p: float) -> None:
    vae = VAE((4,), D, prior={"name": "bernoulli", "p": p}).double()
    logits = 2 * torch.randn(5, 1, D, dtype=torch.float64)
    q, prior = vae.posterior_density(logits), vae.prior()
    codes = torch.tensor(list(itertools.product((0.0, 1.0), repeat=D)), dtype=torch.float64).unsqueeze(1)
    chances = special.expit(logits.squeeze(1).numpy())
    log_q = stats.bernoulli.logpmf(codes.numpy(), chances).sum(-1)
    log_p = stats.bernoulli.logpmf(codes.numpy(), p).sum(-1)
    np.testing.assert_allclose(q.log_prob(codes).numpy(), log_q, rtol=1e-12)
    expected = (np.exp(log_q) * (log_q - log_p)).sum(0)
    np.testing.assert_allclose(kl_divergence(q, prior.expand((5,))).numpy(), expected, rtol=1e-10, atol=1e-12)


def test_divergence_of_beta_from_uniform_is_its_integral() -> None:
    vae = VAE((4,), D, prior="uniform").double()
    raw = torch.randn(2, D, dtype=torch.float64)
    q, prior = vae.posterior_density(raw), vae.prior()
    expected = 0.0
    for m, k in zip(1e-4 + (1 - 2e-4) * special.expit(raw[0].numpy()), 2 * np.exp(8 * np.tanh(raw[1].numpy() / 8)), strict=True):
        density = stats.beta(0.5 + 0.5 * m * k, 0.5 + 0.5 * (1 - m) * k)
        found, error = integrate.quad(lambda z, d=density: d.pdf(z) * d.logpdf(z), 0, 1, limit=200)
        assert error < 1e-6
        expected += found
    assert kl_divergence(q, prior).item() == pytest.approx(expected, abs=D * 1e-6)
    z = q.sample((DRAWS,))
    difference = q.log_prob(z) - prior.log_prob(z)
    assert abs(difference.mean().item() - expected) <= 4 * difference.std().item() / math.sqrt(DRAWS)


# --- a point ----------------------------------------------------------------------------------------------------------


@rows("delta")
def test_a_point_has_no_density_and_no_spread(case: PosteriorCase) -> None:
    density, params = built(case)
    q = density(params)
    assert not case.part.has_density
    expected = params.squeeze(1)
    if case.options:
        expected = torch.tensor(1e-6 + (1 - 2e-6) * special.expit(expected.numpy()))
    for z in (q.sample(), q.rsample(), case.part.mean(q), case.part.from_noise(q, torch.randn(7, 5, D))[3]):
        torch.testing.assert_close(z, expected, rtol=8 * EPS, atol=0)
    assert torch.equal(case.part.stddev(q), torch.zeros(5, D, dtype=torch.float64))
