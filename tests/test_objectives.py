"""The losses that are minimised: values and gradients by hand under the same noise, and the weight of the KL term."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO
from scipy import special
from torch.distributions import Beta, Uniform, kl_divergence

import pyrovae
from pyrovae import VAE, Dataset, UserError, fit
from pyrovae.contracts import DataSpec, Objective
from pyrovae.engines import Eager
from pyrovae.objectives import AnalyticElbo, Elbo, Iwae, KLSchedule, natural_objective, weight_latents
from pyrovae.parts import make
from pyrovae.posteriors import POSTERIORS

SHAPE = (2, 3)
LATENTS = 2
BATCH = 7
# float64 throughout: a few hundred operations on numbers of order 10, each good to 1e-16 relative
EXACT = {"rtol": 1e-11, "atol": 1e-11}
WEIGHTS = [0.0, 0.3, 1.0, 4.0]


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    with pyro.get_param_store().scope():
        yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=["bernoulli", "binomial", "normal"])
def case(request) -> tuple[VAE, torch.Tensor]:
    kinds = {"bernoulli": ("binary", None), "binomial": ("levels", 5), "normal": ("reals", None)}
    kind, levels = kinds[request.param]
    torch.manual_seed(3)
    network = {"name": "mlp", "hidden": [6], "activation": "tanh"}
    vae = VAE(SHAPE, LATENTS, request.param, network=network, kind=kind, levels=levels)
    y = {"binary": torch.arange(42) % 2, "levels": torch.arange(42) % 5, "reals": torch.linspace(-2, 2, 42)}[kind]
    return vae, y.double().reshape(BATCH, *SHAPE)


def engine(vae: VAE, particles: int = 1, objective: Objective | None = None) -> Eager:
    """An engine that leaves the weights as they are and their gradients to be read; the objective ``elbo``."""
    still = torch.optim.SGD(vae.parameters(), lr=0.0)
    return Eager(vae, (objective or Elbo()).build(particles), still, clip_norm=0.0)


def by_hand(vae: VAE, y: torch.Tensor, seed: int, particles: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """E_q[log p(y|z)] and KL, each a mean over particles and data, by z = mean + scale noise; differentiable."""
    torch.manual_seed(seed)
    noise = torch.randn(*([particles] if particles > 1 else []), BATCH, LATENTS)
    mean, raw = vae.posterior_params(y).unbind(-2)
    log_scale = 8 * torch.tanh(raw / 8)
    z = mean + log_scale.exp() * noise
    log_q = (-(noise**2) / 2 - log_scale - math.log(2 * math.pi) / 2).sum(-1)
    log_p = (-(z**2) / 2 - math.log(2 * math.pi) / 2).sum(-1)
    return log_likelihood(vae, y, z).mean(), (log_q - log_p).mean()


def log_likelihood(vae: VAE, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """The likelihoods' formulas, written out."""
    out = vae.decoder(z).squeeze(-3)
    softplus = torch.logaddexp(out, torch.zeros_like(out))
    if vae.spec.kind == "reals":
        log_scale = 8 * torch.tanh(5 * vae.likelihood_density.learned.raw_scale / 8)
        elements = -(((y - out) / log_scale.exp()) ** 2) / 2 - log_scale - math.log(2 * math.pi) / 2
    elif vae.spec.kind == "levels":
        choose = torch.tensor([math.log(math.comb(4, int(k))) for k in y.flatten()]).reshape(y.shape)
        elements = choose + y * out - 4 * softplus
    else:
        elements = y * out - softplus
    return elements.sum((-1, -2))


