"""Bits as latents: gradient and evidence against the sum over all codes, and the baseline that makes them trainable."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyro
import pytest
import torch
from estimates import elbo, importance
from scipy import stats
from torch import Tensor

import pyrovae
from pyrovae import VAE, Dataset, fit
from pyrovae.contracts import DataSpec
from pyrovae.engines import Eager
from pyrovae.objectives import Elbo, GraphElbo, Objective, weight_latents

SHAPE = (2, 2)
QUIET = {"device": "cpu", "progress": False}


@pytest.fixture(autouse=True)
def own_param_store():
    with pyro.get_param_store().scope():
        yield


def bit_vae(latents: int = 3, seed: int = 0, spread: float = 1.5) -> VAE:
    """Weights that are larger than those of a new model, so that posteriors differ from the prior and from fair coins."""
    torch.manual_seed(seed)
    network = {"name": "mlp", "hidden": [4], "activation": "tanh"}
    vae = VAE(SHAPE, latents, "bernoulli", prior={"name": "bernoulli", "p": 0.3}, network=network, kind="binary")
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            parameter.mul_(1.0 if name.startswith("baseline") else spread)
    return vae


def some_bits(count: int = 8) -> Tensor:
    return torch.tensor([[(i * 5 + 3 >> bit) & 1 for bit in range(4)] for i in range(count)]).reshape(count, *SHAPE) * 1.0


def every_code(latents: int) -> Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=latents))).unsqueeze(1)


def log_terms(vae: VAE, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p(y|z), log p(z) and log q(z|y) by their formulas, (codes, data)."""
    logits, out = vae.encoder(y).squeeze(-2), vae.decoder(z).squeeze(-3)

    def log_bits(bits: Tensor, logits: Tensor) -> Tensor:
        return bits * logits - torch.logaddexp(logits, torch.zeros_like(logits))

    log_prior = z * math.log(0.3) + (1 - z) * math.log(0.7)
    return log_bits(y, out).sum((-1, -2)), log_prior.sum(-1), log_bits(z, logits).sum(-1)


def exact_elbo(vae: VAE, y: Tensor, weight: float) -> Tensor:
    """sum_z q(z|y) (log p(y|z) + w (log p(z) - log q(z|y))), the mean over data; differentiable."""
    log_likelihood, log_prior, log_q = log_terms(vae, y, every_code(vae.latent_dim))
    return (log_q.exp() * (log_likelihood + weight * (log_prior - log_q))).sum(0).mean()


def gradients(vae: VAE) -> dict[str, Tensor]:
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in vae.named_parameters()}


def engine(vae: VAE, objective: Objective, particles: int = 1, learning_rate: float = 0.0) -> Eager:
    return Eager(vae, objective.build(particles), torch.optim.SGD(vae.parameters(), lr=learning_rate), clip_norm=0.0)


# --- the gradient -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("objective", "particles"), [(GraphElbo(), 1), (GraphElbo(), 3), (Elbo(), 1)], ids=str)
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_gradient_is_on_average_that_of_the_sum_over_all_codes(double_precision, objective, particles, weight):
    vae, y = bit_vae(), some_bits(4)
    exact_elbo(vae, y, weight).neg().backward()
    exact = {name: gradient for name, gradient in gradients(vae).items() if not name.startswith("baseline")}
    repeats, copies = 60, 100
    worker, drawn, losses = engine(vae, objective, particles), [], []
    torch.manual_seed(1)
    for _ in range(repeats):
        losses.append(worker.step(y.repeat(copies, 1, 1), None, weight).item())
        drawn.append(gradients(vae))
    assert abs(np.mean(losses) + exact_elbo(vae, y, weight).item()) < 4 * stats.sem(losses)
    for name, expected in exact.items():
        found = torch.stack([each[name] for each in drawn])
        error = found.std(0) / math.sqrt(repeats)
        # 63 elements and Student's t of 59 degrees: beyond 4.5 by chance once in 500 runs; the seed is fixed
        assert ((found.mean(0) - expected).abs() <= 4.5 * error).all(), name
        assert expected.norm() > 5 * error.norm(), f"{name}: a gradient that is nearly 0 would pass"


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_gradient_by_hand_with_the_same_codes(double_precision, weight, particles):
    """-(log p) - (cost - b) log q + (cost - b)^2, with the cost and the baseline held fixed where they are factors."""
    vae, y = bit_vae(), some_bits(6)
    torch.manual_seed(4)
    loss = engine(vae, GraphElbo(), particles).step(y, None, weight)
    found = gradients(vae)

    vae.zero_grad()
    torch.manual_seed(4)
    with torch.no_grad():
        z = torch.stack([vae.posterior_of_preprocessed(y).sample() for _ in range(particles)])
    log_likelihood, log_prior, log_q = log_terms(vae, y, z)
    cost, b = log_likelihood + weight * (log_prior - log_q), vae.baseline(y).squeeze(-1)
    learned = -log_likelihood - (cost - b).detach() * log_q + (cost.detach() - b) ** 2
    (learned.sum() / len(y) / particles).backward()
    assert loss.item() == pytest.approx(-cost.mean().item(), rel=1e-12)
    for name, gradient in gradients(vae).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


