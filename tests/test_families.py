"""Every family against SciPy, against integrals that must be 1, at the edges of float32, and against its shape contract."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import CASES, PRIOR_CASES, Case, cases
from scipy import integrate, special, stats
from torch import Tensor

from pyrovae import VAE, UserError
from pyrovae.contracts import DataSpec
from pyrovae.contracts.supports import OPEN_UNIT
from pyrovae.families.positive import bounded_exp
from pyrovae.likelihoods import LIKELIHOODS
from pyrovae.parts import make
from pyrovae.posteriors import POSTERIORS
from pyrovae.priors import PRIORS

EVERY = pytest.mark.parametrize("case", CASES, ids=str)
DISCRETE = pytest.mark.parametrize("case", [case for case in CASES if case.support is not None], ids=str)
ENDING = [case for case in CASES if case.support is not None and not case.endless]
REPARAMETRISED = pytest.mark.parametrize("case", [case for case in CASES if case.part.reparametrised], ids=str)
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


@pytest.mark.parametrize("value", [1e-30, 1e-12, 3e-8, 0.25, 1 - 2.0**-24])
def test_a_beta_density_is_that_of_the_value_however_near_to_an_end(value: float) -> None:
    raw = torch.tensor([[0.3], [-1.5]])
    p = make("likelihood", "beta").build(DataSpec((1,)))(raw)
    one, zero = (concentration.item() for concentration in (p.base_dist.concentration1, p.base_dist.concentration0))
    x = torch.tensor([value])
    expected = stats.beta.logpdf(x.double().item(), one, zero)
    np.testing.assert_allclose(p.log_prob(x).item(), expected, rtol=1e-5)


def test_the_open_unit_interval_ends_where_float32_does() -> None:
    """The largest number below 1 and its mirror image are inside, what is nearer to 0 is not."""
    edge = 1 - torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))
    inside = torch.stack([edge, 1 - edge, torch.tensor(0.5)])
    outside = torch.stack([torch.nextafter(edge, torch.tensor(0.0)), torch.tensor(1e-30), torch.tensor(0.0), torch.tensor(1.0)])
    assert OPEN_UNIT.check(inside).tolist() == [True] * 3
    assert OPEN_UNIT.check(outside).tolist() == [False] * 4


@EVERY
def test_a_support_has_words(case: Case) -> None:
    assert not re.search(r"[A-Z(]", str(case.density().support))


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


@pytest.mark.parametrize("case", [case for case in CASES if case.large], ids=str)
def test_log_densities_of_large_data_are_right_to_a_millionth_in_float32(case: Case) -> None:
    """While training and while evaluating, for which some densities have ways of their own; alone and in a sum of 784."""
    raw, value = (torch.tensor(np.array(each), dtype=torch.float32) for each in zip(*case.large, strict=True))
    expected = case.log_density(value.double().numpy(), *raw.double().numpy().T)
    once, rows = case.density(torch.float32, event_shape=(1,)), torch.arange(784) % len(value)
    every = case.density(torch.float32, event_shape=(784,))
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            found = once(raw.unsqueeze(-1)).log_prob(value.unsqueeze(-1))
            total = every(raw[rows].T).log_prob(value[rows])
        assert (np.abs(found.detach().double().numpy() - expected) <= 1e-6 * np.maximum(1, np.abs(expected))).all()
        assert total.item() == pytest.approx(expected[rows].sum(), rel=1e-6)


@pytest.mark.parametrize("family", LIKELIHOODS)
def test_every_family_of_large_data_has_a_row_of_them(family: str) -> None:
    rows = [case for case in CASES if case.family == family]
    within_one = all(not case.density().support.check(torch.tensor([2.0, 1000.0])).any() for case in rows)
    assert within_one or any(case.large for case in rows), "tests/cases.py: give a row large values"


@PRECISION
@DISCRETE
def test_probabilities_sum_to_1(case: Case, dtype: torch.dtype) -> None:
    support = np.array(case.support)
    # Extreme parameters put a count beyond any list.
    for raw in case.params if case.endless else case.params + case.extreme_params:
        log_probs = element_log_prob(case, np.tile(raw, (len(support), 1)), support, dtype)
        # A sum of probabilities is as wrong as the worst of its terms, relatively.
        assert abs(special.logsumexp(log_probs)) <= case.tolerance(dtype, support, *raw).max()


def integral(function: Callable[[float], float], points: tuple[float, ...]) -> tuple[float, float]:
    """The integral from the first point to the last, and its error."""
    parts = [integrate.quad(function, *ends) for ends in itertools.pairwise(points)]
    return sum(part for part, _ in parts), sum(error for _, error in parts)


@CONTINUOUS
def test_density_integrates_to_1(case: Case) -> None:
    for raw in case.params:
        found, error = integral(
            lambda x, raw=raw: math.exp(element_log_prob(case, np.array([raw]), np.array([x]))[0]), case.interval(*raw)
        )
        assert abs(found - 1) <= error + 1e-12  # beyond the interval lie less than 1e-20
        assert error < 1e-6


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
        points = case.interval(*raw)
        expected, error = integral(lambda x, raw=raw: x * math.exp(case.log_density(x, *raw)), points)
        assert abs(mean - expected) <= error + 1e-12 * (points[-1] - points[0])


@DISCRETE
def test_standard_deviation_of_a_discrete_family_is_the_sum(case: Case) -> None:
    support = np.array(case.support)[:, None]
    raw = np.array(case.params)
    probabilities = np.exp(case.log_density(support, *raw.T))
    mean = (support * probabilities).sum(0)
    expected = ((support - mean) ** 2 * probabilities).sum(0)
    found = case.part.stddev(case.density(event_shape=(1,))(as_element(raw))).squeeze(-1).numpy() ** 2
    tolerance = case.tolerance(torch.float64, support, *raw.T).max() * support.max() ** 2
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@CONTINUOUS
def test_standard_deviation_of_a_continuous_family_is_the_integral(case: Case) -> None:
    density = case.density(event_shape=(1,))(as_element(np.array(case.params)))
    moments = zip(case.part.mean(density).flatten().tolist(), case.part.stddev(density).flatten().tolist(), strict=True)
    for raw, (mean, stddev) in zip(case.params, moments, strict=True):
        expected, error = integral(
            lambda x, raw=raw, mean=mean: (x - mean) ** 2 * math.exp(case.log_density(x, *raw)), case.interval(*raw)
        )
        # The heaviest tails, t with 4 degrees of freedom, leave 24 / R^2 outside of R = 10^6 scales.
        assert abs(stddev**2 - expected) <= error + 1e-10 * expected + 1e-12


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


@EVERY
def test_an_expanded_density_is_the_density_of_each(case: Case) -> None:
    raw, value = case.event((2,))
    distribution = case.density()(torch.tensor(raw))
    expanded = distribution.expand((3, 2))
    value = torch.tensor(value)
    assert (expanded.batch_shape, expanded.event_shape) == ((3, 2), case.spec.event_shape)
    assert expanded.sample((4,)).shape == (4, 3, 2, *case.spec.event_shape)
    assert torch.equal(expanded.log_prob(value.expand(3, *value.shape)), distribution.log_prob(value).expand(3, 2))


@EVERY
def test_one_datum_is_scored_under_many_parameters(case: Case) -> None:
    raw, _ = case.event((3, 2))
    value = torch.tensor(case.event((2,))[1])
    distribution = case.density()(torch.tensor(raw))
    assert torch.equal(distribution.log_prob(value), distribution.log_prob(value.expand(3, *value.shape)))


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


@REPARAMETRISED
def test_pathwise_gradients_are_those_of_the_mean(case: Case) -> None:
    raw = np.array(case.params)
    once = as_element(raw).requires_grad_()
    expected = torch.autograd.grad(case.part.mean(case.density(event_shape=(1,))(once)).sum(), once)[0]
    each = once.detach().expand(DRAWS, *once.shape).clone().requires_grad_()
    drawn = torch.autograd.grad(case.density(event_shape=(1,))(each).rsample().sum(), each)[0]
    standard_error = drawn.std(0) / math.sqrt(DRAWS)
    assert ((drawn.mean(0) - expected).abs() <= 4 * standard_error + 1e-12).all()


@REPARAMETRISED
def test_samples_and_their_gradients_are_finite_in_float32(case: Case) -> None:
    # exp of a location of 1000, or of a scale of 2981, is no number that float32 has.
    extreme = [raw for raw in case.extreme_params if case.family != "log_normal" or (abs(raw[0]) < 88 and raw[-1] < 3)]
    raw = as_element(np.array([*case.params, *extreme]), torch.float32).expand(100, -1, -1, -1).clone().requires_grad_()
    density = case.density(torch.float32, event_shape=(1,))
    sample = density(raw).rsample()
    gradients = torch.autograd.grad(sample.sum(), [raw])
    assert density.support.check(sample).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def from_noise(case: Case, noise: Tensor) -> Tensor | None:
    return case.part.from_noise(case.density()(torch.tensor(case.event()[0])), noise)


NOISE_MAPS = pytest.mark.parametrize("case", [c for c in CASES if from_noise(c, torch.zeros(2, 3)) is not None], ids=str)


@NOISE_MAPS
def test_from_noise_has_the_distribution_of_a_sample(case: Case) -> None:
    made = from_noise(case, torch.randn(DRAWS, *case.spec.event_shape, dtype=torch.float64)).detach()
    drawn = case.density()(torch.tensor(case.event()[0])).sample((DRAWS,))
    assert made.shape == drawn.shape
    # Two independent sets of samples: their means differ by sqrt(2) standard errors, and the relative standard error of a
    # standard deviation is sqrt((kurtosis - 1) / (4 n)).
    error = drawn.std(0) * math.sqrt(2 / DRAWS)
    assert ((made.mean(0) - drawn.mean(0)).abs() <= 4 * error).all()
    kurtosis = (((drawn - drawn.mean(0)) / drawn.std(0)) ** 4).mean(0)
    # A fair coin has kurtosis 1: what is left is of second order.
    relative_error = ((kurtosis - 1).clamp(min=0) / (4 * DRAWS) * 2).sqrt()
    assert ((made.std(0) / drawn.std(0) - 1).abs() <= 4 * relative_error + 16 / DRAWS).all()


def test_from_noise_is_mean_plus_scale_times_noise() -> None:
    spec = DataSpec((3,))
    fixed = make("likelihood", {"name": "normal", "scale": 0.5}).build(spec)
    made = fixed.family.from_noise(fixed(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([2.0, 0.0, -4.0]))
    assert made.tolist() == [2.0, 2.0, 1.0]
    network = make("posterior", "normal").build(spec)
    distribution = network(torch.tensor([[1.0, 2.0, 3.0], [0.0, 1000.0, -1000.0]]))
    made = network.family.from_noise(distribution, torch.tensor([-2.0, 1.0, 1.0]))
    expected = torch.tensor([-1.0, 2.0 + math.exp(8), 3.0 + math.exp(-8)])
    torch.testing.assert_close(made, expected, rtol=8 * torch.finfo(torch.float32).eps, atol=0.0)


def test_laplace_from_noise_is_the_quantile_of_its_probability() -> None:
    noise = np.array([-12.0, -1.3, 0.0, 0.4, 12.0])
    density = make("likelihood", {"name": "laplace", "scale": 0.7}).build(DataSpec((5,)))
    made = density.family.from_noise(density(torch.full((1, 5), 1.5, dtype=torch.float64)), torch.tensor(noise))
    lower = stats.laplace.ppf(stats.norm.cdf(-np.abs(noise)), 0, 0.7)
    np.testing.assert_allclose(made.numpy(), 1.5 - np.sign(noise) * lower, rtol=1e-12)


def test_bernoulli_from_noise_is_1_below_the_probability() -> None:
    noise = np.array([-5.0, -1.3, 0.0, 0.4, 5.0])
    for logit in (-700.0, -9.0, -0.3, 0.0, 0.6, 9.0, 700.0):
        density = make("likelihood", "bernoulli").build(DataSpec((5,), "binary", 2))
        made = density.family.from_noise(density(torch.full((1, 5), logit)), torch.tensor(noise, dtype=torch.float32))
        assert made.tolist() == (stats.norm.cdf(noise) < special.expit(logit)).tolist()
        assert made.dtype == torch.float32


def test_other_discrete_families_have_no_map_from_normal_noise() -> None:
    maps = {case.family for case in CASES if case.support is not None and from_noise(case, torch.zeros(2, 3)) is not None}
    assert maps == {"bernoulli"}


# --- what single families promise -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "option", "value"), [(c, *refused) for c in CASES for refused in c.refused], ids=str)
def test_bad_options_are_refused(case: Case, option: str, value: object) -> None:
    with pytest.raises(UserError) as error:
        make("likelihood", {"name": case.family, option: value})
    assert (error.value.option, error.value.value) == (f"likelihood.{option}", value)


def test_binomial_needs_a_number_of_levels() -> None:
    with pytest.raises(UserError, match=r"likelihood\.total_count"):
        make("likelihood", "binomial").build(DataSpec((4,), "counts"))


@pytest.mark.parametrize("family", ["categorical", "logistic"])
def test_levels_are_needed_where_they_are_modelled(family: str) -> None:
    with pytest.raises(UserError, match=r"data\.levels"):
        make("likelihood", family).build(DataSpec((4,), "counts"))


@pytest.mark.parametrize("case", ENDING, ids=str)
def test_the_encoder_sees_levels_on_the_unit_interval(case: Case) -> None:
    seen = case.part.features(torch.tensor(case.support), case.spec)
    assert (seen[0].item(), seen[-1].item()) == (0.0, 1.0)
    assert (seen.diff() > 0).all()


@pytest.mark.parametrize(
    ("family", "seen"), [("poisson", np.log1p), ("negative_binomial", np.log1p), ("log_normal", np.log), ("laplace", np.array)]
)
def test_the_encoder_sees_numbers_near_1(family: str, seen: Callable[[np.ndarray], np.ndarray]) -> None:
    x = np.array([1.0, 2.0, 1000.0])
    found = make("likelihood", family).features(torch.tensor(x), DataSpec((3,), "counts"))
    np.testing.assert_allclose(found.numpy(), seen(x), rtol=1e-15)


def test_raw_parameters_0_are_the_standard_densities() -> None:
    x = torch.tensor([0.01, 0.4, 0.99], dtype=torch.float64)
    for role, name, reference in (
        ("posterior", "normal", stats.norm),
        ("likelihood", {"name": "laplace", "scale": "network"}, stats.laplace),
        ("likelihood", {"name": "student_t", "scale": "network"}, stats.t(4)),
        ("likelihood", "beta", stats.uniform),
        ("likelihood", "continuous_bernoulli", stats.uniform),
    ):
        density = make(role, name).build(DataSpec((3,)))
        found = density(torch.zeros(density.params_shape, dtype=torch.float64)).log_prob(x).item()
        assert found == pytest.approx(reference.logpdf(x.numpy()).sum(), abs=1e-14)


def test_beta_samples_of_tiny_concentrations_are_near_the_ends() -> None:
    raw = torch.tensor([[0.0], [-1000.0]]).expand(20_000, 2, 1)
    density = make("likelihood", "beta").build(DataSpec((1,)))
    sample = density(raw).sample().double()
    exact = stats.beta(math.exp(-8), math.exp(-8))
    for low, high in ((0, 1e-3), (1e-3, 1 - 1e-3), (0, 0.5)):
        p = exact.cdf(high) - exact.cdf(low)
        inside = ((sample > low) & (sample < high)).double().mean()
        assert abs(inside - p) <= 4 * math.sqrt(p * (1 - p) / len(sample))


@PRECISION
@pytest.mark.parametrize("logit", [0.0, 1e-3, -1e-3, 0.4999, 0.5001, 20.0, 30.0, -30.0, 90.0, -90.0])
def test_continuous_bernoulli_integrates_to_1_whatever_the_logit(logit: float, dtype: torch.dtype) -> None:
    nodes, weights = np.polynomial.legendre.leggauss(200)  # exact for polynomials of degree 399, and e^90x is nearly one
    x = torch.tensor((nodes + 1) / 2, dtype=dtype)
    density = make("likelihood", "continuous_bernoulli").build(DataSpec((1,)))
    p = density(torch.full((1, 1), logit, dtype=dtype))
    values = p.log_prob(x.unsqueeze(-1)).double().exp().numpy()
    # Nodes and products are rounded once each: relatively, by |l| eps at most.
    eps = torch.finfo(dtype).eps
    assert abs((weights / 2) @ values - 1) <= (2 * abs(logit) + 8) * eps + 1e-12
    assert p.mean.item() == pytest.approx((weights / 2) @ (values * x.double().numpy()), abs=(2 * abs(logit) + 8) * eps + 1e-12)


def test_continuous_bernoulli_gradients_are_x_minus_the_mean() -> None:
    logits = torch.tensor([-90.0, -0.5, -1e-3, 0.0, 1e-6, 0.3, 0.5, 30.0]).requires_grad_()
    density = make("likelihood", "continuous_bernoulli").build(DataSpec((8,)))
    (gradient,) = torch.autograd.grad(density(logits.unsqueeze(0)).log_prob(torch.full((8,), 0.7)), logits)
    wide = logits.detach().numpy().astype(np.longdouble)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(np.abs(wide) < 1e-5, 0.5 + wide / 12, 1 / -np.expm1(-wide) - 1 / wide).astype(float)
    np.testing.assert_allclose(gradient.numpy(), 0.7 - mean, atol=16 * torch.finfo(torch.float32).eps)


def test_continuous_bernoulli_samples_have_its_distribution() -> None:
    for logit in (-20.0, -0.3, 0.0, 1e-9, 3.0):
        density = make("likelihood", "continuous_bernoulli").build(DataSpec((1,)))
        sample = density(torch.full((DRAWS, 1, 1), logit, dtype=torch.float64)).sample().flatten().numpy()
        cdf = lambda x, l=logit: x if l == 0 else np.expm1(x * l) / np.expm1(l)  # noqa: E731, E741
        assert stats.kstest(sample, cdf).pvalue > 1e-4


def test_the_constant_of_student_t_does_not_add_up_over_elements() -> None:
    size = 10_000
    density = make("likelihood", {"name": "student_t", "df": 1000, "scale": 1.0}).build(DataSpec((size,)))
    found = density(torch.zeros(1, size)).log_prob(torch.zeros(size)).item()
    # One rounding of the constant, and those of the sum, whose terms are pairwise added.
    assert found == pytest.approx(size * stats.t.logpdf(0, 1000), rel=16 * torch.finfo(torch.float32).eps)


@pytest.mark.parametrize("far", [1e19, -1e25, 1e30, 3e37])
def test_student_t_is_finite_as_far_as_float32_goes(far: float) -> None:
    for scale in (0.3, 1.0, 1e3):
        density = make("likelihood", {"name": "student_t", "df": 3, "scale": scale}).build(DataSpec((1,)))
        location = torch.zeros(1, 1, requires_grad=True)
        found = density(location).log_prob(torch.tensor([far]))
        (gradient,) = torch.autograd.grad(found, location)
        x = np.float64(np.float32(far)) / scale
        # (3 + 1) / 2 log(1 + x^2 / 3), whose derivative is 4 x / (3 + x^2).
        expected = stats.t.logpdf(0, 3) - np.log(scale) - 2 * (2 * np.log(np.abs(x)) - np.log(3))
        assert found.item() == pytest.approx(expected, rel=1e-6)
        assert gradient.item() == pytest.approx(4 / x / scale, rel=1e-5)


def test_the_mean_of_student_t_is_shown_as_its_location() -> None:
    density = make("likelihood", {"name": "student_t", "df": 1}).build(DataSpec((2,)))
    params = torch.tensor([[0.5, -3.0]])
    assert torch.equal(density.family.mean(density(params)), params[0])


def test_logistic_components_start_side_by_side() -> None:
    density = make("likelihood", {"name": "logistic", "components": 4}).build(DataSpec((1,), "levels", 257))
    modes = density(torch.zeros(12, 1)).log_prob(torch.arange(257.0).unsqueeze(-1)).exp()
    peaks = ((modes[1:-1] > modes[:-2]) & (modes[1:-1] > modes[2:])).nonzero().flatten() + 1
    assert peaks.tolist() == [32, 96, 160, 224]


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
