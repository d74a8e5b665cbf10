"""A linear autoencoder finds the principal components: angles between what the decoders span and what PCA spans."""

from __future__ import annotations

import math

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from gallery import panels
from gallery.measures import Drawn, decoded
from gallery.models import Studio
from pyrovae.runs.opening import Opened

MODELS = {
    "components": "linear autoencoder",
    "components-tied": "tied weights",
    "components-vae": "linear VAE, learned scale",
}


def principal_angles(first: Tensor, second: Tensor) -> Tensor:
    """Principal angles (K,) between the spans of the columns of two matrices (N, K), in degrees, the largest first.

    From the sines, which are exact for the small angles where cosines are not: the singular values of what the second
    basis has outside the first.

    Source: Bjorck and Golub (1973), Numerical Methods for Computing Angles Between Linear Subspaces.

    Example:
        >>> principal_angles(torch.eye(3)[:, :1], torch.ones(3, 2).cumsum(0)[:, :1]).round(decimals=2)
        tensor([74.5000], dtype=torch.float64)
    """
    a, b = (torch.linalg.qr(matrix.double()).Q for matrix in (first, second))
    sines = torch.linalg.svdvals(b - a @ (a.T @ b)).clamp(max=1)
    return torch.rad2deg(torch.asin(sines))


def columns(opened: Opened) -> Tensor:
    """What a linear decoder does with each unit latent, (elements, D), in the units of the data."""
    unit = torch.eye(opened.vae.latent_dim)
    return (decoded(opened, unit) - decoded(opened, torch.zeros_like(unit))).flatten(1).double().T


def components(studio: Studio) -> Drawn:
    """The decoders' columns of linear models beside the principal components, and the angles between their spans."""
    opened = {name: studio.open(name) for name in MODELS}
    dataset = opened["components"].dataset
    size = opened["components"].vae.latent_dim
    pca = PCA(size).fit(dataset.train.x.flatten(1).double().numpy())
    basis = torch.from_numpy(pca.components_.T)
    rows, numbers = {"PCA": _pictures(basis, dataset.spec.event_shape)}, []
    for name, title in MODELS.items():
        spanned = columns(opened[name])
        angles = principal_angles(basis, spanned)
        rows[title] = _pictures(_aligned(spanned, basis), dataset.spec.event_shape)
        numbers.append([title, *(f"{angle:.2f}" for angle in angles.flip(0).tolist())])
    figure = panels.strips(
        rows, (-1.0, 1.0), f"{size} principal components, and the nearest direction\nin what each decoder spans"
    )
    head = ["model", *(f"angle {i + 1} (degrees)" for i in range(size))]
    chance = math.degrees(math.asin(math.sqrt(1 - size / dataset.spec.size)))
    note = f"A random direction of the {dataset.spec.size} pixels is {chance:.0f} degrees away from a span of {size}, typically."
    return Drawn(figures={"components": figure}, text=f"{panels.table(head, numbers)}\n\n{note}")


def _aligned(spanned: Tensor, basis: Tensor) -> Tensor:
    """The projection of each component onto what the decoder spans."""
    q = torch.linalg.qr(spanned).Q
    return q @ (q.T @ basis)


def _pictures(vectors: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Vectors (elements, K) as pictures (K, H, W) from -1 to 1: grey is 0."""
    return (vectors / vectors.abs().amax(0)).T.reshape(-1, *shape)
