"""Training for iwae_table.py: the one-layer nets of Burda et al. (2016), killed at any time, going on bit for bit."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from machine import processor
from plain_iwae import PlainIwae, PlainStep
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

import pyrovae
from pyrovae.engines import Eager
from pyrovae.errors import UserError, option
from pyrovae.objectives import OBJECTIVES
from pyrovae.system.devices import random_states, seed_all, set_random_states
from pyrovae.system.files import write_whole

STAGES = 8
BATCH = 20
BLOCK = 100
"""Batches that are binarised together; between two such blocks training can stop."""

SAVE_SECONDS = 30.0


@dataclass(frozen=True)
class Row:
    """What is trained: an objective with K particles, by pyrovae or by hand; ``published`` is log p(x) in nats."""

    objective: str
    particles: int
    by_hand: bool
    published: float


ROWS = {
    "elbo": Row("elbo", 1, False, -86.76),
    "iwae": Row("iwae", 5, False, -85.54),
    "plain-elbo": Row("elbo", 1, True, -86.76),
    "plain-iwae": Row("iwae", 5, True, -85.54),
}


def stage_epochs(stage: int) -> int:
    return 3 ** (stage - 1)


def epochs_through(stage: int) -> int:
    return sum(map(stage_epochs, range(1, stage + 1)))


def learning_rate(stage: int) -> float:
    return 1e-3 * 10 ** (-(stage - 1) / (STAGES - 1))


# --- models ---------------------------------------------------------------------------------------------------------


def our_vae() -> pyrovae.VAE:
    network = {"name": "mlp", "hidden": [200, 200], "activation": "tanh"}
    return pyrovae.VAE((28, 28), 50, "bernoulli", network=network, kind="levels", levels=256)


def as_vae(weights: dict[str, Tensor], by_hand: bool) -> pyrovae.VAE:
    """The VAE that has these weights."""
    vae = our_vae()
    named = {key.replace("coder.", "coder.layers.", 1): value for key, value in weights.items()} if by_hand else weights
    vae.load_state_dict(named)
    return vae


@dataclass
class Learner:
    """Something with weights, an optimizer, and a step on bits (B, 28, 28) that returns the mean loss in nats."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    step: Callable[[Tensor], Tensor]


def learner(row: Row, device: torch.device) -> Learner:
    module = PlainIwae(row.particles) if row.by_hand else our_vae()
    module.to(device).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate(1), betas=(0.9, 0.999), eps=1e-4, fused=True)
    if row.by_hand:
        return Learner(module, optimizer, PlainStep(module, optimizer).step)
    engine = Eager(module, OBJECTIVES[row.objective]().build(row.particles), optimizer, clip_norm=0)
    return Learner(module, optimizer, lambda y: engine.step(y, None, 1.0))


# --- training -------------------------------------------------------------------------------------------------------


