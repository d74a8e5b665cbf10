"""Export to ArviZ: the draws are those of the posterior, the log-likelihoods those of scipy."""

from __future__ import annotations

import math
import sys

import arviz_stats
import numpy as np
import pytest
import torch
from estimates import importance
from known_models import SHAPE, SIZE, LinearGaussian, all_of, digit_vae
from scipy import special, stats
from xarray import DataTree

import pyrovae
from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec
from pyrovae.runs.exporting import to_arviz

SHIFT = 0.5


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def exported(shift: float = SHIFT, data: int = 60, **options: object) -> tuple[LinearGaussian, np.ndarray, DataTree]:
    model = LinearGaussian()
    x = model.draw(data)
    tree = to_arviz(model.vae(shift), data=all_of(x, DataSpec(SHAPE)), **options)
    return model, x.reshape(data, SIZE).numpy(), tree


def test_draws_are_of_the_posterior_and_not_of_the_guide():
    samples, data = 2000, 60
    model, x, tree = exported(samples=samples, data=data)
    z = tree["posterior"]["z"]
    assert z.dims == ("chain", "draw", "datum", "latent")
    assert z.shape == (1, samples, data, model.latents)
    e = (z.values[0] - (x - model.bias) @ model.to_mean.T) / model.posterior_scale  # standard normal if the draws are exact
    # Means of f with weights of a guide shifted by d in each of D latents: S variance = exp(D d^2) E[f^2] with e ~ N(-d, 1), the
    # resampling adds that of f at the most; f = e, e_i e_j, and e_i^2 - 1.
    inflation = math.exp(model.latents * SHIFT**2)
    of_mean = inflation * (1 + SHIFT**2) + 1
    of_product = inflation * (1 + SHIFT**2) ** 2 + 1
    of_square = inflation * (2 + 4 * SHIFT**2 + SHIFT**4) + 2
    assert np.abs(e.mean(0)).max() < 5 * math.sqrt(of_mean / samples)
    assert np.abs(e.mean((0, 1))).max() < 3 * math.sqrt(of_mean / samples / data) < SHIFT / 10
    covariance = np.einsum("sni,snj->ij", e, e) / (samples * data)
    variance = np.where(np.eye(model.latents), of_square, of_product)
    assert (np.abs(covariance - np.eye(model.latents)) < 3 * np.sqrt(variance / samples / data)).all()


def test_draws_of_bits_are_of_the_posterior_by_enumeration():
    torch.manual_seed(0)
    vae = VAE(SHAPE, 3, {"name": "normal", "scale": 0.8}, prior="bernoulli", network="linear", kind="reals")
    with torch.no_grad():
        vae.encoder.layers[0].weight.normal_(std=0.3)
        vae.decoder.layers[0].weight.normal_(std=0.7)
    samples, x = 4000, torch.randn(8, *SHAPE)
    states = torch.tensor(np.array(np.meshgrid(*[[0.0, 1.0]] * 3, indexing="ij")).reshape(3, -1).T)
    with torch.no_grad():
        mean = vae.decode(states).reshape(8, SIZE).numpy()
        p_one = special.expit(vae.posterior_params(x).squeeze(-2).numpy())
    p = special.softmax(stats.norm.logpdf(x.reshape(8, 1, SIZE).numpy(), mean, 0.8).sum(-1), 1)  # (N, states)
    q = np.where(states[None] == 1, p_one[:, None], 1 - p_one[:, None]).prod(-1)
    tree = to_arviz(vae, samples=samples, data=all_of(x, DataSpec(SHAPE)))
    drawn = (tree["posterior"]["z"].values[0] @ [4, 2, 1]).astype(int)  # (S, N): the number of the state
    for state in range(8):
        frequency, f = (drawn == state).mean(0), np.eye(8)[state]
        variance = (p**2 / q * (f - p[:, [state]]) ** 2).sum(1) + p[:, state]
        assert (np.abs(frequency - p[:, state]) < 4.5 * np.sqrt(variance / samples)).all()


@pytest.mark.parametrize("preprocess", ["none", "standardise"])
def test_log_likelihoods_are_those_of_scipy_in_the_units_of_the_data(preprocess):
    model = LinearGaussian()
    x = 3 + 2 * model.draw(9)
    vae = model.vae(SHIFT, preprocess=preprocess)
    vae.prepare(DataSpec(SHAPE), x)
    tree = to_arviz(vae, samples=30, data=all_of(x, DataSpec(SHAPE)))
    flat, z = x.reshape(9, SIZE).numpy(), tree["posterior"]["z"].values[0]
    centre, scale = (flat.mean(0), flat.std(0)) if preprocess == "standardise" else (0.0, 1.0)
    mean = centre + scale * (z @ model.weight.T + model.bias)
    expected = stats.norm.logpdf(flat, mean, scale * model.noise).sum(-1)
    np.testing.assert_allclose(tree["log_likelihood"]["x"].values[0], expected, rtol=1e-9)
    np.testing.assert_array_equal(tree["observed_data"]["x"].values, x)


