"""The figures of a run: computes the tensors that they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyrovae import runs
from pyrovae.data import Split
from pyrovae.drawing import charts
from pyrovae.drawing.choice import portrait_of
from pyrovae.drawing.portraits import Portrait
from pyrovae.drawing.words import mean_of, prior_of
from pyrovae.errors import UserError, option, suggest
from pyrovae.evidence.prepared import PreparedData, prepare_data
from pyrovae.runs.opening import Opened, context_of, inference
from pyrovae.runs.sampling import Samples, draw_samples, prior_samples, value_range
from pyrovae.system.devices import own_noise, seed_all
from pyrovae.vae import VAE

SCATTERED = 5000
STEPS = 10
"""Points of an interpolation, and draws of a class."""
QUANTILE_DRAWS = 10_000
CONTEXTS_SHOWN = 12


@final
@dataclass(frozen=True)
class _RunData:
    """A run and the rows of its data that are shown."""

    opened: Opened
    shown: PreparedData
    scattered: PreparedData
    split_name: str
    seed: int
    portrait: Portrait

    @property
    def vae(self) -> VAE:
        return self.opened.vae


def pictures(opened: Opened, seed: int, only: Sequence[str] | None = None) -> dict[str, Figure]:
    """Every figure of a run by name.

    Args:
        opened: The run with its data.
        seed: Of the data shown and of the noise.
        only: Names of those that are wanted; None for all that the run has.

    Raises:
        UserError: If a name is unknown, or the run has no such figure, with what it has instead.
    """
    name = "test" if len(opened.dataset.rows["test"]) else "train"
    portrait = portrait_of(opened.vae.spec, value_range(opened.vae))
    shown, scattered = (
        prepare_data(opened.vae, opened.dataset, name, limit=count, seed=seed) for count in (portrait.shown, SCATTERED)
    )
    run = _RunData(opened, shown, scattered, "test data" if name == "test" else "training data", seed, portrait)
    absent = _absent(opened)
    for wanted in only or ():
        if wanted not in FIGURES:
            raise UserError("only", wanted, "unknown", suggest(wanted, FIGURES))
        if wanted in absent:
            raise UserError("only", wanted, absent[wanted])
    return {name: draw(run) for name, draw in FIGURES.items() if name not in absent and (only is None or name in only)}


def _absent(opened: Opened) -> dict[str, str]:
    """Figures that a run does not have, each with what it has instead."""
    absent = {}
    if opened.vae.latent_dim != 2:
        absent["grid"] = (
            f"needs a 2-D latent, this run has {opened.vae.latent_dim}; instead {option('only', 'latent')} draws "
            f"the two principal axes of the posterior means, {option('only', 'samples')} decoded draws"
        )
    if opened.vae.parts["context"].reads is None:
        for name in ("classes", "relabelled"):
            instead = option("only", "samples", "reconstructions")
            absent[name] = f"needs a conditional model, this run has no context; draw {instead} instead"
    if not runs.read_metrics(opened.home):
        absent["learning_curves"] = "the run has no metrics.csv; train writes it"
    return absent


def _means(data: PreparedData) -> Tensor:
    with inference(data.vae):
        return torch.cat([data.vae.parts["posterior"].mean(q) for q in data.posteriors()])


def _reconstructions(run: _RunData) -> Figure:
    vae = run.vae
    rows = {"data": vae.transform.inverse(run.shown.seen()).cpu()}
    c = run.shown.contexts
    # A model saved from Python has no recorded seed from which its initial weights could be drawn again.
    models = {"before training": _untrained(run.opened)} if "seed" in run.opened.config else {}
    for name, model in {**models, "after training": vae}.items():
        with inference(model):
            rows[name] = model.decode(_means(run.shown.on(model)), c).cpu()
    title = f"Reconstructions: {mean_of(vae)} at the posterior mean of z" + ("" if c is None else ", given the c of the datum")
    return run.portrait.reconstructions(rows, _heads(run), title)


def _heads(run: _RunData) -> list[str]:
    """The context of each datum shown, by its name; nothing without a context."""
    c = run.shown.contexts
    return [] if c is None else run.vae.context_module.named(c)


def _untrained(opened: Opened) -> VAE:
    """The model as it was before training: the seed of the run draws the same weights again."""
    vae = runs.rebuild(opened.home, opened.config["seed"])
    vae.transform.load_state_dict(opened.vae.transform.state_dict())
    vae.context_module.initialise(context_of(opened.vae, opened.dataset.train))
    return vae.to(opened.vae.device)


def _samples(run: _RunData) -> Figure:
    return sample_picture(run.vae, draw_samples(run.vae, run.portrait.sampled, run.seed), None)


def sample_picture(vae: VAE, drawn: Samples, given: str | None) -> Figure:
    """Draws from a model and their means.

    Args:
        vae: The model.
        drawn: Its draws.
        given: What they were asked to be given, as in ``draw_samples``.
    """
    portrait = portrait_of(vae.spec, value_range(vae))
    heads: list[str] = []
    means, draws = f"means {mean_of(vae)}, z ~ {prior_of(vae)}", "draws x ~ p(x|z), the same z"
    if drawn.c is not None:
        names, draws = vae.context_module.named(drawn.c), "draws x ~ p(x|z,c),\nthe same z and c"
        if given is not None and len(set(names)) == 1:
            means += f",\ngiven c = {names[0]}"
        else:
            heads = names
            means += f",\ngiven {portrait.mixed}"
    return portrait.samples(drawn.mean, drawn.x, heads, (means, draws))


def _latent(run: _RunData) -> Figure:
    means, split = _means(run.scattered).cpu(), run.scattered.rows
    y, names = class_labels(run.opened, split)
    labels = run.opened.dataset.spec.labels
    return charts.latent_scatter(means, y, names, run.split_name, labels[0].name if labels else "class")


def class_labels(opened: Opened, split: Split) -> tuple[Tensor | None, tuple[str, ...]]:
    """The label that colours a picture, (N,), and the names of its values: the class, or the first attribute."""
    labels = opened.dataset.spec.labels
    if split.y is None or not labels:
        return split.y, ()
    return (split.y[:, 0] if split.y.dim() == 2 else split.y), labels[0].values


def _interpolation(run: _RunData) -> Figure:
    """An interpolation between two of the data shown, under the context of the first."""
    vae, shown = run.vae, run.shown
    c = shown.contexts
    ends = _ends(class_labels(run.opened, shown.rows)[0], c, len(shown))
    z = _means(shown)[ends]
    with inference(vae):
        steps = torch.linspace(0, 1, STEPS, device=z.device).unsqueeze(-1)
        path = vae.decode(z[0] + steps * (z[1] - z[0]), None if c is None else c[ends[0]].expand(STEPS, *c.shape[1:])).cpu()
    seen = vae.transform.inverse(run.shown.seen()[ends]).cpu()
    heads, title = ("datum", "datum"), f"{mean_of(vae)} on the line between the posterior means of two {run.split_name}"
    if c is not None:
        names = _heads(run)
        heads, title = (f"c = {names[ends[0]]}", f"c = {names[ends[1]]}"), f"{title}, given c = {names[ends[0]]}"
    return run.portrait.interpolation(path, seen, heads, title)


def _ends(y: Tensor | None, c: Tensor | None, count: int) -> list[int]:
    """Chooses two data: with the same context, since a line has only one; without a context, of different classes."""
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    if c is not None:
        wanted = [(i, j) for i, j in pairs if torch.equal(c[i], c[j])]
    else:
        wanted = [(i, j) for i, j in pairs if y is not None and y[i] != y[j]]
    return list((wanted or pairs or [(0, 0)])[0])


def _grid(run: _RunData) -> Figure:
    vae = run.vae
    contexts = vae.context_module.draw(1, run.seed)
    c = None if contexts is None else contexts.to(vae.device)
    side = run.portrait.side
    if vae.parts["posterior"].has_density:
        z, where = quantile_grid(vae, side, run.seed, c), f"the quantiles of {prior_of(vae)}"
    else:
        z, where = range_grid(_means(run.scattered), side), "even steps over the encoded data"
    with inference(vae):
        decoded = vae.decode(z, None if c is None else c.expand(side, side, *c.shape[1:])).cpu()
    given = "" if c is None else f", given c = {vae.context_module.named(c)[0]}"
    z = z.cpu()
    return run.portrait.grid(decoded, z[0, :, 0], z[:, 0, 1], f"{mean_of(vae)} at {where}{given}")


def quantile_grid(vae: VAE, side: int, seed: int, c: Tensor | None = None) -> Tensor:
    """Latents (side, side, 2) at the prior's marginal quantiles (of 10,000 draws), the second coordinate rising upwards."""
    device = vae.device
    with inference(vae), own_noise(device):
        seed_all(seed, device)
        draws = prior_samples(vae, QUANTILE_DRAWS, None if c is None else c.expand(QUANTILE_DRAWS, *c.shape[1:]))
    u = (torch.arange(side, device=device) + 0.5) / side
    first, second = torch.quantile(draws, u, dim=0).unbind(-1)
    return torch.stack(torch.meshgrid(first, second.flip(0), indexing="xy"), -1)


