"""Every family against SciPy, against integrals that must be 1, at the edges of float32, and against its shape contract."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import CASES, PRIOR_CASES, Case, cases
from scipy import integrate, special
from torch import Tensor

from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec
from pyrovae.families.positive import bounded_exp
from pyrovae.likelihoods import LIKELIHOODS
from pyrovae.parts import make
from pyrovae.posteriors import POSTERIORS
from pyrovae.priors import PRIORS

EVERY = pytest.mark.parametrize("case", CASES, ids=str)
DISCRETE = pytest.mark.parametrize("case", [case for case in CASES if case.support is not None], ids=str)
CONTINUOUS = pytest.mark.parametrize("case", [case for case in CASES if case.support is None], ids=str)
PRECISION = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
DRAWS = 4096


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def as_element(raw: np.ndarray, dtype: torch.dtype = torch.float64) -> Tensor:
    """Raw parameters (n, P) -> a batch of n events of one element, (n, P, 1)."""
    return torch.tensor(raw, dtype=dtype).unsqueeze(-1)


def element_log_prob(case: Case, raw: np.ndarray, value: np.ndarray, dtype: torch.dtype = torch.float64) -> np.ndarray:
    density = case.density(dtype, event_shape=(1,))
    with torch.no_grad():
        return density(as_element(raw, dtype)).log_prob(torch.tensor(value, dtype=dtype).unsqueeze(-1)).double().numpy()


@pytest.mark.parametrize(
    ("table", "tested"),
    [
        (LIKELIHOODS, {case.family for case in cases("likelihood")}),
        (POSTERIORS, {case.family for case in cases("posterior")}),
        (PRIORS, {case.prior for case in PRIOR_CASES}),
    ],
    ids=["likelihood", "posterior", "prior"],
)
def test_every_family_has_a_case(table: dict[str, type], tested: set[str]) -> None:
    assert tested == set(table), "tests/cases.py and the table differ: add or remove a row"


# --- the density ------------------------------------------------------------------------------------------------------


@PRECISION
@EVERY
def test_log_density_is_scipys(case: Case, dtype: torch.dtype) -> None:
    raw, value = case.pairs()
    exact_inputs = torch.tensor(raw, dtype=dtype).double().numpy()
    value_given = torch.tensor(value, dtype=dtype).double().numpy()
    error = np.abs(element_log_prob(case, raw, value, dtype) - case.log_density(value_given, *exact_inputs.T))
    assert (error <= case.tolerance(dtype, value_given, *exact_inputs.T)).all()


@PRECISION
@DISCRETE
@pytest.mark.parametrize("extreme", [False, True], ids=["ordinary", "extreme"])
def test_probabilities_sum_to_1(case: Case, extreme: bool, dtype: torch.dtype) -> None:
    support = np.array(case.support)
    for raw in case.extreme_params if extreme else case.params:
        log_probs = element_log_prob(case, np.tile(raw, (len(support), 1)), support, dtype)
        # A sum of probabilities is as wrong as the worst of its terms, relatively.
        assert abs(special.logsumexp(log_probs)) <= case.tolerance(dtype, support, *raw).max()


@CONTINUOUS
def test_density_integrates_to_1(case: Case) -> None:
    for raw in case.params:
        found, error = integrate.quad(
            lambda x, raw=raw: math.exp(element_log_prob(case, np.array([raw]), np.array([x]))[0]), *case.interval(*raw)
        )
        assert abs(found - 1) <= error + 1e-12  # beyond the interval lie less than 1e-20


@DISCRETE
def test_mean_of_a_discrete_family_is_the_sum(case: Case) -> None:
    support = np.array(case.support)[:, None]
    raw = np.array(case.params)
    expected = (support * np.exp(case.log_density(support, *raw.T))).sum(0)
    found = case.part.mean(case.density(event_shape=(1,))(as_element(raw))).squeeze(-1).numpy()
    # SciPy's probabilities are exp of numbers with the magnitude that the tolerance is made of; the support is their factor.
    tolerance = case.tolerance(torch.float64, support, *raw.T).max() * support.max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@CONTINUOUS
def test_mean_of_a_continuous_family_is_the_integral(case: Case) -> None:
    found = case.part.mean(case.density(event_shape=(1,))(as_element(np.array(case.params)))).flatten().tolist()
    for raw, mean in zip(case.params, found, strict=True):
        low, high = case.interval(*raw)
        expected, error = integrate.quad(lambda x, raw=raw: x * math.exp(case.log_density(x, *raw)), low, high)
        assert abs(mean - expected) <= error + 1e-12 * (high - low)


@EVERY
def test_values_outside_the_support_are_known(case: Case) -> None:
    support = case.density().support
    assert support.check(torch.tensor(case.values + case.extreme_values)).all()
    assert not support.check(torch.tensor(case.outside)).any()


@EVERY
def test_everything_is_finite_at_the_extremes(case: Case) -> None:
    raw, value = case.pairs()
    density = case.density(torch.float32, event_shape=(1,))
    params = as_element(raw, torch.float32).requires_grad_()
    log_prob = density(params).log_prob(torch.tensor(value, dtype=torch.float32).unsqueeze(-1))
    gradients = torch.autograd.grad(log_prob.sum(), [params, *density.parameters()])
    assert torch.isfinite(log_prob).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


# --- the contract of shapes -------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("event_shape", [(4,), (2, 3), (1, 2, 2)], ids=str)
@pytest.mark.parametrize("leading", [(), (5,), (3, 5)], ids=str)
def test_batch_and_event_shape(case: Case, leading: tuple[int, ...], event_shape: tuple[int, ...]) -> None:
    case = replace(case, spec=replace(case.spec, event_shape=event_shape))
    raw, value = case.event(leading)
    density = case.density()
    distribution = density(torch.tensor(raw))
    log_prob = distribution.log_prob(torch.tensor(value))
    assert raw.shape == (*leading, *density.params_shape)
    assert (distribution.batch_shape, distribution.event_shape) == (leading, event_shape)
    assert distribution.sample((7,)).shape == (7, *leading, *event_shape)
    assert case.part.mean(distribution).shape == (*leading, *event_shape)
    by_parameter = np.moveaxis(raw, len(leading), 0)
    axes = tuple(range(len(leading), len(leading) + len(event_shape)))
    expected = case.log_density(value, *by_parameter).sum(axes)
    tolerance = case.tolerance(torch.float64, value, *by_parameter).sum(axes)
    assert log_prob.shape == leading
    assert (np.abs(log_prob.detach().numpy() - expected) <= tolerance).all()


@EVERY
def test_the_dtype_of_the_parameters_is_kept(case: Case) -> None:
    raw, value = case.event((2,))
    for dtype in (torch.float32, torch.float64):
        distribution = case.density(dtype)(torch.tensor(raw, dtype=dtype))
        assert distribution.sample().dtype == distribution.log_prob(torch.tensor(value, dtype=dtype)).dtype == dtype


# --- samples ----------------------------------------------------------------------------------------------------------


@EVERY
def test_sample_mean_is_the_mean(case: Case) -> None:
    distribution = case.density()(torch.tensor(case.event()[0]))
    samples = distribution.sample((DRAWS,))
    standard_error = samples.std(0) / math.sqrt(DRAWS)
    assert case.density().support.check(samples).all()
    assert ((samples.mean(0) - case.part.mean(distribution)).abs() <= 4 * standard_error).all()


@EVERY
def test_reparametrised_says_whether_samples_carry_a_gradient(case: Case) -> None:
    distribution = case.density()(torch.tensor(case.event()[0]))
    assert distribution.has_rsample == case.part.reparametrised


NOISE_MAPS = pytest.mark.parametrize(
    "case", [c for c in CASES if c.density().from_noise(torch.tensor(c.event()[0]), torch.zeros(2, 3)) is not None], ids=str
)


@NOISE_MAPS
def test_from_noise_has_the_distribution_of_a_sample(case: Case) -> None:
    params = torch.tensor(case.event()[0])
    density = case.density()
    made = density.from_noise(params, torch.randn(DRAWS, *case.spec.event_shape, dtype=torch.float64)).detach()
    drawn = density(params).sample((DRAWS,))
    assert made.shape == drawn.shape
    # Two independent sets of samples: their means differ by sqrt(2) standard errors, and the relative standard error of a
    # standard deviation is sqrt((kurtosis - 1) / (4 n)).
    error = drawn.std(0) * math.sqrt(2 / DRAWS)
    assert ((made.mean(0) - drawn.mean(0)).abs() <= 4 * error).all()
    kurtosis = (((drawn - drawn.mean(0)) / drawn.std(0)) ** 4).mean(0)
    relative_error = ((kurtosis - 1) / (4 * DRAWS) * 2).sqrt()
    assert ((made.std(0) / drawn.std(0) - 1).abs() <= 4 * relative_error).all()


def test_from_noise_is_mean_plus_scale_times_noise() -> None:
    spec = DataSpec((3,))
    fixed = make("likelihood", {"name": "normal", "scale": 0.5}).build(spec)
    made = fixed.from_noise(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2.0, 0.0, -4.0]))
    assert made.tolist() == [2.0, 2.0, 1.0]
    network = make("posterior", "normal").build(spec)
    made = network.from_noise(torch.tensor([[1.0, 2.0, 3.0], [0.0, 1000.0, -1000.0]]), torch.tensor([-2.0, 1.0, 1.0]))
    expected = torch.tensor([-1.0, 2.0 + math.exp(8), 3.0 + math.exp(-8)])
    torch.testing.assert_close(made, expected, rtol=8 * torch.finfo(torch.float32).eps, atol=0.0)


@pytest.mark.parametrize("case", [case for case in CASES if case.support is not None], ids=str)
def test_discrete_families_have_no_map_from_normal_noise(case: Case) -> None:
    assert case.density().from_noise(torch.tensor(case.event()[0]), torch.zeros(2, 3)) is None


# --- what single families promise -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "option", "value"), [(c, *refused) for c in CASES for refused in c.refused], ids=str)
def test_bad_options_are_refused(case: Case, option: str, value: object) -> None:
    with pytest.raises(UserError) as error:
        make("likelihood", {"name": case.family, option: value})
    assert option.replace("_", "-") in str(error.value)
    assert str(value) in str(error.value)


def test_binomial_needs_a_number_of_levels() -> None:
    with pytest.raises(UserError, match="total-count"):
        make("likelihood", "binomial").build(DataSpec((4,), "counts"))


@DISCRETE
def test_the_encoder_sees_levels_on_the_unit_interval(case: Case) -> None:
    seen = case.part.features(torch.tensor(case.support), case.spec)
    assert (seen[0].item(), seen[-1].item()) == (0.0, 1.0)
    assert (seen.diff() > 0).all()


def test_bounded_exp_is_positive_bounded_and_like_exp_near_0() -> None:
    raw = torch.linspace(-1000, 1000, 2001, dtype=torch.float64)
    scale = bounded_exp(raw)
    assert (scale.diff() >= 0).all()
    # exp(8) after a rounding of 8.
    np.testing.assert_allclose([scale.min(), scale.max()], [math.exp(-8), math.exp(8)], rtol=8 * 2.3e-16)
    near = torch.linspace(-0.05, 0.05, 11, dtype=torch.float64)
    # 8 tanh(r / 8) = r - r^3 / 192 + ...: at 0.05 that is 6.6e-7 off.
    np.testing.assert_allclose(bounded_exp(near).numpy(), np.exp(near.numpy()), rtol=7e-7)
    assert bounded_exp(torch.zeros(1)).item() == 1.0


def test_scales_are_one_a_density_or_one_an_element() -> None:
    one = make("likelihood", {"name": "normal", "scale": "learned"}).build(DataSpec((2, 3)))
    each = make("likelihood", {"name": "normal", "scale": "element"}).build(DataSpec((2, 3)))
    assert [p.numel() for p in one.parameters()] == [1]
    assert [tuple(p.shape) for p in each.parameters()] == [(2, 3)]
    means = torch.zeros(5, 1, 2, 3)
    assert torch.equal(one(means).stddev, torch.ones(5, 2, 3))
    next(each.parameters()).data[1, 2] = 0.1
    changed = each(means).stddev != 1
    assert changed[:, 1, 2].all()
    assert changed.sum() == 5


def test_squared_error_is_a_normal_with_scale_1() -> None:
    vae = VAE((2, 3), 4, {"name": "normal", "scale": 1}, kind="reals").double()
    x, z = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    loss = -vae.likelihood(z).log_prob(x).sum()
    half_squared_error = 0.5 * (x - vae.decoder(z).squeeze(-3)).square().sum()
    expected = half_squared_error.item() + x.numel() / 2 * math.log(2 * math.pi)
    assert loss.item() == pytest.approx(expected, rel=x.numel() * 2.3e-16)
    decoder = list(vae.decoder.parameters())
    of_loss, of_error = torch.autograd.grad(loss, decoder), torch.autograd.grad(half_squared_error, decoder)
    assert all(torch.equal(a, b) for a, b in zip(of_loss, of_error, strict=True))
    assert any(gradient.abs().max() > 0 for gradient in of_error)
