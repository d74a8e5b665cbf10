"""Priors against SciPy, posteriors against finite differences, and the divergence of one from the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from cases import PRIOR_CASES, Case, PriorCase, cases
from scipy import stats
from torch import Tensor
from torch.distributions import constraints, kl_divergence

from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec, Prior, PriorModule
from pyrovae.posteriors import POSTERIORS
from pyrovae.priors import PRIORS

D = 3
EVERY_PRIOR = pytest.mark.parametrize("case", PRIOR_CASES, ids=str)
EVERY_POSTERIOR = pytest.mark.parametrize("case", cases("posterior"), ids=str)
DRAWS = 20_000


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def prior_of(case: PriorCase) -> PriorModule:
    return case.part.build(DataSpec((D,)), 0).double()


class UnitPriorModule(PriorModule):
    """Uniform on the unit interval."""

    support = constraints.unit_interval

    def forward(self, embedding: Tensor | None) -> dist.Distribution:
        return dist.Uniform(torch.zeros(D), torch.ones(D)).to_event(1)


@dataclass(frozen=True, kw_only=True)
class UnitPrior(Prior):
    """A prior for which there is no posterior in the table."""

    natural_posterior = "normal"

    def build(self, spec: DataSpec, embedding_dim: int) -> UnitPriorModule:
        return UnitPriorModule()


# --- priors -----------------------------------------------------------------------------------------------------------


@EVERY_PRIOR
def test_log_density_of_a_prior_is_scipys(case: PriorCase) -> None:
    z = 2 * torch.randn(7, D, dtype=torch.float64)
    prior = prior_of(case)(None)
    assert (prior.batch_shape, prior.event_shape) == ((), (D,))
    # A handful of roundings of numbers below 100.
    np.testing.assert_allclose(prior.log_prob(z), case.log_density(z.numpy()), rtol=0, atol=100 * 8 * 2.3e-16)


@EVERY_PRIOR
def test_samples_of_a_prior_have_its_distribution(case: PriorCase) -> None:
    z = prior_of(case)(None).sample((DRAWS,)).numpy()
    distances = [stats.kstest(element, case.cdf).statistic for element in z.T]
    # Kolmogorov: the distance exceeds 2 / sqrt(n) with a probability of 2 exp(-8) = 7e-4.
    assert max(distances) <= 2 / math.sqrt(DRAWS)


@EVERY_PRIOR
def test_supports_of_a_prior_and_its_natural_posterior_agree(case: PriorCase) -> None:
    assert case.part.natural_posterior in POSTERIORS
    vae = VAE((4,), D, prior={"name": case.prior, **case.options})
    z_prior, z_posterior = vae.prior().sample((50,)), vae.posterior(torch.ones(50, 4)).sample()
    assert vae.prior_module.support.check(z_posterior).all()
    assert vae.posterior_density.support.check(z_prior).all()


def test_other_supports_are_refused_with_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRIORS, "unit", UnitPrior)
    with pytest.raises(UserError, match=r"--posterior normal.*--prior unit"):
        VAE((4,), D, prior="unit", posterior="normal")


# --- posteriors -------------------------------------------------------------------------------------------------------


@EVERY_POSTERIOR
def test_gradient_of_a_sample_is_that_of_finite_differences(case: Case) -> None:
    density = case.density(event_shape=(D,))
    params = torch.randn(2, *density.params_shape, dtype=torch.float64, requires_grad=True)

    def sample(params: Tensor) -> Tensor:
        torch.manual_seed(1)
        return density(params).rsample()

    assert case.part.reparametrised
    assert torch.autograd.gradcheck(sample, params)


@EVERY_POSTERIOR
def test_an_encoder_near_0_starts_near_a_standard_normal(case: Case) -> None:
    q = case.density(event_shape=(D,))(torch.zeros(2, D, dtype=torch.float64))
    assert torch.equal(q.mean, torch.zeros(D, dtype=torch.float64))
    assert torch.equal(q.stddev, torch.ones(D, dtype=torch.float64))


def test_divergence_of_the_normal_posterior_from_the_prior() -> None:
    prior = VAE((4,), D).double().prior()
    density = VAE((4,), D).posterior_density
    q = density(torch.randn(5, *density.params_shape, dtype=torch.float64))
    mean, scale = q.mean, q.stddev
    closed = 0.5 * (mean**2 + scale**2 - 1).sum(-1) - scale.log().sum(-1)
    # Sums of D terms below 100.
    torch.testing.assert_close(kl_divergence(q, prior), closed, rtol=0.0, atol=100 * 8 * D * 2.3e-16)
    z = q.sample((DRAWS,))
    difference = q.log_prob(z) - prior.log_prob(z)
    assert ((difference.mean(0) - closed).abs() <= 3 * difference.std(0) / math.sqrt(DRAWS)).all()
