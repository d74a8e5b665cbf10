"""Which preprocessing is chosen, that it changes log-probabilities by its Jacobian, and what is said of the numbers."""

from __future__ import annotations

import itertools
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import Case, cases
from scipy import integrate, stats
from torch import Tensor

from pyrovae import VAE, Importance, UserError, commands
from pyrovae.cli.spelling import with_flags
from pyrovae.contracts import DataSpec, Transform
from pyrovae.contracts.supports import OPEN_UNIT
from pyrovae.likelihoods import LIKELIHOODS, default_preprocess, fitting
from pyrovae.parts import make
from pyrovae.preprocess import PREPROCESSES
from pyrovae.preprocess.squeeze import MARGIN, MOST_AT_AN_END

E = (2, 3)
KINDS = ("levels", "counts", "reals", "binary")
EPS = torch.finfo(torch.float32).eps
LAST_UNIFORM = 1 - 2.0**-24
"""The largest number that torch.rand returns in float32."""

INVERTIBLE = [
    ("none", "reals"),
    ("dequantise", "levels"),
    ("dequantise", "binary"),
    ("dequantise", "counts"),
    ("squeeze", "levels"),
    ("squeeze", "binary"),
    ("squeeze", "reals"),
    ("standardise", "reals"),
]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def spec_of(kind: str, levels: int | None = None) -> DataSpec:
    return DataSpec(E, kind, {"levels": levels or 17, "binary": 2}.get(kind))


def data_of(spec: DataSpec, count: int = 64) -> Tensor:
    """Data of that kind, in the type in which the loaders keep them; the smallest and the largest value are among them."""
    if spec.kind == "reals":
        return torch.randn(count, *spec.event_shape) * torch.linspace(0.1, 50, spec.size).view(spec.event_shape) + 7
    top = 16 if spec.levels is None else spec.levels - 1
    x = torch.randint(0, top + 1, (count, *spec.event_shape))
    x[0], x[1] = 0, top
    return x.float() if spec.kind == "counts" else x.to(torch.uint8)


def taken_by(name: str, spec: DataSpec) -> Tensor:
    """Data that the preprocessing takes: reals in [0, 1] where it wants them."""
    return torch.rand(64, *spec.event_shape) if (name, spec.kind) == ("squeeze", "reals") else data_of(spec)


def transform_of(name: str, spec: DataSpec, x: Tensor | None = None, **options: object) -> Transform:
    return make("preprocess", {"name": name, **options}).build(spec, taken_by(name, spec) if x is None else x)


# --- the choice -------------------------------------------------------------------------------------------------------


def modelled_by(case: Case, spec: DataSpec) -> Tensor:
    """Data of that kind on the family's support."""
    return torch.tensor(case.event((64,))[1]).float() if spec.kind == "reals" else data_of(spec)


def vae_of(case: Case, spec: DataSpec, preprocess: object = "auto") -> VAE:
    likelihood = {"name": case.family, **case.options}
    vae = VAE(E, 2, likelihood, preprocess=preprocess, kind=spec.kind, levels=spec.levels)
    vae.prepare(spec, data_of(spec))
    return vae


LIKELIHOOD_CASES = cases("likelihood")
CHOSEN = [(case, kind) for case in LIKELIHOOD_CASES for kind in KINDS if kind in case.preprocess]
REFUSED = [(case, kind) for case in LIKELIHOOD_CASES for kind in KINDS if kind not in case.preprocess]


@pytest.mark.parametrize(("case", "kind"), CHOSEN, ids=str)
def test_the_likelihood_gets_the_preprocessing_that_it_wants(case: Case, kind: str) -> None:
    spec = spec_of(kind, case.spec.levels)
    x = modelled_by(case, spec)
    vae = vae_of(case, spec)
    y = vae.transform(x, torch.rand(x.shape))
    assert type(vae.transform) is type(transform_of(case.preprocess[kind], spec))
    assert vae.likelihood_density.support.check(y).all()
    assert torch.isfinite(vae.likelihood(torch.zeros(len(x), 2)).log_prob(y)).all()


