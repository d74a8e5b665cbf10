"""A linear VAE with normal noise is probabilistic PCA, whose evidence scikit-learn knows in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import pyrovae
from pyrovae import Importance
from pyrovae.evidence.reports.data_evaluation import DataEvaluation

SIZE = 64
TEST = 300


pytestmark = pytest.mark.filterwarnings("ignore:.*in all training data the same")
"""Some pixels of digits are always 0, and one noise scale is for all of them."""


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Digits as reals in [0, 1], shuffled."""
    x = (load_digits().data / 16).astype("float32")
    x = x[np.random.default_rng(0).permutation(len(x))]
    return {"train": x[:-TEST], "test": x[-TEST:]}


@dataclass(frozen=True)
class Trained:
    """A trained model, its evidence on both splits, and scikit-learn's answer to the same data."""

    result: pyrovae.commands.TrainResult
    pca: PCA
    train: DataEvaluation
    test: DataEvaluation


def train(folder: Path, arrays: dict[str, np.ndarray], latents: int, samples: int, **options: object) -> Trained:
    np.savez(folder / "digits.npz", **arrays)
    result = pyrovae.train(
        data={"name": "file", "path": str(folder / "digits.npz"), "valid": 0},
        likelihood="normal",
        network="linear",
        latent_dim=latents,
        device="cpu",
        progress=False,
        out=str(folder / "run"),
        **options,
    )
    evaluated = {s: pyrovae.evaluate(result.run, Importance(samples=samples), split=s, device="cpu") for s in ("train", "test")}
    return Trained(result, PCA(latents).fit(arrays["train"].astype("float64")), **evaluated)


def assert_is_ppca(trained: Trained, arrays: dict[str, np.ndarray], tolerance: float) -> None:
    """The evidence of new data is scikit-learn's; on the training data nothing of this family beats maximum likelihood."""
    pca, found = trained.pca, {"train": trained.train.log_evidence, "test": trained.test.log_evidence}
    assert abs(found["test"].mean - pca.score(arrays["test"].astype("float64"))) < tolerance
    best = pca.score(arrays["train"].astype("float64"))
    assert best - tolerance < found["train"].mean < best + 4 * found["train"].monte_carlo_error


def noise_scale(trained: Trained) -> float:
    """The standard deviation that the likelihood has learned."""
    with torch.no_grad():
        likelihood = trained.result.vae.likelihood(torch.zeros(trained.result.vae.latent_dim))
    (scale,) = likelihood.stddev.unique().tolist()
    return scale


def test_three_latents_learn_the_principal_subspace(tmp_path, arrays):
    trained = train(tmp_path, arrays, 3, samples=100, epochs=120, batch_size=256, learning_rate=1e-2)
    # Adam's noise at this step size leaves some hundredths of a nat; one component more or less is 3 to 4 nats
    assert_is_ppca(trained, arrays, tolerance=0.2)
    # a relative error e of the noise scale costs SIZE e^2 nats: 0.2 nats are 5.6 %
    assert noise_scale(trained) == pytest.approx(trained.pca.noise_variance_**0.5, rel=(0.2 / SIZE) ** 0.5)
    weight = trained.result.vae.decoder.layers[0].weight.detach().double().numpy()
    # to turn a component of variance v by t costs t^2 (v - s^2)^2 / (2 v s^2) nats, here above 4.9 t^2: 0.2 nats are 0.2 rad
    assert subspace_angles(weight, trained.pca.components_.T).max() < 0.2


@pytest.mark.slow
def test_ten_latents_with_default_options(tmp_path, arrays):
    trained = train(tmp_path, arrays, 10, samples=500, epochs=400, learning_rate=3e-3)
    assert_is_ppca(trained, arrays, tolerance=0.5)  # one component more or less is more than a nat
    assert noise_scale(trained) == pytest.approx(trained.pca.noise_variance_**0.5, rel=(0.5 / SIZE) ** 0.5)
    assert trained.test.active_units == 10


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["learned", "element"])
def test_ten_latents_with_a_posterior_scale_that_ignores_x(tmp_path, arrays, scale):
    """The exact posterior's covariance does not depend on x: a scale of the guide's own is enough."""
    options = {"posterior": {"name": "normal", "scale": scale}, "epochs": 400, "learning_rate": 3e-3}
    trained = train(tmp_path, arrays, 10, samples=500, **options)
    assert_is_ppca(trained, arrays, tolerance=0.5)
