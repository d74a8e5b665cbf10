"""Saves a VAE as a run folder and loads it: configuration, weights, training state, integrity. Loading never runs code."""

from __future__ import annotations

import contextlib
import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from pyrovae.errors import NOT_GIVEN, UserError, check_is, check_path, command, option, shown
from pyrovae.networks.modules import Modules
from pyrovae.parts import UnknownPartError, name_of
from pyrovae.runs.binding import MODEL_KEYS, difference, model_options, recorded_training, training_options
from pyrovae.runs.rebuilding import check_rebuilt
from pyrovae.runs.states import Seconds, check_fits, put_together, taken_apart, timed
from pyrovae.system.bounds import BAD_YAML, read_text, read_yaml, why
from pyrovae.system.claims import Claim, check_new
from pyrovae.system.devices import choose_device, own_noise
from pyrovae.system.files import write_whole
from pyrovae.system.tensorfiles import check_finite, read_plain, read_tensors, write_tensors
from pyrovae.training.state import TrainingState
from pyrovae.vae import VAE
from pyrovae.version import __version__

FORMAT = 1
CONFIG = "config.yaml"
MODEL = "model.safetensors"
STATE = "training_state/state.safetensors"
SECONDS = "training_state/seconds.json"
METRICS = "metrics.csv"

MADE_WITH = "made_with"
"""Key in tensor files: the options that they were made with."""

PLUGIN = "plugin"
"""A key that is forbidden in config.yaml."""

EDITED = "edited"
"""Key under ``run`` in config.yaml: true if the model is deliberately different from the trained one."""


def discard_if_unsaved(folder: Path) -> None:
    """Empty a run folder that contains only config.yaml because training has saved nothing."""
    if not (folder / STATE).is_file() and not (folder / MODEL).is_file():
        with contextlib.suppress(OSError):
            (folder / CONFIG).unlink()


def save(vae: VAE, folder: str | Path) -> Path:
    """Write a VAE into a new folder: config.yaml and model.safetensors.

    Args:
        vae: The VAE, trained or not.
        folder: A folder that does not exist yet or is empty.

    Raises:
        UserError: If the folder is not empty or cannot be written, the preprocessing has not been fitted, or a part of the VAE
            was replaced by one that its options do not produce.
    """
    check_is("vae", vae, VAE, "a VAE")
    folder = check_path("folder", folder, "a new folder")
    check_new(folder)
    if not vae.prepared and vae.preprocess_choice != "auto":
        raise UserError("vae", NOT_GIVEN, "has not met its data", "call fit, or vae.prepare(spec, x), before save")
    check_rebuilt(vae, _built(folder, _configuration(vae, {}, {}), 0, _modules_of(vae)))
    with Claim(folder, new=True):
        save_weights(folder, vae.state_dict(), write_config(folder, vae, {}, {}))
    return folder


def load(
    folder: str | Path,
    device: str | torch.device = "cpu",
    *,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
) -> VAE:
    """Load the VAE of a run folder, with its best weights.

    Args:
        folder: The run folder.
        device: Device to put it on.
        encoder: The encoder of a model that was made of modules, which receives the weights; None for other models.
        decoder: The decoder of such a model.

    Raises:
        UserError: If the folder is missing, damaged, or written by a newer version, config.yaml does not match the weights, or
            the model needs modules that are not given or do not fit the weights.
    """
    folder, device = check_path("run", folder, "a run folder"), choose_device(device)
    path, config = folder / MODEL, read_config(folder)
    given = None if encoder is None and decoder is None else Modules(encoder, decoder)
    _check_modules(folder, config, given)
    vae = _built(folder, config, 0, given)
    if not path.is_file():
        raise UserError(
            None,
            path,
            "is missing",
            f"training has not saved it yet, or it was deleted: {command('resume', folder)} goes on with it",
        )
    tensors, plain = read_tensors(path)
    check_finite(tensors, path)
    _check_made_with(folder, config, plain.get(MADE_WITH))
    try:
        vae.load_state_dict(tensors)
    except RuntimeError as error:
        what = "config.yaml" if given is None else "the encoder and the decoder that are given"
        raise UserError(None, path, f"does not fit {what} ({str(error).splitlines()[-1].strip()})") from error
    return vae.to(device)


def _modules_of(vae: VAE) -> Modules | None:
    """Copies of the modules that a model was made of; None for other models."""
    network = vae.parts["network"]
    return deepcopy(network) if isinstance(network, Modules) else None


