"""How many latents: the numbers of 2 to 50, which of them are used, and autoencoders with more latents than pixels."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from gallery import panels
from gallery.measures import SEED, Drawn, one_of_each, reconstructed, scored, seen, unit
from gallery.models import Studio
from pyrovae.contracts import DataSpec
from pyrovae.data import Split
from pyrovae.drawing.style import BLUE, GREY, TEXT

KINDS = {"autoencoder": "autoencoder", "vae": "VAE"}
SIZES = (2, 5, 20, 50)


def sizes(studio: Studio) -> Drawn:
    """Reconstructions and evidence with 2, 5, 20 and 50 latents, autoencoder and VAE; the latents of a VAE that are used."""
    few = one_of_each(studio.dataset("vae-2").test)
    rows: dict[str, Tensor] = {}
    numbers, kl = [], {}
    for kind, title in KINDS.items():
        for size in SIZES:
            opened = studio.open(f"{kind}-{size}")
            rows.setdefault("data", seen(opened, few))
            rows[f"{title}, {size}"] = reconstructed(opened, few)
    for size in SIZES:
        plain = scored(studio, f"autoencoder-{size}", "reconstruction")
        found = scored(studio, f"vae-{size}", "importance", samples=100)
        kl[size] = sorted(found.kl_per_dimension, reverse=True)
        numbers.append(
            [size, plain.reconstruction, found.reconstruction, found.kl, found.elbo.mean, found.log_evidence.mean,
             found.active_units]
        )  # fmt: skip
    figures = {
        "sizes": panels.strips(rows, (0.0, 1.0), "Reconstructions with 2, 5, 20 and 50 latents"),
        "sizes-active": _active(kl),
    }
    head = ["latents", "autoencoder: reconstruction", "VAE: reconstruction", "KL", "ELBO", "log evidence", "active units"]
    return Drawn(figures=figures, text=panels.table(head, numbers))


def _active(kl: dict[int, list[float]]) -> Figure:
    figure = Figure(figsize=(9, 2.3))
    axes = figure.subplots(1, len(kl), sharey=True, gridspec_kw={"width_ratios": [4, 5, 10, 20], "wspace": 0.08})
    for axis, (size, values) in zip(axes, kl.items(), strict=True):
        axis.bar(range(1, size + 1), values, color=BLUE, width=0.8)
        axis.set_xlim(0, size + 1)
        panels.plain(axis)
        panels.titled(axis, f"{size} latents")
    axes[0].set_ylabel("KL (nats)", fontsize=TEXT, color=GREY)
    figure.supxlabel("latents of the VAE, in order of their KL", fontsize=TEXT, color=GREY, y=-0.08)
    return figure


def overcomplete(studio: Studio) -> Drawn:
    """Linear autoencoders with fewer and with more latents than pixels, on digits and on what is no digit."""
    models = {"20 latents": studio.open("linear-20"), "1000 latents": studio.open("linear-1000")}
    first = models["20 latents"]
    digits = one_of_each(first.dataset.test, 4)
    strangers = _strangers(first.dataset.spec)
    index = torch.arange(len(first.dataset.x), len(first.dataset.x) + len(strangers))
    shown = (digits, Split(strangers, None, index))
    rows = {"data": torch.cat([unit(first, seen(first, split)) for split in shown])}
    numbers = []
    for name, opened in models.items():
        made = [(unit(opened, seen(opened, split)), unit(opened, reconstructed(opened, split))) for split in shown]
        rows[name] = torch.cat([reconstruction for _, reconstruction in made])
        numbers.append([name, *((x - y).square().mean().sqrt().item() for x, y in made)])
    note = f"{first.dataset.spec.size} pixels; both autoencoders were trained on digits only"
    figure = panels.strips(rows, (0.0, 1.0), "Linear autoencoders: digits, and pictures that are no digits", note)
    head = ["linear autoencoder", "root mean square error of a pixel: digits", "no digits"]
    return Drawn(figures={"overcomplete": figure}, text=panels.table(head, numbers))


def _strangers(spec: DataSpec) -> Tensor:
    """Stripes, a chequerboard, a ring, noise: black and white pictures (4, H, W) in the levels of the data."""
    height, width = spec.event_shape
    i, j = np.mgrid[:height, :width]
    inside = (abs(i - (height - 1) / 2) < 0.36 * height) & (abs(j - (width - 1) / 2) < 0.36 * width)
    block = max(1, height // 10)
    radius = np.hypot(i - (height - 1) / 2, j - (width - 1) / 2) / height
    pictures = [
        (i // block) % 2 == 0,
        (i // block + j // block) % 2 == 0,
        (radius < 0.30) & ~((radius > 0.12) & (radius < 0.2)),
        np.random.default_rng(SEED).random((height, width)) < 0.5,
    ]
    values = np.stack([picture & inside for picture in pictures]) * (spec.levels - 1)
    return torch.from_numpy(values.astype(np.uint8))
