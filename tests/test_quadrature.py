"""Quadrature over one and two latents, against closed forms, scipy's integrals and sums that must be 1."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from estimates import exact, importance
from known_models import LinearGaussian, jumble
from scipy import integrate, stats
from torch import Tensor

from pyrovae import VAE
from pyrovae.evidence.exact import cubature
from pyrovae.evidence.exact.method import exact_method
from pyrovae.evidence.exact.quadrature import Quadrature, quadrature

LABELS = [{"name": "class", "values": ["a", "b", "c"]}]


def by_quadrature(vae: VAE, x: Tensor, tolerance: float = 1e-4, rows: int = 2000) -> Quadrature:
    """Quadrature of a float64 model, whatever else it might have."""
    with torch.no_grad():
        return quadrature(vae.eval(), x, None, list(range(len(x))), tolerance, rows)


def decoder_of(vae: VAE) -> Callable[[np.ndarray], np.ndarray]:
    """Latents (*, D) -> outputs (*, E), by the weights of a tanh network with one hidden layer."""
    first, second = (
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in vae.decoder.layers if hasattr(layer, "weight")
    )
    return lambda z: np.tanh(z @ first[0].T + first[1]) @ second[0].T + second[1]


def toy(latents: int, prior: object, seed: int = 0, noise: float = 0.5) -> VAE:
    """Four reals from a tanh network."""
    likelihood = {"name": "normal", "scale": noise}
    network = {"name": "mlp", "hidden": [5], "activation": "tanh"}
    return jumble(VAE((4,), latents, likelihood, prior=prior, network=network, kind="reals"), seed)


def folded(latents: int, noise: float) -> VAE:
    """x_d = |z_d| + noise: every positive x has 2^D modes."""
    network = {"name": "mlp", "hidden": [2 * latents]}
    vae = VAE((latents,), latents, {"name": "normal", "scale": noise}, network=network, kind="reals")
    first, second = vae.decoder.layers[0], vae.decoder.layers[2]
    with torch.no_grad():
        first.weight.copy_(torch.cat([torch.eye(latents), -torch.eye(latents)]))
        second.weight.copy_(torch.cat([torch.eye(latents), torch.eye(latents)], 1))
        for layer in (first, second):
            layer.bias.zero_()
    return vae


def folded_log_density(x: np.ndarray, noise: float) -> np.ndarray:
    """log 2 N(x; 0, 1 + s^2) Phi(x / (s sqrt(1 + s^2))), summed over elements: |z| is a half-normal."""
    spread = math.sqrt(1 + noise**2)
    return (math.log(2) + stats.norm(0, spread).logpdf(x) + stats.norm.logcdf(x / noise / spread)).sum(-1)


# --- closed forms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latents", [1, 2])
@pytest.mark.parametrize("noise", [1.0, 0.1, 0.01, 0.001])
def test_a_linear_gaussian_model_however_narrow_its_posterior(double_precision, latents, noise):
    model = LinearGaussian((3,), latents, noise)
    x = model.draw(20)
    found = by_quadrature(model.vae(shift=3.0), x, 1e-4)
    assert found.converged.all()
    assert (found.error <= 1.001e-4).all()  # -log(1 - e) of a relative error e
    difference = np.abs(found.log_evidence.numpy() - model.log_density(x))
    # scipy's covariance loses digits as 1 / noise^2
    assert (difference <= found.error.numpy() + 1e-13 / noise**2).all()


@pytest.mark.parametrize("latents", [1, 2])
def test_data_from_far_out_in_the_tails_of_the_prior(double_precision, latents):
    model = LinearGaussian((3,), latents, 0.01)
    z = np.array([[12.0, -15.0], [-30.0, 6.2], [1.0, 25.0]])[:, :latents]
    x = z @ model.weight.T + model.bias
    found = by_quadrature(model.vae(), torch.tensor(x))
    assert found.converged.all()
    np.testing.assert_allclose(found.log_evidence.numpy(), model.log_density(torch.tensor(x)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("noise", [0.3, 0.01])
@pytest.mark.parametrize(("latents", "tolerance"), [(1, 1e-2), (1, 1e-4), (1, 1e-7), (2, 1e-2), (2, 1e-4)])
def test_every_mode_is_found_and_the_error_is_not_understated(double_precision, latents, noise, tolerance):
    x = np.random.default_rng(0).uniform(0.2, 3.0, size=(8, latents))
    vae = folded(latents, noise)
    assert exact_method(vae) == "quadrature"
    found = exact(vae, torch.tensor(x), tolerance=tolerance)
    assert found.diagnostics["converged"].tolist() == [1.0] * 8
    difference = np.abs(found.estimate.numpy() - folded_log_density(x, noise))
    assert (difference <= found.monte_carlo_error.numpy() + 1e-12).all()
    assert (found.monte_carlo_error <= 1.01 * tolerance).all()


def test_a_guide_in_one_mode_is_no_matter(double_precision):
    """The guide of random weights sits anywhere; the evidence is the same number to the last digit."""
    x = torch.tensor([[0.5, 1.0], [2.0, 0.7]])
    found = [exact(folded(2, 0.05), x)]
    for seed in (0, 1):
        vae = folded(2, 0.05)
        jumble(vae.encoder, seed)
        found.append(exact(vae, x))
    assert torch.equal(found[0].estimate, found[1].estimate)
    assert torch.equal(found[0].estimate, found[2].estimate)


# --- scipy's integrals --------------------------------------------------------------------------------------------------

PRIORS = {
    "normal": (stats.norm(), (-12, 12), []),
    "laplace": (stats.laplace(), (-40, 40), [0]),
    "student_t": (stats.t(4), (-np.inf, np.inf), None),
    "beta": (stats.beta(0.5, 2.5), (0, 1), [1e-6, 1e-3, 0.1]),
    "uniform": (stats.uniform(), (0, 1), []),
}
OPTIONS = {"beta": {"concentration1": 0.5, "concentration0": 2.5}}


@pytest.mark.parametrize("prior", PRIORS)
def test_one_latent_against_scipy(double_precision, prior):
    vae = toy(1, {"name": prior, **OPTIONS.get(prior, {})})
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(1))
    density, ends, points = PRIORS[prior]
    decode = decoder_of(vae)

    def integrand(z: float) -> float:
        return density.pdf(z) * np.exp(stats.norm(decode(np.array([z])), 0.5).logpdf(x[0].numpy()).sum())

    expected, _ = integrate.quad(integrand, *ends, points=points or None, epsabs=0, epsrel=1e-9, limit=400)
    assert exact(vae, x, tolerance=1e-6).estimate.item() == pytest.approx(np.log(expected), abs=1e-6)


@pytest.mark.parametrize("prior", ["normal", "student_t", "uniform"])
def test_two_latents_against_scipy(double_precision, prior):
    vae = toy(2, prior, seed=1, noise=1.0)
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(1))
    decode, (density, _, _) = decoder_of(vae), PRIORS[prior]
    # in z = F^-1(u) the prior is uniform on the square, and scipy needs no tails
    nodes, weights = np.polynomial.legendre.leggauss(400)
    u, weights = (nodes + 1) / 2, weights / 2
    z = np.stack(np.meshgrid(density.ppf(u), density.ppf(u), indexing="ij"), -1)
    likelihood = np.exp(stats.norm(decode(z), 1.0).logpdf(x[0].numpy()).sum(-1))
    expected = np.log(weights @ likelihood @ weights)
    # Gauss and Legendre's rule of 400 nodes: the derivatives of F^-1 at the ends leave some 1e-6
    assert exact(vae, x, tolerance=1e-6).estimate.item() == pytest.approx(expected, abs=1e-5)


def test_a_mixture_against_dblquad(double_precision):
    vae = toy(2, {"name": "mixture", "components": 2}, seed=2, noise=1.0)
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(3))
    prior, decode = vae.prior_module, decoder_of(vae)
    weights = np.exp(prior.logits.detach().numpy())
    weights = weights / weights.sum()
    means, scales = prior.params[:, 0].detach().numpy(), np.exp(8 * np.tanh(prior.params[:, 1].detach().numpy() / 8))

    def integrand(second: float, first: float) -> float:
        z = np.array([first, second])
        each = np.exp(-(((z - means) / scales) ** 2).sum(-1) / 2) / scales.prod(-1) / (2 * np.pi)
        residual = x[0].numpy() - decode(z)
        return weights @ each * np.exp(-(residual @ residual) / 2) / (2 * np.pi) ** 2

    low, high = (means - 7 * scales).min(0), (means + 7 * scales).max(0)
    expected, _ = integrate.dblquad(integrand, low[0], high[0], low[1], high[1], epsabs=0, epsrel=1e-5)
    assert exact(vae, x).estimate.item() == pytest.approx(np.log(expected), abs=2e-4)


# --- sums over all data -------------------------------------------------------------------------------------------------

EVERY_PRIOR = [
    {"name": "normal"},
    {"name": "laplace"},
    {"name": "student_t", "df": 1.0},
    {"name": "mixture", "components": 3},
    {"name": "vamp", "components": 4},
    {"name": "flow", "transform": "affine", "hidden": 4},
    {"name": "flow", "transform": "spline", "hidden": 4},
    {"name": "beta", "concentration1": 0.5, "concentration0": 3.0},
    {"name": "uniform"},
]


def bits_from(latents: int, prior: object, size: float = 0.5, **options: object) -> VAE:
    vae = VAE((4,), latents, "bernoulli", prior=prior, network={"name": "mlp", "hidden": [8]}, kind="binary", **options)
    return jumble(vae, 4, size)


def all_four_bits() -> Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)))


@pytest.mark.parametrize(
    ("prior", "latents"),
    [
        # flows and heavy tails on a plane take thousands of cells
        pytest.param(prior, latents, marks=[pytest.mark.slow] * (latents == 2 and prior["name"] in ("flow", "student_t")))
        for prior in EVERY_PRIOR
        for latents in (1, 2)
    ],
    ids=str,
)
def test_probabilities_of_all_data_add_up_to_one(prior, latents):
    found = exact(bits_from(latents, prior, 0.3 if prior["name"] == "flow" else 0.5), all_four_bits())
    p = found.estimate.exp()
    assert abs(p.sum() - 1) <= (p * found.monte_carlo_error.expm1()).sum() + 1e-12
    if (latents, prior.get("transform")) == (2, "spline"):
        # the kinks of two layers of splines on a plane are more than there are cells for: that is said, and true
        assert (found.monte_carlo_error < 1e-2).all()
    else:
        assert found.diagnostics["converged"].all()
        assert (found.monte_carlo_error <= 1.001e-4).all()


@pytest.mark.parametrize(("prior", "latents"), [("normal", 2), ("mixture", 1), ("beta", 1), ("vamp", 1), ("flow", 1)])
def test_probabilities_given_each_context_add_up_to_one(prior, latents):
    options = {"context": {"name": "label", "size": 2}, "labels": LABELS}
    vae = bits_from(latents, {"name": prior, "context": "learned"}, **options)
    x, c = all_four_bits().repeat(3, 1), torch.arange(3).repeat_interleave(16)
    mixed = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    log_p = torch.empty(48, dtype=torch.float64)
    log_p[mixed] = exact(vae, x[mixed], c[mixed]).estimate
    each = log_p.view(3, 16).exp()
    np.testing.assert_allclose(each.sum(1).numpy(), 1, rtol=0, atol=1e-4)
    assert (each[0] - each[1]).abs().max() > 1e-3  # the context does something
    alone = exact(vae, x[20:23], c[20:23]).estimate
    np.testing.assert_allclose(alone.numpy(), log_p[20:23].numpy(), rtol=0, atol=2e-4)  # both within the tolerance


def test_importance_sampling_agrees():
    vae, x = bits_from(2, "normal"), all_four_bits()
    ratio = (importance(vae, x, samples=2000, proposal="prior").estimate - exact(vae, x).estimate).exp()
    assert abs(ratio.mean() - 1) < 3 * ratio.std() / math.sqrt(len(x))


# --- what may not matter, and what is said when it fails ---------------------------------------------------------------


@pytest.mark.parametrize("rows", [30, 333, 50_000])
def test_rows_and_company_move_nothing_beyond_the_tolerance(double_precision, rows):
    vae = toy(2, "normal")
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    expected = exact(vae, x).estimate
    np.testing.assert_allclose(exact(vae, x[1:3], rows=rows).estimate.numpy(), expected[1:3].numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("latents", [1, 2])
def test_a_tolerance_that_is_not_reached_is_reported(double_precision, monkeypatch, latents):
    monkeypatch.setattr(cubature, "DEEPEST", 3)
    noise, x = 1e-3, np.full((3, latents), [[0.5], [1.0], [0.7]])
    found = exact(folded(latents, noise), torch.tensor(x), tolerance=1e-8)
    difference = np.abs(found.estimate.numpy() - folded_log_density(x, noise))
    assert found.diagnostics["converged"].tolist() == [0.0] * 3
    assert (found.monte_carlo_error.numpy() >= difference).all()


def test_a_prior_of_which_quadrature_misses_a_part_is_reported(double_precision):
    """Student's t with a tenth of a degree of freedom: P(|z| > 1e9) is 0.1 or so."""
    vae = toy(1, {"name": "student_t", "df": 0.1})
    decode, density = decoder_of(vae), stats.t(0.1)
    x = decode(np.array([1e30]))  # such a datum comes from far out
    found = exact(vae, torch.tensor(x[None]))

    def integrand(u: float) -> float:
        return np.exp(stats.norm(decode(np.array([density.ppf(u)])), 0.5).logpdf(x).sum())

    expected, _ = integrate.quad(integrand, 0, 1, points=[0.5], epsabs=0, epsrel=1e-5, limit=400)
    assert found.diagnostics["converged"].item() == 0
    assert 1e-4 < abs(found.estimate.item() - np.log(expected)) < found.monte_carlo_error.item()