@pytest.mark.parametrize(("case", "kind"), REFUSED, ids=str)
def test_kinds_without_a_preprocessing_are_refused(case: Case, kind: str) -> None:
    with pytest.raises(UserError, match=rf"{case.family}.*{kind}|{kind}.*{case.family}"):
        vae_of(case, spec_of(kind, case.spec.levels))


@pytest.mark.parametrize(
    ("likelihood", "kind", "preprocess", "named"),
    [
        ("bernoulli", "levels", "none", "--preprocess binarise"),
        ("bernoulli", "levels", "dequantise", "--likelihood bernoulli"),
        ("bernoulli", "reals", "standardise", "--likelihood bernoulli"),
        ("bernoulli", "counts", "binarise", "--preprocess.threshold"),
        ("binomial", "levels", "dequantise", "--likelihood binomial"),
        ("normal", "levels", "none", "--preprocess dequantise"),
        ("normal", "counts", "none", "--preprocess dequantise"),
        ("normal", "binary", "none", "--preprocess dequantise"),
        ("normal", "levels", "standardise", "--preprocess dequantise"),
        ("normal", "counts", "standardise", "--data.kind reals"),
        ("normal", "binary", "standardise", "--preprocess standardise"),
        ("normal", "reals", "dequantise", "--preprocess none"),
        ("beta", "counts", "squeeze", "--data.levels"),
        ("beta", "reals", "squeeze", "value 7"),
        ("beta", "counts", "auto", "--likelihood binomial"),
        ("poisson", "levels", "auto", "--likelihood binomial"),
        ("poisson", "counts", "dequantise", "--likelihood poisson"),
        ("log_normal", "counts", "auto", "--likelihood binomial"),
        ("categorical", "reals", "auto", "--likelihood normal"),
    ],
)
def test_preprocessing_that_does_not_fit_is_refused(likelihood: str, kind: str, preprocess: str, named: str) -> None:
    spec = spec_of(kind)
    x = data_of(spec) if kind != "reals" else torch.full((4, *E), 7.0)
    with pytest.raises(UserError) as error:
        VAE(E, 2, likelihood, preprocess=preprocess, kind=kind, levels=spec.levels).prepare(spec, x)
    assert named in with_flags(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_likelihoods_to_suggest_and_they_fit(kind: str) -> None:
    spec = spec_of(kind)
    names = fitting(spec)
    assert 2 <= len(names) <= 4
    for name in names:
        assert default_preprocess(make("likelihood", name), spec)


@pytest.mark.parametrize(
    ("values", "fit"),
    [
        ([0.5, 7.0], {"normal", "laplace", "student_t", "log_normal"}),
        ([0.5, -7.0], {"normal", "laplace", "student_t"}),
    ],
)
def test_likelihoods_are_suggested_for_the_values_there_are(values: list[float], fit: set[str]) -> None:
    assert set(fitting(DataSpec((2,), "reals"), torch.tensor([values]))) == fit


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_refusal_of_a_kind_is_one_line_that_can_be_read(likelihood: str) -> None:
    family, line = make("likelihood", likelihood), LIKELIHOODS.line(likelihood)
    for kind in KINDS:
        if kind not in line.preprocess:
            spec = spec_of(kind)
            with pytest.raises(UserError) as error:
                default_preprocess(family, spec, data_of(spec))
            assert f"likelihood='{likelihood}': does not model data of the kind {kind}" in str(error.value)
            assert len(str(error.value)) < 300


def test_reals_that_are_no_probabilities_are_not_drawn_as_bits() -> None:
    spec = spec_of("reals")
    with pytest.raises(UserError, match=r"value -0\.5 at .*preprocess\.threshold"):
        transform_of("binarise", spec, torch.tensor([-0.5, 0, 0, 0, 0, 2.0]).expand(4, 6).view(4, *E))
    assert transform_of("binarise", spec, torch.rand(4, *E)).needs_noise


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("binarise", "threshold", float("nan")), ("binarise", "threshold", float("inf")), ("standardise", "over", "foo")],
)
def test_bad_options_are_refused(name: str, option: str, value: object) -> None:
    with pytest.raises(UserError) as error:
        make("preprocess", {"name": name, option: value})
    assert error.value.option == f"preprocess.{option}"
    assert str(error.value.value) == str(value)


