"""Annealed importance sampling against integrals, sums and closed forms; its moves against the densities that they must keep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from estimates import annealed, importance
from known_models import LinearGaussian, all_of, assert_same_evidence, digit_vae, shift_for
from scipy import integrate, special, stats
from torch import Tensor

import pyrovae
from pyrovae import VAE, Annealed, UserError
from pyrovae.contracts import DataSpec
from pyrovae.contracts.supports import OPEN_UNIT, REALS, Support
from pyrovae.evidence.annealing.moves import Flips, Hamiltonian, Moves, Steps, Trajectories, tune
from pyrovae.evidence.annealing.route import anneal, log_mean_weight
from pyrovae.evidence.keyed import Generators

MANY = 20_000
LEAST_P = 1e-3  # seeds are fixed: a right sampler fails such a test once in a thousand choices of them


def assert_mean_is_one(ratio: np.ndarray) -> None:
    """Within 3 standard errors."""
    assert abs(ratio.mean() - 1) < 3 * ratio.std(ddof=1) / math.sqrt(ratio.size)


def ratios(found: Tensor, log_p: np.ndarray) -> np.ndarray:
    return np.exp(found.double().numpy() - log_p)


# --- moves ----------------------------------------------------------------------------------------------------------


def normals(means: tuple[float, float], scales: tuple[float, float]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A path from one normal density to another, without constants: the log of their ratio is D log(s_1 / s_0)."""

    def path(z: Tensor) -> tuple[Tensor, Tensor]:
        ends = [-0.5 * (((z - m) / s) ** 2).sum(-1) for m, s in zip(means, scales, strict=True)]
        return ends[0], ends[1] - ends[0]

    return path


def between(b: float, means: tuple[float, float], scales: tuple[float, float]) -> stats.rv_continuous:
    """f_b between two normal densities is normal: precisions add up."""
    shares = (1 - b) / scales[0] ** 2, b / scales[1] ** 2
    return stats.norm((shares[0] * means[0] + shares[1] * means[1]) / sum(shares), sum(shares) ** -0.5)


def trajectories_of(path: Callable, support: Support, step: float, leapfrog: int) -> Hamiltonian:
    steps = Steps(torch.full((2, 1), math.log(step)), torch.zeros(2, 1, 1))
    return Hamiltonian(Trajectories(path, support, leapfrog), steps, temperatures=2)


def moved(moves: Moves, z: Tensor, b: float, times: int, way: str = "move") -> tuple[Tensor, float]:
    """Positions (M,) after so many moves of chains (M, 1, 1), and the mean acceptance."""
    state, noise, acceptance = moves.begin(z), Generators(3, [0]), []
    for _ in range(times):
        state, probability = getattr(moves, way)(state, b, 1, noise)
        acceptance.append(probability.mean().item())
    return state.at, float(np.mean(acceptance))


