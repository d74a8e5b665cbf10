"""Matches data to the model's training data: reading options, columns by name, labels by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields, replace

import torch
from torch import Tensor

from pyrovae.contexts.words import listed
from pyrovae.contracts import Attribute, DataSpec
from pyrovae.data import CsvFile, Dataset, OwnData, Source
from pyrovae.data.columns import in_one_line, named_in, positions
from pyrovae.errors import UserError, option
from pyrovae.vae import VAE

SPLITTING = ("valid", "test", "split_seed")
"""Options of a source that determine its splits."""

OF_THE_FILE = (*SPLITTING, "kind", "levels", "columns")
"""Options not copied from the run's own data: splits come from the file, the others from the model."""


def is_left_to_us(source: Source) -> bool:
    """Whether a source is the user's own data without options that determine the splits."""
    usual = {f.name: f.default for f in fields(source)}
    return isinstance(source, OwnData) and all(getattr(source, name) == usual[name] for name in SPLITTING)


def read_as_trained(vae: VAE, source: Source, own: Source | None) -> Source:
    """Copy reading options from the run's own data, such as the label column or picture size; options that were given stay.

    Args:
        vae: The model, whose columns are looked up by name.
        source: The data that were named.
        own: The run's own data; None if unknown.

    Raises:
        UserError: If a column of the model is missing.
    """
    if isinstance(source, OwnData) and type(own) is type(source):
        values = {f.name: getattr(source, f.name) for f in fields(source)}
        given = {f.name for f in fields(source) if values[f.name] != f.default}
        source = replace(own, **{name: value for name, value in values.items() if name in given or name in OF_THE_FILE})
    return _with_columns_of(vae, source) if isinstance(source, CsvFile) else source


def _with_columns_of(vae: VAE, source: CsvFile) -> CsvFile:
    """A table from which only the model's columns are read."""
    wanted, there = vae.spec.columns, source.names()
    labels = [] if source.label is None else named_in("data.label", source.label, there)
    missing = [name for name in labels if name not in there]
    if missing and vae.parts["context"].reads is None:
        warnings.warn(f"{source.path}: has no column {listed(missing)}, so no labels", UserWarning, stacklevel=2)
        source = replace(source, label=None)
    if not wanted or source.columns is not None:
        return source
    _order(wanted, there, source.path)
    if source.label is None or not missing:
        _name_unused(source.path, [name for name in there if name not in {*wanted, *labels}])
    return replace(source, columns=in_one_line(wanted))


def _name_unused(path: str, names: list[str]) -> None:
    if names:
        warnings.warn(f"{path}: not used: the columns {listed(names)}", UserWarning, stacklevel=2)


def _order(wanted: tuple[str, ...], there: tuple[str, ...], name: str) -> list[int]:
    missing = "has no column {}, which the model was trained on"
    return positions(wanted, there, lambda column: UserError("data", name, missing.format(column)))


def with_columns_in_order(vae: VAE, dataset: Dataset) -> Dataset:
    """Data with the columns of the model in its order; a warning names unused columns.

    Raises:
        UserError: If one is missing.
    """
    wanted, there = vae.spec.columns, dataset.spec.columns
    if not wanted or wanted == there:
        return dataset
    if not there:
        if dataset.spec.event_shape == vae.spec.event_shape:
            warnings.warn(
                f"{dataset.name}: its columns have no names; they are taken in the order {listed(wanted)}",
                UserWarning,
                stacklevel=2,
            )
        return dataset
    order = _order(wanted, there, dataset.name)
    _name_unused(dataset.name, [name for name in there if name not in wanted])
    spec = replace(dataset.spec, event_shape=(len(wanted),), columns=wanted)
    return replace(dataset, x=dataset.x[:, order], spec=spec)


def with_labels_as_trained(vae: VAE, dataset: Dataset) -> Dataset:
    """Data with label codes translated to those of training, for a model that is conditioned on them.

    Raises:
        UserError: If a label or a value is missing.
    """
    wanted, found = vae.spec.labels, dataset.spec.labels
    if vae.parts["context"].reads is None or wanted == found:
        return dataset
    if not found or dataset.y is None:
        how = f"name their column with {option('data.label')}" if dataset.spec.columns else "give data that have them"
        raise UserError("data", dataset.name, "has no labels, and the model is conditioned on them", how)
    if len(wanted) == len(found) == 1:
        found = (replace(found[0], name=wanted[0].name),)
    columns = dataset.y.reshape(len(dataset.x), len(found))
    by_name = {label.name: (label, column) for label, column in zip(found, columns.T, strict=True)}
    codes = [_recoded(label, by_name, vae.spec, dataset.name) for label in wanted]
    y = torch.stack(codes, -1) if vae.spec.attributes else codes[0]
    spec = replace(dataset.spec, class_names=vae.spec.class_names, attributes=vae.spec.attributes)
    return replace(dataset, y=y, spec=spec)


def _recoded(wanted: Attribute, there: Mapping[str, tuple[Attribute, Tensor]], trained: DataSpec, name: str) -> Tensor:
    if wanted.name not in there:
        raise UserError("data", name, f"has no label {wanted.name}, which the model was trained with", f"it has {listed(there)}")
    found, codes = there[wanted.name]
    values = found.values if trained.columns else [_as_it_was(value, wanted) for value in found.values]
    unknown = [values[code] for code in codes.unique().tolist() if values[code] not in wanted.values]
    if unknown:
        raise UserError("data", name, f"{wanted.name} {unknown[0]} is unseen: the model was trained with {listed(wanted.values)}")
    return torch.tensor([wanted.values.index(value) if value in wanted.values else -1 for value in values])[codes]


def _as_it_was(value: str, wanted: Attribute) -> str:
    """A value as written in runs from before column names were recorded: 1 for 01."""
    plain = str(int(value)) if value.lstrip("+-").isdecimal() else value
    return plain if plain in wanted.values and value not in wanted.values else value