# --- the change of variables ------------------------------------------------------------------------------------------


def test_every_preprocessing_is_tested() -> None:
    assert {name for name, _ in INVERTIBLE} | {"binarise"} == set(PREPROCESSES), "add the new one to INVERTIBLE, or its own tests"


@pytest.mark.parametrize(("name", "kind"), INVERTIBLE, ids=str)
def test_jacobian_is_autograds(name: str, kind: str) -> None:
    spec = spec_of(kind)
    transform = transform_of(name, spec)
    x, u = taken_by(name, spec)[2].float(), torch.rand(E)
    jacobian = torch.autograd.functional.jacobian(lambda x: transform(x, u), x).reshape(spec.size, spec.size)
    expected = torch.linalg.slogdet(jacobian.double()).logabsdet
    # Each element's derivative is one division in float32.
    assert abs(float(transform.log_abs_det_jacobian()) - expected) <= spec.size * EPS


@pytest.mark.parametrize(("name", "kind"), INVERTIBLE, ids=str)
def test_inverse_undoes_the_transform(name: str, kind: str) -> None:
    spec = spec_of(kind)
    x = taken_by(name, spec)
    transform = transform_of(name, spec, x)
    back = transform.inverse(transform(x, torch.full(x.shape, 0.5)))
    # Four roundings of numbers no larger than the data and their mean.
    assert (back - x).abs().max() <= 4 * EPS * (2 * x.float().abs().max() + 1)


def test_standardised_normal_density_integrates_to_1_in_the_units_of_the_data() -> None:
    spec = DataSpec((1,), "reals")
    x = 30 * torch.rand(200, 1) - 500
    vae = VAE((1,), 2, {"name": "normal", "scale": 0.7}, preprocess="standardise", kind="reals")
    vae.prepare(spec, x)
    vae.double()
    p = vae.likelihood(torch.zeros(2, dtype=torch.float64))

    def density(value: float) -> float:
        y = vae.preprocessed(torch.tensor([value], dtype=torch.float64))
        return (p.log_prob(y) + vae.transform.log_abs_det_jacobian()).exp().item()

    # 40 x 30 is more than 40 standard deviations of the data on either side.
    found, error = integrate.quad(density, -500 - 1200, -500 + 1230, points=[-500, -470], limit=200)
    assert abs(found - 1) <= error + 1e-9
    assert error < 1e-6


@pytest.mark.parametrize("levels", [2, 17])
def test_dequantised_normal_gives_a_level_the_mass_of_its_interval(levels: int) -> None:
    spec = DataSpec((1,), "levels", levels)
    transform = transform_of("dequantise", spec)
    density = make("likelihood", {"name": "normal", "scale": 0.2}).build(transform.made)
    p = density(torch.tensor([[0.4]]))
    u, weights = np.polynomial.legendre.leggauss(20)
    noise = torch.tensor((u + 1) / 2, dtype=torch.float32).unsqueeze(-1)
    for level in range(levels):
        y = transform(torch.full((20, 1), level), noise)
        log_density = (p.log_prob(y) + transform.log_abs_det_jacobian()).double().numpy()
        edges = stats.norm(0.4, 0.2).cdf([level / levels, (level + 1) / levels])
        mass = np.diff(edges)[0]
        # Float32 log densities of magnitude below 10, in 8 roundings.
        assert (weights / 2) @ np.exp(log_density) == pytest.approx(mass, rel=80 * EPS)
        assert (weights / 2) @ log_density < math.log(mass)


# --- dequantise -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_dequantised_levels_lie_on_the_unit_interval(levels: int) -> None:
    spec = DataSpec((levels,), "levels", levels)
    x = torch.arange(levels, dtype=torch.int16).expand(3, levels)
    u = torch.tensor([0.0, 0.5, LAST_UNIFORM]).unsqueeze(-1).expand(3, levels)
    y = transform_of("dequantise", spec, x)(x, u)
    assert y.min() >= 0
    assert y.max() <= 1
    # Neither end of the noise leaves the interval of its level.
    width = torch.arange(levels) / levels
    assert (y >= width * (1 - EPS)).all()
    assert (y <= (width + 1 / levels) * (1 + EPS)).all()


