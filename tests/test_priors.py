"""Every prior against SciPy, integrals that must be 1 and samples; what the context moves; what is refused."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from cases import ENCODED, ENCODER, ENCODER_SCALE, PRIOR_CASES, PRIOR_LATENTS, PriorCase, encode
from pyro.infer import Trace_ELBO
from scipy import special, stats
from torch import Tensor

from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec, PriorModule
from pyrovae.parts import defaults, make
from pyrovae.posteriors import POSTERIORS
from pyrovae.priors import PRIORS
from pyrovae.priors.uniform import OpenUniform

C = 4
DRAWS = 20_000
EVERY = pytest.mark.parametrize("case", PRIOR_CASES, ids=str)
CONTEXTUAL = pytest.mark.parametrize("case", [c for c in PRIOR_CASES if "context" in defaults("prior", c.prior)], ids=str)
BY_FAMILY = pytest.mark.parametrize("case", [c for c in PRIOR_CASES if c.conditional is not None], ids=str)
TRANSFORMS = pytest.mark.parametrize("transform", ["affine", "spline"])


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def built(prior: str, embedding_dim: int = 0, latents: int = PRIOR_LATENTS, **options: object) -> PriorModule:
    part = make("prior", {"name": prior, **options})
    return part.build(DataSpec((latents,)), DataSpec((ENCODED,)), embedding_dim).double()


def learned(case: PriorCase) -> PriorModule:
    return built(case.prior, C, **{**case.options, "context": "learned"})


def trained(case: PriorCase, context: str) -> PriorModule | None:
    """The row's prior with that choice of context; None where it has no such choice or no parameters."""
    if "context" not in defaults("prior", case.prior):
        return None
    module = built(case.prior, C, **{**case.options, "context": context})
    return module if list(module.parameters()) else None


def randomised(module: PriorModule, scale: float = 0.5) -> PriorModule:
    for parameter in module.parameters():
        parameter.data += scale * torch.randn_like(parameter)
    return module


def points(case: PriorCase) -> Tensor:
    """Every triple of the row's values."""
    return torch.tensor(list(itertools.product(case.values, repeat=PRIOR_LATENTS)), dtype=torch.float64)


# --- densities and samples --------------------------------------------------------------------------------------------


@EVERY
def test_log_density_is_scipys(case: PriorCase) -> None:
    z = points(case)
    prior = case.module()(None, encode)
    assert (prior.batch_shape, prior.event_shape) == ((), (PRIOR_LATENTS,))
    expected = case.log_density(z.numpy())
    # A handful of roundings of terms that add up to the result.
    tolerance = case.tolerance + 1e-13 * (1 + np.abs(expected))
    assert (np.abs(prior.log_prob(z).detach().numpy() - expected) <= tolerance).all()


@EVERY
def test_samples_have_its_distribution(case: PriorCase) -> None:
    module = case.module()
    z = module(None, encode).expand((DRAWS,)).sample()
    assert z.dtype == torch.float64
    assert module.support.check(z).all()
    probability = case.cdf(z.numpy())
    for element, below in zip(z.numpy().T, probability.T, strict=True):
        _, first, count = np.unique(element, return_index=True, return_counts=True)
        empirical = count.cumsum() / DRAWS
        # Dvoretzky, Kiefer and Wolfowitz: the distance exceeds 2 / sqrt(n) with a probability of at most 2 exp(-8) = 7e-4.
        assert np.abs(empirical - below[first]).max() <= 2 / math.sqrt(DRAWS) + case.tolerance


