"""Records the options in tensor files, so that a configuration that was changed is refused, naming the option."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyrovae.parts import ROLES, describe, make
from pyrovae.training.settings import DEFAULTS as TRAINING_DEFAULTS
from pyrovae.training.settings import Training

MODEL_KEYS = ("likelihood", "prior", "posterior", "network", "context", "preprocess", "latent_dim")

DIGESTS = ("sha256", "split_sha256")
SIZES = "sizes"

MAY_DIFFER = ("epochs", "device", "data_root", "tensorboard")
"""Options of ``train`` that may change when a training is resumed."""

NEWER = {name: Training().options()[name] for name in ("optimizer", "weight_decay", "schedule")}
"""Training settings that older runs did not record, with the values used at the time."""


def model_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The model's options in a configuration, as plain data with every default filled in.

    Args:
        config: What ``runs.read_config`` returned.
    """
    data = config["run"].get("data") or {}
    kinds = {key: value for key, value in data.items() if key not in (*DIGESTS, SIZES)}
    return _plain({key: _filled(key, config.get(key)) for key in MODEL_KEYS} | kinds)


def training_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The training's options in a configuration, with the data as digests.

    Args:
        config: What ``runs.read_config`` returned.
    """
    data = config["run"].get("data") or {}
    other = {key: value for key, value in config.items() if key not in (*MODEL_KEYS, *MAY_DIFFER, "run", "data")}
    digests = {key: data.get(key) for key in DIGESTS}
    return model_options(config) | _plain({key: _filled(key, value) for key, value in other.items()} | digests)


def with_newer(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration completed with training settings that did not exist when it was written."""
    return {**(NEWER if "learning_rate" in config else {}), **config}


def recorded_training(config: Mapping[str, Any]) -> Training:
    """The training settings that a configuration records, with defaults for settings newer than the run.

    Args:
        config: What ``runs.read_config`` returned.

    Raises:
        UserError: If one is out of range.
    """
    return Training(**{name: config[name] for name in TRAINING_DEFAULTS if name in config})


def difference(now: Mapping[str, Any], recorded: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first option that differs: its name, its present value and the recorded one; None if all are equal.

    Args:
        now: What ``model_options`` or ``training_options`` returned.
        recorded: The same, read from a file; options that it lacks are not compared.

    Example:
        >>> difference({"likelihood": {"name": "normal", "scale": 0.2}}, {"likelihood": {"name": "normal", "scale": 0.1}})
        ('likelihood.scale', 0.2, 0.1)
    """
    for key, before in recorded.items():
        value = now.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            within = difference(value, before if before.get("name") == value.get("name") else {"name": before.get("name")})
            if within is not None:
                name, value, before = within
                return (key if name == "name" else f"{key}.{name}"), value, before
        elif value != before:
            return key, value, before
    return None


def _filled(key: str, value: Any) -> Any:
    """A part's options, completed with defaults."""
    is_part = key in ROLES and isinstance(value, Mapping)
    return describe(key, make(key, value)) if is_part else value


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(options))
    return plain
