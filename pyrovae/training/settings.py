"""What is refused before a training begins: numbers out of range, an objective or labels that do not fit the model."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from pyrovae.contracts import Objective
from pyrovae.data import Dataset, Split
from pyrovae.errors import UserError, check_integer, check_number, check_seed
from pyrovae.objectives import KLSchedule
from pyrovae.parts import name_of
from pyrovae.vae import VAE


def check_one_process() -> None:
    """Refuse to be one of several processes that ``torchrun`` started with the same command line: they would share a run folder.

    Raises:
        UserError: Naming what torchrun set.
    """
    size = os.environ.get("WORLD_SIZE", "")
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK"))
    if size.isdigit() and int(size) > 1 and rank is not None:
        raise UserError(
            f"WORLD_SIZE {size}, rank {rank}: torchrun started several processes, each of which would train the same model into "
            "the same folder; start it without torchrun: one process trains, on the --device that is chosen"
        )


def plain_settings(
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    clip_norm: float,
    kl_weight: float,
    kl_warmup: float,
    patience: int,
    particles: int,
    seed: int,
) -> dict[str, Any]:
    """These arguments of ``fit`` as Python's own numbers, if they are in range.

    Raises:
        UserError: If one is not, naming it.
    """
    return {
        "epochs": check_integer("epochs", epochs, 1),
        "batch_size": check_integer("batch_size", batch_size, 1),
        "learning_rate": check_number("learning_rate", learning_rate, positive=True),
        "clip_norm": check_number("clip_norm", clip_norm),
        "kl_weight": check_number("kl_weight", kl_weight),
        "kl_warmup": check_number("kl_warmup", kl_warmup),
        "patience": check_integer("patience", patience, 0),
        "particles": check_integer("particles", particles, 1),
        "seed": check_seed("seed", seed),
    }


def check_sizes(patience: int, dataset: Dataset) -> None:
    """Refuse a single training datum, and to wait for better validation data where there are none.

    Raises:
        UserError: Naming the options.
    """
    if len(dataset.x) < 2:
        raise UserError(f"--data {dataset.name}: has one datum; needs at least 2 to train on")
    if patience and dataset.valid is None:
        raise UserError(f"--patience {patience}: needs validation data to watch; give --data.valid, or --patience 0")


def check_objective(vae: VAE, objective: Objective, schedule: KLSchedule, particles: int) -> None:
    """Refuse an objective that does not fit the model, and a KL weight where there is no KL term to weigh.

    Raises:
        UserError: Naming what fits.
    """
    objective.check(vae, particles)
    weight = f"--kl-weight {schedule.weight:g}" if schedule.weight != 1 else f"--kl-warmup {schedule.warmup:g}"
    if not schedule.plain and not objective.takes_kl_weight:
        raise UserError(
            f"{weight}: --objective {name_of('objective', objective)} has no KL term of its own; use --objective elbo"
        )
    if not schedule.plain and not vae.parts["posterior"].has_density:
        raise UserError(f"{weight}: the posterior delta has no KL term; leave it out, or use --posterior normal")


def check_contexts(vae: VAE, dataset: Dataset) -> None:
    """Show the model the contexts of the training data, and refuse a split that has others.

    Raises:
        UserError: Naming them.
    """
    device = vae.device
    vae.context_module.initialise(context_on(vae, dataset.train, device))
    for name, rows in dataset.rows.items():
        if not len(rows):
            continue
        try:
            vae.context_module.check(context_on(vae, dataset.split(name), device))
        except UserError as error:
            raise error.but(reason=f"{error.args[2]} (in the split {name})") from error


def context_on(vae: VAE, split: Split, device: torch.device) -> Tensor | None:
    """What the model is conditioned on, for each datum, on a device; None without a context."""
    reads = vae.parts["context"].reads
    return None if reads is None else getattr(split, reads).to(device)