def _check_modules(folder: Path, config: Mapping[str, Any], given: Modules | None) -> None:
    """Refuse to open a model of modules without modules, and other models with modules.

    Raises:
        UserError: If so; it says what is needed.
    """
    network = config.get("network")
    name = network.get("name") if isinstance(network, Mapping) else network
    needed = name == name_of("network", Modules)
    if needed and given is None:
        raise UserError(
            None,
            folder,
            "was made of an encoder and a decoder that only Python can give",
            "open it with pyrovae.load(folder, encoder=MODULE, decoder=MODULE): evaluate, classify and encode "
            "take the VAE and data=, sample and decode the VAE; compare and figures take no run of modules; "
            "to go on training, call train(..., network=Modules(encoder, decoder), out=RUN, resume=True) with the same options",
        )
    if given is not None and not needed:
        raise UserError(
            "encoder", NOT_GIVEN, f"is given, and the network of the run, {shown(name)}, makes its own", "leave it out"
        )


def _check_made_with(folder: Path, config: Mapping[str, Any], recorded: Any) -> None:
    """Refuse a configuration that was edited, unless it says so; older weights have no record to compare with.

    Raises:
        UserError: Naming the option.
    """
    if recorded is None:
        return
    try:
        found = difference(model_options(config), recorded)
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(None, folder / MODEL, f"is damaged ({error})", "restore it or train again") from error
    if found is None:
        return
    name, now, before = map(_short, found)
    what = f"{folder / CONFIG}: has {name} {now}, and the weights were made with {before}"
    if config["run"].get(EDITED) is not True:
        raise UserError(
            None,
            NOT_GIVEN,
            what,
            f"restore it, or, where another model with these weights is wanted, say so by {EDITED}: true under run:",
        )
    warnings.warn(f"{what}: another model than was trained, as {EDITED}: true says", UserWarning, stacklevel=4)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def rebuild(folder: Path, seed: int = 0) -> VAE:
    """The VAE of a run folder with initial weights drawn from the seed; the caller's random state is not changed.

    Raises:
        UserError: If the folder is missing or its config.yaml damaged.
    """
    config = read_config(folder)
    _check_modules(folder, config, None)
    return _built(folder, config, seed)


def _built(folder: Path, config: Mapping[str, Any], seed: int, modules: Modules | None = None) -> VAE:
    given = {} if modules is None else {"network": modules}
    try:
        with own_noise():
            torch.default_generator.manual_seed(seed)
            return VAE.from_config({**model_config(config), **given})
    except UnknownPartError as error:
        raise error.needed_by(folder / CONFIG) from error
    except UserError as error:
        if modules is not None:  # the modules are at fault
            raise
        raise UserError(None, folder / CONFIG, f"is damaged: {error}") from error
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(None, folder / CONFIG, f"is damaged ({error})", "restore it or train again") from error


def write_config(folder: Path, vae: VAE, options: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Write config.yaml: the options of the run and, under ``run``, the values that were derived from them.

    Args:
        folder: The run folder.
        vae: The model.
        options: Options of ``train`` beyond the model's own.
        record: The record of the data.

    Returns:
        The configuration, as ``read_config`` returns it.
    """
    config = _configuration(vae, options, record)
    text = yaml.safe_dump(config, sort_keys=False, width=120)
    header = "# What made this run; pyrovae train takes this file as its option config\n"
    write_whole(folder / CONFIG, (header + text).encode(), folder)
    return config


def _configuration(vae: VAE, options: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    config = vae.config()
    found = {key: config.pop(key) for key in ("event_shape", "kind", "levels", "labels", "columns")}
    run = {"format": FORMAT, "pyrovae": __version__, "torch": str(torch.__version__), "data": {**found, **record}}
    return {**config, **options, "run": run}


def read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration that ``write_config`` wrote.

    Raises:
        UserError: If the folder is missing, damaged, or written by a newer version.
    """
    path = folder / CONFIG
    if not path.is_file():
        there = "has no config.yaml" if folder.is_dir() else "no such folder"
        raise UserError(None, folder, f"is not a run ({there})", "give the folder that pyrovae train printed")
    try:
        config: dict[str, Any] = read_yaml(path)
        written = config["run"]["format"]
        newer = written > FORMAT
        version = config["run"]["pyrovae"]
    except (*BAD_YAML, KeyError, TypeError) as error:
        raise UserError(None, path, f"is damaged ({why(error)})", "restore it or train again") from error
    if PLUGIN in config:
        raise UserError(
            None,
            path,
            "names a plugin, and no file that is read may run code",
            f"delete that line, and give {option('plugin', metavar='FILE', python='your parts by pyrovae.register')}",
        )
    if newer:
        raise UserError(
            None,
            path,
            f"was written by pyrovae {version} (format {written}), this is {__version__} (format {FORMAT})",
            "upgrade with pip install -U pyrovae",
        )
    return config


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
        # Runs from before column names were recorded have none; their tables are matched by position.
        "columns": data.get("columns") or (),
    }
    missing = [key for key, value in found.items() if value is None and key != "levels"]
    if missing:
        raise UserError(None, NOT_GIVEN, f"{', '.join(missing)} missing", "restore it or train again")
    return found


