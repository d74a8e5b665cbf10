"""Glasses put on and taken off faces of people who were not trained on, by one direction of the latents; with numbers."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from gallery import panels
from gallery.measures import SEED, Drawn, decoded, grey, means, unit
from gallery.models import Studio
from pyrovae.data import Dataset, Split
from pyrovae.drawing.style import TEXT

ATTRIBUTE = "glasses"
COMPONENTS = 40
STEPS = (0.0, 0.5, 1.0, 1.5)
"""Multiples of the difference of mean latents."""

SHOWN = 5


def faces(studio: Studio) -> Drawn:
    """Held-out people with glasses added and removed by the difference of mean latents, and what a classifier says of it."""
    opened = studio.open("faces")
    dataset = opened.dataset
    train, test = (answered(dataset, split, ATTRIBUTE) for split in (dataset.train, dataset.test))
    column = _column(dataset, ATTRIBUTE)
    z_train, z_test = means(opened, train), means(opened, test)
    direction = difference(z_train, train.y[:, column] == 1)
    worn = test.y[:, column] == 1
    towards = torch.where(worn, -1.0, 1.0).unsqueeze(-1)
    made = {step: unit(opened, decoded(opened, z_test + step * towards * direction)) for step in STEPS}
    judge = classifier(grey(train.x, dataset.spec.levels), train.y[:, column])
    data = grey(test.x, dataset.spec.levels)
    accuracy, share = judge.score(_flat(data), worn.numpy()), worn.double().mean().item()
    subject = test.y[:, _column(dataset, "subject")]
    rows = [["photographs", *_probabilities(judge, data, worn), None]]
    for step, pictures in made.items():
        kept = same_person(pictures, made[0.0], subject)
        rows.append([_named(step), *_probabilities(judge, pictures, worn), f"{kept:.0%}"])
    head = ["", "p(glasses), people without: glasses added", "p(glasses), people with: glasses removed", "same person"]
    people = len(subject.unique())
    note = (
        f"{len(test)} photographs of {people} people who were not trained on, {int(worn.sum())} with glasses. p(glasses): the "
        f"mean of a logistic regression on {COMPONENTS} principal components of the training photographs, which is right on "
        f"{accuracy:.0%} of these (who always gives the commoner answer is right on {max(share, 1 - share):.0%}). Same person: "
        "how often the nearest reconstruction of another photograph (in the pixels) is of the same person; by chance "
        f"{1 / people:.0%}."
    )
    figure = _figure(data, made, subject, worn)
    return Drawn(figures={"faces": figure}, text=f"{panels.table(head, rows)}\n\n{note}")


def answered(dataset: Dataset, split: Split, name: str) -> Split:
    """The data of which a label is known: an unknown one is neither yes nor no."""
    column = _column(dataset, name)
    values = dataset.spec.labels[column].values
    known = split.y[:, column] != (values.index("unknown") if "unknown" in values else -1)
    return Split(split.x[known], split.y[known], split.index[known])


def difference(z: Tensor, has: Tensor) -> Tensor:
    """Mean latent (D,) of the data that have an attribute, less that of those that have not."""
    return z[has].mean(0) - z[~has].mean(0)


def classifier(pictures: Tensor, codes: Tensor) -> Pipeline:
    """Logistic regression on the principal components of pictures (N, H, W)."""
    count = min(COMPONENTS, len(pictures) - 1)
    steps = (PCA(count, random_state=SEED), StandardScaler(), LogisticRegression(max_iter=1000))
    return make_pipeline(*steps).fit(_flat(pictures), (codes == 1).numpy())


def same_person(pictures: Tensor, references: Tensor, subject: Tensor) -> float:
    """How often the nearest reference of another photograph is of the same person.

    Args:
        pictures: One for each photograph, (N, H, W).
        references: Likewise; a picture is not compared with that of its own photograph.
        subject: Codes of the people, (N,).
    """
    distances = torch.cdist(pictures.flatten(1), references.flatten(1)).fill_diagonal_(torch.inf)
    return (subject[distances.argmin(1)] == subject).double().mean().item()


def _column(dataset: Dataset, name: str) -> int:
    return [label.name for label in dataset.spec.labels].index(name)


def _flat(pictures: Tensor) -> np.ndarray:
    return pictures.flatten(1).double().numpy()


def _probabilities(judge: Pipeline, pictures: Tensor, worn: Tensor) -> list[str]:
    """Mean p(glasses) of the people without, and of those with glasses."""
    p = judge.predict_proba(_flat(pictures))[:, 1]
    return [f"{p[~worn.numpy()].mean():.2f}", f"{p[worn.numpy()].mean():.2f}"]


def _named(step: float) -> str:
    return "reconstructions" if step == 0 else f"{step:g} x the difference"


def _chosen(subject: Tensor, which: Tensor) -> Tensor:
    """Rows to show: a person's first photograph, then everybody's second, and so on, at most ``SHOWN``."""
    taken: dict[int, int] = {}
    order = []
    for row in which.nonzero().flatten().tolist():
        person = int(subject[row])
        order.append((taken.get(person, 0), row))
        taken[person] = taken.get(person, 0) + 1
    return torch.tensor([row for _, row in sorted(order)[:SHOWN]])


def _figure(data: Tensor, made: dict[float, Tensor], subject: Tensor, worn: Tensor) -> Figure:
    sides = {"glasses added": _chosen(subject, ~worn), "glasses removed": _chosen(subject, worn)}
    figure = Figure(figsize=(7, 3.5))
    axes = figure.subplots(1, 2, gridspec_kw={"wspace": 0.04})
    height = data.shape[-2]
    for axis, (title, rows) in zip(axes, sides.items(), strict=True):
        panels.mosaic(axis, torch.stack([data[rows], *(pictures[rows] for pictures in made.values())]), (0.0, 1.0), gap=2)
        panels.titled(axis, title)
    names = ["photograph", *map(_named, made)]
    axes[0].set_yticks([height / 2 + i * (height + 2) for i in range(len(names))], names, fontsize=TEXT)
    axes[0].tick_params(axis="y", length=0)
    return figure