def test_dequantised_counts_keep_their_unit() -> None:
    x = torch.tensor([[0.0, 3.0, 1000.0]])
    transform = transform_of("dequantise", DataSpec((3,), "counts"), x)
    assert torch.equal(transform(x, torch.full((1, 3), 0.25)), x + 0.25)
    assert transform.log_abs_det_jacobian() == 0


# --- squeeze ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 17, 256, 65536])
def test_squeezed_levels_lie_strictly_inside_the_unit_interval(levels: int) -> None:
    spec = DataSpec((levels,), "levels", levels)
    x = torch.arange(levels).expand(3, levels)
    u = torch.tensor([0.0, 0.5, LAST_UNIFORM]).unsqueeze(-1).expand(3, levels)
    y = transform_of("squeeze", spec, x)(x, u)
    assert OPEN_UNIT.check(y).all()
    p = make("likelihood", "beta").build(DataSpec((levels,)))(torch.tensor([[3.0], [1000.0]]).expand(2, levels))
    assert torch.isfinite(p.log_prob(y)).all()


def test_squeezed_reals_lie_strictly_inside_the_unit_interval() -> None:
    x = torch.tensor([[0.0, 1e-30, 0.5, 1.0]])
    with pytest.warns(UserWarning, match="preprocess='squeeze': there are values that are exactly 0 or 1"):
        transform = transform_of("squeeze", DataSpec((4,), "reals"), x)
    assert OPEN_UNIT.check(transform(x)).all()
    assert transform.number_kind is None
    assert not transform.needs_noise


def test_what_an_exact_end_may_add_is_stated() -> None:
    """The supremum of a beta density there over all parameters that the family has; without bounds it would be 1e6 / e / 13.8."""
    raw = torch.tensor(np.stack(np.meshgrid(np.linspace(-40, 40, 401), np.linspace(-40, 40, 401))), dtype=torch.float64)
    p = make("likelihood", "beta").build(DataSpec((401,)))(raw.transpose(0, 1)).base_dist
    for end in (MARGIN, 1 - MARGIN):
        found = stats.beta.logpdf(end, p.concentration1.numpy(), p.concentration0.numpy()).max()
        assert MOST_AT_AN_END - 0.1 < found <= MOST_AT_AN_END


