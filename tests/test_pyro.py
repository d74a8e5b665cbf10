"""Pyro's own tools on the model and the guide, and torch's on the module, against closed forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from known_models import EXACT, LATENTS, SHAPE, SIZE, LinearGaussian
from pyro import poutine
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoLaplaceApproximation, AutoMultivariateNormal, AutoNormal
from pyro.ops.stats import effective_sample_size
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap

from pyrovae import VAE, UserError
from pyrovae.priors import PRIORS

PAGE = Path(__file__).parents[1] / "docs" / "pyro.md"
DRAWS = 4000
DEVIATIONS = 4.5
"""Standard errors that a number may miss its expectation by: once in 150,000 numbers."""
NATS = 0.005
"""KL(found || exact) a latent that a fitted normal may have: its mean is off by 0.1 scales or its scale by 0.07 of it."""


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
        pyro.set_rng_seed(0)
        yield
    torch.set_default_dtype(default)


@pytest.fixture
def known() -> LinearGaussian:
    return LinearGaussian()


def fixed(known: LinearGaussian) -> VAE:
    """The linear Gaussian model with its weights held fixed, as the page says."""
    return known.vae().eval().requires_grad_(False)


def posterior(known: LinearGaussian, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (N, D) and scale (D,) of p(z|y), in closed form."""
    centred = y.reshape(len(y), -1) - torch.tensor(known.bias)
    return centred @ torch.tensor(known.to_mean).T, torch.tensor(known.posterior_scale)


def divergence(mean: Tensor, scale: Tensor, exact_mean: Tensor, exact_scale: Tensor) -> Tensor:
    """KL of one normal density from another, elementwise, in nats."""
    ratio = (scale / exact_scale).square()
    return (ratio + ((mean - exact_mean) / exact_scale).square() - 1 - ratio.log()) / 2


