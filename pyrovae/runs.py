"""A run folder <-> a VAE: configuration, weights, training state, integrity. Nothing that is loaded can run code."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from pyrovae.bounds import BAD_YAML, read_yaml, why
from pyrovae.claims import Claim, check_new
from pyrovae.devices import choose_device
from pyrovae.errors import UserError, check_path
from pyrovae.files import write_whole
from pyrovae.training import TrainingState
from pyrovae.vae import VAE
from pyrovae.version import __version__

FORMAT = 1
CONFIG = "config.yaml"
MODEL = "model.safetensors"
STATE = "training_state/state.safetensors"
METRICS = "metrics.csv"


def discard_if_unsaved(folder: Path) -> None:
    """Empty a run folder in which training has saved nothing: only its config.yaml."""
    if not (folder / STATE).is_file() and not (folder / MODEL).is_file():
        with contextlib.suppress(OSError):
            (folder / CONFIG).unlink()


def save(vae: VAE, folder: str | Path) -> Path:
    """Write a VAE into a new folder: config.yaml and model.safetensors.

    Args:
        vae: Trained or not.
        folder: A folder that does not exist yet or is empty.

    Raises:
        UserError: If the folder has something in it or cannot be written, or the preprocessing has not met its data.
    """
    folder = check_path("folder", folder, "a new folder")
    check_new(folder)
    if not vae.prepared and vae.preprocess_choice != "auto":
        raise UserError("the VAE has not met its data: call fit, or vae.prepare(spec, x), before save")
    with Claim(folder, new=True):
        write_config(folder, vae, {}, {})
        save_weights(folder, vae.state_dict())
    return folder


def load(folder: str | Path, device: str | torch.device = "cpu") -> VAE:
    """The VAE of a run folder, with its best weights.

    Raises:
        UserError: If the folder is missing, damaged, or written by a newer version.
    """
    folder, device = check_path("run", folder, "a run folder"), choose_device(device)
    vae = rebuild(folder)
    tensors = _read(folder / MODEL)[0]
    _fill(vae, tensors, folder / MODEL)
    return vae.to(device)


def rebuild(folder: Path, seed: int = 0) -> VAE:
    """The VAE of a run folder with the weights that the seed draws; the caller's random state is left as it was.

    Raises:
        UserError: If the folder is missing or its config.yaml damaged.
    """
    config = read_config(folder)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return VAE.from_config(model_config(config))
    except UserError as error:
        raise UserError(f"{folder / CONFIG}: is damaged: {re.sub(r'--(?=[a-z])', '', str(error))}") from error
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"{folder / CONFIG}: is damaged ({error}); restore it or train again") from error


def write_config(folder: Path, vae: VAE, options: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write config.yaml: the options that make the run, and under ``run`` what they turned out to mean.

    Args:
        folder: The run folder.
        vae: The model.
        options: Options of ``train`` beyond the model's own.
        record: What is known of the data.
    """
    config = vae.config()
    found = {key: config.pop(key) for key in ("event_shape", "kind", "levels", "labels", "columns")}
    run = {"format": FORMAT, "pyrovae": __version__, "torch": str(torch.__version__), "data": {**found, **record}}
    text = yaml.safe_dump({**config, **options, "run": run}, sort_keys=False, width=120)
    header = "# What made this run; repeat it with: pyrovae train --config THIS_FILE --out NEW_FOLDER\n"
    write_whole(folder / CONFIG, (header + text).encode(), folder)


def read_config(folder: Path) -> dict[str, Any]:
    """What ``write_config`` wrote.

    Raises:
        UserError: If the folder is missing, damaged, or written by a newer version.
    """
    path = folder / CONFIG
    if not path.is_file():
        there = "has no config.yaml" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: is not a run ({there}); give the folder that pyrovae train printed")
    try:
        config = read_yaml(path)
        written = config["run"]["format"]
        newer = written > FORMAT
        version = config["run"]["pyrovae"]
    except (*BAD_YAML, KeyError, TypeError) as error:
        raise UserError(f"{path}: is damaged ({why(error)}); restore it or train again") from error
    if newer:
        raise UserError(
            f"{path}: was written by pyrovae {version} (format {written}), this is {__version__} (format {FORMAT}); "
            "upgrade with pip install --upgrade pyrovae"
        )
    return config