def test_a_spike_in_the_prior_is_found_by_its_missing_mass(double_precision):
    """A component of scale 0.002 beside one of scale 1, of which the nodes at the start see nothing."""
    vae = VAE(
        (1,), 1, {"name": "normal", "scale": 0.5}, prior={"name": "mixture", "components": 2}, network="linear", kind="reals"
    )
    with torch.no_grad():
        vae.prior_module.logits.zero_()
        vae.prior_module.params.copy_(torch.tensor([[[0.0], [0.0]], [[2.6543], [8 * math.atanh(math.log(0.002) / 8)]]]))
        vae.decoder.layers[0].weight.fill_(1.0)
        vae.decoder.layers[0].bias.zero_()
    x = np.array([[2.5], [-1.0]])
    expected = np.log(stats.norm(0, math.sqrt(1.25)).pdf(x) / 2 + stats.norm(2.6543, math.hypot(0.002, 0.5)).pdf(x) / 2)
    found = exact(vae, torch.tensor(x))
    np.testing.assert_allclose(found.estimate.numpy(), expected[:, 0], rtol=0, atol=1e-4)


def test_the_average_over_dequantisations_has_their_standard_error():
    likelihood, network = {"name": "normal", "scale": "learned"}, {"name": "mlp", "hidden": [4]}
    vae = VAE((5,), 1, likelihood, network=network, kind="levels", levels=8)
    x = torch.randint(0, 8, (6, 5), generator=torch.Generator().manual_seed(0))
    one, many = exact(vae, x), exact(vae, x, dequantisations=8)
    assert (many.monte_carlo_error > one.monte_carlo_error).all()
    # a draw against the mean of 8, one of which it is: the standard deviation of the difference is sqrt(7) standard errors
    difference = (one.estimate - many.estimate) / (math.sqrt(7) * many.monte_carlo_error)
    assert difference.abs().mean() < 2
    log_volume = -5 * math.log(8)
    y = x.double().add(0.5) / 8
    assert (many.estimate - exact_of_reals(vae, y) - log_volume).abs().max() < 1.0  # draws of u move a density of width 1 so far