def save_weights(folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write model.safetensors: the weights, the options of their model, and a digest of both.

    Args:
        folder: The run folder.
        weights: Parameters and buffers.
        config: What ``write_config`` returned.
    """
    write_tensors(folder / MODEL, weights, {MADE_WITH: model_options(config)}, folder)


def save_state(folder: Path, state: TrainingState, config: Mapping[str, Any]) -> None:
    """Write the training state, the best weights and metrics.csv, each atomically.

    Args:
        folder: The run folder.
        state: The training state.
        config: What ``write_config`` returned.
    """
    tensors, plain, seconds = taken_apart(state)
    save_weights(folder, state.best_weights, config)
    write_whole(folder / METRICS, _csv(state.history), folder)
    write_whole(folder / SECONDS, seconds.to_json().encode(), folder)
    write_tensors(folder / STATE, tensors, {MADE_WITH: training_options(config), **plain}, folder)


def load_state(folder: Path, vae: VAE | None = None) -> TrainingState | None:
    """Read the state that ``save_state`` wrote; None if training was stopped before the first save.

    Args:
        folder: The run folder.
        vae: The model to be trained further.

    Raises:
        UserError: If it is damaged, belongs to another run, or does not fit the model.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    tensors, plain = read_tensors(path)
    check_finite(tensors, path)
    recorded = plain.pop(MADE_WITH, {})
    try:
        config = read_config(folder)
        found = recorded and difference(training_options(config), recorded)
        state = put_together(tensors, plain)
        if vae is not None:
            check_fits(state, vae, recorded_training(config))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            None, path, f"is no state of this training ({error})", f"restore it, or start a new run with another {option('out')}"
        ) from error
    if found:
        name, now, before = map(_short, found)
        raise UserError(
            None,
            path,
            f"is of a training with {name} {before}, and {CONFIG} has {now}",
            f"restore what was there, or start a new run with another {option('out')}",
        )
    return _timed(folder, state)


def _timed(folder: Path, state: TrainingState) -> TrainingState:
    """A state with the training time, as far as it is known."""
    path = folder / SECONDS
    try:
        return timed(state, Seconds.from_json(read_text(path), len(state.history)))
    except FileNotFoundError:
        return state
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(f"{path}: is damaged ({error}); how long the run has trained is not known", UserWarning, stacklevel=3)
        return state


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv; none if there is no such file.

    Raises:
        UserError: If it is damaged, or does not belong to the training state in the same folder.
    """
    path = folder / METRICS
    if not path.is_file():
        return []
    try:
        lines = csv.DictReader(io.StringIO(read_text(path)), strict=True)
        rows = [{name: _cell(text) for name, text in row.items()} for row in lines]
        _check_rows(rows, read_plain(folder / STATE)["history"] if (folder / STATE).is_file() else [])
    except (ValueError, TypeError, KeyError, AttributeError, csv.Error, OSError) as error:
        raise UserError(None, path, f"is damaged ({error})", "delete it or train again") from error
    return rows


def _cell(text: str) -> float:
    if "_" in text:  # float() accepts underscores
        raise ValueError(f"could not convert string to float: {text!r}")
    return float(text)


def _check_rows(rows: Sequence[Mapping[str, float]], recorded: Sequence[Mapping[str, float]]) -> None:
    """Refuse rows that are not those of epochs 1, 2, ..., or that contradict the training state."""
    lacking = [name for name in ("epoch", "loss", "seconds") if any(name not in row for row in rows)]
    if lacking:
        raise ValueError(f"has no column {lacking[0]}")
    if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
        raise ValueError("its epochs are not 1, 2, ...")
    if len(rows) < len(recorded):
        raise ValueError(f"has {len(rows)} epochs of {len(recorded)}")
    for row, known in zip(rows, recorded, strict=False):  # a killed training may have saved one more row
        for name, value in known.items():
            if name != "seconds" and repr(float(value)) != repr(float(row[name])):
                raise ValueError(f"epoch {row['epoch']:.0f} has {name} {row[name]}, and its training had {value}")


def _csv(rows: list[dict[str, float]]) -> bytes:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().encode()