def gradients(vae: VAE) -> dict[str, torch.Tensor]:
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in vae.named_parameters()}


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_engine_loss_and_gradient_are_those_by_hand(case, weight, particles):
    vae, y = case
    torch.manual_seed(11)
    loss = engine(vae, particles).step(y, None, weight)
    found = gradients(vae)

    vae.zero_grad()
    reconstruction, kl = by_hand(vae, y, 11, particles)
    expected = -reconstruction + weight * kl
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), **EXACT)
    for name, gradient in gradients(vae).items():
        torch.testing.assert_close(found[name], gradient, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("weight", WEIGHTS)
def test_weight_scales_the_kl_part_of_pyros_loss_and_nothing_else(case, weight):
    vae, y = case
    torch.manual_seed(4)
    guide = poutine.trace(vae.guide).get_trace(y)
    model = poutine.trace(poutine.replay(vae.model, guide)).get_trace(y)
    model.compute_log_prob()
    guide.compute_log_prob()
    reconstruction = model.nodes["x"]["log_prob_sum"]
    kl = guide.nodes["z"]["log_prob_sum"] - model.nodes["z"]["log_prob_sum"]

    torch.manual_seed(4)
    with weight_latents(weight):
        loss = Trace_ELBO(max_plate_nesting=1).differentiable_loss(vae.model, vae.guide, y)
    torch.testing.assert_close(loss, weight * kl - reconstruction, **EXACT)


def test_without_kl_weight_a_decoder_that_ignores_z_teaches_the_encoder_nothing(case):
    vae, y = case
    with torch.no_grad():
        vae.decoder.layers[0].weight.zero_()
    torch.manual_seed(0)
    engine(vae).step(y, None, 0.0)
    found = gradients(vae)
    encoder = {name: gradient for name, gradient in found.items() if name.startswith("encoder")}
    assert encoder
    assert all((gradient == 0).all() for gradient in encoder.values())
    assert any((gradient != 0).any() for name, gradient in found.items() if name.startswith("decoder"))


def test_particles_change_the_noise_of_the_loss_and_not_its_mean(case):
    vae, y = case
    torch.manual_seed(0)
    one = np.array([engine(vae, 1).step(y, None, 1.0).item() for _ in range(150)])
    ten = np.array([engine(vae, 10).step(y, None, 1.0).item() for _ in range(150)])
    error = math.sqrt((one.var(ddof=1) + ten.var(ddof=1)) / 150)
    assert abs(one.mean() - ten.mean()) < 4 * error
    # a ratio of two sample variances of 150 nearly normal losses: standard error of its log sqrt(4 / 150) = 0.16
    assert abs(math.log(one.var() / ten.var() / 10)) < 0.65


def test_weight_latents_leaves_observed_sites_and_the_next_trace_alone(case):
    vae, y = case
    z = torch.zeros(BATCH, LATENTS)
    model = poutine.condition(vae.model, {"z": z})

    def log_prob_sum() -> float:
        return poutine.trace(model).get_trace(y).log_prob_sum().item()

    before = log_prob_sum()
    with weight_latents(0.25):
        assert log_prob_sum() == before  # conditioned on, z is observed
    assert log_prob_sum() == before


# --- the importance-weighted bound ------------------------------------------------------------------------------------------


def small_vae(prior: str | dict = "normal", posterior: str | dict | None = None, **options: object) -> VAE:
    torch.manual_seed(3)
    network = {"name": "mlp", "hidden": [6], "activation": "tanh"}
    return VAE(SHAPE, LATENTS, "bernoulli", prior=prior, posterior=posterior, network=network, kind="binary", **options)


def bits() -> torch.Tensor:
    return (torch.arange(42) % 2).double().reshape(BATCH, *SHAPE)


PATHWISE = [
    ("normal", "normal"),
    ("normal", "full_normal"),
    ("normal", "flow"),
    ("uniform", "beta"),
    ("mixture", "normal"),
    ({"name": "vamp", "components": 3}, "normal"),
]


@pytest.mark.parametrize(("prior", "posterior"), PATHWISE, ids=str)
@pytest.mark.parametrize("particles", [2, 5])
def test_iwae_is_pyros_with_its_gradient(prior, posterior, particles):
    vae, y = small_vae(prior, posterior), bits()
    torch.manual_seed(8)
    loss = engine(vae, particles, Iwae()).step(y, None, 1.0)
    found = gradients(vae)

    vae.zero_grad()
    torch.manual_seed(8)
    theirs = RenyiELBO(alpha=0, num_particles=particles, max_plate_nesting=1, vectorize_particles=True)
    expected = theirs.loss_and_grads(vae.model, vae.guide, y)
    assert loss.item() == pytest.approx(expected / BATCH, rel=1e-11)
    for name, gradient in gradients(vae).items():
        torch.testing.assert_close(found[name], gradient / BATCH, **EXACT, msg=lambda text, name=name: f"{name}: {text}")
    assert all((gradient != 0).any() for name, gradient in found.items() if name.startswith(("encoder", "decoder")))


@pytest.mark.parametrize("particles", [2, 5])
def test_the_bound_of_a_batch_is_the_sum_of_those_of_its_data(case, particles):
    vae, y = case
    torch.manual_seed(5)
    loss = engine(vae, particles, Iwae()).step(y, None, 1.0)
    torch.manual_seed(5)
    noise = torch.randn(particles, BATCH, LATENTS)
    bounds = []
    with torch.no_grad():
        mean, raw = vae.posterior_params(y).unbind(-2)
        z = mean + torch.exp(8 * torch.tanh(raw / 8)) * noise
        log_q = (-(noise**2) / 2 - 8 * torch.tanh(raw / 8) - math.log(2 * math.pi) / 2).sum(-1)
        log_p = (-(z**2) / 2 - math.log(2 * math.pi) / 2).sum(-1)
        log_weights = (log_likelihood(vae, y, z) + log_p - log_q).numpy()
    bounds = [special.logsumexp(log_weights[:, datum]) - math.log(particles) for datum in range(BATCH)]
    assert loss.item() == pytest.approx(-np.mean(bounds), rel=1e-11)
    of_batch = special.logsumexp(log_weights.sum(1)) - math.log(particles)  # the weight of all data together: another number
    assert abs(of_batch - np.sum(bounds)) > 1e-3


def test_more_particles_are_a_higher_bound():
    vae, y = small_vae(), bits()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.mul_(2)  # a posterior far from exact, so that there is something to gain
    torch.manual_seed(0)
    losses = {k: np.array([engine(vae, k, Iwae()).step(y, None, 1.0).item() for _ in range(100)]) for k in (2, 20)}
    error = math.sqrt(sum(found.var(ddof=1) for found in losses.values()) / 100)
    assert losses[2].mean() - losses[20].mean() > 4 * error


# --- the divergence in closed form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_analytic_elbo_has_the_divergence_in_closed_form(case, weight, particles):
    vae, y = case
    torch.manual_seed(11)
    loss = engine(vae, particles, AnalyticElbo()).step(y, None, weight)
    found = gradients(vae)

    vae.zero_grad()
    reconstruction, _ = by_hand(vae, y, 11, particles)
    mean, raw = vae.posterior_params(y).unbind(-2)
    log_scale = 8 * torch.tanh(raw / 8)
    kl = ((mean**2 + torch.exp(2 * log_scale) - 1) / 2 - log_scale).sum(-1).mean()
    expected = -reconstruction + weight * kl
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), **EXACT)
    for name, gradient in gradients(vae).items():
        torch.testing.assert_close(found[name], gradient, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


def test_analytic_elbo_of_beta_and_uniform():
    """Without a decoder that uses z nothing is left to chance: the loss is the constant likelihood and the divergence."""
    vae, y = small_vae("uniform"), bits()
    with torch.no_grad():
        for parameter in vae.decoder.parameters():
            parameter.zero_()
    loss = engine(vae, 1, AnalyticElbo()).step(y, None, 1.0)
    raw_mean, raw_concentration = vae.posterior_params(y).detach().unbind(-2)
    mean, concentration = 1e-4 + (1 - 2e-4) * torch.sigmoid(raw_mean), 2 * torch.exp(8 * torch.tanh(raw_concentration / 8))
    one, zero = 0.5 + 0.5 * mean * concentration, 0.5 + 0.5 * (1 - mean) * concentration
    kl = kl_divergence(Beta(one, zero), Uniform(0.0, 1.0)).sum(-1).mean()
    assert loss.item() == pytest.approx(6 * math.log(2) + kl.item(), rel=1e-10)


@pytest.mark.parametrize("prior", ["normal", "laplace", "uniform", {"name": "beta", "concentration1": 2.0}], ids=str)
def test_analytic_and_sampled_elbo_agree_on_average(prior):
    vae, y = small_vae(prior), bits()
    with torch.no_grad():
        for parameter in vae.encoder.parameters():
            parameter.mul_(3)  # far from the prior
    torch.manual_seed(0)
    sampled, analytic = (
        np.array([engine(vae, 20, objective).step(y, None, 1.0).item() for _ in range(60)])
        for objective in (Elbo(), AnalyticElbo())
    )
    error = math.sqrt((sampled.var(ddof=1) + analytic.var(ddof=1)) / 60)
    assert abs(sampled.mean() - analytic.mean()) < 4 * error


# --- which objective fits which model -----------------------------------------------------------------------------------------

MISFITS = [
    (
        "elbo-analytic",
        {"posterior": "full_normal"},
        {},
        r"objective='elbo-analytic': .*no closed form; use objective='elbo' or 'iwae'$",
    ),
    ("elbo-analytic", {"posterior": "flow"}, {}, r"objective='elbo-analytic': .*no closed form; use objective='elbo' or 'iwae'$"),
    ("elbo-analytic", {"prior": "mixture"}, {}, r"objective='elbo-analytic': .*no closed form; use objective='elbo' or 'iwae'$"),
    ("elbo-analytic", {"prior": "vamp"}, {}, r"objective='elbo-analytic': .*no closed form; use objective='elbo' or 'iwae'$"),
    ("elbo-analytic", {"prior": "flow"}, {}, r"objective='elbo-analytic': .*no closed form; use objective='elbo' or 'iwae'$"),
    (
        "elbo-analytic",
        {"prior": "bernoulli"},
        {},
        r"objective='elbo-analytic': .*wrong gradient.*use objective='tracegraph' or 'elbo'$",
    ),
    (
        "iwae",
        {"prior": "bernoulli"},
        {"particles": 5},
        r"objective='iwae': .*wrong gradient.*use objective='tracegraph' or 'elbo'$",
    ),
    ("elbo-analytic", {"posterior": "delta"}, {}, r"objective='elbo-analytic': a point posterior.*use objective='elbo' "),
    ("iwae", {"posterior": "delta"}, {"particles": 5}, r"objective='iwae': a point posterior.*use objective='elbo' "),
    ("iwae", {}, {}, r"particles=1: .*give particles=2 or more$"),
    ("iwae", {}, {"particles": 5, "kl_weight": 0.5}, r"^kl_weight=0\.5: objective='iwae' .*use objective='elbo'$"),
    ("iwae", {}, {"particles": 5, "kl_warmup": 3.0}, r"^kl_warmup=3\.0: objective='iwae' .*use objective='elbo'$"),
    ("tracegraph", {}, {}, r"objective='tracegraph': .*use objective='elbo', 'elbo-analytic' or 'iwae'$"),
    ("tracegraph", {"posterior": "delta"}, {}, r"objective='tracegraph': "),
]


@pytest.mark.parametrize(("objective", "parts", "options", "message"), MISFITS, ids=lambda value: str(value)[:40])
def test_an_objective_that_does_not_fit_is_refused_in_one_line(tmp_path, objective, parts, options, message):
    vae = small_vae(**parts)
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    with pytest.raises(UserError, match=message) as caught:
        fit(vae, toy_data(), objective=objective, device="cpu", progress=False, **options)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in vae.state_dict().items())
    with pytest.raises(UserError, match=message):
        pyrovae.train(**parts, objective=objective, latent_dim=2, **options, progress=False, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


FITTING = [
    ("elbo", "normal", None),
    ("elbo", "normal", "delta"),
    ("elbo", "bernoulli", None),
    ("elbo-analytic", "normal", None),
    ("elbo-analytic", "laplace", "normal"),
    ("elbo-analytic", "uniform", None),
    ("iwae", "vamp", None),
    ("iwae", "flow", "flow"),
    ("iwae", "beta", None),
    ("tracegraph", "bernoulli", None),
]


@pytest.mark.parametrize(("objective", "prior", "posterior"), FITTING)
def test_an_objective_that_fits_trains(objective, prior, posterior):
    vae = small_vae(prior, posterior)
    before = {name: parameter.detach().clone() for name, parameter in vae.named_parameters()}
    fit(vae, toy_data(), objective=objective, particles=2, epochs=2, batch_size=4, device="cpu", progress=False)
    baseline = objective == "elbo"  # that one has no use for it
    still = {name for name, parameter in vae.named_parameters() if torch.equal(parameter, before[name])}
    assert {name for name in still if not (baseline and name.startswith("baseline"))} == set()


def test_the_natural_objective_is_tracegraph_where_there_is_no_pathwise_gradient():
    found = {name: natural_objective(make("posterior", name)) for name in POSTERIORS}
    assert found == {name: "tracegraph" if name == "bernoulli" else "elbo" for name in POSTERIORS}


# --- the schedule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("warmup", [0.5, 3.0])
def test_warmup_is_a_ramp(weight, warmup):
    schedule = KLSchedule(weight=weight, warmup=warmup)
    epochs = np.linspace(0, 2 * warmup, 41)
    np.testing.assert_allclose([schedule.at(e) for e in epochs], np.interp(epochs, [0, warmup], [0, weight]), rtol=1e-14)


@pytest.mark.parametrize("epochs", [0.0, 0.1, 7.0])
def test_without_warmup_the_weight_is_there_at_once(epochs):
    assert KLSchedule(weight=0.7).at(epochs) == 0.7
    assert KLSchedule().at(epochs) == 1.0


@pytest.mark.parametrize(("option", "flag"), [("weight", "kl_weight"), ("warmup", "kl_warmup")])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "1", True])
def test_schedule_refuses_what_is_no_weight(option, flag, value):
    with pytest.raises(UserError, match=flag):
        KLSchedule(**{option: value})