@EVERY
def test_batches_of_latents_broadcast(case: PriorCase) -> None:
    z = points(case).repeat(2, 1)[:10].reshape(5, 2, PRIOR_LATENTS)
    prior = case.module()(None, encode)
    one_by_one = torch.stack([prior.log_prob(each) for each in z.flatten(0, 1)]).reshape(5, 2)
    torch.testing.assert_close(prior.log_prob(z), one_by_one, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(prior.expand((5, 2)).log_prob(z), one_by_one, rtol=1e-12, atol=1e-12)
    assert prior.expand((5, 2)).sample((7,)).shape == (7, 5, 2, PRIOR_LATENTS)


@EVERY
def test_values_outside_the_support_are_known(case: PriorCase) -> None:
    support = case.module().support
    assert support.check(torch.tensor(case.values)).all()
    assert not support.check(torch.tensor(case.outside)).any()


def test_samples_of_a_uniform_are_never_its_ends() -> None:
    # Half precision has 2048 numbers to draw from, so 0 is among 100,000 draws of torch's uniform.
    ends = torch.zeros(100_000, dtype=torch.float16), torch.ones(100_000, dtype=torch.float16)
    assert (dist.Uniform(*ends).sample() == 0).any()
    z = OpenUniform(*ends).sample()
    assert ((z > 0) & (z < 1)).all()


def test_mean_and_variance_of_a_mixture() -> None:
    case = next(case for case in PRIOR_CASES if case.prior == "mixture")
    prior = case.module()(None, encode)
    z = prior.sample((DRAWS,))
    assert ((z.mean(0) - prior.mean).abs() <= 4 * z.std(0) / math.sqrt(DRAWS)).all()
    kurtosis = (((z - z.mean(0)) / z.std(0)) ** 4).mean(0)
    assert ((z.var(0) / prior.variance - 1).abs() <= 4 * ((kurtosis - 1) / DRAWS).sqrt()).all()


def test_a_mixture_is_finite_far_from_its_components() -> None:
    z = torch.tensor([[1e4, -1e4, 1e4]])
    module = built("mixture").float()
    log_prob = module(None, encode).log_prob(z)
    log_prob.sum().backward()
    assert torch.isfinite(log_prob).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


@pytest.mark.parametrize("name", ["mixture", "vamp"])
def test_components_start_apart(name: str) -> None:
    module = built(name, components=20)
    starts = module.params[:, 0] if name == "mixture" else module.inputs
    assert len(starts.unique(dim=0)) == 20


# --- flows ------------------------------------------------------------------------------------------------------------


def grid(low: float, high: float, count: int) -> tuple[Tensor, float]:
    """The middles of equal cells, and their width."""
    width = (high - low) / count
    return low + width * (torch.arange(count, dtype=torch.float64) + 0.5), width


def plane(module: PriorModule, side: int = 400, reach: float = 200.0) -> tuple[Tensor, Tensor]:
    """Middles of the cells of sinh(t), t equidistant, and the probability of each cell, (side, side)."""
    t, width = grid(-math.asinh(reach), math.asinh(reach), side)
    z = torch.cartesian_prod(t.sinh(), t.sinh())
    weight = torch.cartesian_prod(t.cosh(), t.cosh()).prod(-1) * width**2
    with torch.no_grad():
        probability = module(None, encode).log_prob(z).exp() * weight
    return t.sinh(), probability.reshape(side, side)


@TRANSFORMS
@pytest.mark.parametrize("layers", [1, 2])
def test_a_flow_integrates_to_1_and_its_samples_agree(transform: str, layers: int) -> None:
    # Parameters so small that the density neither leaves the grid nor is steeper than its cells.
    module = randomised(built("flow", latents=2, transform=transform, layers=layers, hidden=8), 0.2)
    middles, probability = plane(module)
    assert abs(probability.sum() - 1) < 1e-3
    z = module(None, encode).sample((DRAWS,))
    edges = (middles[1:] + middles[:-1]) / 2
    for d in range(2):
        below = probability.sum(1 - d).cumsum(0)[:-1]
        empirical = (z[:, d, None] <= edges).double().mean(0)
        assert (empirical - below).abs().max() <= 2 / math.sqrt(DRAWS) + 1e-3
    together = (z[:, :, None] <= torch.tensor([0.0, 0.5])[None, :, None]).all(1).double().mean(0)
    quadrant = probability[middles <= 0.0][:, middles <= 0.5].sum()
    assert abs(together.item() - quadrant) <= 2 / math.sqrt(DRAWS) + 0.02  # cells that the corner cuts


@TRANSFORMS
@pytest.mark.parametrize("embedding_dim", [0, C])
def test_a_flow_is_a_change_of_variables(transform: str, embedding_dim: int) -> None:
    """Each layer's Jacobian is triangular in the order of its latents, its diagonal is positive and gives the density."""
    options = {"context": "learned"} if embedding_dim else {}
    module = randomised(built("flow", embedding_dim, transform=transform, **options))
    embedding = torch.randn(embedding_dim, dtype=torch.float64) if embedding_dim else None
    prior = module(embedding, encode)
    for start in ([0.3, -1.0, 2.0], [-0.1, 7.0, 0.2], [-6.0, 4.9, -4.9]):
        z, total = torch.tensor(start, dtype=torch.float64), 0.0
        log_prob = prior.log_prob(z).item()
        for layer, order in zip(module.layers, ([0, 1, 2], [2, 1, 0]), strict=True):
            jacobian = torch.autograd.functional.jacobian(lambda x, layer=layer: layer(x, embedding)[0], z)[order][:, order]
            assert torch.equal(jacobian, jacobian.tril())
            total += jacobian.diagonal().log().sum().item()
            z = layer(z, embedding)[0].detach()
        expected = stats.norm.logpdf(z).sum() + total
        assert log_prob == pytest.approx(expected, rel=1e-9, abs=1e-9)


@TRANSFORMS
def test_a_flow_can_be_inverted(transform: str) -> None:
    module = randomised(built("flow", transform=transform))
    noise = 2 * torch.randn(200, PRIOR_LATENTS, dtype=torch.float64)
    for layer in module.layers:
        back, _ = layer(layer.inverse(noise, None), None)
        torch.testing.assert_close(back, noise, rtol=1e-6, atol=1e-6)


def test_a_spline_passes_through_its_knots() -> None:
    """Of one latent and one layer: P(z <= k-th width knot) = Phi(k-th height knot)."""
    module = built("flow", latents=1, layers=1)
    raw = torch.randn(31, dtype=torch.float64)
    module.layers[0].network.layers[-1].bias.data.copy_(raw)
    # Pyro keeps a bin at least 1/1000 of the box wide and high.
    widths, heights = (1e-3 + (1 - 8e-3) * special.softmax(part) for part in (raw[:8].numpy(), raw[8:16].numpy()))
    z, width = grid(-10.0, 10.0, 200_000)
    with torch.no_grad():
        probability = module(None, encode).log_prob(z.unsqueeze(-1)).exp() * width
    for at, noise in zip(-5 + 10 * widths.cumsum(), -5 + 10 * heights.cumsum(), strict=True):
        found = probability[z <= at].sum().item()
        assert found == pytest.approx(stats.norm.cdf(noise), abs=5e-4)  # a cell that the knot cuts
    assert probability.sum().item() == pytest.approx(1.0, abs=1e-4)


@TRANSFORMS
def test_a_flow_starts_near_the_identity(transform: str) -> None:
    z, _ = grid(-12.0, 12.0, 2001)
    found = built("flow", latents=1, layers=1, transform=transform)(None, encode).log_prob(z.unsqueeze(-1))
    assert np.abs(found.detach().numpy() - stats.norm.logpdf(z)).max() <= 0.002


@TRANSFORMS
def test_a_flow_keeps_nothing_between_evaluations(transform: str) -> None:
    """New parameters give a new density of the very same latents, and a sample's density has its gradient."""
    module = randomised(built("flow", transform=transform))
    prior = module(None, encode)
    z = prior.sample((5,))
    gradients = torch.autograd.grad(prior.log_prob(z).sum(), list(module.parameters()))
    assert any(gradient.abs().max() > 0 for gradient in gradients)
    before = prior.log_prob(z)
    randomised(module)
    fresh = copy.deepcopy(module)(None, encode).log_prob(z.clone())
    assert torch.equal(module(None, encode).log_prob(z), fresh)
    assert torch.equal(prior.log_prob(z), fresh)
    assert not torch.equal(before, fresh)


def test_a_flow_is_finite_with_its_gradient_far_outside_the_box() -> None:
    module = randomised(built("flow")).float()
    z = torch.tensor([[50.0, -50.0, 5.0], [-5.0, 0.0, 1e3]], requires_grad=True)
    log_prob = module(None, encode).log_prob(z)
    gradients = torch.autograd.grad(log_prob.sum(), [z, *module.parameters()])
    assert torch.isfinite(log_prob).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_flow_needs_a_unit_for_each_latent() -> None:
    with pytest.raises(UserError, match=r"prior\.hidden=2: .* 3 latents"):
        built("flow", hidden=2)


# --- pseudo-inputs ----------------------------------------------------------------------------------------------------


def test_pseudo_inputs_start_at_distinct_training_data_once() -> None:
    data = 100 * torch.arange(50, dtype=torch.float64).unsqueeze(-1).expand(50, ENCODED)
    module = built("vamp", components=20)
    module.initialise(data)
    rows = (module.inputs / 100).round()
    assert len(rows[:, 0].unique()) == 20
    assert ((module.inputs - 100 * rows).abs() < 1).all()
    assert module.inputs.requires_grad
    started = module.inputs.detach().clone()
    again = built("vamp", components=20)
    again.load_state_dict(module.state_dict())
    for same in (module, again):
        same.initialise(data)
        assert torch.equal(same.inputs, started)


def test_more_pseudo_inputs_than_data_are_spread_evenly_and_stay_apart() -> None:
    module = built("vamp", components=7)
    module.initialise(torch.tensor([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0]]))
    assert sorted((module.inputs[:, 0] / 100).round().unique(return_counts=True)[1].tolist()) == [2, 2, 3]
    assert len(module.inputs.unique(dim=0)) == 7


