"""Evidence in closed form and by enumeration, against scipy and a loop; what exact evidence refuses."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from estimates import exact, importance
from known_models import EXACT, LinearGaussian, digit_vae, jumble, raw_scale
from scipy import stats

from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec
from pyrovae.evidence.exact.method import exact_method
from pyrovae.evidence.scoring import preprocessed
from pyrovae.families.location_scale import GAIN

LABELS = [{"name": "class", "values": ["a", "b", "c"]}]


def six_bits() -> torch.Tensor:
    """All 64 data of six bits."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=6)))


# --- linear Gaussian models ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("latents", "noise"), [(1, 0.4), (3, 0.4), (3, 1e-3), (6, 2.0)])
def test_a_linear_gaussian_model_has_the_density_that_scipy_knows(double_precision, latents, noise):
    model = LinearGaussian(latents=latents, noise=noise)
    x = model.draw(20)
    vae = model.vae(shift=3.0)  # a guide that is far off
    assert exact_method(vae) == "linear-Gaussian"
    found = exact(vae, x)
    # residuals over a variance of noise^2 in numbers around 1 lose that many digits, in scipy's covariance as well
    np.testing.assert_allclose(found.estimate.numpy(), model.log_density(x), rtol=1e-10, atol=1e-11 / noise**2)
    assert found.monte_carlo_error.tolist() == [0.0] * 20
    assert found.diagnostics["converged"].tolist() == [1.0] * 20


@pytest.mark.parametrize("latents", [2, 6])
@pytest.mark.parametrize("ratio", [1e5, 1e6, 1e7, 1e9])
def test_the_noise_may_be_tiny_beside_the_weights(double_precision, ratio, latents):
    """Against arithmetic of 60 digits, which loses the (weight / noise)^4 that float64 has not."""
    model = LinearGaussian(latents=latents, noise=1 / ratio)
    rng = np.random.default_rng(2)
    z, noise = rng.normal(size=(10, latents)), rng.normal(size=(10, model.size))
    x = model.bias + z @ model.weight.T + noise / ratio
    vae = VAE(model.shape, latents, {"name": "normal", "scale": model.noise}, network="linear", kind="reals")
    with torch.no_grad():
        vae.decoder.layers[0].weight.copy_(torch.tensor(model.weight))
        vae.decoder.layers[0].bias.copy_(torch.tensor(model.bias))
    found = exact(vae, torch.tensor(x.reshape(10, *model.shape)))
    with mpmath.workdps(60):
        weight = mpmath.matrix(model.weight.tolist())
        variance = mpmath.mpf(model.noise) ** 2
        factor = mpmath.cholesky(weight * weight.T + variance * mpmath.eye(model.size))
        log_det = 2 * sum(mpmath.log(factor[i, i]) for i in range(model.size))
        for row, estimate in zip(x.tolist(), found.estimate.tolist(), strict=True):
            residual = mpmath.matrix(
                [mpmath.mpf(value) - mpmath.mpf(bias) for value, bias in zip(row, model.bias.tolist(), strict=True)]
            )
            white = mpmath.lu_solve(factor, residual)
            expected = -((white.T * white)[0] + log_det + model.size * mpmath.log(2 * mpmath.pi)) / 2
            # A datum is known to eps in units of the weights, to ratio eps in units of the noise, times residuals of a few.
            assert abs(estimate - float(expected)) <= 64 * 2.3e-16 * ratio + 1e-11 * abs(float(expected))


def test_a_float32_model_is_evaluated_in_float64():
    model = LinearGaussian()
    x = model.draw(20)
    # what float32 weights differ by, 6e-8, times residuals over the noise, up to 10, times sums of 18 terms
    np.testing.assert_allclose(exact(model.vae(), x).estimate.numpy(), model.log_density(x), rtol=0, atol=2e-5)
    assert exact(model.vae(), x).estimate.dtype == torch.float64


def test_images_of_784_pixels(double_precision):
    model = LinearGaussian((28, 28), 20, 0.3)
    x = model.draw(5)
    np.testing.assert_allclose(exact(model.vae(), x).estimate.numpy(), model.log_density(x), rtol=1e-10, atol=1e-8)


def test_standardised_data_have_a_density_in_their_own_units(double_precision):
    model = LinearGaussian()
    y = model.draw(50).numpy()
    x = 3.0 + np.linspace(0.5, 20.0, 6).reshape(2, 3) * y
    vae = model.vae(preprocess="standardise", kind=None)
    vae.prepare(DataSpec((2, 3)), torch.tensor(x))
    mean, scale = x.mean(0), x.std(0)
    expected = model.log_density(torch.tensor((x - mean) / scale)) - np.log(scale).sum()
    np.testing.assert_allclose(exact(vae, torch.tensor(x)).estimate.numpy(), expected, **EXACT)