def test_weights_are_those_that_are_reported():
    samples = 400
    model, x, tree = exported(samples=samples, data=20, seed=3)
    told = importance(model.vae(SHIFT), torch.tensor(x).reshape(-1, *SHAPE), samples=samples, seed=3)
    numbers, weights = tree["constant_data"], np.exp(tree["sample_stats"]["log_weight"].values)  # (S, N)
    np.testing.assert_allclose(numbers["pareto_k"], told.diagnostics["khat"], rtol=1e-9)
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-12)
    np.testing.assert_allclose(numbers["effective_sample_size"], 1 / (weights**2).sum(0), rtol=1e-12)
    # a proposal is taken S w times, rounded up or down
    taken = tree["sample_stats"]["resampled_from"].values[0]
    counts = np.stack([np.bincount(column, minlength=samples) for column in taken.T], -1)
    assert (np.abs(counts - samples * weights) < 1 + 1e-9).all()


def test_a_guide_far_off_shows():
    _, _, tree = exported(shift=4.0, data=10, samples=500)
    assert (tree["constant_data"]["pareto_k"] > 0.7).all()
    assert (tree["constant_data"]["effective_sample_size"] < 50).all()


def test_arviz_takes_it():
    _, _, tree = exported(samples=100, data=4)
    table = arviz_stats.summary(tree, var_names=["z"])
    assert len(table) == 4 * 3
    by_latent = arviz_stats.summary(tree, var_names=["z"], coords={"datum": [2]})
    z = tree["posterior"]["z"].values[0, :, 2]
    # the table is rounded to two digits
    np.testing.assert_allclose(by_latent["mean"].astype(float), z.mean(0), atol=0.006)
    assert set(arviz_stats.hdi(tree["posterior"]["z"]).dims) >= {"datum", "latent"}
    # each datum has latents of its own, which leaving it out would change much
    with pytest.warns(UserWarning, match="shape parameter of Pareto"):
        found = arviz_stats.loo(tree, pointwise=True, var_name="x")
    assert found.elpd_i.shape == (4,)


def test_one_draw_of_dequantised_levels_has_a_density():
    """log p(x|z) of one noise, where only its average over noise bounds the probability of the levels."""
    spec = DataSpec(SHAPE, kind="levels", levels=4)
    vae = VAE(SHAPE, 2, "normal", kind="levels", levels=4, network="linear")
    x = torch.randint(4, (5, *SHAPE), generator=torch.Generator().manual_seed(0))
    units = to_arviz(vae, samples=30, data=all_of(x, spec)).attrs["units"]
    assert units == "nats per datum (log density of dequantised data in the units of the levels), higher is better"


def test_what_is_drawn_for_a_datum_is_its_own():
    _, _, tree = exported(samples=60, data=30, seed=2)
    _, _, few = exported(samples=60, data=30, seed=2, limit=7)
    assert few["posterior"]["z"].sizes["datum"] == 7
    rows = few["constant_data"]["index"].values
    np.testing.assert_array_equal(few["posterior"]["datum"], rows)
    for group in ("posterior", "log_likelihood", "sample_stats"):
        for name, values in few[group].data_vars.items():
            np.testing.assert_allclose(values, tree[group][name].sel(datum=rows), rtol=1e-9)
    _, _, other = exported(samples=60, data=30, seed=5)
    assert not np.isclose(other["posterior"]["z"], tree["posterior"]["z"]).any()


def test_a_run_is_exported_with_what_it_is(digits_run):
    torch.set_default_dtype(torch.float32)
    tree = to_arviz(digits_run, samples=50, limit=3)
    assert tree.attrs["run"] == str(digits_run)
    assert tree.attrs["quantity"] == "log p(x|z)"
    assert tree.attrs["data"] == "digits"
    assert tree.attrs["units"].startswith("nats per datum")
    digits = pyrovae.load_dataset("digits")
    rows = tree["constant_data"]["index"].values
    np.testing.assert_array_equal(tree["observed_data"]["x"], digits.x[rows])


def test_a_conditional_model_says_so():
    digits = pyrovae.load_dataset("digits")
    vae = digit_vae(context="label", labels=digits.spec.labels)
    vae.initialise(digits.train.x, digits.train.y)
    tree = to_arviz(vae, samples=20, data=digits, limit=5)
    assert (tree.attrs["quantity"], tree.attrs["posterior"]) == ("log p(x|z,c)", "p(z|x,c)")
    np.testing.assert_array_equal(tree["constant_data"]["c"], digits.y[tree["constant_data"]["index"].values])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples=0"),
        ({"limit": 0}, "limit=0"),
        ({"seed": -1}, "seed=-1"),
        ({"split": "tset"}, "split='tset'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        exported(data=3, **options)


def test_a_plain_autoencoder_has_no_posterior_to_draw_from():
    digits = pyrovae.load_dataset("digits")
    with pytest.raises(UserError, match="to_arviz: the posterior delta"):
        to_arviz(digit_vae(posterior="delta"), data=digits)


def test_arviz_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(UserError, match=r"pip install 'pyrovae\[arviz\]'"):
        exported(data=3)
