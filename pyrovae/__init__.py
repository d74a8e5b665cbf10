"""A probabilistic-programming VAE on Pyro and PyTorch: choose p(z), p(x|z) and q(z|x), train, and measure the result in nats.

Names are imported when they are first used, so that ``pyrovae --help`` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyrovae.version import __version__

if TYPE_CHECKING:  # the names of _HOMES again, for type checkers, which do not run what is below
    from pyrovae.commands import classify as classify
    from pyrovae.commands import compare as compare
    from pyrovae.commands import decode as decode
    from pyrovae.commands import encode as encode
    from pyrovae.commands import evaluate as evaluate
    from pyrovae.commands import figures as figures
    from pyrovae.commands import load_dataset as load_dataset
    from pyrovae.commands import register as register
    from pyrovae.commands import resume as resume
    from pyrovae.commands import sample as sample
    from pyrovae.commands import sweep as sweep
    from pyrovae.commands import train as train
    from pyrovae.contracts import Estimator as Estimator
    from pyrovae.contracts import Evidence as Evidence
    from pyrovae.data import Dataset as Dataset
    from pyrovae.errors import UserError as UserError
    from pyrovae.evidence import All as All
    from pyrovae.evidence import Annealed as Annealed
    from pyrovae.evidence import Bdmc as Bdmc
    from pyrovae.evidence import Elbo as Elbo
    from pyrovae.evidence import Exact as Exact
    from pyrovae.evidence import Importance as Importance
    from pyrovae.evidence import Reconstruction as Reconstruction
    from pyrovae.evidence.reports.evaluation import Evaluation as Evaluation
    from pyrovae.evidence.reports.numbers import Number as Number
    from pyrovae.networks.modules import Modules as Modules
    from pyrovae.runs.exporting import to_arviz as to_arviz
    from pyrovae.runs.folder import load as load
    from pyrovae.runs.folder import save as save
    from pyrovae.training.loop import fit as fit
    from pyrovae.training.settings import Training as Training
    from pyrovae.vae import VAE as VAE

_HOMES = {
    "classify": "commands",
    "compare": "commands",
    "decode": "commands",
    "encode": "commands",
    "evaluate": "commands",
    "figures": "commands",
    "load_dataset": "commands",
    "register": "commands",
    "resume": "commands",
    "sample": "commands",
    "sweep": "commands",
    "train": "commands",
    "Estimator": "contracts",
    "Evidence": "contracts",
    "Dataset": "data",
    "UserError": "errors",
    "All": "evidence",
    "Annealed": "evidence",
    "Bdmc": "evidence",
    "Elbo": "evidence",
    "Exact": "evidence",
    "Importance": "evidence",
    "Reconstruction": "evidence",
    "Evaluation": "evidence.reports.evaluation",
    "Number": "evidence.reports.numbers",
    "to_arviz": "runs.exporting",
    "load": "runs.folder",
    "save": "runs.folder",
    "fit": "training.loop",
    "Training": "training.settings",
    "Modules": "networks.modules",
    "VAE": "vae",
}
"""Public name -> the module that it is imported from on first use."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pyrovae' has no attribute {name!r}")
    return getattr(import_module(f"pyrovae.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
