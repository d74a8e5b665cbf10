"""The table of cases: every likelihood, posterior and prior with its options, an independent reference and hard values.

A family is added by adding one row: to ``CASES`` for a likelihood or a posterior (``roles`` says which), to ``PRIOR_CASES``
for a prior, to ``POSTERIOR_CASES`` for a posterior whose elements are not independent. All tests that are parametrised over
these tables then run on it; ``test_every_family_has_a_case`` fails until the row is there.
References are SciPy's, written from the documented formula; nothing here calls the density under test.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from references import (
    COUNTS,
    beta,
    bounded,
    categorical,
    continuous_bernoulli,
    laplace,
    log_normal,
    logistic,
    negative_binomial,
    normal,
    poisson,
    student_t,
    tosses,
    tosses_magnitude,
)
from scipy import special, stats

from pyrovae.contracts import DataSpec, Density, Family, Prior, PriorModule
from pyrovae.parts import make

Raw = tuple[float, ...]

LEARNED = 0.3
"""The value that every learned raw parameter of a family has in these tests unless its row says another."""

ROUNDINGS = 8
"""A bound on how many roundings of size eps x magnitude a log density gathers."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row: one family with one choice of options.

    Args:
        family: Its name in the tables of ``roles``.
        options: Options that differ from that role's defaults.
        roles: Where it serves: likelihood, posterior.
        spec: The data that it is a density of.
        log_density: (value, raw parameters ...) -> log density of one element, vectorised.
        magnitude: (value, raw parameters ...) -> the sum of the absolute terms of that formula, which rounding acts on.
        params: Ordinary raw parameters of one element, P numbers each.
        values: Ordinary values of one element.
        extreme_params: Raw parameters that a badly trained decoder emits.
        extreme_values: Values at the edge of what the preprocessing emits.
        outside: Values that have no density.
        large: Raw parameters and a value that are large, up to what the data may be; none where they are within [0, 1], or where
            the size of a value plays no part in the formula.
        support: Every value of one element; None for a continuous density.
        endless: Whether the support goes on, beyond ``support`` being less than 1e-16 for ordinary parameters.
        interval: raw parameters ... -> points in order; a continuous density has less than 1e-20 outside of the first and the
            last, and what quadrature finds hard at one of them at most.
        preprocess: Kind of data -> the preprocessing that it gets; the other kinds are refused.
        refused: Options, one at a time, that are no options.
        learned: The value of every learned raw parameter.
    """

    family: str
    options: Mapping[str, Any] = field(default_factory=dict)
    roles: tuple[str, ...] = ("likelihood",)
    spec: DataSpec
    log_density: Callable[..., np.ndarray]
    magnitude: Callable[..., np.ndarray]
    params: tuple[Raw, ...]
    values: Raw
    extreme_params: tuple[Raw, ...]
    extreme_values: Raw
    outside: Raw
    large: tuple[tuple[Raw, float], ...] = ()
    support: Raw | None = None
    endless: bool = False
    interval: Callable[..., tuple[float, ...]] | None = None
    preprocess: Mapping[str, str]
    refused: tuple[tuple[str, Any], ...] = ()
    learned: float = LEARNED

    def __str__(self) -> str:
        options = [f"{key}={value}" for key, value in self.options.items()]
        return "-".join([self.family, *options, f"{self.spec.kind}{self.spec.levels or ''}"])

    @property
    def part(self) -> Family:
        """The family with its options in its first role."""
        return make(self.roles[0], {"name": self.family, **self.options})

    def density(self, dtype: torch.dtype = torch.float64, event_shape: tuple[int, ...] | None = None) -> Density:
        """The built family, every learned parameter at ``learned``."""
        spec = self.spec if event_shape is None else replace(self.spec, event_shape=event_shape)
        density = self.part.build(spec).to(dtype)
        for parameter in density.parameters():
            torch.nn.init.constant_(parameter, self.learned)
        return density

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Every raw parameter with every value, the extreme ones too: (n, P) and (n,)."""
        everything = itertools.product(self.params + self.extreme_params, self.values + self.extreme_values)
        raw, values = zip(*everything, strict=True)
        return np.array(raw), np.array(values)

    def event(self, leading: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Ordinary raw parameters (*leading, P, *E) and values (*leading, *E) in which neighbours differ."""
        shape = (*leading, *self.spec.event_shape)
        count = int(np.prod(shape))
        raw = np.array([self.params[i % len(self.params)] for i in range(count)])
        values = np.array([self.values[i % len(self.values)] for i in range(count)])
        return np.moveaxis(raw.reshape(*shape, -1), -1, len(leading)), values.reshape(shape)

    def tolerance(self, dtype: torch.dtype, value: np.ndarray, *raw: np.ndarray) -> np.ndarray:
        """What rounding alone may do to the log density of one element."""
        return ROUNDINGS * torch.finfo(dtype).eps * self.magnitude(value, *raw)


@dataclass(frozen=True, kw_only=True)
class PriorCase:
    """A row: one prior with one choice of options.

    Args:
        prior: Its name.
        options: Its options.
        parameters: Values of learned parameters, by name; the others stay as they were built.
        log_density: z (..., D) -> log p(z), (...).
        cdf: z (..., D) -> distribution function of each latent element, the others integrated out, (..., D).
        conditional: (value, raw parameters ...) -> log density of one element where the context is learned and gives the
            raw parameters; None where p(z|c) has another form or there is none.
        values: Ordinary values of one latent element.
        outside: Values that have no density.
        tolerance: What the documented approximations may do to the log density, beside rounding.
        refused: Options, one at a time, that are no options.
    """

    prior: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    log_density: Callable[[np.ndarray], np.ndarray]
    cdf: Callable[[np.ndarray], np.ndarray]
    conditional: Callable[..., np.ndarray] | None = None
    values: Raw = (-2.0, -0.1, 0.5, 3.0)
    outside: Raw = (float("nan"),)
    tolerance: float = 0.0
    refused: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.prior, *(f"{key}={value}" for key, value in self.options.items())])

    @property
    def part(self) -> Prior:
        """The prior with its options."""
        return make("prior", {"name": self.prior, **self.options})

    def module(self) -> PriorModule:
        """The built prior of ``PRIOR_LATENTS`` latents, its parameters as the row says, in float64."""
        module = self.part.build(DataSpec((PRIOR_LATENTS,)), DataSpec((ENCODED,)), 0).double()
        for name, value in self.parameters.items():
            module.get_parameter(name).data.copy_(torch.as_tensor(np.array(value)))
        return module


@dataclass(frozen=True, kw_only=True)
class PosteriorCase:
    """A row: a posterior whose latents are not independent of each other, or that has no density.

    Args:
        family: Its name.
        options: Options that differ from the defaults.
        prior: A prior with the same support.
        log_density: (z (n, D), raw parameters (n, P, D)) -> log q(z), (n,); None where there is no formula for it.
        values: Values of one latent element.
        outside: Values that have no density.
        refused: Options, one at a time, that are no options.
    """

    family: str
    options: Mapping[str, Any] = field(default_factory=dict)
    prior: str = "normal"
    log_density: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    values: Raw = (-2.0, -0.1, 0.5, 3.0)
    outside: Raw = (float("nan"),)
    refused: tuple[tuple[str, Any], ...] = ()
    roles = ("posterior",)

    def __str__(self) -> str:
        return "-".join([self.family, *(f"{key}={value}" for key, value in self.options.items())])

    @property
    def part(self) -> Family:
        """The posterior with its options."""
        return make("posterior", {"name": self.family, **self.options})

    def density(self, dtype: torch.dtype = torch.float64, event_shape: tuple[int, ...] = (3,)) -> Density:
        """The built posterior; learned parameters are drawn anew, for those of a flow start where they do nothing."""
        density = self.part.build(DataSpec(event_shape)).to(dtype)
        generator = torch.Generator().manual_seed(0)
        for parameter in density.parameters():
            parameter.data.normal_(std=LEARNED, generator=generator)
        return density


PRIOR_LATENTS = 3
ENCODED = 2
ENCODER = np.array([[1.0, -0.5, 2.0], [0.3, 1.5, -1.0]])
ENCODER_SCALE = 0.7
"""The posterior of the rows below: q(z|u) = N(u ENCODER, 0.7^2), the same for every context."""


def encode(features: torch.Tensor, embedding: torch.Tensor | None) -> dist.Distribution:
    """That posterior as a prior is given it."""
    mean = features @ torch.as_tensor(ENCODER).to(features)
    return dist.Normal(mean, torch.full_like(mean, ENCODER_SCALE)).to_event(1)


def elements(log_density: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The sum over independent elements."""
    return lambda z: log_density(z).sum(-1)


def mixture_of_normals(log_weights: np.ndarray, means: np.ndarray, scales: np.ndarray) -> dict[str, Callable[..., Any]]:
    """Log density and marginal distribution functions of K normals with means and scales (K, D)."""

    def log_density(z: np.ndarray) -> np.ndarray:
        each = stats.norm.logpdf(z[..., None, :], means, scales).sum(-1)
        return special.logsumexp(each + log_weights, axis=-1)

    weights = np.exp(log_weights)[:, None]
    return {
        "log_density": log_density,
        "cdf": lambda z: (weights * stats.norm.cdf(z[..., None, :], means, scales)).sum(-2),
    }


LOGITS = ((-3.0,), (-0.4,), (0.0,), (1.7,))
SATURATED = ((-700.0,), (-90.0,), (90.0,), (700.0,))  # exp(-90) has no float32, exp(-700) barely a float64
MEANS = ((-1.5,), (0.0,), (0.7,))
FAR_MEANS = ((-1000.0,), (1000.0,))
REALS = DataSpec((2, 3))
FAR_PAIRS = ((0.5, 1000.0), (0.5, -1000.0), (-1000.0, -1000.0), (1000.0, 30.0))
SCALES = (0, -1, float("nan"), float("inf"), "foo", True, None)
DEGREES = (0, -1, float("nan"), float("inf"), "foo", True, None)
ON_REALS = {
    "spec": REALS,
    "values": (-2.0, 0.1, 0.5, 3.0),
    # 0 and 1 are the ends of what dequantisation emits; 40 standard deviations happen in standardised data.
    "extreme_values": (0.0, 1.0, -40.0, 40.0),
    "outside": (float("nan"),),
    "preprocess": {"reals": "none", "levels": "dequantise", "counts": "dequantise", "binary": "dequantise"},
}


LARGE_REALS = (
    (1e3, 1e3 + 2),
    (1e6, 1e6 - 3),
    (-1e7, -1e7 + 5),
    (1e9, 1e9 + 1024),
    (0.0, 1e6),
    (-1e9, 1e9),
    (1e15, 1e15 * (1 + 2**-20)),
)

ON_POSITIVE = {
    "spec": REALS,
    "values": (0.1, 0.5, 1.0, 3.0),
    "extreme_values": (1e-30, 1e-6, 1e6, 1e30),
    "outside": (0.0, -1.0, float("nan")),
    "preprocess": {"reals": "none"},
}


def on_levels(levels: int) -> dict[str, Any]:
    """What rows of families on all levels have in common."""
    return {
        "spec": DataSpec((2, 3), "binary" if levels == 2 else "levels", levels),
        "values": (1.0, levels // 3, levels - 2.0),
        "extreme_values": (0.0, levels - 1.0),
        "outside": (-1.0, 0.5, float(levels)),
        "support": tuple(float(x) for x in range(levels)),
        "preprocess": {"levels": "none", "binary": "none"},
    }


LARGE_COUNTS = tuple(
    (rate, np.floor(rate + sigmas * rate**0.5)) for rate in (1e2, 1e4, 1e6, 2.0**23) for sigmas in (0, 1, -3, 0.3 * rate**0.5)
)
"""A rate of counts, and a count near it."""


def raw_rate(rate: float) -> float:
    """The inverse of exp(b tanh(raw / b))."""
    return COUNTS * np.arctanh(np.log(rate) / COUNTS)


def counts(most: int) -> dict[str, Any]:
    """What rows of families on all counts have in common."""
    return {
        "spec": DataSpec((2, 3), "counts"),
        "values": (0.0, 1.0, 7.0, 40.0),
        "extreme_values": (1000.0, 1e6),
        "outside": (-1.0, 0.5, float("nan")),
        "support": tuple(float(x) for x in range(most)),
        "endless": True,
        "preprocess": {"counts": "none"},
    }


def location_scale(
    family: str,
    fields: Callable[[Callable[..., np.ndarray]], dict[str, Any]],
    *refused: tuple[str, tuple[Any, ...]],
    roles: tuple[str, ...] = ("likelihood",),
    value: float = LEARNED,
    large: tuple[tuple[float, float], ...] = LARGE_REALS,
) -> tuple[Case, ...]:
    """The four rows of a family with a location and a scale: a fixed scale, two learned ones and the network's.

    ``fields`` makes a row's from the scale, ``refused`` are values of further options, ``roles`` those of the network's,
    ``value`` the learned raw scale, ``large`` are locations with a value.
    """
    options = [(name, value) for name, values in (("scale", SCALES), *refused) for value in values]
    one = {"params": MEANS, "extreme_params": FAR_MEANS, "large": tuple(((far,), x) for far, x in large)}
    two = {
        "params": ((-1.5, 0.0), (0.0, -2.0), (0.7, 0.4)),
        "extreme_params": FAR_PAIRS,
        "large": tuple(((far, raw), x) for far, x in large for raw in (-2.0, 0.0, 2.0)),
    }
    learned = {"learned": value, **fields(lambda: bounded(5 * value))}
    return (
        Case(family=family, options={"scale": 0.3}, refused=tuple(options), **one, **fields(lambda: 0.3)),
        Case(family=family, options={"scale": "learned"}, **one, **learned),
        Case(family=family, options={"scale": "element"}, **one, **learned),
        Case(family=family, options={"scale": "network"}, roles=roles, **two, **fields(bounded)),
    )


def binomial(count: int, spec: DataSpec, kinds: tuple[str, ...], **options: Any) -> Case:
    """A row of the binomial with so many tosses, refused for all but the kinds that are named."""
    return Case(
        family="binomial",
        options=options,
        spec=spec,
        log_density=tosses(count),
        magnitude=tosses_magnitude(count),
        params=LOGITS,
        values=(1.0, count // 3, count - 2.0),
        extreme_params=SATURATED,
        extreme_values=(0.0, float(count)),
        outside=(-1.0, 0.5, count + 1.0),
        large=tuple(
            ((special.logit(share) + moved,), np.floor(count * share))
            for share, moved in itertools.product((1e-3, 0.1, 0.5, 0.9), (0.0, 0.01, -1.0, 4.0))
        ),
        support=tuple(float(x) for x in range(count + 1)),
        preprocess=dict.fromkeys(kinds, "none"),
        refused=tuple(("total_count", value) for value in (0, -1, 2.5, True, "many")),
    )


CASES: tuple[Case, ...] = (
    Case(
        family="bernoulli",
        roles=("likelihood", "posterior"),
        spec=DataSpec((2, 3), "binary", 2),
        log_density=tosses(1),
        magnitude=tosses_magnitude(1),
        params=LOGITS,
        values=(0.0, 1.0, 1.0),
        extreme_params=SATURATED,
        extreme_values=(),
        outside=(-1.0, 0.5, 2.0),
        support=(0.0, 1.0),
        preprocess={"binary": "none", "levels": "binarise"},
    ),
    binomial(16, DataSpec((2, 3), "levels", 17), kinds=("levels", "binary")),
    binomial(255, DataSpec((2, 3), "levels", 256), kinds=("levels", "binary")),
    binomial(65535, DataSpec((2, 3), "levels", 65536), kinds=("levels", "binary")),
    binomial(16, DataSpec((2, 3), "counts"), kinds=("levels", "binary", "counts"), total_count=16),
    *location_scale("normal", lambda scale: {**ON_REALS, **normal(scale)}, roles=("likelihood", "posterior")),
    *location_scale("laplace", lambda scale: {**ON_REALS, **laplace(scale)}),
    *location_scale("student_t", lambda scale: {**ON_REALS, **student_t(4, scale)}, ("df", DEGREES)),
    *(
        Case(
            family="student_t",
            options={"df": df},
            params=MEANS,
            extreme_params=FAR_MEANS,
            large=tuple(((far,), x) for far, x in LARGE_REALS),
            **ON_REALS,
            **student_t(value, lambda: bounded(5 * LEARNED)),
        )
        for df, value in ((30, 30), ("learned", 1 + 3 * float(bounded(5 * LEARNED))))
    ),
    *location_scale(
        "log_normal",
        lambda scale: {**ON_POSITIVE, **log_normal(scale)},
        value=-0.1,
        large=tuple((np.log(x) + moved, x) for x in (1e3, 1e9, 1e30) for moved in (0, 1, -20)),
    ),
    Case(
        family="beta",
        roles=("likelihood", "posterior"),
        spec=REALS,
        params=((-1.5, 1.0), (0.0, 0.0), (0.7, 1.3), (-0.5, -0.3)),
        values=(0.02, 0.3, 0.5, 0.9),
        extreme_params=(*FAR_PAIRS, (-3.0, 1000.0)),
        extreme_values=(1e-6, 1 - 1e-6),
        outside=(0.0, 1.0, -0.1, float("nan")),
        preprocess={"levels": "squeeze", "binary": "squeeze", "reals": "none"},
        **beta(),
    ),
    Case(
        family="continuous_bernoulli",
        spec=REALS,
        params=(*LOGITS, (-0.01,), (0.499,), (0.501,), (12.0,)),
        values=(0.02, 0.3, 0.5, 0.9),
        extreme_params=(*SATURATED, (-1e-20,), (1e-6,)),
        extreme_values=(0.0, 1.0),
        outside=(-0.1, 1.1, float("nan")),
        preprocess={"levels": "dequantise", "binary": "dequantise", "reals": "none"},
        **continuous_bernoulli(),
    ),
    Case(
        family="categorical",
        params=((0.0,) * 5, (-1.0, 0.5, 2.0, 0.0, -3.0), (3.0, 1.0, -0.5, 0.2, 2.5)),
        extreme_params=((700.0, 0.0, 0.0, -700.0, 1.0), (-90.0, 90.0, 0.0, 0.0, 90.0)),
        large=(((-1.0, 0.5, 2.0, 0.0, -3.0), 4.0), ((3.0, 1.0, -0.5, 0.2, 2.5), 3.0)),
        **on_levels(5),
        **categorical(5),
    ),
    *(
        Case(
            family="logistic",
            params=((0.0, 0.0), (-0.8, -1.0), (0.7, 1.3)),
            extreme_params=FAR_PAIRS,
            refused=tuple(("components", value) for value in (0, -1, 2.5, True, "many")),
            large=tuple(
                ((share * 2 - 1, raw), np.floor(share * (levels - 1) + beside))
                for share, raw, beside in itertools.product((0.001, 0.3, 0.9), (-6.0, -3.0, 0.0), (0, 0.01 * levels))
            ),
            **on_levels(levels),
            **logistic(levels),
        )
        for levels in (2, 17, 256, 65536)
    ),
    Case(
        family="logistic",
        options={"components": 3},
        params=((0.0,) * 9, (1.0, -0.5, 0.3, -0.2, 0.5, 0.1, -1.0, 0.7, 0.2)),
        extreme_params=((700.0, 0.0, -700.0, 1000.0, 0.5, -1000.0, 1000.0, -1000.0, 30.0),),
        **on_levels(17),
        **logistic(17, 3),
    ),
    Case(
        family="poisson",
        params=((-3.0,), (-0.4,), (0.0,), (2.2,)),
        extreme_params=((-1000.0,), (1000.0,), (12.0,)),
        large=tuple(((raw_rate(rate),), x) for rate, x in LARGE_COUNTS),
        **counts(80),
        **poisson(),
    ),
    Case(
        family="negative_binomial",
        params=((0.0, 0.0), (1.5, 0.7), (-1.0, -0.5)),
        extreme_params=(*FAR_PAIRS, (1000.0, -1000.0)),
        large=tuple(((raw_rate(rate), size), x) for rate, x in LARGE_COUNTS for size in (-3.0, 0.0, 6.0, 30.0)),
        **counts(150),
        **negative_binomial(),
    ),
)

NO_CONTEXT = (("context", "some"), ("context", None))
COMPONENTS = tuple(("components", value) for value in (0, 2.5, True))
MIXTURE_LOGITS = np.array([0.0, 1.0, -0.5])
MIXTURE_RAW = np.array(
    [[[-2.0, 0.0, 1.0], [0.0, -1.0, 0.5]], [[1.0, 1.5, -3.0], [0.3, 0.0, -0.2]], [[0.0, 0.1, 0.2], [1.0, -2.0, 0.0]]]
)
PSEUDO_INPUTS = np.array([[0.0, 0.0], [1.0, -1.0], [-2.0, 0.5], [0.5, 3.0]])
FLOW_MEANS, FLOW_RAW = np.array([0.5, -1.0, 2.0]), np.array([-1.0, 0.3, 0.8])

PRIOR_CASES: tuple[PriorCase, ...] = (
    PriorCase(
        prior="normal",
        log_density=elements(stats.norm.logpdf),
        cdf=stats.norm.cdf,
        conditional=lambda z, mean, raw: stats.norm.logpdf(z, mean, bounded(raw)),
        refused=NO_CONTEXT,
    ),
    PriorCase(
        prior="laplace",
        log_density=elements(stats.laplace.logpdf),
        cdf=stats.laplace.cdf,
        conditional=lambda z, location, raw: stats.laplace.logpdf(z, location, bounded(raw)),
        refused=NO_CONTEXT,
    ),
    *(
        PriorCase(
            prior="student_t",
            options={"df": df} if df != 4 else {},
            log_density=elements(stats.t(df).logpdf),
            cdf=stats.t(df).cdf,
            conditional=lambda z, location, raw, df=df: stats.t.logpdf(z, df, location, bounded(raw)),
            refused=(*NO_CONTEXT, *(("df", value) for value in (0, -1, float("inf"), True, "many"))),
        )
        for df in (4, 1.5)
    ),
    PriorCase(
        prior="student_t",
        options={"df": "learned"},
        parameters={"density.learned.raw_df": LEARNED},
        log_density=elements(stats.t(1 + 3 * bounded(5 * LEARNED)).logpdf),
        cdf=stats.t(1 + 3 * bounded(5 * LEARNED)).cdf,
    ),
    *(
        PriorCase(
            prior="beta",
            options={"concentration1": one, "concentration0": zero} if one != zero else {},
            log_density=elements(stats.beta(one, zero).logpdf),
            cdf=stats.beta(one, zero).cdf,
            conditional=lambda z, a, b, one=one, zero=zero: stats.beta.logpdf(
                z, np.maximum(0.5, one * bounded(a)), np.maximum(0.5, zero * bounded(b))
            ),
            values=(1e-6, 0.1, 0.5, 0.999),
            outside=(float("nan"), -0.1, 0.0, 1.0, 1.5),
            refused=(*NO_CONTEXT, *((name, value) for name in ("concentration1", "concentration0") for value in (0, True, "a"))),
        )
        for one, zero in ((1.0, 1.0), (0.5, 3.0))
    ),
    PriorCase(
        prior="uniform",
        log_density=elements(stats.uniform.logpdf),
        cdf=stats.uniform.cdf,
        values=(1e-6, 0.1, 0.5, 0.999),
        outside=(float("nan"), -0.1, 0.0, 1.0, 1.5),
    ),
    *(
        PriorCase(
            prior="bernoulli",
            options={"p": p} if p != 0.5 else {},
            log_density=elements(stats.bernoulli(p).logpmf),
            cdf=stats.bernoulli(p).cdf,
            conditional=lambda z, raw, p=p: tosses(1)(z, raw + special.logit(p)),
            values=(0.0, 1.0),
            outside=(float("nan"), -1.0, 0.5, 2.0),
            refused=(*NO_CONTEXT, *(("p", value) for value in (0, 1, 1.5, True, "half"))),
        )
        for p in (0.5, 0.2)
    ),
    PriorCase(
        prior="mixture",
        options={"components": 3},
        parameters={"logits": MIXTURE_LOGITS, "params": MIXTURE_RAW},
        refused=(*NO_CONTEXT, *COMPONENTS),
        **mixture_of_normals(special.log_softmax(MIXTURE_LOGITS), MIXTURE_RAW[:, 0], bounded(MIXTURE_RAW[:, 1])),
    ),
    PriorCase(
        prior="vamp",
        options={"components": 4},
        parameters={"inputs": PSEUDO_INPUTS},
        refused=(*NO_CONTEXT, *COMPONENTS),
        **mixture_of_normals(np.full(4, -np.log(4)), PSEUDO_INPUTS @ ENCODER, np.full((4, 3), ENCODER_SCALE)),
    ),
    PriorCase(
        prior="flow",
        options={"transform": "affine", "layers": 1},
        # The network's last layer has no weight yet: what it gives is its bias, all means and then all raw scales.
        parameters={"layers.0.network.layers.1.bias": np.concatenate([FLOW_MEANS, FLOW_RAW])},
        log_density=elements(lambda z: stats.norm.logpdf(z, FLOW_MEANS, bounded(FLOW_RAW))),
        cdf=lambda z: stats.norm.cdf(z, FLOW_MEANS, bounded(FLOW_RAW)),
        refused=(*NO_CONTEXT, ("transform", "planar"), ("layers", 0), ("hidden", 0), ("hidden", 2.5)),
    ),
    PriorCase(
        prior="flow",
        log_density=elements(stats.norm.logpdf),
        cdf=stats.norm.cdf,
        tolerance=2 * PRIOR_LATENTS * 0.002,  # documented: 0.002 nats a layer and latent
    ),
)


def correlated_normal(z: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """SciPy's normal of mean raw[0]; element i gives row i of a matrix with the Cholesky factor in its lower triangle."""

    def one(z: np.ndarray, raw: np.ndarray) -> float:
        rows = raw[1:].T
        factor = np.tril(rows, -1) + np.diag(bounded(np.diag(rows)))
        return stats.multivariate_normal(raw[0], factor @ factor.T).logpdf(z)

    return np.array([one(*each) for each in zip(z, raw, strict=True)])


FLOW_REFUSED = (("transform", "planar"), ("layers", 0), ("layers", 1.5), ("hidden", 0), ("hidden", True))

POSTERIOR_CASES: tuple[PosteriorCase, ...] = (
    PosteriorCase(family="full_normal", log_density=correlated_normal),
    PosteriorCase(family="flow", refused=FLOW_REFUSED),
    PosteriorCase(family="flow", options={"layers": 3, "hidden": 5}),
    PosteriorCase(family="flow", options={"transform": "spline"}),
    PosteriorCase(family="delta", refused=(("squash", "tanh"), ("squash", None))),
    PosteriorCase(
        family="delta",
        options={"squash": "sigmoid"},
        prior="uniform",
        values=(1e-6, 0.1, 0.5, 0.999),
        outside=(float("nan"), -0.1, 0.0, 1.0, 1.5),
    ),
)


def cases(role: str) -> list[Case | PosteriorCase]:
    """The rows of a role."""
    return [case for case in (*CASES, *POSTERIOR_CASES) if role in case.roles]