EMBEDDER = torch.tensor([[1.0, 0.0, 0.5], [0.0, 2.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64)


def conditional_encode(features: Tensor, embedding: Tensor) -> dist.Distribution:
    mean = encode(features, None).mean + embedding @ EMBEDDER
    return dist.Normal(mean, ENCODER_SCALE * torch.ones_like(mean)).to_event(1)


def average_of_normals(z: Tensor, means: np.ndarray) -> np.ndarray:
    each = stats.norm.logpdf(z.numpy()[..., None, :], means, ENCODER_SCALE).sum(-1)
    return special.logsumexp(each, axis=-1) - math.log(means.shape[-2])


def test_pseudo_inputs_learn_embeddings_of_their_own() -> None:
    module = built("vamp", C, components=5)
    z, c = torch.randn(6, PRIOR_LATENTS, dtype=torch.float64), torch.randn(6, C, dtype=torch.float64)
    prior = module(c, conditional_encode)
    assert prior.batch_shape == ()
    means = module.inputs.detach().numpy() @ ENCODER + (module.embeddings.detach() @ EMBEDDER).numpy()
    np.testing.assert_allclose(prior.log_prob(z).detach(), average_of_normals(z, means), rtol=1e-12)


def test_pseudo_inputs_are_encoded_with_every_context() -> None:
    module = built("vamp", C, components=5, context="learned")
    z, c = torch.randn(6, PRIOR_LATENTS, dtype=torch.float64), torch.randn(6, C, dtype=torch.float64)
    prior = module(c, conditional_encode)
    assert [name for name, _ in module.named_parameters()] == ["inputs"]
    assert prior.batch_shape == (6,)
    means = module.inputs.detach().numpy() @ ENCODER + (c @ EMBEDDER).numpy()[:, None]
    np.testing.assert_allclose(prior.log_prob(z).detach(), average_of_normals(z, means), rtol=1e-12)
    assert prior.sample((2,)).shape == (2, 6, PRIOR_LATENTS)


@pytest.mark.parametrize("posterior", ["normal", "full_normal", "flow"])
def test_the_vamp_prior_is_the_average_of_any_posterior(posterior: str) -> None:
    vae = VAE((6,), PRIOR_LATENTS, prior={"name": "vamp", "components": 4}, posterior=posterior)
    z = torch.randn(9, PRIOR_LATENTS)
    log_prob = vae.prior().log_prob(z)
    inputs = vae.prior_module.inputs
    each = torch.stack([vae.posterior_density(vae.encoder(u.expand(9, 6), None)).log_prob(z) for u in inputs])
    expected = special.logsumexp(each.detach().double().numpy(), axis=0) - math.log(4)
    np.testing.assert_allclose(log_prob.detach(), expected, rtol=1e-5, atol=1e-5)
    log_prob.sum().backward()
    assert inputs.grad.abs().max() > 0
    assert all(p.grad.abs().max() > 0 for p in vae.encoder.parameters())


# --- contexts ---------------------------------------------------------------------------------------------------------


@CONTEXTUAL
def test_a_learned_context_needs_a_context(case: PriorCase) -> None:
    with pytest.raises(UserError, match=r"prior\.context='learned': .*context='label'"):
        built(case.prior, **{**case.options, "context": "learned"})


@EVERY
def test_a_prior_without_context_is_the_same_for_every_context(case: PriorCase) -> None:
    torch.manual_seed(1)
    module = built(case.prior, C, **case.options)
    prior = module(torch.randn(5, C, dtype=torch.float64), encode)
    assert prior.batch_shape == ()
    torch.manual_seed(1)
    unconditional = built(case.prior, **case.options)(None, encode)
    assert torch.equal(prior.log_prob(points(case)), unconditional.log_prob(points(case)))


@CONTEXTUAL
def test_a_prior_given_the_context_starts_at_the_one_without(case: PriorCase) -> None:
    torch.manual_seed(1)
    module = learned(case)
    torch.manual_seed(1)
    fixed = built(case.prior, **case.options)(None, encode)
    embedding = torch.randn(5, C, dtype=torch.float64)
    z = points(case).unsqueeze(1)
    prior = module(embedding, encode)
    assert (prior.batch_shape, prior.event_shape) == ((5,), (PRIOR_LATENTS,))
    torch.testing.assert_close(prior.log_prob(z), fixed.log_prob(z).expand(len(z), 5), rtol=1e-12, atol=1e-12)


@CONTEXTUAL
def test_a_prior_given_the_context_moves_with_it_alone(case: PriorCase) -> None:
    module = randomised(learned(case))
    embedding = torch.randn(3, C, dtype=torch.float64)
    z = points(case)[:8].unsqueeze(1)
    posterior = conditional_encode if case.prior == "vamp" else encode
    log_prob = module(embedding, posterior).log_prob(z)
    assert log_prob.shape == (8, 3)
    assert (log_prob[:, 0] != log_prob[:, 1]).any()
    assert (log_prob[:, 0] != log_prob[:, 2]).any()
    alone = torch.cat([module(row, posterior).log_prob(z) for row in embedding.split(1)], -1)
    torch.testing.assert_close(log_prob, alone, rtol=1e-12, atol=1e-12)
    many = module(embedding.expand(2, 3, C), posterior)
    assert many.batch_shape == (2, 3)
    assert many.sample((4,)).shape == many.expand((4, 2, 3)).sample().shape == (4, 2, 3, PRIOR_LATENTS)


@BY_FAMILY
def test_raw_parameters_given_the_context_are_linear_in_its_embedding(case: PriorCase) -> None:
    module = randomised(learned(case))
    embedding = torch.randn(2, C, dtype=torch.float64)
    raw = embedding.numpy() @ module.params.weight.detach().numpy().T + module.params.bias.detach().numpy()
    by_parameter = raw.reshape(2, -1, PRIOR_LATENTS).swapaxes(0, 1)
    z = points(case)
    expected = case.conditional(z.numpy()[:, None], *by_parameter).sum(-1)
    np.testing.assert_allclose(module(embedding, encode).log_prob(z.unsqueeze(1)).detach(), expected, rtol=1e-10, atol=1e-10)


def test_a_mixture_given_the_context_is_a_mixture_of_other_normals() -> None:
    module = randomised(built("mixture", C, components=2, context="learned"))
    embedding = torch.randn(C, dtype=torch.float64)
    with torch.no_grad():
        shift = module.shift(embedding).numpy()
    logits = module.logits.detach().numpy() + shift[:2]
    mean, raw = np.moveaxis(module.params.detach().numpy() + shift[2:].reshape(2, 2, PRIOR_LATENTS), 1, 0)
    z = torch.randn(7, PRIOR_LATENTS, dtype=torch.float64)
    each = stats.norm.logpdf(z.numpy()[:, None], mean, np.exp(8 * np.tanh(raw / 8))).sum(-1)
    expected = special.logsumexp(each + special.log_softmax(logits), axis=-1)
    np.testing.assert_allclose(module(embedding, encode).log_prob(z).detach(), expected, rtol=1e-12)


LEARNING = [(c, context) for c in PRIOR_CASES for context in ("none", "learned") if trained(c, context) is not None]


@pytest.mark.parametrize(("case", "context"), LEARNING, ids=str)
def test_the_gradient_reaches_every_parameter(case: PriorCase, context: str) -> None:
    module = randomised(trained(case, context))
    module(torch.randn(5, C, dtype=torch.float64), conditional_encode).log_prob(points(case)[:5]).sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters())


# --- in a VAE ---------------------------------------------------------------------------------------------------------


@EVERY
def test_supports_of_a_prior_and_its_natural_posterior_agree(case: PriorCase) -> None:
    assert case.part.natural_posterior in POSTERIORS
    vae = VAE((4,), PRIOR_LATENTS, prior={"name": case.prior, **case.options})
    z_prior, z_posterior = vae.prior().sample((50,)), vae.posterior_of_preprocessed(torch.ones(50, 4)).sample()
    assert vae.prior_module.support.check(z_posterior).all()
    assert vae.posterior_density.support.check(z_prior).all()


def test_other_supports_are_refused_with_both_names() -> None:
    with pytest.raises(UserError, match=r"posterior='normal': .*prior='uniform' on.*try posterior='beta'"):
        VAE((4,), PRIOR_LATENTS, prior="uniform", posterior="normal")


LABELS = ({"name": "class", "values": ["a", "b", "c"]},)


@CONTEXTUAL
@pytest.mark.parametrize("context", ["none", "learned"])
def test_a_conditional_vae_trains_its_prior(case: PriorCase, context: str) -> None:
    prior = {"name": case.prior, **case.options, "context": context}
    network = {"name": "mlp", "hidden": [8]}
    vae = VAE((4,), PRIOR_LATENTS, prior=prior, context="label", network=network, labels=LABELS)
    y, c = torch.bernoulli(torch.full((6, 4), 0.5)), torch.tensor([0, 1, 2, 0, 1, 2])
    vae.initialise(y, c)
    loss = Trace_ELBO(max_plate_nesting=1).loss_and_grads(vae.model, vae.guide, y, c)
    assert math.isfinite(loss)
    assert vae.prior(c).expand((6,)).sample().shape == (6, PRIOR_LATENTS)
    for name, parameter in vae.prior_module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all()


@EVERY
def test_a_copy_has_parameters_of_its_own(case: PriorCase) -> None:
    module = case.module()
    z = points(case)
    before = module(None, encode).log_prob(z)
    twin = copy.deepcopy(module)
    assert torch.equal(twin(None, encode).log_prob(z), before)
    randomised(twin)
    assert torch.equal(module(None, encode).log_prob(z), before)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "option", "value"), [(c, *refused) for c in PRIOR_CASES for refused in c.refused], ids=str)
def test_bad_options_are_refused(case: PriorCase, option: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^prior\.{option}=") as error:
        make("prior", {"name": case.prior, option: value})
    assert str(value) in str(error.value)


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_every_option_of_a_prior_is_documented(name: str) -> None:
    text = PRIORS[name].__doc__
    assert [option for option in defaults("prior", name) if f"\n        {option}: " not in text] == []