def test_training_and_evaluation_say_that_there_are_ends(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(0.01, 0.99, (60, 4))
    x[:5], x[5:7, 0] = 0.0, 1.0
    np.save(tmp_path / "x.npy", x)
    tiny = {"network": "linear", "latent_dim": 2, "epochs": 1, "device": "cpu", "progress": False}
    said = re.compile("preprocess='squeeze': there are values that are exactly 0 or 1.* 11[.]1 nats .*continuous_bernoulli")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        commands.train(data=str(tmp_path / "x.npy"), likelihood="beta", preprocess="squeeze", out=str(tmp_path / "run"), **tiny)
    assert len({str(warning.message) for warning in caught if said.match(str(warning.message))}) == 1  # printed once
    with pytest.warns(UserWarning, match=said):
        commands.evaluate(tmp_path / "run", Importance(samples=2), split="all", device="cpu")


def test_a_beta_refuses_reals_that_float32_cannot_tell_from_the_ends_and_squeeze_takes_them(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(0.01, 0.99, (60, 4))
    x[7, 2] = 1e-9
    np.save(tmp_path / "x.npy", x)
    tiny = {"network": "linear", "latent_dim": 2, "epochs": 1, "device": "cpu", "progress": False, "likelihood": "beta"}
    with pytest.raises(
        UserError, match=r"value 1e-09 at \(7, 2\) is outside .*by at least 6e-08; use preprocess='squeeze'"
    ) as error:
        commands.train(data=str(tmp_path / "x.npy"), out=str(tmp_path / "run"), **tiny)
    assert "data.kind" not in str(error.value)
    commands.train(data=str(tmp_path / "x.npy"), preprocess="squeeze", out=str(tmp_path / "run"), **tiny)


def test_reals_outside_the_unit_interval_are_not_squeezed() -> None:
    with pytest.raises(UserError, match=r"value 1\.5 at \(0, 1\).*\[0, 1\]"):
        transform_of("squeeze", DataSpec((2,), "reals"), torch.tensor([[0.5, 1.5]]))


@pytest.mark.parametrize("levels", [2, 17])
def test_squeezed_beta_gives_a_level_the_mass_of_its_interval(levels: int) -> None:
    transform = transform_of("squeeze", DataSpec((1,), "levels", levels))
    p = make("likelihood", "beta").build(transform.made)(torch.tensor([[0.4], [1.5]]))
    one, zero = p.base_dist.concentration1.item(), p.base_dist.concentration0.item()
    u, weights = np.polynomial.legendre.leggauss(40)
    noise = torch.tensor((u + 1) / 2, dtype=torch.float32).unsqueeze(-1)
    for level in range(levels):
        log_density = (
            (p.log_prob(transform(torch.full((40, 1), level), noise)) + transform.log_abs_det_jacobian()).double().numpy()
        )
        ends = 1e-6 + (1 - 2e-6) * np.array([level, level + 1]) / levels
        mass = np.diff(stats.beta(one, zero).cdf(ends))[0]
        # Where a density is y^(c - 1) near an end, c > 1, the error of n nodes falls as n^(-2 c): 40^-2 is 6e-4.
        assert (weights / 2) @ np.exp(log_density) == pytest.approx(mass, rel=1e-3)
        assert (weights / 2) @ log_density < math.log(mass)


# --- binarise ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_bits_are_drawn_with_the_probability_of_their_level(levels: int) -> None:
    draws = 10_000
    spec = DataSpec((levels,), "levels", levels)
    x = torch.arange(levels).to(torch.uint8).expand(draws, levels)
    bits = transform_of("binarise", spec, x)(x, torch.rand(draws, levels)).double()
    p = torch.arange(levels).double() / (levels - 1)
    # 5 standard errors, for there are up to 256 comparisons; at the ends the error is 0 and so is the difference.
    assert ((bits.mean(0) - p).abs() <= 5 * (p * (1 - p) / draws).sqrt()).all()
    assert set(bits.unique().tolist()) == {0.0, 1.0}


def test_bits_of_the_end_levels_are_certain_whatever_the_noise() -> None:
    for levels, u in itertools.product(range(2, 257), (0.0, LAST_UNIFORM)):
        x = torch.tensor([[0, levels - 1]], dtype=torch.uint8)
        bits = transform_of("binarise", DataSpec((2,), "levels", levels), x)(x, torch.full((1, 2), u))
        assert bits.tolist() == [[0.0, 1.0]]


def test_fresh_noise_draws_fresh_bits() -> None:
    spec = DataSpec((1000,), "levels", 17)
    x = torch.full((1, 1000), 8, dtype=torch.uint8)
    transform = transform_of("binarise", spec, x)
    changed = (transform(x, torch.rand(1, 1000)) != transform(x, torch.rand(1, 1000))).double()
    # Two independent bits of probability 1/2 differ with probability 1/2.
    assert abs(changed.mean() - 0.5) <= 4 * 0.5 / math.sqrt(1000)


@pytest.mark.parametrize(
    ("kind", "threshold", "x", "bits"),
    [
        ("levels", 127.5, [0, 127, 128, 255], [0, 0, 1, 1]),
        ("levels", 128, [0, 127, 128, 255], [0, 0, 0, 1]),
        ("counts", 0, [0.0, 1.0, 2.0, 900.0], [0, 1, 1, 1]),
        ("reals", -1.5, [-2.0, -1.5, -1.0, 3.0], [0, 0, 1, 1]),
    ],
)
def test_threshold(kind: str, threshold: float, x: list[float], bits: list[int]) -> None:
    data = torch.tensor([x], dtype=torch.uint8 if kind == "levels" else torch.float32)
    spec = DataSpec((4,), kind, 256 if kind == "levels" else None)
    transform = transform_of("binarise", spec, data, threshold=threshold)
    assert not transform.needs_noise
    assert transform(data).tolist() == [bits]
    assert (transform.made.kind, transform.made.levels) == ("binary", 2)


def test_bits_are_shown_as_bits() -> None:
    y = torch.tensor([[0.0, 1.0]])
    assert torch.equal(transform_of("binarise", DataSpec((2,), "levels", 17), torch.zeros(1, 2)).inverse(y), y)


# --- standardise ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["data", "everything"])
def test_training_data_get_mean_0_and_deviation_1(over: str) -> None:
    spec = spec_of("reals")
    x = data_of(spec, 1000)
    y = transform_of("standardise", spec, x, over=over)(x).double()
    dims = 0 if over == "data" else None
    # Mean and scale are rounded to float32 and so is each y, whose offset may be as large as mean / scale.
    mean, scale = np.mean(x.double().numpy(), dims), np.std(x.double().numpy(), dims)
    tolerance = 4 * EPS * (1 + np.abs(mean / scale).max())
    np.testing.assert_allclose(y.mean(dims).numpy(), 0, atol=tolerance)
    np.testing.assert_allclose(y.std(dims, correction=0).numpy(), 1, rtol=tolerance)


@pytest.mark.parametrize("count", [2, 7, 1000, 4099])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6 / 3, 1e-30])
def test_constant_elements_keep_scale_1(value: float, count: int) -> None:
    x = torch.stack([torch.full((count,), value), torch.randn(count)], -1)
    transform = transform_of("standardise", DataSpec((2,), "reals"), x)
    assert transform.scale[0] == 1
    assert torch.equal(transform(x)[:, 0], torch.zeros(count))


