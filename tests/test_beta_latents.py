"""Beta latents: importance weights integrate to the prior's mass wherever an encoder may end up, however saturated."""

from __future__ import annotations

import math

import pytest
import torch

from pyrovae.contracts import DataSpec
from pyrovae.parts import make

DRAWS = 200_000


@pytest.mark.parametrize(
    "prior", ["uniform", {"name": "beta", "concentration1": 0.5, "concentration0": 2.0}], ids=["uniform", "beta"]
)
@pytest.mark.parametrize("raw", [(0.0, 0.0), (3.0, 1.0), (-6.0, -10.0), (-12.0, -60.0), (12.0, -60.0), (0.0, -60.0)], ids=str)
def test_weights_of_a_posterior_have_the_mean_1(raw: tuple[float, float], prior: object) -> None:
    latent = DataSpec((1,))
    p = make("prior", prior).build(latent, latent, 0)(None, None)
    q = make("posterior", "beta").build(latent)(torch.tensor(raw).unsqueeze(-1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = q.sample((DRAWS,))
    weights = (p.log_prob(z) - q.log_prob(z)).double().exp()
    assert abs(weights.mean() - 1) <= 4 * weights.std() / math.sqrt(DRAWS)


def test_an_encoder_at_its_bounds_keeps_samples_that_float32_can_tell_apart() -> None:
    q = make("posterior", "beta").build(DataSpec((1,)))(torch.tensor([[-1000.0], [-1000.0]]))
    # Beta(1/2, 1/2): 1.6e-4 of it lies within 6e-8 of 0; four standard errors of so rare an event.
    share = (q.sample((DRAWS,)) <= torch.finfo(torch.float32).eps).double().mean()
    expected = 2 / math.pi * math.asin(math.sqrt(torch.finfo(torch.float32).eps))
    assert abs(share - expected) <= 4 * math.sqrt(expected / DRAWS)
