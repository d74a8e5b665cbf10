"""The log-probability of many bits, which is computed in another way where no gradient is wanted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special

from pyrovae.contracts import DataSpec
from pyrovae.families.bernoulli import Bernoulli


def expected(x: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """x log p + (1 - x) log(1 - p) in float64, by scipy, summed over the event."""
    each = x * special.log_expit(logits) + (1 - x) * special.log_expit(-logits)
    return each.reshape(*each.shape[:2], -1).sum(-1)


@pytest.mark.parametrize("event", [(1,), (7,), (97,), (127,), (28, 28), (3, 11, 5)], ids=str)
@pytest.mark.parametrize("scale", [0.01, 3.0, 50.0, 1e4])
@pytest.mark.parametrize("gradients", [True, False])
def test_log_probability_is_that_of_scipy(event, scale, gradients):
    rng = np.random.default_rng(0)
    logits, x = rng.normal(0, scale, (5, 3, *event)).astype(np.float32), rng.integers(0, 2, (3, *event)).astype(np.float32)
    spec = DataSpec(event, "binary", 2)
    with torch.set_grad_enabled(gradients):
        family = Bernoulli()
        found = family.distribution(torch.tensor(logits).unsqueeze(2), spec, family.learned(spec)).log_prob(torch.tensor(x))
    truth = expected(x.astype(float), logits.astype(float))
    size = np.prod(event)
    # float32: a rounding of each element of a sum of positive terms, and with gradients of x l and log(1 + e^l) themselves
    terms = np.abs(logits).reshape(5, 3, -1).sum(-1) if gradients else np.abs(truth)
    assert (np.abs(found.numpy() - truth) <= 1e-6 * terms + 2e-7 * size + 1e-6).all()


def test_sums_without_gradients_are_exact_where_most_bits_are_certain():
    """784 pixels of logit 8 in size, of which ten are wrong: -80 nats, not the difference of two sums of 3,000."""
    logits = torch.full((1, 784), 8.0)
    x = torch.ones(784)
    x[:10] = 0
    family, spec = Bernoulli(), DataSpec((784,), "binary", 2)
    with torch.no_grad():
        found = family.distribution(logits.unsqueeze(1), spec, family.learned(spec)).log_prob(x).item()
    truth = 774 * special.log_expit(8.0) + 10 * special.log_expit(-8.0)
    assert abs(found - truth) < 2e-5