def test_a_large_baseline_loss_does_not_round_the_loss():
    """A cost of 1e4 nats squared and summed over data is beyond what float32 resolves to a nat."""
    x = torch.zeros(64, 20_000)
    torch.manual_seed(0)
    vae = VAE((20_000,), 2, "bernoulli", prior="bernoulli", network="linear", kind="binary")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in [*vae.encoder.parameters(), *vae.decoder.parameters()]:
            parameter.zero_()
        loss = engine(vae, GraphElbo()).objective.differentiable_loss(vae.model, vae.guide, x) / 64
    # q = p, and every bit of x is a fair coin; float32
    assert loss.item() == pytest.approx(20_000 * math.log(2), rel=1e-6)


def test_the_baseline_lowers_the_noise_of_the_encoders_gradient():
    vae, x = bit_vae(), some_bits(32)
    spreads = []
    for _ in range(2):
        worker, drawn = engine(vae, GraphElbo()), []
        torch.manual_seed(2)
        for _ in range(60):
            worker.step(x, None, 1.0)
            drawn.append(torch.cat([p.grad.flatten() for p in vae.encoder.parameters()]))
        spreads.append(torch.stack(drawn).var(0).sum().item())
        trainer = Eager(vae, GraphElbo().build(1), torch.optim.Adam(vae.baseline.parameters(), lr=1e-2), clip_norm=0.0)
        for _ in range(150):
            trainer.step(x, None, 1.0)
    assert spreads[1] < spreads[0] / 2  # the cost is about -4 nats, its spread about 1


# --- training ---------------------------------------------------------------------------------------------------------


def dataset(count: int = 10) -> Dataset:
    rows = {"train": torch.arange(count), "valid": torch.arange(0), "test": torch.arange(0)}
    return Dataset("bits", DataSpec(SHAPE, "binary", 2), some_bits(count).to(torch.uint8), None, rows)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 64])
def test_the_baseline_is_part_of_the_model_and_is_trained_with_any_batches(batch_size):
    vae = bit_vae()
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    assert any(name.startswith("baseline.") for name in before)
    result = fit(vae, dataset(), epochs=2, batch_size=batch_size, **QUIET)
    assert math.isfinite(result.history[-1]["loss"])
    assert [name for name, parameter in vae.named_parameters() if torch.equal(parameter, before[name])] == []


def test_a_model_with_a_pathwise_gradient_has_no_baseline():
    assert not any(name.startswith("baseline") for name in VAE(SHAPE, 2).state_dict())


def test_training_on_digits_improves_to_a_useful_model():
    """Better than the best model that ignores its latents: the frequencies of the pixels in the training data."""
    digits = pyrovae.load_dataset("digits")
    torch.manual_seed(0)
    network = {"name": "mlp", "hidden": [32]}
    vae = VAE((8, 8), 8, "bernoulli", prior="bernoulli", network=network, kind="levels", levels=17)
    result = fit(vae, digits, epochs=40, learning_rate=1e-2, **QUIET)  # the first 10 only find the frequencies
    elbos = [row["valid_elbo"] for row in result.history]
    frequency = (digits.train.x.double() / 16).mean(0).clamp(1e-3, 1 - 1e-3)
    shade = digits.valid.x.double() / 16  # the chance that a pixel of the binarised data is 1
    without = (shade * frequency.log() + (1 - shade) * (1 - frequency).log()).sum((1, 2)).mean().item()
    assert elbos[-1] > elbos[0] + 5
    assert max(elbos) > without


