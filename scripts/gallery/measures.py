"""What the gallery's pictures show of a model: latent means, reconstructions, the cells of a plane without data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from gallery.models import Studio
from pyrovae.commands import evaluate
from pyrovae.data import Split
from pyrovae.evidence.prepared import PreparedData, prepare_rows
from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.runs.opening import Opened, inference
from pyrovae.runs.sampling import value_range

SEED = 0
"""Of everything that the gallery draws at random."""


@final
@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a picture's function returns.

    Args:
        figures: Name of a PNG file, without its ending -> figure.
        text: The numbers that go with them, as Markdown.
    """

    figures: dict[str, Figure]
    text: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Picture:
    """A line of the gallery's table.

    Args:
        draw: Makes the figures.
        models: Names of the models that it shows.
    """

    draw: Callable[[Studio], Drawn]
    models: tuple[str, ...]


def scored(studio: Studio, name: str, estimator: str, samples: int | None = None) -> Evaluation:
    """A model's numbers on a seeded subset of 500 test data; ``samples`` is for estimators that draw some."""
    options = {} if samples is None else {"samples": 10 if studio.quick else samples}
    limit = 30 if studio.quick else 500
    return evaluate(
        studio.folder(name),
        {"name": estimator, "dequantisations": 1, **options},
        limit=limit,
        seed=SEED,
        data_root=studio.data_root,
        device=studio.device,
    )


def limits(opened: Opened) -> tuple[float, float]:
    """Values of black and white: for data without bounds those of the training data."""
    x = opened.dataset.train.x
    return value_range(opened.vae) or (x.min().item(), x.max().item())


def _prepared(opened: Opened, split: Split) -> PreparedData:
    return prepare_rows(opened.vae, opened.dataset, split, seed=SEED)


def means(opened: Opened, split: Split) -> Tensor:
    """Posterior means (N, D)."""
    with inference(opened.vae):
        parts = [opened.vae.parts["posterior"].mean(q) for q in _prepared(opened, split).posteriors()]
    return torch.cat(parts).cpu()


def scales(opened: Opened, split: Split) -> Tensor:
    """Standard deviations (N, D) of the posteriors."""
    with inference(opened.vae):
        parts = [opened.vae.parts["posterior"].stddev(q) for q in _prepared(opened, split).posteriors()]
    return torch.cat(parts).cpu()


def seen(opened: Opened, split: Split) -> Tensor:
    """Data (N, *E) as the likelihood sees them, in the units of the data."""
    return opened.vae.transform.inverse(_prepared(opened, split).seen()).cpu()


def decoded(opened: Opened, z: Tensor, c: Tensor | None = None) -> Tensor:
    """E[x|z,c] (*, *E) of latents (*, D), in the units of the data."""
    device = opened.vae.device
    with inference(opened.vae):
        return opened.vae.decode(z.to(device), None if c is None else c.to(device)).cpu()


def reconstructed(opened: Opened, split: Split) -> Tensor:
    """E[x|z,c] (N, *E) at the posterior mean of z."""
    return decoded(opened, means(opened, split), _prepared(opened, split).c)


def unit(opened: Opened, x: Tensor) -> Tensor:
    """Pictures on the scale from 0 (black) to 1 (white)."""
    low, high = limits(opened)
    return (x.double() - low) / (high - low)


def grey(x: Tensor, levels: int) -> Tensor:
    """Grey levels on the scale from 0 to 1."""
    return x.double() / (levels - 1)


def one_of_each(split: Split, count: int = 10) -> Split:
    """The first datum of each class, at most ``count`` classes."""
    rows = [int((split.y == code).nonzero()[0]) for code in split.y.unique()[:count]]
    return Split(split.x[rows], split.y[rows], split.index[rows])


def first_of(split: Split, code: int) -> Split:
    """The first datum of a class."""
    row = int((split.y == code).nonzero()[0])
    return Split(split.x[row : row + 1], split.y[row : row + 1], split.index[row : row + 1])


def cells(encoded: Tensor, side: int) -> tuple[Tensor, np.ndarray]:
    """Even cells over the range of encoded data (N, 2).

    Returns:
        Their centres (side, side, 2), z1 rising to the right and z2 upwards; and how many data lie in each, (side, side).
    """
    values = encoded.double()
    low, high = values.amin(0), values.amax(0)
    width = torch.clamp((high - low) / side, min=1e-12)
    which = ((values - low) / width).long().clamp(0, side - 1)
    counts = torch.zeros(side, side, dtype=torch.long)
    counts.index_put_((side - 1 - which[:, 1], which[:, 0]), torch.ones(len(values), dtype=torch.long), accumulate=True)
    steps = (torch.arange(side, dtype=torch.double) + 0.5) * width.unsqueeze(-1) + low.unsqueeze(-1)
    centres = torch.stack(torch.meshgrid(steps[0], steps[1].flip(0), indexing="xy"), -1)
    return centres.to(encoded.dtype), counts.numpy()


def nearest(queries: Tensor, data: Tensor, rows: int = 256) -> tuple[Tensor, Tensor]:
    """Distance (Q,) to the nearest of the data (N, ...) and its row (Q,), both flattened."""
    flat = data.double().flatten(1)
    found = [torch.cdist(part, flat).min(1) for part in queries.double().flatten(1).split(rows)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
