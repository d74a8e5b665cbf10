"""Converts the state of a training to tensors and plain data and back; refuses states of other trainings."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.training.loop import score_name
from pyrovae.training.settings import Training
from pyrovae.training.state import TrainingState
from pyrovae.vae import VAE

GROUPS = ("weights", "best", "random", "optimizer")
COUNTS = ("epoch", "step", "best_epoch")
ADDED = ("initial_lr", "decoupled_weight_decay")
"""Optimizer settings that older states lack; torch adds them."""

SECONDS = "seconds"
"""Durations are not part of the state, so that equal trainings have equal states."""


@final
@dataclass(frozen=True)
class Seconds:
    """The duration of a training.

    Args:
        total: Seconds in total.
        epochs: Seconds at the end of each epoch.
    """

    total: float
    epochs: Sequence[float]

    def to_json(self) -> str:
        """As a line of text."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str, epochs: int) -> Seconds:
        """The inverse.

        Args:
            text: The line.
            epochs: Minimum number of epochs that it must contain.

        Raises:
            ValueError: If it is not such a line.
            KeyError: If a part is missing.
            TypeError: If a part has another type.
        """
        found = json.loads(text)
        at = [_number(value) for value in found["epochs"]]
        if len(at) < epochs:
            raise ValueError(f"has {len(at)} epochs of {epochs}")
        return cls(_number(found["total"]), at)


def taken_apart(state: TrainingState) -> tuple[dict[str, Tensor], dict[str, Any], Seconds]:
    """The tensors of a state, its plain data, and its seconds."""
    tensors = {
        **{f"weights/{k}": v for k, v in state.weights.items()},
        **{f"best/{k}": v for k, v in state.best_weights.items()},
        **{f"random/{k}": v for k, v in state.random.items()},
        **{f"optimizer/{i}/{k}": v for i, slots in state.optimizer["state"].items() for k, v in slots.items()},
    }
    plain = {
        **{name: getattr(state, name) for name in COUNTS},
        "loss_sum": state.loss_sum,
        "history": [{name: value for name, value in row.items() if name != SECONDS} for row in state.history],
        "untrained": state.untrained,
        "worse": state.worse,
        "param_groups": state.optimizer["param_groups"],
        "schedule": state.schedule,
        "made_for": state.made_for,
    }
    return tensors, plain, Seconds(state.seconds, [row[SECONDS] for row in state.history])


def put_together(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> TrainingState:
    """The inverse of ``taken_apart`` but for the seconds, see ``timed``.

    Raises:
        ValueError: If these are not the parts of a state.
        KeyError: If one is missing.
        TypeError: If one has another type.
    """
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in GROUPS}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups[group][name] = tensor
    optimizer: dict[int, dict[str, Tensor]] = {}
    for key, tensor in groups["optimizer"].items():
        parameter, _, slot = key.partition("/")
        optimizer.setdefault(int(parameter), {})[slot] = tensor
    history = _history(plain)
    return TrainingState(
        weights=groups["weights"],
        optimizer={"state": optimizer, "param_groups": plain["param_groups"]},
        random=groups["random"],
        **{name: _count(plain, name) for name in COUNTS},
        loss_sum=_number(plain["loss_sum"]),
        seconds=_number(plain.get(SECONDS, 0.0)),  # older states contain them
        best_weights=groups["best"],
        history=[{**row, SECONDS: row.get(SECONDS, math.nan)} for row in history],
        untrained=_untrained(plain.get("untrained")),  # older states have neither
        worse=plain.get("worse", False) is True,
        schedule=dict(plain.get("schedule", {})),
        made_for=None if plain.get("made_for") is None else _count(plain, "made_for"),
    )


def _untrained(found: Any) -> tuple[float, float] | None:
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != 2:
        raise ValueError("what it knows of the untrained model is no pair of numbers")
    return _number(found[0]), _number(found[1])


def timed(state: TrainingState, seconds: Seconds) -> TrainingState:
    """A state that took so long."""
    rows = zip(state.history, seconds.epochs[: len(state.history)], strict=True)
    return replace(state, seconds=seconds.total, history=[{**row, SECONDS: passed} for row, passed in rows])


def check_fits(state: TrainingState, vae: VAE, training: Training) -> None:
    """Refuse a state that does not belong to a training of this model with these settings.

    Raises:
        ValueError: If something differs; the message says what.
        TypeError: If a part has another type.
    """
    like = copy.deepcopy(vae)
    for weights in (state.weights, state.best_weights):
        try:
            like.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[-1].strip()) from error
    _check_optimizer(state, like, training)
    if any(score_name(vae) not in row for row in state.history):
        raise ValueError(f"its history has no {score_name(vae)}")
    try:
        torch.Generator().set_state(state.random["cpu"])
    except (RuntimeError, TypeError, KeyError) as error:
        raise ValueError("its random state is none") from error


def _check_optimizer(state: TrainingState, like: VAE, training: Training) -> None:
    """Compare optimizer and schedule with fresh ones that have taken a step with a similar model."""
    parameters = list(like.parameters())
    optimizer = training.build_optimizer(parameters)
    scheduler = training.build_scheduler(optimizer, training.batch_size)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    expected = optimizer.state_dict()
    groups = state.optimizer["param_groups"]
    if [group.get("params") for group in groups] != [list(range(len(parameters)))]:
        raise ValueError("its optimizer has other parameters")
    for name, value in expected["param_groups"][0].items():
        if not (_is_like(groups[0].get(name), value) or name in ADDED):
            raise ValueError(f"its optimizer has {name} {groups[0].get(name)}")
    for number, slots in state.optimizer["state"].items():
        wanted = {name: slot.shape for name, slot in expected["state"].get(number, {}).items()}
        if {name: slot.shape for name, slot in slots.items()} != wanted:
            raise ValueError(f"its optimizer has another parameter {number}")
    if not _is_like(state.schedule, scheduler.state_dict()) and (state.schedule or training.rate_schedule.changes):
        raise ValueError("it has another schedule of the learning rate")


def _is_like(found: Any, expected: Any) -> bool:
    """Whether plain data have the same keys, lengths and types as other data."""
    if isinstance(expected, Mapping):
        keys_agree = isinstance(found, Mapping) and found.keys() == expected.keys()
        return keys_agree and all(_is_like(found[key], value) for key, value in expected.items())
    if isinstance(expected, list | tuple):
        return isinstance(found, list | tuple) and len(found) == len(expected) and all(map(_is_like, found, expected))
    if isinstance(expected, bool) or not isinstance(expected, int | float):
        return type(found) is type(expected)
    return isinstance(found, int | float) and not isinstance(found, bool)


def _history(plain: Mapping[str, Any]) -> list[dict[str, float]]:
    rows = [dict(row) for row in plain["history"]]
    if [row.get("epoch") for row in rows] != list(range(1, _count(plain, "epoch") + 1)):
        raise ValueError(f"its history is not of {plain['epoch']} epochs")
    for row in rows:
        if row.keys() != rows[0].keys():
            raise ValueError("its epochs have other columns")
        for value in row.values():
            _number(value)
    return rows


def _count(plain: Mapping[str, Any], name: str) -> int:
    value = plain[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"its {name} is {value}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value} is no number")
    return value
