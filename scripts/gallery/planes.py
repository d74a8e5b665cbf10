"""A plane of latents: plain autoencoders beside a VAE, and the two terms of the ELBO each alone."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor

from gallery import panels
from gallery.measures import SEED, Drawn, cells, decoded, limits, means, one_of_each, reconstructed, scales, scored, seen
from gallery.models import Studio
from pyrovae.drawing.style import TEXT, class_colour
from pyrovae.runs.opening import Opened, inference
from pyrovae.runs.sampling import prior_samples

SHOWN = 5000
SIDE = 17
ELLIPSES = 60
PLANES = {"autoencoder-2": "autoencoder", "bounded-2": "autoencoder, latents in (0, 1)", "vae-2": "VAE"}
TERMS = {"reconstruction-only-2": "reconstruction only", "kl-only-2": "KL only", "vae-2": "both: the ELBO"}


def plane(studio: Studio) -> Drawn:
    """Where data lie in the latent plane of an autoencoder and of a VAE, and what is decoded where there are none."""
    opened = {name: studio.open(name) for name in PLANES}
    split = opened["vae-2"].dataset.test.subset(SHOWN, SEED)
    names = opened["vae-2"].dataset.spec.class_names
    points = {name: means(model, split) for name, model in opened.items()}
    encoded = {name: means(model, model.dataset.train) for name, model in opened.items()}
    figures = {
        "plane": _maps(points, split.y, names),
        "plane-classes": _class_panels(points, split.y, names),
    }
    figures["plane-decoded"], share = _grids(opened, encoded)
    rows = [[title, *share[name]] for name, title in PLANES.items()]
    head = [
        "model",
        "range of z1",
        "range of z2",
        "cells without training data",
        "draws of p(z) that fall there or outside",
    ]
    return Drawn(figures=figures, text=panels.table(head, rows))


def _maps(points: dict[str, Tensor], codes: Tensor, names: tuple[str, ...]) -> Figure:
    figure = Figure(figsize=(9.3, 3.3))
    axes = figure.subplots(1, 3, gridspec_kw={"wspace": 0.2})
    for axis, (name, title) in zip(axes, PLANES.items(), strict=True):
        panels.scatter(axis, points[name], codes)
        panels.titled(axis, title)
    figure.suptitle(f"Latent means of {len(codes)} test data, coloured by class", fontsize=TEXT + 1, y=1.06)
    panels.legend_of_classes(figure, names, 0.0)
    return figure


def _class_panels(points: dict[str, Tensor], codes: Tensor, names: tuple[str, ...]) -> Figure:
    figure = Figure(figsize=(len(names) * 0.95, 3.1))
    axes = figure.subplots(3, len(names), gridspec_kw={"wspace": 0.06, "hspace": 0.08})
    for line, (name, title) in zip(axes, PLANES.items(), strict=True):
        for code, axis in enumerate(line):
            panels.highlight(axis, points[name], (codes == code).numpy(), class_colour(code))
        line[0].set_ylabel(title.replace(", latents", ",\nlatents"), rotation=0, ha="right", va="center", fontsize=TEXT)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=TEXT + 1)
    return figure


def _grids(opened: dict[str, Opened], encoded: dict[str, Tensor]) -> tuple[Figure, dict[str, list]]:
    figure = Figure(figsize=(12, 4.4))
    axes = figure.subplots(1, 3, gridspec_kw={"wspace": 0.06})
    numbers = {}
    for axis, (name, title) in zip(axes, PLANES.items(), strict=True):
        centres, counts = cells(encoded[name], SIDE)
        panels.mosaic(axis, decoded(opened[name], centres), limits(opened[name]), counts == 0, gap=0)
        empty = (counts == 0).mean()
        panels.titled(axis, f"{title}\n{empty:.0%} of the cells are empty")
        numbers[name] = [*_ranges(encoded[name]), f"{empty:.0%}", _lost(opened[name], encoded[name], counts)]
    title = "Decoded grid over the range of the encoded training data; red: no training datum in the cell"
    figure.suptitle(title, fontsize=TEXT + 1, y=1.0)
    return figure, numbers


def _ranges(encoded: Tensor) -> list[str]:
    return [f"{low:.2f} to {high:.2f}" for low, high in zip(encoded.amin(0).tolist(), encoded.amax(0).tolist(), strict=True)]


def _lost(opened: Opened, encoded: Tensor, counts: np.ndarray) -> str:
    """The share of 10,000 draws of p(z) that fall where no training datum is."""
    with inference(opened.vae), torch.random.fork_rng():
        torch.manual_seed(SEED)
        z = prior_samples(opened.vae, 10_000, None).cpu()
    low, high = encoded.amin(0), encoded.amax(0)
    place = ((z - low) / (high - low) * SIDE).floor().long()
    inside = ((place >= 0) & (place < SIDE)).all(1)
    place = place.clamp(0, SIDE - 1)
    there = torch.as_tensor(counts)[SIDE - 1 - place[:, 1], place[:, 0]] > 0
    return f"{1 - (inside & there).double().mean():.1%}"


def terms(studio: Studio) -> Drawn:
    """The latent plane where only the reconstruction counts, only the KL term, and both."""
    opened = {name: studio.open(name) for name in TERMS}
    dataset = opened["vae-2"].dataset
    split, few = dataset.test.subset(SHOWN, SEED), one_of_each(dataset.test)
    figure = Figure(figsize=(10.2, 4.9))
    axes = figure.subplots(2, 3, gridspec_kw={"height_ratios": [3, 0.75], "wspace": 0.16, "hspace": 0.12})
    rows = []
    for (top, below), (name, title) in zip(axes.T, TERMS.items(), strict=True):
        model = opened[name]
        points = means(model, split)
        panels.scatter(top, points, split.y)
        _ellipses(top, points, scales(model, split))
        panels.titled(top, title)
        pairs = torch.stack([seen(model, few), reconstructed(model, few)])
        panels.mosaic(below, pairs, limits(model))
        found = scored(studio, name, "elbo", samples=10)
        rows.append([title, found.reconstruction, found.kl, found.elbo.mean, f"{found.active_units} of {found.latent_dim}"])
    circles = f"grey: q(z|x) of {ELLIPSES} of them, one standard deviation"
    title = f"Latent means of {len(split)} test data; {circles}; below: data and reconstructions"
    figure.suptitle(title, fontsize=TEXT + 1, y=0.98)
    panels.legend_of_classes(figure, dataset.spec.class_names, 0.05)
    head = ["trained for", "reconstruction (nats)", "KL (nats)", "ELBO (nats)", "active units"]
    return Drawn(figures={"terms": figure}, text=panels.table(head, rows))


def _ellipses(axis: Axes, points: Tensor, spread: Tensor) -> None:
    for centre, scale in zip(points[:ELLIPSES].tolist(), spread[:ELLIPSES].tolist(), strict=True):
        axis.add_patch(Ellipse(centre, 2 * scale[0], 2 * scale[1], fill=False, edgecolor="0.4", linewidth=0.5, zorder=3))
    axis.autoscale_view()