def _generator(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(random.Random("/".join(map(str, key))).getrandbits(63))


@dataclass
class Position:
    """Where a training stands: it can only go on with the same seed, number of images and kind of device."""

    seed: int
    images: int
    device: str
    stage: int = 1
    epoch: int = 0
    block: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0


class Training:
    """Stages of epochs of blocks of batches; saved between two blocks.

    Args:
        row: What is trained.
        x: Bytes (N, 28, 28).
        home: Where it is kept; if it has a checkpoint the training goes on from there.
        device: Where it runs.
        seed: Of weights, order, bits and posterior noise.
    """

    def __init__(self, row: Row, x: Tensor, home: Path, device: torch.device, seed: int = 0) -> None:
        self.home, self.device = home, device
        self.x = x.to(device)
        seed_all(seed, device)
        self.learner = learner(row, device)
        self.position = Position(seed, len(x), device.type)
        self.blocks = math.ceil(len(x) / (BATCH * BLOCK))
        if self.checkpoint.exists():
            self._restore()

    @property
    def checkpoint(self) -> Path:
        return self.home / "checkpoint.safetensors"

    def run(self, stages: int, seconds: float = math.inf) -> bool:
        """Train through that stage (True), or for that many seconds (False)."""
        at, began = self.position, time.monotonic()
        saved = began
        while at.stage <= stages:
            if time.monotonic() - began >= seconds:
                self.save()
                return False
            before = time.monotonic()
            self._block()
            at.seconds += time.monotonic() - before
            if at.block == self.blocks:
                self._end_epoch()
            if time.monotonic() - saved > SAVE_SECONDS:
                self.save()
                saved = time.monotonic()
        self.save()
        return True

    def _block(self) -> None:
        at = self.position
        for group in self.learner.optimizer.param_groups:
            group["lr"] = learning_rate(at.stage)
        order = torch.randperm(len(self.x), generator=_generator(at.seed, at.stage, at.epoch))
        rows = order[at.block * BATCH * BLOCK : (at.block + 1) * BATCH * BLOCK].to(self.device)
        generator = _generator(at.seed, at.stage, at.epoch, at.block, device=self.device)
        grey = self.x[rows]
        bits = (torch.rand(grey.shape, generator=generator, device=self.device) * 255 < grey).float()
        losses = [self.learner.step(batch) * len(batch) for batch in bits.split(BATCH)]
        at.loss_sum += torch.stack(losses).double().sum().item()
        at.block += 1

    def _end_epoch(self) -> None:
        at = self.position
        loss = at.loss_sum / at.images
        if not math.isfinite(loss):
            raise UserError(
                None, f"stage {at.stage}, epoch {at.epoch + 1}", f"the loss is {loss}", "what was saved before it is kept"
            )
        at.epoch, at.block, at.loss_sum = at.epoch + 1, 0, 0.0
        print(f"stage {at.stage} epoch {at.epoch}/{stage_epochs(at.stage)} loss {loss:.3f} at {at.seconds:.0f} s", flush=True)
        if at.epoch == stage_epochs(at.stage):
            about = {
                "stage": at.stage,
                "loss": loss,
                "seconds": at.seconds,
                "images": at.images,
                "device": device_name(at.device),
            }
            about |= {"threads": torch.get_num_threads(), "torch": torch.__version__, "pyrovae": pyrovae.__version__}
            write(self.home / f"stage_{at.stage}.safetensors", self.learner.module.state_dict(), about)
            at.stage, at.epoch = at.stage + 1, 0

    def save(self) -> None:
        tensors = {f"weights/{key}": value for key, value in self.learner.module.state_dict().items()}
        tensors |= {f"random/{key}": value for key, value in random_states(self.device).items()}
        for parameter, slots in self.learner.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{parameter}/{slot}": value for slot, value in slots.items()}
        write(self.checkpoint, tensors, vars(self.position))

    def _restore(self) -> None:
        tensors, about = read(self.checkpoint)
        found, wanted = Position(**about), self.position
        for name in ("seed", "images", "device"):
            if getattr(found, name) != getattr(wanted, name):
                raise UserError(
                    None,
                    self.checkpoint,
                    f"was trained with {option(name, getattr(found, name))}, not {getattr(wanted, name)}",
                    f"give another {option('home')}",
                )
        self.position = found
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "random": {}, "optimizer": {}}
        for key, value in tensors.items():
            group, name = key.split("/", 1)
            groups[group][name] = value
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in groups["optimizer"].items():
            parameter, slot = key.split("/")
            slots.setdefault(int(parameter), {})[slot] = value
        self.learner.module.load_state_dict(groups["weights"])
        optimizer = self.learner.optimizer
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        set_random_states(groups["random"])


def write(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Tensors and what is known of them, the file whole or not at all."""
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_whole(path, save(plain, {"about": json.dumps(about)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["about"])  # noqa: SIM118


def device_name(kind: str) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name()
    return processor()