def assert_normal(draws: Tensor, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Independent draws (K, S) of a normal density: their whitened means and squares are where chance puts them."""
    white = np.linalg.solve(np.linalg.cholesky(covariance), (draws.double().numpy() - mean).T)
    count = white.shape[1]
    assert np.abs(white.mean(1)).max() < DEVIATIONS / count**0.5
    moments = white @ white.T / count - np.eye(len(mean))
    assert np.abs(moments).max() < DEVIATIONS * (2 / count) ** 0.5


# --- Predictive and uncondition ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_draws_from_the_model(parallel: bool, known: LinearGaussian) -> None:
    count, data = (DRAWS // 20, 20) if not parallel else (DRAWS, 1)
    found = Predictive(known.vae().model, num_samples=count, parallel=parallel)(count=data)
    assert found["z"].shape == (count, data, LATENTS)
    assert found["x"].shape == (count, data, *SHAPE)
    assert_normal(found["z"].reshape(-1, LATENTS), np.zeros(LATENTS), np.eye(LATENTS))
    assert_normal(found["x"].reshape(-1, SIZE), known.bias, known.covariance())


def test_predictive_draws_new_data_beside_those_given(known: LinearGaussian) -> None:
    """p(x'|y) is normal: mean W m + b, covariance W S W' + noise^2 of the posterior N(m, S), which this guide is."""
    vae, y = known.vae(), known.draw(2)
    found = Predictive(poutine.uncondition(vae.model), guide=vae.guide, num_samples=DRAWS, parallel=True)(y)
    mean, scale = posterior(known, y)
    covariance = known.weight @ np.diag(scale.numpy() ** 2) @ known.weight.T + known.noise**2 * np.eye(SIZE)
    for n in range(len(y)):
        assert_normal(found["z"][:, n], mean[n].numpy(), np.diag(scale.numpy() ** 2))
        assert_normal(found["x"][:, n].flatten(1), known.weight @ mean[n].numpy() + known.bias, covariance)


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_takes_posterior_samples(parallel: bool, known: LinearGaussian) -> None:
    vae, count, data = known.vae(), DRAWS // 20, 20
    z = torch.randn(count, data, LATENTS)
    found = Predictive(vae.model, posterior_samples={"z": z}, parallel=parallel)(count=data)
    residual = found["x"].flatten(2) - z @ torch.tensor(known.weight).T - torch.tensor(known.bias)
    assert_normal(residual.reshape(-1, SIZE), np.zeros(SIZE), known.noise**2 * np.eye(SIZE))


def test_uncondition_draws_what_the_model_observes(known: LinearGaussian) -> None:
    vae, y = known.vae(), known.draw(3)
    given = poutine.trace(vae.model).get_trace(y).nodes["x"]
    drawn = poutine.trace(poutine.uncondition(vae.model)).get_trace(y).nodes["x"]
    assert given["is_observed"]
    assert torch.equal(given["value"], y)
    assert not drawn["is_observed"]
    assert drawn["value"].shape == y.shape
    assert not torch.equal(drawn["value"], y)


@pytest.mark.parametrize("prior", PRIORS)
def test_predictive_takes_every_prior(prior: str) -> None:
    vae = VAE((4,), 3, "normal", prior=prior, network="linear", kind="reals")
    y = torch.randn(2, 4)
    replicated = Predictive(poutine.uncondition(vae.model), guide=vae.guide, num_samples=5)(y)
    assert replicated["x"].shape == (5, 2, 4)
    assert Predictive(vae.model, num_samples=5, parallel=True)()["z"].shape == (5, 1, 3)


def test_each_context_draws_a_datum() -> None:
    labels = [{"name": "class", "values": ["a", "b"]}]
    vae = VAE((4,), 3, "normal", prior={"name": "normal", "context": "learned"}, context="label", kind="reals", labels=labels)
    found = Predictive(vae.model, num_samples=5)(c=torch.tensor([0, 1, 1]))
    assert found["x"].shape == (5, 3, 4)


def test_a_count_that_is_not_that_of_the_data_is_refused(known: LinearGaussian) -> None:
    with pytest.raises(UserError, match=r"count.*3.*there are 2 data in y"):
        known.vae().model(known.draw(2), count=3)
    with pytest.raises(UserError, match="count"):
        known.vae().model(count=0)


# --- posteriors that are not the encoder's ------------------------------------------------------------------------------------


@pytest.mark.parametrize("automatic", [AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal])
def test_automatic_guides_find_the_posterior(automatic: type, known: LinearGaussian) -> None:
    """A normal guide of few data, the decoder held fixed: the posterior is normal, so nothing but optimisation is left."""
    vae, y, steps = fixed(known), known.draw(2), 400
    guide = automatic(vae.model)
    optimizer = pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.02 ** (1 / steps)})
    svi = SVI(vae.model, guide, optimizer, Trace_ELBO(num_particles=16, vectorize_particles=True, max_plate_nesting=1))
    for _ in range(steps):
        svi.step(y)
    # One scale from the mean is a quantile of the normal density.
    low, mid, high = (found.detach() for found in guide.quantiles([0.158655, 0.5, 0.841345], y)["z"])
    mean, scale = posterior(known, y)
    assert divergence(mid, (high - low) / 2, mean, scale).max() < NATS


def test_automatic_guides_of_points_find_the_mode(known: LinearGaussian) -> None:
    """The mode of a normal posterior is its mean. The quadratic about it is the posterior itself."""
    vae, y = fixed(known), known.draw(2)
    mean, scale = posterior(known, y)
    for automatic in (AutoDelta, AutoLaplaceApproximation):
        guide = automatic(vae.model)
        svi = SVI(vae.model, guide, pyro.optim.ClippedAdam({"lr": 0.1, "lrd": 0.98}), Trace_ELBO(max_plate_nesting=1))
        for _ in range(400):
            svi.step(y)
        if automatic is AutoDelta:
            mode = guide.median(y)["z"]
        else:
            laplace = guide.laplace_approximation(y)
            mode = laplace.loc.reshape(mean.shape)
            found = laplace.get_posterior().stddev.reshape(mean.shape)
            torch.testing.assert_close(found, scale.expand_as(found), rtol=1e-6, atol=0)
        # the last of 400 steps of at most 0.1 0.98^400
        assert ((mode - mean) / scale).abs().max() < 0.01


def test_nuts_samples_the_posterior(known: LinearGaussian) -> None:
    """Mean and variance of the latents of a datum, within standard errors of as many draws as the chain is worth."""
    vae, y = fixed(known), known.draw(1)
    sampler = MCMC(NUTS(vae.model), num_samples=400, warmup_steps=100, disable_progbar=True)
    sampler.run(y)
    z = sampler.get_samples()["z"]
    assert z.shape == (400, 1, LATENTS)
    mean, scale = posterior(known, y)
    for values, expected, spread in ((z, mean, scale), ((z - mean).square(), scale.square(), 2**0.5 * scale.square())):
        # A chain that swings about its mean is worth more than its length; it is not trusted beyond that.
        worth = effective_sample_size(values.unsqueeze(0)).clamp(max=len(z))
        assert worth.min() > 50
        assert ((values.mean(0) - expected).abs() / spread * worth.sqrt()).max() < DEVIATIONS


def test_the_weights_do_not_move_while_they_are_held(known: LinearGaussian) -> None:
    vae, y = fixed(known), known.draw(2)
    before = {name: weight.clone() for name, weight in vae.state_dict().items()}
    svi = SVI(vae.model, AutoNormal(vae.model), pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(3):
        svi.step(y)
    assert all(torch.equal(before[name], weight) for name, weight in vae.state_dict().items())
    assert [name for name in pyro.get_param_store() if "coder" in name] == []


# --- the VAE as a module --------------------------------------------------------------------------------------------------


def test_forward_is_the_reconstruction_at_the_mean_of_the_posterior(known: LinearGaussian) -> None:
    """W m + b with m the mean of p(z|x), which this encoder returns."""
    x = known.draw(5)
    mean, _ = posterior(known, x)
    expected = (mean @ torch.tensor(known.weight).T + torch.tensor(known.bias)).reshape(x.shape)
    torch.testing.assert_close(known.vae()(x), expected, **EXACT)


@pytest.mark.parametrize(
    "options",
    [
        {"likelihood": "normal", "kind": "reals", "posterior": "flow"},
        {"likelihood": "bernoulli", "kind": "levels", "levels": 5},
        {"likelihood": "beta", "kind": "levels", "levels": 5},
        {"likelihood": "binomial", "kind": "levels", "levels": 5, "prior": "bernoulli"},
        {"likelihood": "normal", "kind": "levels", "levels": 5, "posterior": "delta"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_forward_is_what_encode_and_decode_do(options: dict[str, object]) -> None:
    vae = VAE(SHAPE, 3, network={"name": "mlp", "hidden": [7]}, **options)
    x = torch.randint(5, (4, *SHAPE)).double()
    u = torch.rand(x.shape) if vae.transform.needs_noise else None
    z = vae.posterior_density.family.mean(vae.encode(x, u=u))
    torch.testing.assert_close(vae(x, u=u), vae.decode(z), **EXACT)


def test_forward_takes_a_context() -> None:
    labels = [{"name": "class", "values": ["a", "b"]}]
    vae = VAE((4,), 3, "normal", context="label", kind="reals", labels=labels)
    x, c = torch.randn(2, 4), torch.tensor([0, 1])
    torch.testing.assert_close(vae(x, c), vae.decode(vae.encode(x, c).mean, c), **EXACT)
    with pytest.raises(UserError, match="label"):
        vae(x)


def test_forward_refuses_what_it_cannot_take() -> None:
    with pytest.raises(UserError, match="forward: the VAE has not met its data"):
        VAE((4,), 3, "normal")(torch.zeros(2, 4))
    with pytest.raises(UserError, match=r"x.*shape \(2, 5\)"):
        VAE((4,), 3, "normal", kind="reals")(torch.zeros(2, 5))


def test_hooks_see_reconstructions(known: LinearGaussian) -> None:
    vae, seen = known.vae(), []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((inputs, output))

    handle = vae.register_forward_hook(note)
    x = known.draw(2)
    y = vae(x)
    handle.remove()
    ((inputs, output),) = seen
    assert inputs[0] is x
    assert output is y


def test_the_module_can_be_mapped_and_differentiated(known: LinearGaussian) -> None:
    """Gradients of each datum in one call are those of each by itself; the derivative of W (to_mean (x - b)) + b is known."""
    vae, x = known.vae(), known.draw(3)
    weights = dict(vae.named_parameters())

    def miss(weights: dict[str, Tensor], one: Tensor) -> Tensor:
        return (functional_call(vae, weights, (one,)) - one).square().sum()

    together = vmap(grad(miss), in_dims=(None, 0))(weights, x)
    for n in range(len(x)):
        vae.zero_grad()
        (vae(x[n]) - x[n]).square().sum().backward()
        for name, weight in vae.named_parameters():
            torch.testing.assert_close(together[name][n], weight.grad, **EXACT)
    found = jacrev(vae)(x[0]).detach().reshape(SIZE, SIZE)
    torch.testing.assert_close(found, torch.tensor(known.weight @ known.to_mean), **EXACT)


# --- the page ----------------------------------------------------------------------------------------------------------------


def test_the_page_runs() -> None:
    torch.set_default_dtype(torch.float32)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 4
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/pyro.md", "exec"), namespace)
