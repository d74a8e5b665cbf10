"""Warnings about the columns of a table before a training begins."""

from __future__ import annotations

import warnings

from torch import Tensor

from pyrovae.contexts.words import listed
from pyrovae.contracts.supports import REALS
from pyrovae.data import Dataset
from pyrovae.errors import Note, option
from pyrovae.preprocess.dequantise import AddUniform
from pyrovae.preprocess.none import Identity
from pyrovae.vae import VAE

FAR = 100.0
"""Factor between the scales of two columns, or between a column and 1, above which networks learn slowly or not at all."""


OWN_SCALES = ("element", "network")
"""Values of a likelihood's option ``scale`` that give each column its own scale."""

SAME_SCALE = (Identity, AddUniform)
"""Preprocessing that does not change the scale of columns."""


def hint_at_columns(vae: VAE, dataset: Dataset) -> None:
    """Warn about constant columns of reals, and about columns of reals or counts on very different scales.

    Args:
        vae: The model, prepared.
        dataset: The data it will be trained on.
    """
    x = dataset.train.x
    if x.dim() != 2 or len(x) < 2 or dataset.spec.kind not in ("reals", "counts"):
        return
    constant = (x == x[0]).all(0).nonzero().squeeze(-1).tolist() if dataset.spec.kind == "reals" else []
    if constant:
        values = listed(f"{_called(dataset, k)} ({x[0, k].item():g})" for k in constant)
        own = getattr(vae.parts["likelihood"], "scale", None) in OWN_SCALES
        grows = ", and with a scale of its own its density grows without bound" if own else ""
        remedy = f"name the others with {option('data.columns')}" if dataset.spec.columns else "leave them out of the file"
        warnings.warn(
            Note(f"{dataset.name}: in all training data the same: {values}; that tells nothing{grows}; {remedy}"),
            stacklevel=2,
        )
    scales = _far_scales(vae, dataset)
    if scales:
        standardise = option("preprocess", "standardise")
        standardise = option("preprocess", "standardise")
        standardise = option("preprocess", "standardise")
        kind, counts = (
            (f"{option('data.kind', 'reals')} ", f"; {option('likelihood', 'poisson')} is one of counts")
            if dataset.spec.kind == "counts"
            else ("", "")
        )
        warnings.warn(
            Note(f"{dataset.name}: {scales}; {kind}{standardise} brings every column to mean 0 and scale 1{counts}"),
            stacklevel=2,
        )


def _far_scales(vae: VAE, dataset: Dataset) -> str:
    """A text naming columns on scales that the networks cannot be expected to learn; empty if there are none.

    Args:
        vae: The model, prepared.
        dataset: The data it is trained on.
    """
    x = dataset.train.x
    takes_any = vae.likelihood_density.support == REALS
    if x.dim() != 2 or not takes_any or not isinstance(vae.transform, SAME_SCALE):
        return ""
    scale, size = x.double().std(0, correction=0), x.double().square().mean(0).sqrt()
    varying = scale > 0
    if not varying.any():
        return ""
    low, high = (_at(scale, varying, largest) for largest in (False, True))
    far = int(size.argmax())
    # Pixels that are almost always empty vary little, which does no harm.
    if scale[high] > max(1.0, FAR * scale[low].item()):
        return (
            f"the standard deviations of columns range from {scale[low].item():.3g} ({_called(dataset, low)}) to "
            f"{scale[high].item():.3g} ({_called(dataset, high)})"
        )
    if size[far] > FAR:
        return f"{_called(dataset, far)} has values of about {size[far].item():.3g}, far from 1"
    return ""


def _at(values: Tensor, among: Tensor, largest: bool) -> int:
    masked = values.where(among, values.new_tensor(-1.0 if largest else float("inf")))
    return int(masked.argmax() if largest else masked.argmin())


def _called(dataset: Dataset, column: int) -> str:
    return f"column {dataset.spec.columns[column] if dataset.spec.columns else column}"