def toy_data(count: int = 10) -> Dataset:
    x = (torch.arange(count * 6).reshape(count, *SHAPE) % 2).to(torch.uint8)
    none = torch.arange(0)
    return Dataset("toy", DataSpec(SHAPE, "binary", 2), x, None, {"train": torch.arange(count), "valid": none, "test": none})


def test_fit_raises_the_weight_a_step_at_a_time(monkeypatch):
    seen = []
    step = Eager.step

    def recorded(self, y, c, kl_weight):
        seen.append(kl_weight)
        return step(self, y, c, kl_weight)

    monkeypatch.setattr(Eager, "step", recorded)
    vae = VAE(SHAPE, LATENTS, network="linear", kind="binary")
    result = fit(vae, toy_data(), epochs=4, batch_size=4, kl_weight=2.0, kl_warmup=2.5, device="cpu", progress=False)
    # three steps per epoch; the weight of a step is that at its end
    np.testing.assert_allclose(seen, [2.0 * min(1.0, (step + 1) / 3 / 2.5) for step in range(12)], rtol=1e-12)
    np.testing.assert_allclose([row["kl_weight"] for row in result.history], [0.8, 1.6, 2.0, 2.0], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "message"), [("elob", r"^objective='elob': unknown; did you mean elbo\?"), (3, r"^objective=3: ")]
)
def test_unknown_objective(name, message):
    vae = VAE(SHAPE, LATENTS, network="linear", kind="binary")
    with pytest.raises(UserError, match=message):
        fit(vae, toy_data(), objective=name, device="cpu", progress=False)