def test_a_scale_over_everything_is_one_number() -> None:
    spec = spec_of("reals")
    x = data_of(spec)
    transform = transform_of("standardise", spec, x, over="everything")
    assert transform.scale.unique().numel() == transform.mean.unique().numel() == 1
    assert float(transform.log_abs_det_jacobian()) == pytest.approx(
        -spec.size * math.log(x.double().numpy().std()), abs=spec.size * EPS
    )


def test_scaling_needs_the_training_data_to_be_known() -> None:
    spec = spec_of("reals")
    vae = VAE(E, 2, "normal", preprocess="standardise", kind="reals")
    x = data_of(spec)
    assert not vae.prepared
    vae.prepare(spec, x)
    np.testing.assert_allclose(vae.transform.mean.numpy(), x.double().numpy().mean(0), rtol=4 * EPS)


# --- what is said of the numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("none", "reals", None),
        ("none", "levels", None),
        ("standardise", "reals", None),
        ("dequantise", "levels", "bound"),
        ("dequantise", "counts", "bound"),
        ("squeeze", "levels", "bound"),
        ("squeeze", "binary", "bound"),
        ("squeeze", "reals", None),
        ("binarise", "levels", "binarised"),
    ],
)
def test_numbers_are_marked(name: str, kind: str, says: str | None) -> None:
    marked = transform_of(name, spec_of(kind)).number_kind
    assert marked is None if says is None else says in marked


@pytest.mark.parametrize(
    ("name", "needed"), [("none", False), ("standardise", False), ("dequantise", True), ("squeeze", True), ("binarise", True)]
)
def test_noise_is_asked_for_where_it_is_used(name: str, needed: bool) -> None:
    spec = spec_of("reals" if name == "standardise" else "levels")
    x = data_of(spec)
    transform = transform_of(name, spec, x)
    differs = not torch.equal(transform(x, torch.rand(x.shape)), transform(x, torch.rand(x.shape)))
    assert transform.needs_noise == needed == differs


@pytest.mark.parametrize("name", ["dequantise", "squeeze", "binarise"])
def test_noise_that_is_missing_is_asked_for(name: str) -> None:
    transform = make("preprocess", name).build(DataSpec((3,), "levels", 16), None)
    with pytest.raises(UserError, match=r"u.*draws noise"):
        transform(torch.tensor([[0, 7, 15]]))
