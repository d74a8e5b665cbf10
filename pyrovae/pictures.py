"""What is drawn of a run: the tensors that its figures show."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyrovae import drawing, runs
from pyrovae.data import Split
from pyrovae.opening import Opened, inference, preprocessed
from pyrovae.sampling import draw_samples, value_range
from pyrovae.vae import VAE

SHOWN = 10
SCATTERED = 5000
SAMPLED = 64
GRID = 15


def pictures(opened: Opened, seed: int) -> dict[str, Figure]:
    """Every figure of a run by name.

    Args:
        opened: The run with its data.
        seed: Of the data shown and of the noise.
    """
    vae, dataset, limits = opened.vae, opened.dataset, value_range(opened.vae)
    name = "test" if len(dataset.rows["test"]) else "train"
    shown, scattered = (dataset.split(name).subset(count, seed) for count in (SHOWN, SCATTERED))
    of = "test data" if name == "test" else "training data"
    drawn = draw_samples(vae, SAMPLED, seed)
    found = {
        "reconstructions": _reconstructions(opened, shown, seed),
        "samples": drawing.samples(drawn.mean, drawn.x, limits),
        "latent": drawing.latent_scatter(_means(vae, scattered, seed).cpu(), scattered.y, dataset.spec.class_names, of),
        "interpolation": _interpolation(vae, shown, seed, of),
    }
    if vae.latent_dim == 2:
        with inference(vae):
            found["grid"] = drawing.latent_grid(vae.decode(_quantile_grid(vae, GRID)).cpu(), limits)
    history = runs.read_metrics(opened.folder)
    if history:
        found["learning_curves"] = drawing.learning_curves(history)
    return found


def _means(vae: VAE, rows: Split, seed: int) -> Tensor:
    with inference(vae):
        return torch.cat([vae.posterior(y).mean for y in preprocessed(vae, rows.x, rows.index, seed)])


def _reconstructions(opened: Opened, shown: Split, seed: int) -> Figure:
    vae = opened.vae
    y = torch.cat(list(preprocessed(vae, shown.x, shown.index, seed)))
    rows = {"data": vae.transform.inverse(y).cpu()}
    # A model saved from Python has no seed on record that would draw its first weights again.
    models = {"before training": _untrained(opened)} if "seed" in opened.config else {}
    for name, model in {**models, "after training": vae}.items():
        with inference(model):
            rows[name] = model.decode(model.posterior(y).mean).cpu()
    return drawing.reconstructions(rows, value_range(vae))


def _untrained(opened: Opened) -> VAE:
    """The model as it was before training: the seed of the run draws the same weights again."""
    vae = runs.rebuild(opened.folder, opened.config["seed"])
    vae.transform.load_state_dict(opened.vae.transform.state_dict())
    return vae.to(next(opened.vae.parameters()).device)


def _interpolation(vae: VAE, shown: Split, seed: int, of: str) -> Figure:
    """Between the first datum shown and the next of another class (or the next)."""
    other = torch.arange(1, len(shown)) if shown.y is None else (shown.y != shown.y[0]).nonzero().squeeze(-1)
    last = int(other[0]) if len(other) else len(shown) - 1
    y = torch.cat(list(preprocessed(vae, shown.x, shown.index, seed)))[[0, last]]
    with inference(vae):
        z = vae.posterior(y).mean
        steps = torch.linspace(0, 1, SHOWN, device=z.device).unsqueeze(-1)
        path = vae.decode(z[0] + steps * (z[1] - z[0])).cpu()
    return drawing.interpolation(path, vae.transform.inverse(y).cpu(), value_range(vae), of)


def _quantile_grid(vae: VAE, side: int) -> Tensor:
    """Latents (side, side, 2) at the prior's quantiles, the second coordinate rising upwards."""
    marginals = vae.prior().base_dist
    u = ((torch.arange(side) + 0.5) / side).unsqueeze(-1).expand(side, 2)
    first, second = marginals.icdf(u.to(next(vae.parameters()).device)).unbind(-1)
    return torch.stack(torch.meshgrid(first, second.flip(0), indexing="xy"), -1)
