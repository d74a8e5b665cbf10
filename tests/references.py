"""What SciPy says of every family: log density of one element, the magnitude of its terms, where it integrates.

Each function returns those fields of a ``cases.Case``; all are written from the documented formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats

Reference = dict[str, Callable[..., Any]]

COUNTS = 24 * np.log(2)


def tosses(count: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """SciPy's binomial of logits; heads and tails are exchanged where p would round to 1."""

    def log_density(value: np.ndarray, logits: np.ndarray) -> np.ndarray:
        tails = stats.binom.logpmf(count - value, count, special.expit(-logits))
        return np.where(logits > 0, tails, stats.binom.logpmf(value, count, special.expit(logits)))

    return log_density


def tosses_magnitude(count: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """n |logit| twice, the three log-factorials and n log 2."""
    return lambda value, logits: 2 * count * np.abs(logits) + 3 * special.gammaln(count + 1) + count


def bounded(raw: np.ndarray, bound: float = 8) -> np.ndarray:
    """The documented positive number of a raw parameter."""
    return np.exp(bound * np.tanh(raw / bound))


def normal(scale: Callable[..., np.ndarray]) -> Reference:
    """A normal whose scale is a function of the raw parameters after the mean."""

    def magnitude(value: np.ndarray, mean: np.ndarray, *raw: np.ndarray) -> np.ndarray:
        # A scale of exp(a), |a| <= 8, is known to 8 eps, its inverse square to 16 eps: hence 16 times z^2 / 2.
        return 8 * ((value - mean) / scale(*raw)) ** 2 + 8 + 1

    return {
        "log_density": lambda value, mean, *raw: stats.norm.logpdf(value, mean, scale(*raw)),
        "magnitude": magnitude,
        # exp(-10^2 / 2) = 2e-22.
        "interval": lambda mean, *raw: (mean - 10 * float(scale(*raw)), mean + 10 * float(scale(*raw))),
    }


def laplace(scale: Callable[..., np.ndarray]) -> Reference:
    """A Laplace density whose scale is a function of the raw parameters after the location."""

    def log_density(value: np.ndarray, location: np.ndarray, *raw: np.ndarray) -> np.ndarray:
        # SciPy's is the logarithm of a density that underflows.
        near = stats.laplace.logpdf(location, location, scale(*raw))
        return near - np.abs(value - location) / scale(*raw)

    return {
        "log_density": log_density,
        # As above: |z| is known to 8 eps, log s is at most 8.
        "magnitude": lambda value, location, *raw: 8 * np.abs((value - location) / scale(*raw)) + 8 + 1,
        # exp(-50) = 2e-22; the density has a kink at its location.
        "interval": lambda location, *raw: tuple(location + k * float(scale(*raw)) for k in (-50, 0, 50)),
    }


def student_t(df: float, scale: Callable[..., np.ndarray]) -> Reference:
    """Student's t whose scale is a function of the raw parameters after the location."""

    def magnitude(value: np.ndarray, location: np.ndarray, *raw: np.ndarray) -> np.ndarray:
        # Scale and df are known to 8 eps; the derivatives by their logarithms are at most df + 1 and (df + 1) log(..) / 2.
        z = (value - location) / scale(*raw)
        return 8 * (df + 1) * (2 + np.log1p(z**2 / df)) + 2 * np.abs(special.gammaln(df)) + 8 + 1

    return {
        "log_density": lambda value, location, *raw: stats.t.logpdf(value, df, location, scale(*raw)),
        "magnitude": magnitude,
        # With df >= 4, beyond 10^6 scales lie 6e-24.
        "interval": lambda location, *raw: tuple(
            location + k * float(scale(*raw)) for k in (-1e6, -1e4, -1e2, -5, 0, 5, 1e2, 1e4, 1e6)
        ),
    }


def log_normal(scale: Callable[..., np.ndarray]) -> Reference:
    """A normal of log x whose scale is a function of the raw parameters after the location."""

    def magnitude(value: np.ndarray, location: np.ndarray, *raw: np.ndarray) -> np.ndarray:
        # As the normal's, and log x is known to eps |log x|.
        z = np.abs(np.log(value) - location) / scale(*raw)
        return 8 * z**2 + z * np.abs(np.log(value)) / scale(*raw) + np.abs(np.log(value)) + 8 + 1

    return {
        "log_density": lambda value, location, *raw: stats.norm.logpdf(np.log(value), location, scale(*raw)) - np.log(value),
        "magnitude": magnitude,
        "interval": lambda location, *raw: tuple(
            np.exp(location + k * float(scale(*raw))) for k in (-10, -5, -2, 0, 2, 5, 8, 10, 13)
        ),
    }


def beta() -> Reference:
    """A beta density with mean 1e-4 + (1 - 2e-4) sigmoid(raw 0) and concentration 2 bounded(raw 1)."""

    def shapes(raw_mean: np.ndarray, raw_concentration: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        concentration = 2 * bounded(raw_concentration)
        one, zero = (concentration * (1e-4 + (1 - 2e-4) * special.expit(sign * raw_mean)) for sign in (1, -1))
        return one, zero

    def magnitude(value: np.ndarray, *raw: np.ndarray) -> np.ndarray:
        # Both shapes are known to 16 eps, hence twice what they multiply in the derivative.
        a, b = shapes(*raw)
        logs = (a + 1) * np.abs(np.log(value)) + (b + 1) * np.abs(np.log1p(-value))
        constants = sum(np.abs(special.gammaln(c)) + 2 * np.abs(c * special.digamma(c)) for c in (a, b, a + b))
        return 3 * logs + constants

    return {
        "log_density": lambda value, *raw: stats.beta.logpdf(value, *shapes(*raw)),
        "magnitude": magnitude,
        "interval": lambda *raw: (0.0, 0.5, 1.0),
    }


def continuous_bernoulli() -> Reference:
    """x l + log(l / (e^l - 1)) as it stands, in extended precision, whose exponents reach e^11000."""

    def log_density(value: np.ndarray, logits: np.ndarray) -> np.ndarray:
        wide = np.asarray(logits, dtype=np.longdouble)
        safe = np.where(wide == 0, 1, wide)
        normaliser = np.where(wide == 0, 0, np.log(safe / np.expm1(safe)))
        return (value * wide + normaliser).astype(float)

    return {
        "log_density": log_density,
        "magnitude": lambda value, logits: np.abs(logits) + np.log1p(np.abs(logits)) + 2,
        "interval": lambda logits: (0.0, 1.0),
    }


def categorical(levels: int) -> Reference:
    """Softmax of one logit a level."""

    def log_density(value: np.ndarray, *logits: np.ndarray) -> np.ndarray:
        chosen = sum(np.where(value == level, logits[level], 0.0) for level in range(levels))
        return chosen - special.logsumexp(np.stack(np.broadcast_arrays(*logits)), axis=0)

    return {
        "log_density": log_density,
        "magnitude": lambda value, *logits: sum(np.abs(logit) for logit in logits) + levels + 0 * value,
    }


def log_cosh(x: np.ndarray) -> np.ndarray:
    return np.abs(x) + np.log1p(np.exp(-2 * np.abs(x))) - np.log(np.longdouble(2))


def logistic(levels: int, components: int = 1) -> Reference:
    """Differences of logistic distribution functions, in the tail in which they are small."""
    half = (levels - 1) / 2

    def each(raw: tuple[np.ndarray, ...]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        k = components
        logits = raw[:k] if k > 1 else [np.zeros_like(raw[0])]
        location, scale = (raw[k : 2 * k], raw[2 * k :]) if k > 1 else ([raw[0]], [raw[1]])
        starts = [(2 * i + 1 - k) / k for i in range(k)]
        return [
            (logit, half * (1 + start + m), half / (4 * k) * bounded(s))
            for logit, start, m, s in zip(logits, starts, location, scale, strict=True)
        ]

    def log_mass(value: np.ndarray, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
        # S(a) - S(b) = sinh((a - b) / 2) / (2 cosh(a / 2) cosh(b / 2)), in extended precision: where the scale is wide, S(a) and
        # S(b) are nearly the same.
        value, location, scale = (np.asarray(x, dtype=np.longdouble) for x in (value, location, scale))
        upper, lower = (value + 0.5 - location) / scale, (value - 0.5 - location) / scale
        between = 1 / (2 * scale) + np.log(-np.expm1(-1 / scale)) - np.log(np.longdouble(2))
        inside = between - np.log(np.longdouble(2)) - log_cosh(upper / 2) - log_cosh(lower / 2)
        ends = np.where(value == 0, special.log_expit(upper), special.log_expit(-lower))
        return np.where((value == 0) | (value == levels - 1), ends, inside).astype(float)

    def log_density(value: np.ndarray, *raw: np.ndarray) -> np.ndarray:
        parts = each(raw)
        weights = special.log_softmax(np.stack([logit for logit, _, _ in parts]), axis=0)
        masses = np.stack([log_mass(value, location, scale) for _, location, scale in parts])
        return special.logsumexp(
            weights.reshape(components, *[1] * (masses.ndim - weights.ndim), *weights.shape[1:]) + masses, axis=0
        )

    def magnitude(value: np.ndarray, *raw: np.ndarray) -> np.ndarray:
        # A scale is known to 8 eps, a location to 2; the number inside the sigmoid is multiplied by at most 1, twice.
        return sum(
            np.abs(logit) + 16 * (value + 1 + np.abs(location)) / scale + np.abs(np.log(scale)) + 10
            for logit, location, scale in each(raw)
        )

    return {"log_density": log_density, "magnitude": magnitude}


def poisson() -> Reference:
    """Poisson with the documented rate."""

    def rate(raw: np.ndarray) -> np.ndarray:
        return bounded(raw, COUNTS)

    return {
        "log_density": lambda value, raw: stats.poisson.logpmf(value, rate(raw)),
        # The rate is known to 17 eps; its logarithm is at most 17.
        "magnitude": lambda value, raw: 3 * 17 * (value + rate(raw)) + 2 * special.gammaln(value + 1) + 1,
    }


def negative_binomial() -> Reference:
    """Gamma functions of the documented mean and size; SciPy's nbinom rounds 1 - p away where the size is large."""

    def log_density(value: np.ndarray, raw_mean: np.ndarray, raw_size: np.ndarray) -> np.ndarray:
        size = bounded(raw_size)
        logits = COUNTS * np.tanh(raw_mean / COUNTS) - 8 * np.tanh(raw_size / 8)
        choices = special.gammaln(value + size) - special.gammaln(size) - special.gammaln(value + 1)
        return choices + size * special.log_expit(-logits) + value * special.log_expit(logits)

    def magnitude(value: np.ndarray, raw_mean: np.ndarray, raw_size: np.ndarray) -> np.ndarray:
        # Logits of up to 25, known to 32 eps; a size known to 8 eps, in gamma functions of slope up to log(value + size).
        size = bounded(raw_size)
        return (value + size) * (32 + 25 + 8 * np.log(value + size + 1)) + 2 * special.gammaln(value + size + 2) + 8 + 8

    return {"log_density": log_density, "magnitude": magnitude}
