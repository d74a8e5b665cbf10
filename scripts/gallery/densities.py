"""The same model under five likelihoods: what it reconstructs, what it draws, and its number of bits."""

from __future__ import annotations

from matplotlib.figure import Figure

from gallery import panels
from gallery.measures import SEED, Drawn, decoded, one_of_each, reconstructed, scored, seen, unit
from gallery.models import Studio
from pyrovae.drawing.pictures import quantile_grid
from pyrovae.drawing.style import TEXT
from pyrovae.runs.opening import Opened
from pyrovae.runs.sampling import draw_samples

LIKELIHOODS = {
    "normal-1-2": "normal, scale 1",
    "normal-2": "normal, learned scale",
    "vae-2": "Bernoulli (bits)",
    "beta-2": "beta",
    "binomial-2": "binomial",
}
SIDE = 9
DRAWS = 8


def likelihoods(studio: Studio) -> Drawn:
    """Reconstructions, samples and the decoded grid of five likelihoods with two latents."""
    opened = {name: studio.open(name) for name in LIKELIHOODS}
    few = one_of_each(opened["vae-2"].dataset.test)
    grey = opened["binomial-2"]
    rows = {"data": unit(grey, seen(grey, few))}
    rows |= {title: unit(opened[name], reconstructed(opened[name], few)) for name, title in LIKELIHOODS.items()}
    figures = {
        "likelihoods-reconstructions": panels.strips(rows, (0.0, 1.0), "Reconstructions: E[x|z] at the posterior mean of z"),
        "likelihoods-samples": _samples(opened),
        "likelihoods-grids": _grids(opened),
    }
    head = ["likelihood", "ELBO (nats)", "log evidence (nats)", "bits/dim", "kind of number"]
    return Drawn(figures=figures, text=panels.table(head, [_numbers(studio, name) for name in LIKELIHOODS]))


def _numbers(studio: Studio, name: str) -> list:
    found = scored(studio, name, "importance", samples=100)
    return [LIKELIHOODS[name], found.elbo.mean, found.log_evidence.mean, found.bits_per_dim, found.bits_per_dim_kind]


def _samples(opened: dict[str, Opened]) -> Figure:
    figure = Figure(figsize=(10.2, 0.62 * len(opened)))
    axes = figure.subplots(len(opened), 2, gridspec_kw={"wspace": 0.04, "hspace": 0.06})
    for line, (name, title) in zip(axes, LIKELIHOODS.items(), strict=True):
        drawn = draw_samples(opened[name].vae, DRAWS, SEED)
        for axis, values in zip(line, (drawn.mean, drawn.x), strict=True):
            panels.mosaic(axis, unit(opened[name], values).unsqueeze(0), (0.0, 1.0))
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=TEXT)
    panels.titled(axes[0, 0], "means E[x|z], z ~ p(z)")
    panels.titled(axes[0, 1], "draws x ~ p(x|z), the same z")
    return figure


def _grids(opened: dict[str, Opened]) -> Figure:
    figure = Figure(figsize=(12.5, 2.8))
    axes = figure.subplots(1, len(opened), gridspec_kw={"wspace": 0.05})
    for axis, (name, title) in zip(axes, LIKELIHOODS.items(), strict=True):
        z = quantile_grid(opened[name].vae, SIDE, SEED)
        panels.mosaic(axis, unit(opened[name], decoded(opened[name], z)), (0.0, 1.0), gap=0)
        panels.titled(axis, title)
    figure.suptitle("Decoded grids: E[x|z] at the prior's quantiles", fontsize=TEXT + 1, y=1.02)
    return figure
