"""The way between two digits, a model while it learns, digits under given labels."""

from __future__ import annotations

import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from gallery import panels
from gallery.measures import (
    SEED,
    Drawn,
    decoded,
    first_of,
    grey,
    limits,
    means,
    nearest,
    one_of_each,
    reconstructed,
    seen,
    unit,
)
from gallery.models import Studio
from pyrovae.data import Split
from pyrovae.runs.folder import read_metrics, rebuild
from pyrovae.runs.opening import Opened, inference
from pyrovae.runs.sampling import prior_samples

STEPS = 11
FROM, TO = 0, 6
MEASURED = 100
COUNT = 10
STAGES = {"vae-20-after-1": "after 1 epoch", "vae-20-after-5": "after 5", "vae-20": "after 20"}


def interpolation(studio: Studio) -> Drawn:
    """From a 0 to a 6 on a straight line: between the pixels, and between the latents of an autoencoder and of a VAE."""
    models = {"autoencoder": studio.open("autoencoder-20"), "VAE": studio.open("vae-20")}
    dataset = models["VAE"].dataset
    ends = [first_of(dataset.test, code) for code in (FROM, TO)]
    shown = {"pixels": _line(*(grey(end.x, dataset.spec.levels) for end in ends))[:, 0]}
    shown |= {f"{name}, latents": _path(opened, *ends)[:, 0] for name, opened in models.items()}
    figure = panels.strips(shown, (0.0, 1.0), "From a 0 to a 6: halfway between the pixels is no digit")
    data = grey(dataset.train.x, dataset.spec.levels)
    pairs = [_some(dataset.test, code) for code in (FROM, TO)]
    lines = {"pixels": _line(*(grey(end.x, dataset.spec.levels) for end in pairs))}
    lines |= {f"{name}, latents": _path(opened, *pairs) for name, opened in models.items()}
    rows = []
    for name, line in lines.items():
        ends, halfway = (nearest(pictures, data)[0].mean().item() for pictures in (line[[0, -1]].flatten(0, 1), line[STEPS // 2]))
        rows.append([name, ends, halfway, f"{halfway / ends - 1:+.0%}"])
    table = panels.table(["distance to the nearest training picture", "at the ends", "halfway", "more"], rows)
    count = len(pairs[0])
    return Drawn(figures={"interpolation": figure}, text=f"{table}\n\nEuclidean, pixels from 0 to 1, mean of {count} pairs.")


def _some(split: Split, code: int) -> Split:
    """The first data of a class, as many as there are of both ends and at most a hundred."""
    count = min(MEASURED, *(int((split.y == end).sum()) for end in (FROM, TO)))
    rows = (split.y == code).nonzero().flatten()[:count]
    return Split(split.x[rows], split.y[rows], split.index[rows])


def _line(first: Tensor, last: Tensor) -> Tensor:
    """Points (steps, *) on the straight line between two tensors."""
    steps = torch.linspace(0, 1, STEPS, dtype=first.dtype).reshape(-1, *(1 for _ in first.shape))
    return first + steps * (last - first)


def _path(opened: Opened, first: Split, last: Split) -> Tensor:
    """The decoded line (steps, N, *E) between the latents of data."""
    return unit(opened, decoded(opened, _line(means(opened, first), means(opened, last))))


def training(studio: Studio) -> Drawn:
    """Reconstructions of a VAE before training and after 1, 5 and 20 epochs."""
    final = studio.open("vae-20")
    few = one_of_each(final.dataset.test)
    fresh = rebuild(final.folder, final.config["seed"])
    before = Opened(fresh.to(final.vae.device), final.dataset, final.folder, final.config)
    rows = {"data": seen(final, few), "before training": reconstructed(before, few)}
    numbers = []
    for name, title in STAGES.items():
        rows[title] = reconstructed(studio.open(name), few)
        last = read_metrics(studio.folder(name))[-1]
        numbers.append([int(last["epoch"]), last["valid_reconstruction"], last["valid_elbo"]])
    figure = panels.strips(rows, limits(final), "Reconstructions before and while training, 20 latents")
    head = ["epochs", "validation reconstruction (nats)", "validation ELBO (nats)"]
    return Drawn(figures={"training": figure}, text=panels.table(head, numbers))


def labels(studio: Studio) -> Drawn:
    """Draws from a VAE that is conditioned on the label, the same z for all labels of a column."""
    opened = studio.open("label-8")
    rows, agreed = {}, {}
    judge = _judge(opened)
    for code, (name, c) in enumerate(opened.vae.context_module.each().items()):
        rows[name] = _drawn(opened, c, COUNT)
        told = judge.predict(unit(opened, _drawn(opened, c, MEASURED)).flatten(1).numpy())
        agreed[name] = float((told == code).mean())
    figure = panels.strips(rows, limits(opened), "E[x|z,c], z ~ p(z): a row for each label c, the same z in a column")
    real = opened.dataset.test.subset(1000, SEED)
    accuracy = float((judge.predict(grey(real.x, opened.dataset.spec.levels).flatten(1).numpy()) == real.y.numpy()).mean())
    table = panels.table(["label", *agreed], [["taken for it", *(f"{share:.0%}" for share in agreed.values())]])
    note = (
        f"Of {MEASURED} draws for each label, the share that a nearest-neighbour classifier of the training pictures takes for "
        f"that label; it is right on {accuracy:.1%} of real test pictures."
    )
    return Drawn(figures={"labels": figure}, text=f"{table}\n\n{note}")


def _drawn(opened: Opened, c: Tensor, count: int) -> Tensor:
    """E[x|z,c] (N, *E) of the same draws of p(z) for every c."""
    given = c.to(opened.vae.device).expand(count, *c.shape)
    with inference(opened.vae), torch.random.fork_rng():
        torch.manual_seed(SEED)
        z = prior_samples(opened.vae, count, given)
    return decoded(opened, z, given)


def _judge(opened: Opened) -> KNeighborsClassifier:
    """Three nearest neighbours among at most 10,000 training pictures."""
    split = opened.dataset.train.subset(10_000, SEED)
    return KNeighborsClassifier(3).fit(grey(split.x, opened.dataset.spec.levels).flatten(1).numpy(), split.y.numpy())
