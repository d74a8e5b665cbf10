"""The same numbers on a GPU; these tests need one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from estimates import annealed, bdmc, elbo, exact, importance
from known_models import LinearGaussian, digit_vae

import pyrovae
from pyrovae import VAE
from pyrovae.contracts import Evidence
from pyrovae.evidence.decomposition import decompose

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

MODELS = {
    "bernoulli": {},
    "bits": {"prior": "bernoulli"},
    "beta latents": {"prior": "beta"},
    "vamp": {"prior": {"name": "vamp", "components": 5}},
    "flow": {"prior": "flow", "posterior": "flow"},
    "dequantised": {"likelihood": "normal"},
}


@pytest.fixture(params=MODELS)
def vae(request) -> VAE:
    return digit_vae(**MODELS[request.param]).double()


def both(vae: VAE, estimator, **options: object) -> tuple[Evidence, Evidence]:
    x = pyrovae.load_dataset("digits").x[:6]
    here = estimator(vae.cpu(), x, **options)
    return here, estimator(vae.cuda(), x, **options)


@pytest.mark.parametrize("proposal", ["guide", "prior", "widened"])
def test_importance_does_not_depend_on_the_device(vae, proposal):
    here, there = both(vae, importance, samples=120, proposal=proposal)
    assert there.estimate.device.type == "cpu"
    for name, values in here.diagnostics.items():
        # float64, and noise that is drawn on the CPU: sums in another order
        np.testing.assert_allclose(there.diagnostics[name], values, rtol=1e-7, atol=1e-8, err_msg=name)


def test_the_elbo_and_its_parts_do_not_depend_on_the_device(vae):
    here, there = both(vae, elbo, samples=60)
    np.testing.assert_allclose(there.estimate, here.estimate, rtol=1e-9)
    x = pyrovae.load_dataset("digits").x[:6]
    first, second = (decompose(vae.to(device), x).summary() for device in ("cpu", "cuda"))
    assert second["mutual_information"]["mean"] == pytest.approx(first["mutual_information"]["mean"], rel=1e-6)


def test_annealing_does_not_depend_on_the_device(vae):
    here, there = both(vae, annealed, temperatures=5, chains=3, leapfrog=2)
    # few and short trajectories: float64 rounding is not yet magnified
    np.testing.assert_allclose(there.estimate, here.estimate, rtol=1e-6)
    gaps = [bdmc(vae.to(device), data=3, temperatures=4, chains=2, leapfrog=2).gap for device in ("cpu", "cuda")]
    np.testing.assert_allclose(gaps[1], gaps[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parts", [{"latents": 1}, {"latents": 3}], ids=str)
def test_the_exact_evidence_does_not_depend_on_the_device(parts):
    model = LinearGaussian(**parts)
    x = model.draw(5)
    np.testing.assert_allclose(exact(model.vae().cuda(), x).estimate, model.log_density(x), rtol=1e-5)


def test_float32_convolutions_and_products_are_not_rounded_to_ten_bits():
    digits = pyrovae.load_dataset("digits")
    torch.manual_seed(0)
    vae = VAE((8, 8), 3, "bernoulli", network={"name": "conv", "channels": [4, 8]}, kind="levels", levels=17)
    found = importance(vae.cuda(), digits.x[:6], samples=60)
    exactly = importance(vae.double(), digits.x[:6], samples=60)
    # 64 elements of a few nats each: 1e-4 is ten times float32's rounding, and a hundredth of what ten bits would leave
    np.testing.assert_allclose(found.estimate, exactly.estimate, rtol=0, atol=1e-4)
