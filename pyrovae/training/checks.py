"""Checks before a training begins: that data, objective and contexts fit the settings and the model."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from pyrovae.contracts import Objective
from pyrovae.data import Dataset, Split
from pyrovae.errors import UserError, option
from pyrovae.parts import name_of
from pyrovae.training.settings import Training
from pyrovae.vae import VAE


def check_one_process() -> None:
    """Refuse to run as one of several processes started by ``torchrun``: they would all write the same run folder.

    Raises:
        UserError: If torchrun's variables are set; it names them.
    """
    size = os.environ.get("WORLD_SIZE", "")
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK"))
    if size.isdigit() and int(size) > 1 and rank is not None:
        raise UserError(
            None,
            f"WORLD_SIZE {size}, rank {rank}",
            "torchrun started several processes, each of which would train the same model into the same folder",
            f"start it without torchrun: one process trains, on the {option('device')} that is chosen",
        )


def check_sizes(training: Training, dataset: Dataset) -> None:
    """Refuse a single training datum, and settings that watch validation data if there are none.

    Raises:
        UserError: If so; it names the options.
    """
    if len(dataset.x) < 2:
        raise UserError("data", dataset.name, "has one datum", "needs at least 2 to train on")
    if dataset.valid is not None:
        return
    if training.patience:
        raise UserError(
            "patience",
            training.patience,
            "needs validation data to watch",
            f"give {option('data.valid')}, or {option('patience', 0)}",
        )
    if training.rate_schedule.needs_validation:
        name = name_of("schedule", training.rate_schedule)
        raise UserError("schedule", name, "needs validation data to watch", f"give {option('data.valid')}, or another schedule")


def check_objective(vae: VAE, objective: Objective, training: Training) -> None:
    """Refuse an objective that does not fit the model, and a KL weight if there is no KL term.

    Raises:
        UserError: If so; it names the options that fit.
    """
    objective.check(vae, training.particles)
    if training.kl_schedule.plain:
        return
    name = "kl_weight" if training.kl_weight != 1 else "kl_warmup"
    value = getattr(training, name)
    if not objective.takes_kl_weight:
        chosen = option("objective", name_of("objective", objective))
        raise UserError(name, value, f"{chosen} has no KL term of its own", f"use {option('objective', 'elbo')}")
    if not vae.parts["posterior"].has_density:
        remedy = f"leave it out, or use {option('posterior', 'normal')}"
        raise UserError(name, value, "the posterior delta has no KL term", remedy)


def learn_contexts(vae: VAE, dataset: Dataset) -> None:
    """Give the model the contexts of the training data: it draws contexts with their frequencies and refuses all others."""
    vae.context_module.initialise(context_on(vae, dataset.train, vae.device))


def check_contexts(vae: VAE, dataset: Dataset) -> None:
    """Refuse data with contexts that do not occur in the training data (see ``learn_contexts``).

    Raises:
        UserError: If there are any; it names them and the split.
    """
    for name, rows in dataset.rows.items():
        if not len(rows):
            continue
        try:
            vae.context_module.check(context_on(vae, dataset.split(name), vae.device))
        except UserError as error:
            raise error.but(reason=f"{error.args[2]} (in the split {name})") from error


def context_on(vae: VAE, split: Split, device: torch.device) -> Tensor | None:
    """The context of each datum, on a device; None if the model has no context."""
    reads = vae.parts["context"].reads
    return None if reads is None else getattr(split, reads).to(device)