@pytest.mark.parametrize("scale", ["learned", "element"])
def test_a_learned_noise_scale(double_precision, scale):
    model = LinearGaussian()
    vae = model.vae(likelihood={"name": "normal", "scale": scale})
    scales = np.full(6, 0.7) if scale == "learned" else np.linspace(0.1, 3.0, 6)
    raw = torch.tensor(raw_scale(scales) / GAIN)
    with torch.no_grad():
        vae.likelihood_density.learned.raw_scale.copy_(raw[0] if scale == "learned" else raw.view(2, 3))
    x = model.draw(20)
    covariance = model.weight @ model.weight.T + np.diag(scales**2)
    expected = stats.multivariate_normal(model.bias, covariance).logpdf(x.numpy().reshape(-1, 6))
    np.testing.assert_allclose(exact(vae, x).estimate.numpy(), expected, **EXACT)


@pytest.mark.parametrize("context", ["none", "learned"])
def test_a_conditional_model_has_a_density_for_every_context(double_precision, context):
    vae = VAE((6,), 3, {"name": "normal", "scale": 0.4}, prior={"name": "normal", "context": context}, network="linear",
              context={"name": "label", "size": 2}, kind="reals", labels=LABELS)  # fmt: skip
    jumble(vae, 0)
    assert exact_method(vae) == "linear-Gaussian"
    x, c = torch.randn(30, 6, generator=torch.Generator().manual_seed(1)), torch.arange(30) % 3
    embeddings = vae.context_module.tables[0].weight.detach().numpy()
    decoder = vae.decoder.layers[0]
    weight, by_context = np.split(decoder.weight.detach().numpy(), [3], axis=1)
    expected = np.empty(30)
    for row, code in enumerate(c.tolist()):
        mean, scale = np.zeros(3), np.ones(3)
        if context == "learned":
            prior = vae.prior_module.params
            raw = (prior.weight.detach().numpy() @ embeddings[code] + prior.bias.detach().numpy()).reshape(2, 3)
            mean, scale = raw[0], np.exp(8 * np.tanh(raw[1] / 8))
        bias = decoder.bias.detach().numpy() + by_context @ embeddings[code]
        covariance = weight @ np.diag(scale**2) @ weight.T + 0.16 * np.eye(6)
        expected[row] = stats.multivariate_normal(bias + weight @ mean, covariance).logpdf(x[row].numpy())
    np.testing.assert_allclose(exact(vae, x, c).estimate.numpy(), expected, **EXACT)


def test_layers_without_hidden_units_are_linear_too(double_precision):
    network = {"name": "mlp", "hidden": ()}
    vae = jumble(VAE((5,), 3, {"name": "normal", "scale": 0.5}, network=network, kind="reals"), 3)
    x = torch.randn(10, 5, generator=torch.Generator().manual_seed(1))
    weight, bias = (tensor.detach().numpy() for tensor in vae.decoder.layers[0].parameters())
    expected = stats.multivariate_normal(bias, weight @ weight.T + 0.25 * np.eye(5)).logpdf(x.numpy())
    np.testing.assert_allclose(exact(vae, x).estimate.numpy(), expected, **EXACT)


def test_tied_affine_weights_are_linear_too(double_precision):
    vae = jumble(VAE((5,), 3, {"name": "normal", "scale": 0.5}, network={"name": "tied", "hidden": ()}, kind="reals"), 3)
    x = torch.randn(10, 5, generator=torch.Generator().manual_seed(1))
    weight, bias = vae.encoder.layers[0].weight[:3].detach().numpy().T, vae.decoder.biases[0].detach().numpy()
    expected = stats.multivariate_normal(bias, weight @ weight.T + 0.25 * np.eye(5)).logpdf(x.numpy())
    np.testing.assert_allclose(exact(vae, x).estimate.numpy(), expected, **EXACT)


@pytest.mark.parametrize(
    ("role", "part"),
    [
        ("likelihood", {"name": "normal", "scale": "network"}),
        ("likelihood", {"name": "student_t"}),
        ("likelihood", {"name": "laplace"}),
        ("prior", {"name": "laplace"}),
        ("prior", {"name": "mixture", "components": 1}),
        ("network", {"name": "mlp", "hidden": [4]}),
        ("network", {"name": "tied", "hidden": [4]}),
    ],
    ids=str,
)
def test_what_is_not_linear_or_not_gaussian_has_no_closed_form(role, part):
    given = {"likelihood": {"name": "normal", "scale": 0.3}, "network": "linear", "kind": "reals", role: part}
    with pytest.raises(UserError, match="estimator='exact': needs a linear Gaussian model"):
        exact_method(jumble(VAE((6,), 3, **given), 0))
    assert exact_method(jumble(VAE((6,), 2, **given), 0)) == "quadrature"


def test_noise_that_depends_on_the_latents_is_seen_where_it_is_saturated():
    """At the origin and all around it the scale is the largest there is."""
    vae = VAE((1,), 3, {"name": "normal", "scale": "network"}, network="linear", kind="reals")
    with torch.no_grad():
        vae.decoder.layers[0].weight.fill_(1.0)
        vae.decoder.layers[0].bias.fill_(1e4)
    with pytest.raises(UserError, match="needs a linear Gaussian model"):
        exact_method(vae)


