"""A probabilistic-programming VAE on Pyro and PyTorch: choose p(z), p(x|z) and q(z|x), train, and ask how good it is, in nats.

Names are imported when they are first used, so that ``pyrovae --help`` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyrovae.version import __version__

if TYPE_CHECKING:
    from pyrovae.commands import (
        classify,
        compare,
        decode,
        encode,
        evaluate,
        figures,
        load_dataset,
        register,
        resume,
        sample,
        sweep,
        train,
    )
    from pyrovae.data import Dataset
    from pyrovae.errors import UserError
    from pyrovae.runs.exporting import to_arviz
    from pyrovae.runs.folder import load, save
    from pyrovae.training.loop import fit
    from pyrovae.vae import VAE

_HOMES = {
    "VAE": "vae",
    "Dataset": "data",
    "UserError": "errors",
    "fit": "training.loop",
    "save": "runs",
    "load": "runs",
    "register": "commands",
    "to_arviz": "runs.exporting",
    **dict.fromkeys(
        ("train", "resume", "evaluate", "classify", "compare", "sweep", "encode", "decode", "sample", "figures", "load_dataset"),
        "commands",
    ),
}

__all__ = [
    "VAE",
    "Dataset",
    "UserError",
    "__version__",
    "classify",
    "compare",
    "decode",
    "encode",
    "evaluate",
    "figures",
    "fit",
    "load",
    "load_dataset",
    "register",
    "resume",
    "sample",
    "save",
    "sweep",
    "to_arviz",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pyrovae' has no attribute {name!r}")
    return getattr(import_module(f"pyrovae.{_HOMES[name]}"), name)
