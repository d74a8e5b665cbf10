"""The models of the gallery: how each is trained, once, into a folder that all pictures share."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from pyrovae import commands
from pyrovae.cli.spelling import option_name
from pyrovae.data import Dataset
from pyrovae.errors import UserError, suggest
from pyrovae.runs.opening import Opened, open_run
from pyrovae.system.claims import Claim
from pyrovae.system.files import write_whole
from pyrovae.system.interruption import Interrupted

RECORD = "gallery.json"
"""In a run folder of the gallery: the options that it was trained with."""

MNIST: dict[str, Any] = {"data": "mnist", "epochs": 12, "batch_size": 256, "learning_rate": 2e-3}
FACES: dict[str, Any] = {
    "data": {"name": "olivetti", "held_out": 10, "split_seed": 2},
    "likelihood": "normal",
    "network": {"name": "conv", "channels": (16, 32, 64, 64)},
    "latent_dim": 64,
    "epochs": 100,
    "batch_size": 32,
}
COMPONENTS: dict[str, Any] = {
    # Without validation data the last weights are kept: those that fit the training data, as the components do.
    "data": {"name": "digits", "valid": 0},
    "likelihood": {"name": "normal", "scale": 0.1},
    "latent_dim": 4,
    "epochs": 600,
    "batch_size": 256,
    "learning_rate": 5e-3,
}
POINT = {"posterior": "delta"}
BOUNDED = {"prior": "uniform", "posterior": {"name": "delta", "squash": "sigmoid"}}

MODELS: dict[str, dict[str, Any]] = {
    "autoencoder-2": MNIST | POINT | {"latent_dim": 2},
    "bounded-2": MNIST | BOUNDED | {"likelihood": "normal", "latent_dim": 2},
    "vae-2": MNIST | {"latent_dim": 2},
    "reconstruction-only-2": MNIST | {"latent_dim": 2, "kl_weight": 0.0},
    "kl-only-2": MNIST | {"latent_dim": 2, "kl_weight": 1e6},
    "autoencoder-5": MNIST | POINT | {"latent_dim": 5},
    "autoencoder-20": MNIST | POINT | {"latent_dim": 20},
    "autoencoder-50": MNIST | POINT | {"latent_dim": 50},
    "vae-5": MNIST | {"latent_dim": 5},
    "vae-20-after-1": MNIST | {"latent_dim": 20, "epochs": 1},
    "vae-20-after-5": MNIST | {"latent_dim": 20, "epochs": 5},
    "vae-20": MNIST | {"latent_dim": 20, "epochs": 20},
    "vae-50": MNIST | {"latent_dim": 50},
    "linear-20": MNIST | POINT | {"network": "linear", "latent_dim": 20},
    "linear-1000": MNIST | POINT | {"network": "linear", "latent_dim": 1000},
    "normal-1-2": MNIST | {"likelihood": {"name": "normal", "scale": 1.0}, "latent_dim": 2},
    "normal-2": MNIST | {"likelihood": {"name": "normal", "scale": "learned"}, "latent_dim": 2},
    "beta-2": MNIST | {"likelihood": "beta", "latent_dim": 2},
    "binomial-2": MNIST | {"likelihood": "binomial", "latent_dim": 2},
    "label-8": MNIST | {"context": "label", "latent_dim": 8},
    "components": COMPONENTS | POINT | {"network": "linear"},
    "components-tied": COMPONENTS | POINT | {"network": {"name": "tied", "hidden": ()}},
    "components-vae": COMPONENTS | {"likelihood": "normal", "network": "linear"},
    "faces": FACES,
}
"""Name -> options of ``pyrovae.train``."""

CONTINUES = {"vae-20-after-5": "vae-20-after-1", "vae-20": "vae-20-after-5"}
"""Models that are trained on from where another stands."""


def command(name: str) -> str:
    """The command line that trains a model of the gallery.

    Example:
        >>> command("vae-20")
        'cp -r runs/gallery/vae-20-after-5 runs/gallery/vae-20; pyrovae train --resume --epochs 20 --out runs/gallery/vae-20'
        >>> command("autoencoder-5").partition(" --epochs")[0]
        'pyrovae train --data mnist --posterior delta --latent-dim 5'
    """
    options = MODELS[name]
    if name in CONTINUES:
        out = f"runs/gallery/{name}"
        return f"cp -r runs/gallery/{CONTINUES[name]} {out}; pyrovae train --resume --epochs {options['epochs']} --out {out}"
    roles = [key for key in ("data", "likelihood", "prior", "posterior", "network", "context", "latent_dim") if key in options]
    words = ["pyrovae", "train"]
    for key in [*roles, *(key for key in options if key not in roles)]:
        words += _flags(key, options[key])
    return " ".join([*words, "--out", f"runs/gallery/{name}"])


def _flags(key: str, value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        text = f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"').replace(" ", "")
        return [option_name(key), shlex.quote(text)]
    flags = [option_name(key), value["name"]]
    for option in [name for name in value if name != "name"]:
        flags += _flags(f"{key}.{option}", value[option])
    return flags


def _text(options: Mapping[str, Any]) -> str:
    return json.dumps(options, indent=2)


@final
@dataclass(frozen=True, kw_only=True)
class Studio:
    """Where the gallery's models are kept, and how much they are trained.

    Args:
        runs: The folder of the models.
        data_root: Folder of downloaded data, as in ``pyrovae.train``.
        quick: One epoch, small networks, and the 8x8 digits for MNIST: to see that a picture can be drawn.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: Show a progress bar where stderr is a terminal.
    """

    runs: Path
    data_root: str | None = None
    quick: bool = False
    device: str = "auto"
    progress: bool = True

    def options(self, name: str) -> dict[str, Any]:
        """The options of ``pyrovae.train`` that make a model, in full or in small."""
        options = dict(MODELS[name])
        if not self.quick:
            return options
        options["epochs"] = 1 + self.options(CONTINUES[name])["epochs"] if name in CONTINUES else 1
        options["data"] = "digits" if options["data"] == "mnist" else options["data"]
        if "network" not in options:
            options["network"] = {"name": "mlp", "hidden": [32]}
        return options

    def folder(self, name: str) -> Path:
        """The run folder of a model, trained if it is not there yet with these options.

        Raises:
            UserError: If the model is unknown, training refuses, something else is in its place, or another process is at
                work there.
        """
        if name not in MODELS:
            raise UserError("model", name, "unknown", suggest(name, MODELS))
        folder, options = self.runs / name, self.options(name)
        recorded = folder / RECORD
        if recorded.is_file() and recorded.read_text(encoding="utf-8") == _text(options):
            return folder
        if folder.exists() and not recorded.is_file():
            raise UserError(
                "runs", self.runs, f"{folder} is no model of the gallery and is left as it is", "choose another folder"
            )
        if name in CONTINUES:
            self.folder(CONTINUES[name])
        with Claim(self.runs):
            if not (recorded.is_file() and recorded.read_text(encoding="utf-8") == _text(options)):  # made meanwhile, by another
                self._train(name, options, self.runs / f".{name}.part")
        return folder

    def _train(self, name: str, options: dict[str, Any], part: Path) -> None:
        """Train in a folder beside, on from where a signal stopped it, and move it where it belongs when it is whole."""
        record, text = part / RECORD, _text(options)
        shared = {"device": self.device, "progress": self.progress}
        stopped = record.is_file() and record.read_text(encoding="utf-8") == text
        if not stopped:
            shutil.rmtree(part, ignore_errors=True)
        if name in CONTINUES and not stopped:
            shutil.copytree(self.folder(CONTINUES[name]), part)
        if name in CONTINUES or stopped:
            done = commands.resume(part, epochs=options["epochs"], **shared)
        else:
            done = commands.train(**options, data_root=self.data_root, out=str(part), **shared)
        write_whole(record, text.encode(), part)
        if done.fit.interrupted:
            raise Interrupted(done.fit.signal, f"{name} is kept: the same command goes on with it")
        shutil.rmtree(self.runs / name, ignore_errors=True)
        part.rename(self.runs / name)

    def open(self, name: str) -> Opened:
        """A model with its data, trained if it is not there yet.

        Raises:
            UserError: As ``folder``; or if the data are missing.
        """
        return open_run(self.folder(name), None, self.data_root, self.device)

    def dataset(self, name: str) -> Dataset:
        """The data of a model."""
        return self.open(name).dataset