def exact_of_reals(vae: VAE, y: Tensor) -> Tensor:
    """log p(y) of the same model for data as its likelihood sees them."""
    return by_quadrature(vae.double(), y).log_evidence


@pytest.mark.parametrize("dims", [1, 2])
def test_cubature_of_many_integrals_at_once(double_precision, dims):
    """Boxes [0, 2]^D of exp(-a |t - b|^2), and one of nothing, each to its own precision."""
    sharp, place = torch.tensor([0.1, 3.0, 1e4, 1e8]), torch.tensor([1.0, 0.3, 1.9, 0.123456])
    centre, half = cubature.grid(torch.tensor([0.0, 0.7, 2.0]), dims)
    parts = len(centre)

    def log_density(integral: Tensor, t: Tensor) -> Tensor:
        index = integral.clamp(max=3)
        values = -sharp[index] * (t - place[index].unsqueeze(-1)).square().sum(-1)
        return torch.where(integral == 4, -math.inf, values)

    integral = torch.arange(5).repeat_interleave(parts)
    boxes, zero = (centre.repeat(5, 1), half.repeat(5, 1)), torch.zeros_like(integral)
    start = cubature.measured(log_density, integral, zero, *boxes, zero.double())
    highest = torch.full((5,), math.inf)
    cells = cubature.integrate(log_density, start, highest, 1e-6, 5000)
    root = np.sqrt(2 * sharp.numpy())
    one = (stats.norm.cdf((2 - place.numpy()) * root) - stats.norm.cdf(-place.numpy() * root)) * np.sqrt(np.pi / sharp.numpy())
    found = cubature.totals(cells.log_value, cells.integral, 5)
    np.testing.assert_allclose(found[:4].numpy(), dims * np.log(one), rtol=0, atol=1e-6)
    assert found[4] == -math.inf
    errors = cubature.relative_errors(cells, highest)
    assert (errors[:4] <= 1e-6).all()
    assert errors[4] == math.inf  # nothing is known of the logarithm of 0
    volume = torch.zeros(5).index_add(0, cells.integral, (2 * cells.half).prod(-1))
    np.testing.assert_allclose(volume.numpy(), 2.0**dims, rtol=1e-12)
