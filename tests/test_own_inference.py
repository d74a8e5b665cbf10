"""A VAE in the hands of Pyro's own SVI: compiled objectives with any batch size, and values without a density are errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pyro
import pytest
import torch
from cases import PRIOR_CASES, PRIOR_LATENTS, Case, PriorCase, cases, encode
from pyro.infer import (
    MCMC,
    NUTS,
    SVI,
    JitTrace_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    Trace_ELBO,
)
from torch import Tensor

from pyrovae import VAE
from pyrovae.likelihoods import LIKELIHOODS, native_kind
from pyrovae.networks import NETWORKS
from pyrovae.parts import make
from pyrovae.posteriors import POSTERIORS
from pyrovae.priors import PRIORS

SHAPE = (8, 8)
FULL, REST = 8, 5
"""Data in a batch, and in the last one."""

LABELS = [{"name": "class", "values": ["a", "b"]}]


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
        torch.manual_seed(0)
        yield


# --- compiled objectives ------------------------------------------------------------------------------------------------


COMPILED = pytest.mark.filterwarnings("ignore:.torch.jit.trace. is deprecated:FutureWarning")
"""torch deprecates what Pyro compiles with."""


def likelihood_model(name: str) -> dict[str, Any]:
    kind = native_kind(make("likelihood", name))
    return {"likelihood": name, "kind": kind, "levels": 5 if kind == "levels" else None}


MODELS = {
    **{name: likelihood_model(name) for name in LIKELIHOODS},
    **{f"prior {name}": {"prior": name} for name in PRIORS},
    **{
        f"posterior {name}": {"posterior": name, "prior": {"beta": "beta", "bernoulli": "bernoulli"}.get(name, "normal")}
        for name in POSTERIORS
    },
    **{f"network {name}": {"network": name} for name in NETWORKS},
    "context label": {"context": "label", "labels": LABELS},
    "context of the prior": {"context": "label", "labels": LABELS, "prior": {"name": "normal", "context": "learned"}},
}


def model_of(options: dict[str, Any]) -> VAE:
    small = {"likelihood": "normal", "kind": "reals", "network": {"name": "mlp", "hidden": [8]}}
    return VAE(SHAPE, 3, **{**small, **options})


def batch_of(vae: VAE, count: int) -> tuple[Tensor, ...]:
    made = vae.transform.made
    y = 0.1 + 0.8 * torch.rand(count, *SHAPE) if made.kind == "reals" else torch.randint(0, 2, (count, *SHAPE)).float()
    return (y,) if vae.parts["context"].reads is None else (y, torch.arange(count) % 2)


@COMPILED
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_a_compiled_objective_takes_a_smaller_last_batch(options: dict[str, Any]) -> None:
    vae = model_of(options)
    compiled = JitTrace_ELBO(max_plate_nesting=1, ignore_jit_warnings=True)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), compiled)
    for count in (FULL, FULL, REST, 1, FULL):
        assert math.isfinite(svi.step(*batch_of(vae, count)))


@COMPILED
@pytest.mark.parametrize("model", ["bernoulli", "posterior beta", "posterior delta"])
def test_the_compiled_objective_is_the_plain_one_whatever_the_batch(model: str) -> None:
    vae, draws = model_of(MODELS[model]), 25
    compiled, plain = (
        JitTrace_ELBO(max_plate_nesting=1, ignore_jit_warnings=True),
        Trace_ELBO(max_plate_nesting=1),
    )
    for count in (FULL, REST):
        batch = batch_of(vae, count)
        losses = [
            torch.stack([objective.differentiable_loss(vae.model, vae.guide, *batch).detach() for _ in range(draws)])
            for objective in (compiled, plain)
        ]
        error = math.sqrt(sum(each.var().item() for each in losses) / draws)
        means = [each.double().mean().item() for each in losses]
        assert abs(means[0] - means[1]) <= 4 * error + 1e-5 * abs(means[1])


@COMPILED
@pytest.mark.parametrize(
    ("options", "objective"),
    [({}, JitTraceMeanField_ELBO), ({"prior": "bernoulli"}, JitTraceGraph_ELBO)],
    ids=["mean field", "score function"],
)
def test_other_compiled_objectives_take_a_smaller_last_batch(options: dict[str, Any], objective: type) -> None:
    vae = model_of(options)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), objective(max_plate_nesting=1, ignore_jit_warnings=True))
    for count in (FULL, REST, FULL):
        assert math.isfinite(svi.step(*batch_of(vae, count)))


# --- values without a density -------------------------------------------------------------------------------------------

LIKELIHOOD_CASES = cases("likelihood")
OUTSIDE = [(case, value) for case in LIKELIHOOD_CASES for value in dict.fromkeys((*case.outside, float("nan")))]


@pytest.mark.parametrize(("case", "value"), OUTSIDE, ids=str)
def test_data_without_a_density_are_an_error(case: Case, value: float) -> None:
    """One such value among others that have one, through SVI, with validation as Pyro has it by default."""
    likelihood = {"name": case.family, **case.options}
    spec = case.spec
    vae = VAE(spec.event_shape, 2, likelihood, preprocess="none", kind=spec.kind, levels=spec.levels, network="linear")
    y = torch.tensor(case.event((3,))[1], dtype=torch.float32)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    assert math.isfinite(svi.step(y))
    before = [parameter.clone() for parameter in vae.parameters()]
    y.view(-1)[4] = value
    with pytest.raises(ValueError, match=r"support|parameter loc|invalid values"):
        svi.step(y)
    assert all(torch.equal(*pair) for pair in zip(before, vae.parameters(), strict=True))


@pytest.mark.parametrize(("case", "value"), [(case, value) for case in PRIOR_CASES for value in case.outside], ids=str)
def test_latents_without_a_density_are_an_error(case: PriorCase, value: float) -> None:
    z = torch.tensor([case.values[0], value, case.values[-1]], dtype=torch.float64)
    assert len(z) == PRIOR_LATENTS
    prior = case.module()(None, encode)
    assert torch.isfinite(prior.log_prob(torch.full((PRIOR_LATENTS,), case.values[0], dtype=torch.float64)))
    with pytest.raises(ValueError, match=r"support|invalid"):
        prior.log_prob(z)


@pytest.mark.parametrize("posterior", ["normal", "full_normal", "flow"])
def test_an_encoder_that_emits_nan_is_an_error(posterior: str) -> None:
    vae = model_of({"posterior": posterior})
    with torch.no_grad():
        next(vae.encoder.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="invalid values"):
        Trace_ELBO().loss(vae.model, vae.guide, *batch_of(vae, 3))


@pytest.mark.parametrize("prior", ["beta", "uniform"])
def test_pyros_sampler_finds_the_way_into_the_unit_interval(prior: str) -> None:
    """HMC moves in the reals: the support of a prior has a transform there."""
    vae = model_of({"prior": prior})
    y = batch_of(vae, 2)[0]
    sampler = MCMC(NUTS(vae.model, max_tree_depth=2), num_samples=3, warmup_steps=2, disable_progbar=True)
    sampler.run(y)
    z = sampler.get_samples()["z"]
    assert z.shape == (3, 2, 3)
    assert ((z > 0) & (z < 1)).all()
