"""Opens a run folder, or a VAE, together with data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from pyrovae import runs
from pyrovae.contexts.words import listed
from pyrovae.contracts import DataSpec
from pyrovae.data import CsvFile, Dataset, OwnData, Source, Split, from_path
from pyrovae.data.as_arrays import WANTED, InMemory, is_in_memory
from pyrovae.data.columns import named_in
from pyrovae.data.dataset import VALUES, changed
from pyrovae.data.in_memory import Arrays, Given, source_of
from pyrovae.data.numbers import OtherKindError
from pyrovae.data.own import OwnNumbers
from pyrovae.errors import NOT_GIVEN, UserError, check_path, option
from pyrovae.parts import make, needed_by
from pyrovae.runs.matching import SPLITTING, is_left_to_us, read_as_trained, with_columns_in_order, with_labels_as_trained
from pyrovae.system.devices import choose_device
from pyrovae.system.modes import in_evaluation
from pyrovae.vae import VAE

DataLike = str | Path | Mapping[str, Any] | Source | Dataset | InMemory
"""Data given by name, path, ``{"name": ..., option: ...}`` or source, or directly: a data set or data in memory."""

NO_DATA = "has no data of its own: it was trained on data in memory, or saved from Python"
"""Said of a run whose configuration does not say where its data are."""

A_RUN = "a run folder, such as runs/digits-1 (pyrovae train makes one)"
"""What is wanted where a run is."""


def load_dataset(data: DataLike = "digits", data_root: str | Path | None = None) -> Dataset:
    """Load a data set by name, path or source.

    Args:
        data: Name (``digits``, ``mnist``, ``fashion-mnist``), path of a .npy, .npz or .csv file or of a folder of
            pictures, ``{"name": ..., option: ...}`` or a ``Source``; or data in memory: a tensor, an array, a DataFrame, a torch
            ``Dataset`` or a ``DataLoader``, which are split like a file. ``Dataset.from_arrays`` takes data with splits.
        data_root: Folder of downloaded data; None for PYROVAE_DATA, or else the user's cache folder.

    Raises:
        UserError: If the data are unknown, missing, damaged or unusable.

    Example:
        >>> load_dataset("digits").spec.event_shape
        (8, 8)
    """
    return load_source(data_source(data), data_root)


def load_source(source: Source, data_root: str | Path | None) -> Dataset:
    """The data of a source; downloads are kept in ``data_root``."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyrovae"
    data_root = None if data_root is None else check_path("data_root", data_root, "a folder")
    root = Path(data_root or os.environ.get("PYROVAE_DATA") or cache)
    if data_root is not None and not root.is_dir():
        raise UserError("data_root", data_root, "no such folder", "make it, or name the one that has the data")
    return source.load(root)


def check_data(config: Mapping[str, Any], dataset: Dataset, given: tuple[str | None, object], remedy: str) -> None:
    """Refuse data other than those that the run was trained on.

    Args:
        config: Configuration of the run.
        dataset: The data.
        given: The option that names them, and its value.
        remedy: What to do other than restore them.

    Raises:
        UserError: If a digest differs from the recorded one.
    """
    recorded, found = config["run"]["data"], dataset.record()
    names, now = recorded.get("columns"), dataset.spec.columns
    if names and names != list(now):
        called = f"are called {listed(now)} now" if now else "have no names now"
        raise UserError(
            *given,
            f"the columns of {dataset.name} {called}, and were {listed(names)} when the run was made",
            f"restore them, or {remedy}",
        )
    key = changed(recorded, found)
    if key is not None:
        raise UserError(
            *given, f"the data {dataset.name} are not those of the run any more (another {key})", f"restore them, or {remedy}"
        )