@pytest.mark.parametrize("way", ["move", "back"])
@pytest.mark.parametrize("b", [0.0, 0.4, 1.0])
def test_trajectories_leave_a_normal_density_as_it_is(b, way):
    ends = (0.0, 3.0), (1.0, 0.5)
    truth = between(b, *ends)
    start = torch.tensor(truth.rvs(MANY, random_state=1)).float()
    # long steps, so that their error is large and must be made good by rejection
    moves = trajectories_of(normals(*ends), REALS, 1.9 * truth.std(), 2)
    at, acceptance = moved(moves, start[:, None, None], b, 2, way)
    assert 0.5 < acceptance < 0.95
    assert (at.flatten() != start).float().mean() > 0.5
    assert stats.kstest(at.flatten().numpy(), truth.cdf).pvalue > LEAST_P


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_trajectories_reach_a_density_between_0_and_1_from_anywhere(dtype):
    """From the logits with the Jacobian: without it they would sample another density."""
    beta = torch.distributions.Beta(torch.tensor(0.7, dtype=dtype), torch.tensor(2.0, dtype=dtype))

    def path(z: Tensor) -> tuple[Tensor, Tensor]:
        return beta.log_prob(z).sum(-1), (0 * z).sum(-1)

    moves = trajectories_of(path, OPEN_UNIT, 1.5, 2)
    at, acceptance = moved(moves, torch.full((MANY // 4, 1, 1), 0.5, dtype=dtype), 1.0, 40)
    z = moves.trajectories.transform(at).flatten().numpy()
    assert 0.5 < acceptance < 0.99
    assert z.min() > 0
    assert z.max() < 1
    assert stats.kstest(z, stats.beta(0.7, 2.0).cdf).pvalue > LEAST_P


def test_a_trajectory_is_its_own_reversal():
    """Between a start of the density and its end there is no arrow: the differences have a symmetric distribution."""
    truth = stats.logistic()

    def path(z: Tensor) -> tuple[Tensor, Tensor]:
        return (-z - 2 * torch.nn.functional.softplus(-z)).sum(-1), (0 * z).sum(-1)

    start = torch.tensor(truth.rvs(MANY, random_state=2)).float()
    at, _ = moved(trajectories_of(path, REALS, 2.5, 2), start[:, None, None], 0.0, 1)
    skewed = (start**2 * at.flatten() - start * at.flatten() ** 2).double().numpy()
    assert abs(skewed.mean()) < 3 * skewed.std() / math.sqrt(MANY)


def test_a_trajectory_that_ends_nowhere_is_not_followed():
    def path(z: Tensor) -> tuple[Tensor, Tensor]:
        return (-0.5 * z**2).sum(-1), torch.where(z > 0.3, 0 * z, math.nan).sum(-1)

    start = torch.full((100, 1, 1), 0.31)
    at, acceptance = moved(trajectories_of(path, REALS, 1.0, 2), start, 1.0, 5)
    assert torch.isfinite(at).all()
    assert at.min() > 0.3
    assert 0 < acceptance < 1


def bit_path(seed: int, size: int) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], np.ndarray, np.ndarray]:
    """A path between two densities of bits, random and correlated, and the tables of log f_0 and log f_1, normalised."""
    draws = np.random.default_rng(seed).normal(size=(2, 2**size))
    tables = [special.log_softmax(1.5 * draw) for draw in draws]
    first, second = (torch.tensor(table, dtype=torch.float32) for table in tables)
    places = 2 ** torch.arange(size)

    def path(z: Tensor) -> tuple[Tensor, Tensor]:
        number = (z.long() * places).sum(-1)
        return first[number], second[number] - first[number]

    return path, *tables


def numbers(bits: Tensor) -> np.ndarray:
    return (bits.long() * 2 ** torch.arange(bits.shape[-1])).sum(-1).flatten().numpy()


@pytest.mark.parametrize("way", ["move", "back"])
@pytest.mark.parametrize("b", [0.0, 0.6, 1.0])
def test_flips_reach_a_density_of_bits_from_anywhere(b, way):
    path, first, second = bit_path(0, 3)
    at, acceptance = moved(Flips(path, 4), torch.zeros(MANY, 1, 3), b, 15, way)
    assert 0.1 < acceptance < 0.9
    expected = special.softmax((1 - b) * first + b * second)
    observed = np.bincount(numbers(at), minlength=8)
    assert stats.chisquare(observed, MANY * expected).pvalue > LEAST_P


def test_flips_back_are_the_reversal_of_flips():
    """From the density itself: pairs (z, moved) have the distribution of pairs (moved back, z)."""
    path, _, second = bit_path(1, 3)
    moves = Flips(path, 2)
    pairs = []
    for number, way in enumerate(("move", "back")):
        start = np.random.default_rng(number).choice(8, size=MANY, p=np.exp(second))
        bits = torch.tensor((start[:, None] >> np.arange(3)) & 1)[:, None].float()
        ends = numbers(moved(moves, bits, 1.0, 1, way)[0])
        pairs.append(np.bincount(8 * start + ends if way == "move" else 8 * ends + start, minlength=64))
    seen = np.array(pairs)[:, np.sum(pairs, 0) >= 10]
    assert seen.shape[1] > 15  # of 64 pairs, 32 can be
    assert stats.chi2_contingency(seen).pvalue > LEAST_P
    # and one way is not the other: two bits in turn are not reversible
    turned = np.array([pairs[0], pairs[0].reshape(8, 8).T.ravel()])[:, np.sum(pairs, 0) >= 10]
    assert stats.chi2_contingency(turned[:, turned.sum(0) > 0]).pvalue < LEAST_P


def test_every_bit_is_visited_in_turn_over_the_temperatures():
    """One visit a temperature, five bits, a path that is flat: every flip is accepted, so five temperatures turn all once."""
    moves = Flips(lambda z: (0 * z.sum(-1), 0 * z.sum(-1)), 1)
    state = moves.begin(torch.zeros(2, 1, 5))
    for number in range(1, 6):
        state, _ = moves.move(state, 0.5, number, Generators(0, [0]))
        assert state.at.sum().item() == 2 * number


def test_steps_are_interpolated_by_their_logarithms():
    rng = np.random.default_rng(0)
    log_step, log_scale = rng.normal(size=(5, 2)), rng.normal(size=(5, 2, 3))
    steps = Steps(torch.tensor(log_step), torch.tensor(log_scale))
    for place in (0.0, 0.1, 0.25, 0.77, 1.0):
        logs = (log_step[..., None] + log_scale).reshape(5, -1)
        expected = [np.interp(place, np.linspace(0, 1, 5), column) for column in logs.T]
        np.testing.assert_allclose(steps.at(place).numpy().ravel(), np.exp(expected))


# --- weights --------------------------------------------------------------------------------------------------------

FAR = (0.0, 1.5), (1.0, 0.3)


def chains_of(annealing: Annealed, path: Callable, size: int, steps_of: Callable[[Trajectories], Steps]) -> Tensor:
    """Log-weights of chains from the standard normal along a path of normals."""
    trajectories = Trajectories(path, REALS, annealing.leapfrog)
    moves = Hamiltonian(trajectories, steps_of(trajectories), annealing.temperatures)
    noise = Generators(7, [0])
    z = noise.normal(annealing.chains, size).transpose(0, 1)
    return anneal(moves, moves.begin(z), annealing.betas(), noise)[0].flatten()


@pytest.mark.parametrize("pilot", [1, 2, "long", "short"])
def test_weights_are_unbiased_whatever_the_pilot_run_found(pilot):
    """Frozen steps: only how much the weights vary depends on them. The constants' ratio is prod_d s_1 / s_0."""
    size = 2
    annealing, path = Annealed(temperatures=12, chains=MANY // 2, leapfrog=2, schedule="sigmoid"), normals(*FAR)

    def steps_of(trajectories: Trajectories) -> Steps:
        if pilot in ("long", "short"):
            return Steps(torch.full((2, 1), math.log(1.5 if pilot == "long" else 0.02)), torch.zeros(2, 1, size))
        noise = Generators(pilot, [0])
        return tune(trajectories, noise.normal(3, size).transpose(0, 1), annealing.betas(), noise)

    log_weight = chains_of(annealing, path, size, steps_of)
    assert_mean_is_one(np.exp(log_weight.numpy() - size * math.log(FAR[1][1] / FAR[1][0])))


def test_a_pilot_run_makes_chains_mix_where_latents_have_very_different_scales():
    """20 latents whose scales at the end go from 0.03 to 1: with one step for all, chains of 3 leapfrogs would hardly move."""
    scales = torch.logspace(-1.5, 0, 20)

    def path(z: Tensor) -> tuple[Tensor, Tensor]:
        ends = [-0.5 * ((z / s) ** 2).sum(-1) for s in (torch.ones(20), scales)]
        return ends[0], ends[1] - ends[0]

    annealing, noise = Annealed(temperatures=300, chains=100, leapfrog=3, schedule="sigmoid"), Generators(1, [0])
    trajectories = Trajectories(path, REALS, 3)
    draw = noise.normal(16, 20).transpose(0, 1)
    moves = Hamiltonian(trajectories, tune(trajectories, draw, annealing.betas(200), noise), 300)
    z = noise.normal(100, 20).transpose(0, 1)
    log_weight, acceptance = anneal(moves, moves.begin(z), annealing.betas(), noise)
    assert acceptance.min() > 0.5
    # Moves to independent samples of each f_b leave log w a variance of sum_t (b_(t+1) - b_t)^2 Var(log f_1 - log f_0), which
    # is that of a sum of squares; ours forget where they were in a few temperatures.
    b, excess = np.array(annealing.betas()), (1 / scales.double() ** 2 - 1).numpy()
    variances = 0.5 * ((excess / (1 + b[:-1, None] * excess)) ** 2).sum(-1)
    assert log_weight.var() < 4 * (np.diff(b) ** 2 * variances).sum()


def test_weights_of_zero_are_counted():
    """A likelihood that is 1 above 0.3 and 0 below: p = 0.7 under a uniform prior; chains that start below have no weight."""

    def path(z: Tensor) -> tuple[Tensor, Tensor]:
        return (0 * z).sum(-1), torch.where(z > 0.3, 0 * z, -math.inf).sum(-1)

    chains = 4000
    trajectories = Trajectories(path, OPEN_UNIT, 2)
    noise = Generators(0, [0])
    betas = Annealed(temperatures=4, chains=chains, leapfrog=2, schedule="linear").betas()
    moves = Hamiltonian(trajectories, tune(trajectories, noise.uniform(16, 1).transpose(0, 1), betas, noise), 4)
    z = noise.uniform(chains, 1).transpose(0, 1)
    log_weight, _ = anneal(moves, moves.begin(z), betas, noise)
    assert set(log_weight.flatten().tolist()) == {0.0, -math.inf}
    log_mean, error, effective = log_mean_weight(log_weight, [0])
    assert abs(log_mean.exp().item() - 0.7) < 3 * math.sqrt(0.7 * 0.3 / chains)
    assert error.item() == pytest.approx(math.sqrt(0.3 / 0.7 / chains), rel=0.1)  # binomial; its own error is about 3%
    assert effective.item() == (z > 0.3).sum().item()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_none_are_refused(bad):
    with pytest.raises(UserError, match=r"1 data have annealed log-weights that are NaN or .inf, the first is row 9"):
        log_mean_weight(torch.tensor([[0.0, 1.0], [0.0, bad]], dtype=torch.float64), [8, 9])


@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
def test_schedules_rise_from_0_to_1(schedule):
    betas = np.array(Annealed(temperatures=50, chains=1, leapfrog=1, schedule=schedule).betas())
    assert betas[0] == 0
    assert betas[-1] == 1
    assert (np.diff(betas) > 0).all()
    place = np.linspace(0, 1, 50)
    curve = special.expit(4 * (2 * place - 1))
    expected = place if schedule == "linear" else (curve - curve[0]) / (curve[-1] - curve[0])
    np.testing.assert_allclose(betas, expected, atol=1e-12)


# --- evidence that is known -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("schedule", "start"), list(itertools.product(["linear", "sigmoid"], ["prior", "guide"])))
def test_linear_gaussian(schedule, start):
    model = LinearGaussian()
    x = model.draw(100)
    vae = model.vae(shift=shift_for(1.0))
    found = annealed(vae, x, temperatures=60, chains=8, leapfrog=2, schedule=schedule, start=start)
    assert_mean_is_one(ratios(found.estimate, model.log_density(x)))
    assert found.diagnostics["acceptance"].shape == (100, 59)
    assert found.diagnostics["effective_sample_size"].max() <= 8
    torch.testing.assert_close(found.monte_carlo_error, found.diagnostics["log_evidence_error"])


def test_the_error_is_the_spread_over_seeds():
    model = LinearGaussian()
    x = model.draw(1).expand(400, *model.shape)
    found = annealed(model.vae(), x, temperatures=25, chains=16, leapfrog=1)
    spread, claimed = found.estimate.var().item(), (found.monte_carlo_error**2).mean().item()
    # The variance of 400 is known to sqrt(2 / 399); the delta method leaves terms of the order 1 / chains.
    assert spread / claimed == pytest.approx(1, abs=3 * math.sqrt(2 / 399) + 2 / 16)


def test_it_is_a_lower_bound_that_rises_with_the_temperatures():
    model = LinearGaussian()
    x = model.draw(150)
    below = []
    for temperatures in (2, 8, 40):
        found = annealed(model.vae(), x, temperatures=temperatures, chains=2)
        below.append(model.log_density(x) - found.estimate.numpy())
    for few, more in itertools.pairwise(below):
        difference = few - more
        assert difference.mean() > 3 * difference.std() / math.sqrt(150)
    assert below[-1].mean() > -3 * below[-1].std() / math.sqrt(150)


def line(prior: object, latents: int = 1) -> tuple[VAE, LinearGaussian]:
    """p(x|z) = N(W z + b, 0.4^2) with known W and b, and any prior."""
    model = LinearGaussian(latents=latents)
    torch.manual_seed(0)  # the guide, which chains may start from
    vae = VAE(model.shape, latents, {"name": "normal", "scale": model.noise}, prior=prior, kind="reals", network="linear")
    with torch.no_grad():
        vae.decoder.layers[0].weight.copy_(torch.tensor(3 * model.weight))
        vae.decoder.layers[0].bias.copy_(torch.tensor(model.bias))
    return vae, model


def line_data(model: LinearGaussian, z: np.ndarray) -> Tensor:
    mean = z @ (3 * model.weight).T + model.bias
    x = np.random.default_rng(5).normal(mean, model.noise)
    return torch.tensor(x.reshape(-1, *model.shape), dtype=torch.get_default_dtype())


def log_likelihood(model: LinearGaussian, x: Tensor, z: np.ndarray) -> np.ndarray:
    """(data, states) of states (S, D), by scipy."""
    means = z @ (3 * model.weight).T + model.bias
    return stats.norm(means, model.noise).logpdf(x.double().numpy().reshape(-1, 1, model.size)).sum(-1)


POINTS = 20_000


@pytest.mark.parametrize("start", ["prior", "guide"])
@pytest.mark.parametrize(
    ("prior", "density"),
    [
        ("uniform", stats.uniform()),
        ({"name": "beta", "concentration1": 0.5, "concentration0": 2.0}, stats.beta(0.5, 2.0)),
        ("laplace", stats.laplace()),
        ({"name": "student_t", "df": 3.0}, stats.t(3)),
    ],
    ids=["uniform", "beta", "laplace", "student_t"],
)
def test_integrals(prior, density, start):
    vae, model = line(prior)
    x = line_data(model, density.rvs(size=40, random_state=3)[:, None])
    # The integral of p(x|z) p(z) dz over the quantiles of p(z), where the poles of a beta density are none, by midpoints: a
    # normal density of the mean that is 0.2 wide at least has many of them, but far out in the tails.
    quantiles = density.ppf((np.arange(POINTS) + 0.5) / POINTS)
    log_p = special.logsumexp(log_likelihood(model, x, quantiles[:, None]), -1) - math.log(POINTS)
    found = annealed(vae, x, temperatures=30, chains=8, leapfrog=2, start=start)
    assert_mean_is_one(ratios(found.estimate, log_p))


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_bits_are_summed_over(start):
    vae, model = line({"name": "bernoulli", "p": 0.3}, latents=3)
    states = np.array(list(itertools.product([0, 1], repeat=3)))
    log_prior = stats.bernoulli(0.3).logpmf(states).sum(-1)
    z = np.random.default_rng(0).binomial(1, 0.3, size=(80, 3))
    x = line_data(model, z)
    log_p = special.logsumexp(log_likelihood(model, x, states) + log_prior, -1)
    found = annealed(vae, x, temperatures=50, chains=8, leapfrog=2, start=start)
    assert_mean_is_one(ratios(found.estimate, log_p))


def two_modes() -> VAE:
    """x ~ N(|z|, 0.1^2): the posterior has a mode at x and another at -x; the guide, N(x, 0.1^2), sees one of them."""
    network = {"name": "mlp", "hidden": [2]}
    vae = VAE((1,), 1, {"name": "normal", "scale": 0.1}, kind="reals", network=network)
    first, last = vae.encoder.layers[0], vae.encoder.layers[-1]
    with torch.no_grad():
        for weights in (vae.decoder.layers[0], vae.encoder.layers[0]):
            weights.weight.copy_(torch.tensor([[1.0], [-1.0]]))
            weights.bias.zero_()
        vae.decoder.layers[-1].weight.fill_(1.0)
        vae.decoder.layers[-1].bias.zero_()
        last.weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
        last.bias.copy_(torch.tensor([0.0, 8 * math.atanh(math.log(0.1) / 8)]))
    assert first.weight.shape == (2, 1)
    return vae


def test_a_mode_that_the_guide_misses_is_found():
    vae, x = two_modes(), torch.linspace(1.0, 2.0, 40)[:, None]
    log_p = [
        math.log(2 * integrate.quad(lambda z, v=v: stats.norm.pdf(z) * stats.norm.pdf(v, z, 0.1), v - 2, v + 2)[0])
        for v in x.flatten().tolist()
    ]
    guided = importance(vae, x, samples=200)
    # half of the evidence is missing, and the diagnostics are content
    np.testing.assert_allclose(guided.estimate.numpy() - log_p, math.log(0.5), atol=0.1)
    assert guided.diagnostics["effective_sample_size"].min() > 100
    assert guided.diagnostics["khat"].max() < 0.7
    assert_mean_is_one(ratios(annealed(vae, x, temperatures=40, chains=16).estimate, np.array(log_p)))


# --- what may not move it, and what it serves -----------------------------------------------------------------------


def labelled(**parts: object) -> tuple[VAE, Tensor, Tensor]:
    digits = pyrovae.load_dataset("digits")
    vae = digit_vae(**parts, context="label", labels=digits.spec.labels)
    vae.initialise(digits.train.x, digits.train.y)
    return vae, digits.x[:6], digits.y[:6]


@pytest.mark.parametrize("start", ["prior", "guide"])
@pytest.mark.parametrize(
    "prior", [{"name": "normal", "context": "learned"}, "vamp", "beta", "bernoulli"], ids=["learned", "vamp", "beta", "bits"]
)
def test_it_does_not_depend_on_chunks_or_company(double_precision, prior, start):
    vae, x, y = labelled(prior=prior)
    given = {"temperatures": 8, "chains": 4, "leapfrog": 2, "start": start}
    whole = annealed(vae, x, y, **given)
    assert_same_evidence(annealed(vae, x, y, **given, rows=9), whole)
    alone = annealed(vae, x[4:5], y[4:5], **given, index=torch.tensor([4]))
    assert_same_evidence(alone, replace(whole, diagnostics={name: t[4:5] for name, t in whole.diagnostics.items()}))
    other = annealed(vae, x, y, **given, seed=1)
    assert (other.estimate != whole.estimate).all()


def test_it_leaves_the_generators_and_the_model_alone():
    vae, x, y = labelled()
    vae.train()
    state = torch.random.get_rng_state()
    annealed(vae, x, y, temperatures=3, chains=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert vae.training
    assert all(parameter.grad is None for parameter in vae.parameters())


@pytest.mark.parametrize("start", ["prior", "guide"])
@pytest.mark.parametrize(
    "parts",
    [
        {"prior": "mixture"},
        {"prior": "flow"},
        {"prior": {"name": "vamp", "context": "learned"}},
        {"prior": {"name": "beta", "context": "learned"}},
        {"posterior": "flow"},
        pytest.param({"posterior": {"name": "flow", "transform": "spline"}}, marks=pytest.mark.slow),
        {"posterior": "full_normal"},
        {"likelihood": "categorical"},
        {"likelihood": "binomial"},
        {"likelihood": "beta"},
    ],
    ids=lambda parts: "-".join(f"{value['name'] if isinstance(value, dict) else value}" for value in parts.values()),
)
def test_every_part_gives_what_importance_sampling_gives(parts, start):
    """The models are untrained: their posteriors are near enough to guide and prior for both to be right."""
    vae, x, y = labelled(**parts)
    found = annealed(vae, x, y, temperatures=10, chains=16, leapfrog=2, start=start)
    expected = importance(vae, x, y, samples=1000, proposal="prior" if parts.get("posterior") is None else "guide")
    difference = ratios(found.estimate, expected.estimate.numpy())
    error = torch.hypot(found.monte_carlo_error, expected.monte_carlo_error).numpy()
    assert abs(difference.mean() - 1) < 4 * np.linalg.norm(error) / len(x)
    assert found.diagnostics["acceptance"].mean() > 0.5  # a wrong gradient would show here


def test_dequantised_levels_are_in_the_units_of_the_data():
    model = LinearGaussian()
    levels = torch.tensor(np.random.default_rng(0).integers(0, 4, size=(5, *model.shape)))
    vae = VAE(model.shape, 2, {"name": "normal", "scale": 0.4}, kind="levels", levels=4, network="linear")
    found = annealed(vae, levels, temperatures=30, chains=16, dequantisations=3)
    expected = importance(vae, levels, samples=1000, dequantisations=3, proposal="prior")
    # the same three draws of the noise in both: what is left is the error of the samplers, about that of one draw
    once = annealed(vae, levels, temperatures=30, chains=16)
    error = math.hypot(*(np.linalg.norm(e.monte_carlo_error) / 5 for e in (once, importance(vae, levels, samples=1000))))
    assert abs((found.estimate - expected.estimate).mean().item()) < 4 * error
    assert (found.monte_carlo_error > 0).all()


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperatures": 1}, "temperatures=1: needs an integer of at least 2"),
        ({"temperatures": 10.5}, "temperatures=10.5: needs an integer"),
        ({"chains": 0}, "chains=0: needs an integer of at least 1"),
        ({"leapfrog": 0}, "leapfrog=0: needs an integer of at least 1"),
        ({"schedule": "sigmod"}, "schedule='sigmod': unknown; did you mean sigmoid"),
        ({"start": "posterior"}, "start='posterior': unknown; .*All: guide, prior"),
        ({"seed": -1}, "seed=-1"),
        ({"dequantisations": 0}, "dequantisations=0"),
    ],
)
def test_bad_options_are_refused_in_one_line(given, message):
    model = LinearGaussian()
    with pytest.raises(UserError, match=message) as error:
        annealed(model.vae(), model.draw(2), **given)
    assert "\n" not in str(error.value)


def test_a_plain_autoencoder_has_no_evidence():
    with pytest.raises(UserError, match=r"estimator='annealed': .*delta"):
        annealed(digit_vae(posterior="delta"), torch.zeros(2, 8, 8))


def test_data_without_a_density_are_refused():
    x = torch.full((1, 8, 8), 40)
    dataset = all_of(x, DataSpec((8, 8), "levels", 17))
    with pytest.raises(UserError, match="40"):
        annealed(digit_vae("categorical"), dataset.x, temperatures=2, chains=1)