def test_two_models_in_one_process_do_not_disturb_each_other():
    x, schedule = some_bits(16), [slice(0, 7), slice(7, 16)] * 4

    def train(models: list[VAE]) -> list[dict[str, Tensor]]:
        """Steps in turn, each model with noise of its own."""
        workers = [Eager(vae, GraphElbo().build(1), torch.optim.Adam(vae.parameters()), clip_norm=0.0) for vae in models]
        for number, rows in enumerate(schedule):
            for vae, worker in zip(models, workers, strict=True):
                torch.manual_seed(1000 * vae.latent_dim + number)
                worker.step(x[rows], None, 1.0)
        return [vae.state_dict() for vae in models]

    (first,), (second,) = train([bit_vae(3)]), train([bit_vae(4)])
    together = train([bit_vae(3), bit_vae(4)])
    for alone, found in zip((first, second), together, strict=True):
        assert all(torch.equal(tensor, found[name]) for name, tensor in alone.items())
    assert not torch.equal(first["baseline.layers.0.weight"], bit_vae(3).state_dict()["baseline.layers.0.weight"])


@pytest.mark.parametrize("context", ["none", "learned"])
def test_the_baseline_sees_the_context(context):
    digits = pyrovae.load_dataset("digits")
    torch.manual_seed(0)
    prior = {"name": "bernoulli", "context": context}
    vae = VAE((8, 8), 3, prior=prior, context="label", network="linear", kind="levels", levels=17, labels=digits.spec.labels)
    before = {name: parameter.detach().clone() for name, parameter in vae.named_parameters()}
    fit(vae, digits, epochs=1, **QUIET)
    assert [name for name, parameter in vae.named_parameters() if torch.equal(parameter, before[name])] == []
    y, embedding = torch.zeros(10, 8, 8), vae.context_module(torch.arange(10))
    assert len(vae.baseline(y, embedding).unique()) == 10


def test_the_objective_is_chosen_by_the_posterior(tmp_path):
    tiny = {"latent_dim": 2, "network": "linear", "epochs": 1, **QUIET}
    for prior, objective in (("bernoulli", "tracegraph"), ("uniform", "elbo")):
        run = pyrovae.train(prior=prior, out=str(tmp_path / prior), **tiny).run
        assert pyrovae.commands.recorded_options(run)["objective"]["name"] == objective


# --- evidence ---------------------------------------------------------------------------------------------------------


def exact_evidence(vae: VAE, y: Tensor) -> np.ndarray:
    with torch.no_grad():
        log_likelihood, log_prior, _ = log_terms(vae, y, every_code(vae.latent_dim))
    return torch.logsumexp(log_likelihood + log_prior, 0).numpy()


@pytest.mark.parametrize("samples", [1, 20])
def test_importance_sampling_against_all_codes(double_precision, samples):
    vae = bit_vae(latents=4)
    y = torch.tensor([[(i >> bit) & 1 for bit in range(4)] for i in range(16)]).reshape(16, *SHAPE)
    truth = exact_evidence(vae, y * 1.0)
    assert np.exp(truth).sum() == pytest.approx(1, rel=1e-12)  # over all 16 data
    repeats = 200
    found = importance(vae, y.repeat(repeats, 1, 1), samples=samples)
    ratio = np.exp(found.estimate.numpy().reshape(repeats, 16) - truth)
    assert abs(ratio.mean() - 1) < 3 * stats.sem(ratio.ravel())
    assert (np.abs(ratio.mean(0) - 1) < 4.5 * stats.sem(ratio)).all()
    assert ratio.std() > 0.01  # the posterior is not exact
    below = found.diagnostics["elbo"].numpy().reshape(repeats, 16)
    assert abs(below.mean() - exact_elbo(vae, y * 1.0, 1.0).item()) < 3 * stats.sem(below.ravel())


def test_a_weight_does_not_reach_the_evidence(double_precision):
    vae, y = bit_vae(latents=4), some_bits()
    plain = elbo(vae, y, samples=10)
    with weight_latents(0.3):
        assert torch.equal(elbo(vae, y, samples=10).estimate, plain.estimate)