@final
@dataclass(frozen=True)
class Opened:
    """A model together with data."""

    vae: VAE
    dataset: Dataset
    folder: Path | None
    config: Mapping[str, Any]

    @property
    def home(self) -> Path:
        """The folder of the run.

        Raises:
            UserError: If the model is in memory and has none.
        """
        if self.folder is None:
            raise UserError(
                "run", NOT_GIVEN, reason="is a VAE in memory, which has no folder", remedy="save it first, and give its folder"
            )
        return self.folder


def open_run(run: str | Path | VAE, data: DataLike | None, data_root: str | Path | None, device: str | torch.device) -> Opened:
    """Open the model on its device and the data: those of the run, or others of the same kind.

    Raises:
        UserError: If run or data are missing, damaged, changed, or do not fit each other.
    """
    chosen = choose_device(device)
    data_root = None if data_root is None else check_path("data_root", data_root, "a folder")
    if isinstance(run, VAE):
        if data is None:
            raise UserError("data", NOT_GIVEN, "a VAE in memory has no data of its own", "give some")
        dataset = data if isinstance(data, Dataset) else _named(run, data, {}, data_root)
        # A model in memory is moved only on request, because its owner may be training it.
        return Opened(run if device == "auto" else run.to(chosen), _as_trained(run, dataset), None, {})
    folder = check_path("run", run, A_RUN)
    config = runs.read_config(folder)
    vae = runs.load(folder, chosen)
    if data is None and "data" not in config:
        raise UserError(None, folder, NO_DATA, f"give them with {option('data')}")
    if data is None:
        dataset = _recorded(folder, config, vae, data_root)
    elif isinstance(data, Dataset):
        dataset = data
    else:
        dataset = _named(vae, data, config, data_root)
    return Opened(vae, _as_trained(vae, dataset), folder, config)


def data_source(data: DataLike, vae: VAE | None = None, own: Source | None = None) -> Source:
    """The source of data that are given by name, path, mapping or source.

    Args:
        data: The data.
        vae: The model they are for, whose columns are read from a table; None if there is none yet.
        own: The training data, whose label column is assumed for a table in memory too; None if unknown.

    Raises:
        UserError: If there is no such source, or an option is wrong.
    """
    if isinstance(data, Dataset):
        return Given(dataset=data)
    if isinstance(data, Arrays | Given):
        return data
    if not is_in_memory(data):
        if not isinstance(data, str | Path | Mapping | Source):
            raise UserError(
                "data", data, "is none of what data may be", f"give a name, a path, a mapping with a name, or {WANTED}"
            )
        found: Source = make("data", from_path(data))
        return found
    label = own.label if isinstance(own, CsvFile) else None
    labels = [] if label is None else named_in("data.label", label, ())
    return source_of(data, None if vae is None else vae.spec, labels)


def _as_trained(vae: VAE, dataset: Dataset) -> Dataset:
    return with_labels_as_trained(vae, with_columns_in_order(vae, dataset))


def _named(vae: VAE, data: DataLike, config: Mapping[str, Any], data_root: str | Path | None) -> Dataset:
    """Data that were named or given; they may be the run's own or others."""
    own = make("data", config["data"]) if "data" in config else None
    source = data_source(data, vae, own)
    dataset = _split_as_recorded(vae, _like(vae, source, own, data_root), source, config, data_root)
    others = own is not None or not source.can_be_named
    return _unsplit(dataset, config) if others and is_left_to_us(source) else dataset


def _recorded(folder: Path, config: Mapping[str, Any], vae: VAE, data_root: str | Path | None) -> Dataset:
    """The data of the run, which must not have changed."""
    try:
        with needed_by(folder):
            own = make("data", config["data"])
        source = read_as_trained(vae, own, None)
        dataset = load_source(source, data_root or config.get("data_root"))
    except UserError as error:
        raise UserError(
            None, folder, f"the data of the run cannot be read ({error.said()})", f"name them with {option('data')}"
        ) from error
    check_data(config, dataset, (None, folder), f"name other data with {option('data')}")
    return dataset


