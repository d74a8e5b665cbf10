"""Devices by name, and the state of their random generators."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor

from pyrovae.errors import UserError, option


def device_name(device: str | torch.device) -> str:
    """The name of a device, if the device exists.

    Raises:
        UserError: As ``choose_device``.
    """
    choose_device(device)
    return str(device)


def choose_device(device: str | torch.device) -> torch.device:
    """The device that ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N`` stands for.

    Raises:
        UserError: If the name is unknown or the device does not exist.
    """
    if not isinstance(device, str | torch.device):
        raise UserError("device", device, "unknown", "try auto, cpu, cuda or cuda:N")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError("device", device, "unknown", "try auto, cpu, cuda or cuda:N") from error
    if chosen.type not in ("cpu", "cuda"):
        raise UserError("device", device, "not supported", "try auto, cpu, cuda or cuda:N")
    if chosen.type == "cpu" and chosen.index is not None:
        raise UserError("device", device, "there is one CPU for torch, whatever its cores", f"try {option('device', 'cpu')}")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(
            "device",
            device,
            f"torch sees {torch.cuda.device_count()} CUDA devices here",
            f"try {option('device', 'cpu', 'auto')}",
        )
    return chosen


def seed_all(seed: int, device: torch.device) -> None:
    """Seed the CPU and the device, and no other."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Name of a device -> state of its random generator: of the CPU and of that device."""
    states = {"cpu": torch.random.get_rng_state()}
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        states[f"cuda:{index}"] = torch.cuda.get_rng_state(index)
    return states


def set_random_states(states: dict[str, Tensor]) -> None:
    """The inverse of ``random_states``; devices that are not there are left out."""
    torch.random.set_rng_state(states["cpu"])
    for device, state in states.items():
        if device != "cpu" and torch.cuda.is_initialized() and int(device[5:]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, device)


CPU = torch.device("cpu")

_LOCK = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Within this no other thread uses what all share: Pyro's handlers and parameter store, whether distributions are validated,
    and torch's random generators.

    A thread may enter it again. No function of a user's (a callback) is to be called within: it could wait for another thread.
    """
    with _LOCK:
        yield


@contextmanager
def own_noise(device: torch.device = CPU) -> Iterator[None]:
    """Alone, and afterwards the random generators of the CPU and of the device are as they were."""
    with alone(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@final
class Turns:
    """Random generators of one task among others: each turn goes on where the last one ended, whatever happened between.

    Args:
        device: Where the task draws, in addition to the CPU.
        seed: Where its generators start.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self._device = device
        with own_noise(device):
            seed_all(seed, device)
            self.states = random_states(device)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Alone, with the task's own generators; afterwards the others' are as they were."""
        with own_noise(self._device):
            set_random_states(self.states)
            try:
                yield
            finally:
                self.states = random_states(self._device)
