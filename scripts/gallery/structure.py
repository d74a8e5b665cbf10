"""How well the latents keep classes apart."""

from __future__ import annotations

from matplotlib.figure import Figure
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from gallery import panels
from gallery.measures import SEED, Drawn, grey, means
from gallery.models import Studio
from pyrovae.drawing.style import BLUE, RED

MODELS = {"autoencoder-2": "autoencoder, 2", "vae-2": "VAE, 2", "autoencoder-20": "autoencoder, 20", "vae-20": "VAE, 20"}
TRAINED, TESTED = 10_000, 2000


def structure(studio: Studio) -> Drawn:
    """Silhouette and nearest-neighbour accuracy of latent means, and of the pixels themselves."""
    dataset = studio.dataset("vae-20")
    train, test = dataset.train.subset(TRAINED, SEED), dataset.test.subset(TESTED, SEED)
    found = {"pixels": _measured(*((grey(s.x, dataset.spec.levels).flatten(1), s.y) for s in (train, test)))}
    for name, title in MODELS.items():
        opened = studio.open(name)
        found[title] = _measured(*((means(opened, split), split.y) for split in (train, test)))
    figure = Figure(figsize=(8.6, 2.2))
    colours = ("0.6", RED, BLUE, RED, BLUE)
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.5})
    panels.bars(left, {k: v[0] for k, v in found.items()}, ".2f", "silhouette of the classes", colours)
    panels.bars(right, {k: v[1] for k, v in found.items()}, ".1%", "accuracy of the nearest neighbour", colours)
    rows = [[name, f"{silhouette:.3f}", f"{accuracy:.1%}"] for name, (silhouette, accuracy) in found.items()]
    table = panels.table(["latents", "silhouette", "nearest-neighbour accuracy"], rows)
    note = f"{len(test)} test data, neighbours among {len(train)} training data."
    return Drawn(figures={"structure": figure}, text=f"{table}\n\n{note}")


def _measured(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> tuple[float, float]:
    (z, y), (z_test, y_test) = ((a.double().numpy(), b.numpy()) for a, b in (train, test))
    accuracy = KNeighborsClassifier(1).fit(z, y).score(z_test, y_test)
    return float(silhouette_score(z_test, y_test)), float(accuracy)