def _split_as_recorded(
    vae: VAE, dataset: Dataset, source: Source, config: Mapping[str, Any], data_root: str | Path | None
) -> Dataset:
    """Data that turn out to be the run's own are split as in training, so that no training row counts as a test row."""
    recorded, found = _recorded_digests(config), dataset.record()
    if not _same_values(recorded, found) or recorded["split_sha256"] == found["split_sha256"]:
        return dataset
    own = make("data", config["data"]) if "data" in config else None
    if isinstance(own, OwnData) and isinstance(source, Arrays):
        split = {name: getattr(own, name) for name in SPLITTING}
        again = _like(vae, replace(source, **split), own, data_root)
    elif own is not None and type(own) is type(source):
        moved = own
        if isinstance(own, OwnData) and isinstance(source, OwnData):
            moved = replace(own, path=source.path)
        again = load_source(read_as_trained(vae, moved, None), data_root)
    else:
        remedy = "give the Dataset that it was trained on" if own is None else f"leave {option('data')} out"
        raise UserError("data", dataset.name, "the data of the run, but split otherwise", remedy)
    check_data(config, again, ("data", dataset.name), f"leave {option('data')} out")
    return again


def _unsplit(dataset: Dataset, config: Mapping[str, Any]) -> Dataset:
    """Other data than the run's that came in one part: none were used in training, so every split contains all of them."""
    recorded = _recorded_digests(config)
    if not dataset.in_one_part or _same_values(recorded, dataset.record()):
        return dataset
    return replace(dataset, rows=dict.fromkeys(dataset.rows, torch.arange(len(dataset.x))))


def _recorded_digests(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The run's record of its data; empty for a model in memory."""
    return (config.get("run") or {}).get("data") or {}


def _same_values(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return "sha256" in recorded and changed(recorded, found, VALUES) is None


def _like(vae: VAE, source: Source, own: Source | None, data_root: str | Path | None) -> Dataset:
    """Data read like the run's own and interpreted as the kind that the VAE was made for; an error if that is impossible."""
    source = read_as_trained(vae, source, own)
    if not isinstance(source, OwnNumbers) or source.kind != "auto" or source.levels is not None or not vae.prepared:
        return _fitting(vae, source, load_source(source, data_root))
    source = replace(source, kind=vae.spec.kind, levels=vae.spec.levels if vae.spec.kind == "levels" else None)
    try:
        return load_source(source, data_root)
    except OtherKindError as error:
        found = f"{error.found}: the run models {error.allowed}"
        raise error.but(reason=found, remedy="give data like those that it was trained on") from error


def _fitting(vae: VAE, source: Source, dataset: Dataset) -> Dataset:
    """The data, after a check whether an option of the source would make them match the model's training data.

    Raises:
        UserError: If there are such options; it names them.
    """
    found, wanted = dataset.spec, vae.spec
    same = found.event_shape == wanted.event_shape and (found.kind, found.levels) == (wanted.kind, wanted.levels)
    remedy = "" if same else source.remedy(found, wanted)
    if remedy:
        raise UserError("data", dataset.name, f"has {_in_words(found)}, and the model was trained on {_in_words(wanted)}", remedy)
    return dataset


def _in_words(spec: DataSpec) -> str:
    levels = "" if spec.levels is None else f" ({spec.levels} levels)"
    return f"{spec.kind}{levels} of shape {spec.event_shape} each"


@contextmanager
def inference(vae: VAE) -> Iterator[None]:
    """Evaluation mode, without gradients."""
    with in_evaluation(vae):
        yield


def context_of(vae: VAE, split: Split) -> Tensor | None:
    """The context of each datum, on the model's device; None if the model has no context.

    Raises:
        UserError: If the data have no context, or have values that the model was not trained on.
    """
    reads = vae.parts["context"].reads
    c = None if reads is None else getattr(split, reads)
    vae.context_module.check(c)
    return None if c is None else c.to(vae.device)
