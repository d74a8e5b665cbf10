"""Data that a model cannot take: outside the support of its likelihood, or told apart by digits that its networks do not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pyrovae.contexts.words import listed
from pyrovae.contracts import Attribute, DataSpec, Density, Preprocess, Transform, options_of
from pyrovae.contracts.supports import REALS
from pyrovae.errors import NOT_GIVEN, UserError, option
from pyrovae.likelihoods import fitting, preprocess_of
from pyrovae.parts import name_of
from pyrovae.preprocess.rounding import some, too_coarse

ROWS = 4096
"""Number of data checked at a time."""


def check_spec(found: DataSpec, wanted: DataSpec, name: str, *, labelled: bool) -> None:
    """Refuse data of another shape than a model was built for, or with other labels or columns.

    Args:
        found: What the data are.
        wanted: What the model was built for.
        name: What the data are called; empty where they have no name.
        labelled: Whether the model is conditioned on the labels.

    Raises:
        UserError: Saying what differs.
    """
    given = name or NOT_GIVEN
    if found.event_shape != wanted.event_shape:
        reason = f"has data of shape {found.event_shape} each, the VAE was built for {wanted.event_shape}"
        raise UserError("data", given, reason, "give data of that shape, or train a model on these")
    if labelled and found.labels != wanted.labels:
        reason = f"has {_named(found.labels)}, the VAE was built for {_named(wanted.labels)}"
        raise UserError("data", given, reason, "build it with labels=dataset.spec.labels")
    if found.columns and wanted.columns and found.columns != wanted.columns:
        reason = f"has the columns {listed(found.columns)}, the VAE was made for {listed(wanted.columns)}"
        raise UserError("data", given, reason, "give it these in this order")


def check_same_kind(found: DataSpec, wanted: DataSpec, name: str) -> None:
    """Refuse data of another kind, or with other levels, than a model was prepared for.

    Args:
        found: What the data are.
        wanted: What the model was prepared for.
        name: What the data are called; empty where they have no name.

    Raises:
        UserError: Saying what differs.
    """
    if (found.kind, found.levels) != (wanted.kind, wanted.levels):
        reason = f"is {found.kind} (levels: {found.levels}), the VAE was made for {wanted.kind} (levels: {wanted.levels})"
        raise UserError("data", name or NOT_GIVEN, reason, "give it data of that kind")


def _named(labels: Sequence[Attribute]) -> str:
    return "the labels " + "; ".join(f"{a.name} ({listed(a.values)})" for a in labels) if labels else "no labels"


def check_rounding(density: Density, preprocess: Preprocess, transform: Transform, x: Tensor, like: Tensor) -> None:
    """Refuse data that rounding for the networks would change too much, such as 1,700,000,001 as it is.

    Args:
        density: The likelihood.
        preprocess: What is done to the data, as an option.
        transform: The same, built for the data.
        x: Data (N, *E) as they were given.
        like: A parameter of the model: its precision and device.

    Raises:
        UserError: With the value that is rounded most, its position and the flag that would fix it.
    """
    rows = some(x)
    part = x[rows].to(like.device)
    y = transform.exactly(part, torch.full(part.shape, 0.5, device=like.device))
    worst = too_coarse(y, like.dtype)
    if worst is None:
        return
    position = (int(rows[worst[0]]), *worst[1:])
    given, exact, rounded = (f"{number.item():.15g}" for number in (x[position], y[worst], y[worst].to(like.dtype)))
    made = "" if given == exact else f", {exact} when it is preprocessed,"
    reals = "" if density.support == REALS else f" and a likelihood of reals, {option('likelihood', 'normal')}"
    raise UserError(
        "preprocess",
        name_of("preprocess", preprocess),
        f"data value {given} at {position}{made} becomes {rounded} in {_type_name(like)}, the precision of "
        "the networks, and data that differ as little as these do would be lost",
        f"{preprocess.finer}{reals}",
    )


def check_support(density: Density, transform: Transform, x: Tensor, like: Tensor) -> None:
    """Refuse data that have no density under the likelihood.

    Args:
        density: The likelihood.
        transform: The preprocessing.
        x: Data (N, *E) as they were given.
        like: A parameter of the model: its precision and device.

    Raises:
        UserError: With the first value that has no density, its position and the flag that would fix it.
    """
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS].to(like.device)
        middle = torch.full(part.shape, 0.5, device=like.device)
        exact = transform.exactly(part, middle)
        y = exact.to(like.dtype)
        bad = ~density.support.check(y)
        if bad.any():
            where = tuple(bad.nonzero()[0].tolist())
            position = (where[0] + start, *where[1:])
            underflow = y[where] == 0 and exact[where] != 0
            becomes = f"becomes 0 in {_type_name(like)} (larger units would keep it) and is" if underflow else "is"
            remedy = _where_it_fits(density, transform, x)
            raise UserError(
                None, NOT_GIVEN, f"data value {part[where].item():g} at {position} {becomes} {outside(density)}", remedy
            )


def outside(density: Density) -> str:
    """What is wrong with data outside the support, in words."""
    return f"outside the support of {option('likelihood', name_of('likelihood', density.family))}: {density.support}"


def _where_it_fits(density: Density, transform: Transform, x: Tensor) -> str:
    """What to try for data outside the support."""
    given = transform.given
    others = option("likelihood", *fitting(replace(given, kind="reals", levels=None), x))
    if given.kind == "reals":
        within = x.min() >= 0 and x.max() <= 1 and "squeeze" in preprocess_of(density.family).values()
        return f"use {option('preprocess', 'squeeze') + ', or ' if within else ''}{others}"
    names = ["data.kind", "data.levels", *(f"likelihood.{one.name}" for one in options_of(density.family))]
    return f"check {', '.join(map(option, names))}, or take {others} with {option('data.kind', 'reals')}"


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