def range_grid(encoded: Tensor, side: int) -> Tensor:
    """Latents (side, side, 2) evenly over the range of encoded data (N, 2), the second coordinate rising upwards."""
    steps = torch.linspace(0, 1, side, device=encoded.device).unsqueeze(-1)
    low, high = encoded.amin(0), encoded.amax(0)
    first, second = (low + steps * (high - low)).unbind(-1)
    return torch.stack(torch.meshgrid(first, second.flip(0), indexing="xy"), -1)


def _contexts(vae: VAE) -> dict[str, Tensor]:
    """The contexts that get a row each: the first twelve."""
    device = vae.device
    return {name: c.to(device) for name, c in list(vae.context_module.each().items())[:CONTEXTS_SHOWN]}


def _classes(run: _RunData) -> Figure:
    """Draws for each context, the same base noise along each column."""
    vae, rows = run.vae, {}
    device = next(vae.parameters()).device
    count = max(STEPS, run.portrait.shown)
    for name, c in _contexts(vae).items():
        given = c.expand(count, *c.shape)
        with inference(vae), own_noise(device):
            seed_all(run.seed, device)
            rows[name] = vae.decode(prior_samples(vae, count, given), given).cpu()
    return run.portrait.rows(rows, [], f"{mean_of(vae)}, z ~ {prior_of(vae)}, given each c: the same noise {run.portrait.alike}")


def _relabelled(run: _RunData) -> Figure:
    """Data, and what each becomes under every context, with z inferred under its own context."""
    vae = run.vae
    z = _means(run.shown)
    rows = {"data": vae.transform.inverse(run.shown.seen()).cpu()}
    for name, c in _contexts(vae).items():
        with inference(vae):
            rows[name] = vae.decode(z, c.expand(len(z), *c.shape)).cpu()
    title = "Reconstructions E[x|z,c'] given each c', z inferred given the datum's own c"
    return run.portrait.rows(rows, _heads(run), title)


def _learning_curves(run: _RunData) -> Figure:
    return charts.learning_curves(runs.read_metrics(run.opened.home), float(run.vae.transform.log_abs_det_jacobian()))


FIGURES: dict[str, Callable[[_RunData], Figure]] = {
    "reconstructions": _reconstructions,
    "samples": _samples,
    "latent": _latent,
    "interpolation": _interpolation,
    "grid": _grid,
    "classes": _classes,
    "relabelled": _relabelled,
    "learning_curves": _learning_curves,
}
