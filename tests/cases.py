"""The table of cases: every likelihood, posterior and prior with its options, an independent reference and hard values.

A family is added by adding one row: to ``CASES`` for a likelihood or a posterior (``roles`` says which), to ``PRIOR_CASES``
for a prior. All tests that are parametrised over these tables then run on it; ``test_every_family_has_a_case`` fails until
the row is there. References are SciPy's, written from the documented formula; nothing here calls the density under test.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy import special, stats

from pyrovae.contracts import DataSpec, Density, Family, Prior
from pyrovae.parts import make

Raw = tuple[float, ...]

LEARNED = 0.3
"""The value that every learned raw parameter of a family has in these tests."""

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
        support: Every value of one element; None for a continuous density.
        interval: raw parameters ... -> an interval outside of which a continuous density has less than 1e-20.
        preprocess: Kind of data -> the preprocessing that it gets; the other kinds are refused.
        refused: Options, one at a time, that are no options.
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
    support: Raw | None = None
    interval: Callable[..., tuple[float, float]] | None = None
    preprocess: Mapping[str, str]
    refused: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        options = [f"{key}={value}" for key, value in self.options.items()]
        return "-".join([self.family, *options, f"{self.spec.kind}{self.spec.levels or ''}"])

    @property
    def part(self) -> Family:
        """The family with its options in its first role."""
        return make(self.roles[0], {"name": self.family, **self.options})

    def density(self, dtype: torch.dtype = torch.float64, event_shape: tuple[int, ...] | None = None) -> Density:
        """The built family, every learned parameter at ``LEARNED``."""
        spec = self.spec if event_shape is None else replace(self.spec, event_shape=event_shape)
        density = self.part.build(spec).to(dtype)
        for parameter in density.parameters():
            torch.nn.init.constant_(parameter, LEARNED)
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
        log_density: z (..., D) -> log p(z), (...).
        cdf: Distribution function of one latent element, the others integrated out.
    """

    prior: str
    options: Mapping[str, Any] = field(default_factory=dict)
    log_density: Callable[[np.ndarray], np.ndarray]
    cdf: Callable[[np.ndarray], np.ndarray]

    def __str__(self) -> str:
        return "-".join([self.prior, *(f"{key}={value}" for key, value in self.options.items())])

    @property
    def part(self) -> Prior:
        """The prior with its options."""
        return make("prior", {"name": self.prior, **self.options})


def tosses(count: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """SciPy's binomial of logits; heads and tails are exchanged where p would round to 1."""

    def log_density(value: np.ndarray, logits: np.ndarray) -> np.ndarray:
        tails = stats.binom.logpmf(count - value, count, special.expit(-logits))
        return np.where(logits > 0, tails, stats.binom.logpmf(value, count, special.expit(logits)))

    return log_density


def tosses_magnitude(count: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """n |logit| twice, the three log-factorials and n log 2."""
    return lambda value, logits: 2 * count * np.abs(logits) + 3 * special.gammaln(count + 1) + count


def bounded(raw: np.ndarray) -> np.ndarray:
    """The documented scale of a raw parameter."""
    return np.exp(8 * np.tanh(raw / 8))


def normal(scale: Callable[..., np.ndarray]) -> dict[str, Callable[..., Any]]:
    """Reference, magnitude and interval of a normal whose scale is a function of the raw parameters after the mean."""

    def magnitude(value: np.ndarray, mean: np.ndarray, *raw: np.ndarray) -> np.ndarray:
        # A scale of exp(a), |a| <= 8, is known to 8 eps, its inverse square to 16 eps: hence 16 times z^2 / 2.
        return 8 * ((value - mean) / scale(*raw)) ** 2 + 8 + 1

    return {
        "log_density": lambda value, mean, *raw: stats.norm.logpdf(value, mean, scale(*raw)),
        "magnitude": magnitude,
        # exp(-10^2 / 2) = 2e-22.
        "interval": lambda mean, *raw: (mean - 10 * float(scale(*raw)), mean + 10 * float(scale(*raw))),
    }


LOGITS = ((-3.0,), (-0.4,), (0.0,), (1.7,))
SATURATED = ((-700.0,), (-90.0,), (90.0,), (700.0,))  # exp(-90) has no float32, exp(-700) barely a float64
MEANS = ((-1.5,), (0.0,), (0.7,))
FAR_MEANS = ((-1000.0,), (1000.0,))
REALS = DataSpec((2, 3))
ON_REALS = {
    "spec": REALS,
    "values": (-2.0, 0.1, 0.5, 3.0),
    # 0 and 1 are the ends of what dequantisation emits; 40 standard deviations happen in standardised data.
    "extreme_values": (0.0, 1.0, -40.0, 40.0),
    "outside": (float("nan"),),
    "preprocess": {"reals": "none", "levels": "dequantise", "counts": "dequantise", "binary": "dequantise"},
}


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
        support=tuple(float(x) for x in range(count + 1)),
        preprocess=dict.fromkeys(kinds, "none"),
        refused=tuple(("total_count", value) for value in (0, -1, 2.5, True, "many")),
    )


CASES: tuple[Case, ...] = (
    Case(
        family="bernoulli",
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
    binomial(16, DataSpec((2, 3), "counts"), kinds=("levels", "binary", "counts"), total_count=16),
    Case(
        family="normal",
        options={"scale": 0.3},
        params=MEANS,
        extreme_params=FAR_MEANS,
        refused=tuple(("scale", value) for value in (0, -1, float("nan"), float("inf"), "foo", True, None)),
        **ON_REALS,
        **normal(lambda: 0.3),
    ),
    Case(
        family="normal",
        options={"scale": "learned"},
        params=MEANS,
        extreme_params=FAR_MEANS,
        **ON_REALS,
        **normal(lambda: bounded(5 * LEARNED)),
    ),
    Case(
        family="normal",
        options={"scale": "element"},
        params=MEANS,
        extreme_params=FAR_MEANS,
        **ON_REALS,
        **normal(lambda: bounded(5 * LEARNED)),
    ),
    Case(
        family="normal",
        options={"scale": "network"},
        roles=("likelihood", "posterior"),
        params=((-1.5, 0.0), (0.0, -2.0), (0.7, 1.3)),
        extreme_params=((0.5, 1000.0), (0.5, -1000.0), (-1000.0, -1000.0), (1000.0, 30.0)),
        **ON_REALS,
        **normal(bounded),
    ),
)

PRIOR_CASES: tuple[PriorCase, ...] = (
    PriorCase(prior="normal", log_density=lambda z: stats.norm.logpdf(z).sum(-1), cdf=stats.norm.cdf),
)


def cases(role: str) -> list[Case]:
    """The rows of a role."""
    return [case for case in CASES if role in case.roles]