MODEL_KEYS = ("likelihood", "prior", "posterior", "network", "context", "preprocess", "latent_dim")


def model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that ``VAE.from_config`` takes.

    Raises:
        UserError: If something is missing from it.
    """
    data = config["run"].get("data") or {}
    found = {
        **{key: config.get(key) for key in MODEL_KEYS},
        **{k: data.get(k) for k in ("event_shape", "kind", "levels")},
        "labels": data.get("labels") or (),
        # Runs made before names of columns were recorded have none: their tables are matched by position.
        "columns": data.get("columns") or (),
    }
    missing = [key for key, value in found.items() if value is None and key != "levels"]
    if missing:
        raise UserError(f"{', '.join(missing)} missing; restore it or train again")
    return found


def save_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write model.safetensors with a digest of its contents."""
    _write(folder, MODEL, weights, {})


def save_state(folder: Path, state: TrainingState) -> None:
    """Write the training state, the best weights and metrics.csv, each whole or not at all."""
    optimizer = state.optimizer["state"]
    tensors = {
        **{f"weights/{k}": v for k, v in state.weights.items()},
        **{f"best/{k}": v for k, v in state.best_weights.items()},
        **{f"random/{k}": v for k, v in state.random.items()},
        **{f"optimizer/{i}/{k}": v for i, slots in optimizer.items() for k, v in slots.items()},
    }
    plain = {
        "epoch": state.epoch,
        "step": state.step,
        "loss_sum": state.loss_sum,
        "seconds": state.seconds,
        "best_epoch": state.best_epoch,
        "history": state.history,
        "param_groups": state.optimizer["param_groups"],
    }
    save_weights(folder, state.best_weights)
    write_whole(folder / METRICS, _csv(state.history), folder)
    _write(folder, STATE, tensors, plain)


def load_state(folder: Path) -> TrainingState | None:
    """What ``save_state`` wrote; None where training was stopped before it first saved.

    Raises:
        UserError: If it is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    tensors, plain = _read(path)
    groups: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "random": {}, "optimizer": {}}
    for key, tensor in tensors.items():
        group, name = key.split("/", 1)
        groups[group][name] = tensor
    optimizer: dict[int, dict[str, Tensor]] = {}
    for key, tensor in groups["optimizer"].items():
        parameter, slot = key.split("/")
        optimizer.setdefault(int(parameter), {})[slot] = tensor
    return TrainingState(
        weights=groups["weights"],
        optimizer={"state": optimizer, "param_groups": plain.pop("param_groups")},
        random=groups["random"],
        best_weights=groups["best"],
        **plain,
    )


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv; none where there is no such file.

    Raises:
        UserError: If it is damaged.
    """
    path = folder / METRICS
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is damaged ({error}); delete it or train again") from error


def _csv(rows: list[dict[str, float]]) -> bytes:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().encode()


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU, with the strides that its shape alone gives: one element with a stride of 0 counts as contiguous too."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _digest(tensors: Mapping[str, Tensor], plain: str) -> str:
    digest = hashlib.sha256(plain.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(_plain(tensors[name]).view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _write(folder: Path, name: str, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    tensors = {name: _plain(tensor) for name, tensor in tensors.items()}
    text = json.dumps(plain)
    # One key: safetensors writes several in an order that varies, and equal contents are to make equal files.
    metadata = json.dumps({"plain": text, "sha256": _digest(tensors, text)})
    write_whole(folder / name, write_tensors(tensors, {"pyrovae": metadata}), folder)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise UserError(
            f"{path}: is missing; training has not saved it yet, or it was deleted: "
            f"pyrovae train --resume --out {path.parent} goes on with it"
        )
    try:
        content = path.read_bytes()
        tensors = read_tensors(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["pyrovae"])
        intact = metadata["sha256"] == _digest(tensors, metadata["plain"])
        plain = json.loads(metadata["plain"])
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise UserError(f"{path}: is damaged ({error}); restore it or train again") from error
    if not intact:
        raise UserError(f"{path}: is damaged (its digest does not match its contents); restore it or train again")
    return tensors, plain


def _fill(vae: VAE, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        vae.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{path}: does not fit config.yaml ({str(error).splitlines()[-1].strip()})") from error
