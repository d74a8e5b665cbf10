"""Models whose evidence is known, and what the tests of estimators compare with."""

from __future__ import annotations

import math

import numpy as np
import torch
from arviz_stats.base import array_stats
from scipy import stats
from torch import Tensor

from pyrovae import VAE, Dataset
from pyrovae.contracts import DataSpec, Evidence
from pyrovae.evidence.importance.pareto import FEWEST, tail_length

SHAPE = (2, 3)
SIZE = 6
LATENTS = 3
NOISE = 0.4
# float64: a few hundred operations on numbers of up to about 100, each good to 1e-16 relative
EXACT = {"rtol": 1e-11, "atol": 1e-10}


def raw_scale(scale: np.ndarray) -> np.ndarray:
    """The inverse of exp(8 tanh(raw / 8))."""
    return 8 * np.arctanh(np.log(scale) / 8)


class LinearGaussian:
    """x = W z + b + noise with orthogonal columns of W: the posterior is normal with a diagonal covariance.

    Args:
        shape: Of a datum.
        latents: Number of columns.
        noise: Standard deviation of the noise.
    """

    def __init__(self, shape: tuple[int, ...] = SHAPE, latents: int = LATENTS, noise: float = NOISE) -> None:
        rng = np.random.default_rng(0)
        self.shape, self.latents, self.noise, self.size = shape, latents, noise, math.prod(shape)
        columns = np.linalg.qr(rng.normal(size=(self.size, self.size)))[0][:, :latents]
        self.weight = columns * np.linspace(0.5, 1.5, latents)
        self.bias = rng.normal(size=self.size)
        precision = (self.weight**2).sum(0) / noise**2 + 1
        self.posterior_scale = precision**-0.5
        self.to_mean = self.weight.T / noise**2 / precision[:, None]

    def covariance(self) -> np.ndarray:
        return self.weight @ self.weight.T + self.noise**2 * np.eye(self.size)

    def draw(self, count: int, seed: int = 1) -> Tensor:
        x = np.random.default_rng(seed).multivariate_normal(self.bias, self.covariance(), size=count)
        return torch.tensor(x.reshape(count, *self.shape), dtype=torch.get_default_dtype())

    def log_density(self, x: Tensor) -> np.ndarray:
        """log p(x) by scipy, (N,)."""
        return np.atleast_1d(
            stats.multivariate_normal(self.bias, self.covariance()).logpdf(x.double().numpy().reshape(-1, self.size))
        )

    def vae(self, shift: float = 0.0, stretch: float = 1.0, **options: object) -> VAE:
        """A linear VAE of these weights; its guide is the posterior, means moved by ``shift`` scales, scales stretched."""
        given = {"kind": "reals", "network": "linear", "likelihood": {"name": "normal", "scale": self.noise}, **options}
        vae = VAE(self.shape, self.latents, **given)
        mean_bias = -self.to_mean @ self.bias + shift * self.posterior_scale
        encoder, decoder = vae.encoder.layers[0], vae.decoder.layers[0]
        with torch.no_grad():
            encoder.weight.copy_(torch.tensor(np.concatenate([self.to_mean, np.zeros_like(self.to_mean)])))
            encoder.bias.copy_(torch.tensor(np.concatenate([mean_bias, raw_scale(stretch * self.posterior_scale)])))
            decoder.weight.copy_(torch.tensor(self.weight))
            decoder.bias.copy_(torch.tensor(self.bias))
        return vae


def shift_for(kl: float, latents: int = LATENTS) -> float:
    """KL(q || p(z|x)) = latents shift^2 / 2."""
    return math.sqrt(2 * kl / latents)


def all_of(x: Tensor, spec: DataSpec) -> Dataset:
    """A data set whose splits are all the whole."""
    rows = torch.arange(len(x))
    return Dataset("toy", spec, x, None, {"train": rows, "valid": rows, "test": rows})


def digit_vae(likelihood: str = "bernoulli", seed: int = 2, **parts: object) -> VAE:
    torch.manual_seed(seed)
    return VAE((8, 8), 3, likelihood, network={"name": "mlp", "hidden": [10]}, kind="levels", levels=17, **parts)


def jumble(vae: VAE, seed: int, size: float = 1.0) -> VAE:
    """Normal weights of the given size everywhere: nothing is 0 or equal any more."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return vae


def fitted_tail(log_weights: np.ndarray) -> np.ndarray:
    """Log-weights (K, B), those of the tail replaced by quantiles of SciPy's generalised Pareto density as ArviZ fits it."""
    count = tail_length(len(log_weights))
    ordered = np.sort(log_weights, 0)
    for column in ordered.T if len(log_weights) >= FEWEST else []:
        top, cut = column[-1], np.exp(column[-count - 1] - column[-1])
        shape, scale = array_stats._gpdfit(np.exp(column[-count:] - top) - cut)
        shape += 10 / count * (shape - 0.5)  # ArviZ adds ten weights at k = 1/2
        column[-count:] = top + np.log(cut + stats.genpareto(shape, scale=scale).ppf((np.arange(count) + 0.5) / count))
    return ordered


def delta_method(log_weights: np.ndarray, of_gap: bool) -> tuple[np.ndarray, np.ndarray]:
    """Standard error of the log of the mean weight, or of the gap, the larger of two; degrees of freedom; of (K, B)."""
    samples, count = len(log_weights), tail_length(len(log_weights))
    errors = []
    for logs in (log_weights, fitted_tail(log_weights)):
        w = np.exp(logs - log_weights.max(0))
        values = w / w.mean(0) - (logs if of_gap else 0)
        errors.append(stats.sem(values))
    # 2 n / (kurtosis - 1) of the fitted, where what is not in the tail counts as normal
    squares = (values - values.mean(0)) ** 2
    inside, rest = squares[samples - count :], squares[: samples - count]
    kurtosis = samples * ((inside**2).sum(0) + 3 * rest.sum(0) ** 2 / len(rest)) / squares.sum(0) ** 2
    return np.maximum(*errors), np.clip(2 * samples / (kurtosis - 1 + 2 / samples), 1, samples - 1)


def assert_same_evidence(found: Evidence, expected: Evidence) -> None:
    """Equal up to the rounding of matrix products of other shapes: 64 elements, log-densities up to about 1000, float64."""
    assert found.diagnostics.keys() == expected.diagnostics.keys()
    for name, tensor in found.diagnostics.items():
        torch.testing.assert_close(
            tensor,
            expected.diagnostics[name],
            rtol=1e-9,
            atol=1e-9,
            # where the posterior or the prior does not factorise; with too few, or tied, weights
            equal_nan=name in ("kl_per_dimension", "khat"),
            msg=lambda text, name=name: f"{name}: {text}",
        )