# --- enumeration --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_bits_are_gone_through_as_by_a_loop(double_precision, p):
    vae = jumble(digit_vae(prior={"name": "bernoulli", "p": p}), 0, 0.5)
    assert exact_method(vae) == "enumeration"
    x = torch.randint(0, 17, (7, 8, 8), generator=torch.Generator().manual_seed(0))
    seed = 3
    first, second = (
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in vae.decoder.layers if hasattr(layer, "weight")
    )
    y = preprocessed(vae, x, list(range(7)), seed).numpy().reshape(7, 64)
    total = np.zeros(7)
    for z in itertools.product((0, 1), repeat=3):
        hidden = np.maximum(first[0] @ np.array(z) + first[1], 0)
        probability = 1 / (1 + np.exp(-(second[0] @ hidden + second[1])))
        total += np.prod([p if bit else 1 - p for bit in z]) * np.exp(stats.bernoulli(probability).logpmf(y).sum(-1))
    np.testing.assert_allclose(exact(vae, x, seed=seed).estimate.numpy(), np.log(total), **EXACT)


@pytest.mark.parametrize("context", ["none", "learned"])
def test_probabilities_of_all_data_add_up_to_one_by_enumeration(context):
    vae = VAE((6,), 5, "bernoulli", prior={"name": "bernoulli", "context": context}, context={"name": "label", "size": 2},
              network={"name": "mlp", "hidden": [8]}, kind="binary", labels=LABELS)  # fmt: skip
    jumble(vae, 0)
    x, c = six_bits().repeat(3, 1), torch.arange(3).repeat_interleave(64)
    found = exact(vae, x, c)
    # 64 numbers in float64; the model's own probabilities are those of its float32 weights in float64
    np.testing.assert_allclose(found.estimate.view(3, 64).exp().sum(1).numpy(), 1.0, rtol=1e-12)


def test_importance_sampling_agrees_with_enumeration():
    vae = jumble(VAE((6,), 8, "bernoulli", prior="bernoulli", network={"name": "mlp", "hidden": [8]}, kind="binary"), 0)
    x = six_bits()
    ratio = (importance(vae, x, samples=1000, proposal="prior").estimate - exact(vae, x).estimate).exp()
    assert abs(ratio.mean() - 1) < 3 * ratio.std() / math.sqrt(len(x))


@pytest.mark.parametrize("rows", [1, 7, 100_000])
def test_rows_and_company_do_not_move_an_enumeration(double_precision, rows):
    vae = jumble(VAE((6,), 5, "bernoulli", prior="bernoulli", network={"name": "mlp", "hidden": [8]}, kind="binary"), 0)
    x = six_bits()
    expected = exact(vae, x).estimate
    np.testing.assert_allclose(exact(vae, x[:5], rows=rows).estimate.numpy(), expected[:5].numpy(), **EXACT)


# --- what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent_dim": 20}, "this one has 20 latents, network mlp"),
        ({"latent_dim": 3, "prior": "beta"}, "this one has 3 latents, network mlp, likelihood bernoulli and prior beta"),
        ({"latent_dim": 13, "prior": "bernoulli"}, "this one has 13 Bernoulli latents"),
    ],
)
def test_a_model_without_exact_evidence_is_refused_with_what_there_is(options, words):
    vae = VAE((4,), likelihood="bernoulli", kind="binary", **options)
    with pytest.raises(UserError, match=words) as refused:
        exact(vae, torch.zeros(1, 4))
    assert "use estimator='annealed', importance or bdmc" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_twelve_bits_are_few_enough():
    assert exact_method(VAE((4,), 12, "bernoulli", prior="bernoulli", kind="binary")) == "enumeration"


def test_a_plain_autoencoder_has_no_evidence():
    with pytest.raises(UserError, match="estimator='exact': the posterior delta"):
        exact(VAE((4,), 2, "bernoulli", posterior="delta", kind="binary"), torch.zeros(1, 4))


@pytest.mark.parametrize("tolerance", [0, -1.0, 1.0, 1e-11, math.nan, math.inf, True, "small"])
def test_a_tolerance_that_is_none_is_refused(tolerance):
    with pytest.raises(UserError, match="tolerance"):
        exact(VAE((4,), 2, "bernoulli", kind="binary"), torch.zeros(1, 4), tolerance=tolerance)


@pytest.mark.parametrize(("prior", "latents"), [("bernoulli", 2), ("normal", 2)])
def test_a_diverged_model_is_refused_naming_its_data(prior, latents):
    vae = VAE((4,), latents, "bernoulli", prior=prior, network={"name": "mlp", "hidden": [3]}, kind="binary")
    with torch.no_grad():
        vae.decoder.layers[-1].bias[0] = math.nan
    with pytest.raises(UserError, match=r"2 data have log-densities that are NaN .* the first is row 0"):
        exact(vae, torch.zeros(2, 4))
