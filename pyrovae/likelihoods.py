"""The role p(x|z,c): which families model data, and the preprocessing that each wants for a kind of data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Family, Kind
from pyrovae.errors import UserError
from pyrovae.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    ContinuousBernoulli,
    Laplace,
    Logistic,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
)

MOST_LEVELS = 2**16
"""Whole numbers up to it may be levels."""

SUGGESTED = 4
"""Likelihoods that an error message names."""

_ON_REALS: Mapping[Kind, str] = {"binary": "dequantise", "levels": "dequantise", "counts": "dequantise", "reals": "none"}


@final
@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """A line of the table.

    Args:
        family: The density.
        preprocess: Kind of data -> name of the preprocessing; a kind that is missing cannot be modelled as it is.
        defaults: Options whose default in this role differs from the family's own.
    """

    family: type[Family]
    preprocess: Mapping[Kind, str]
    defaults: Mapping[str, Any] = field(default_factory=dict)


LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Likelihood(family=Bernoulli, preprocess={"binary": "none", "levels": "binarise"}),
    "binomial": Likelihood(family=Binomial, preprocess={"levels": "none", "binary": "none", "counts": "none"}),
    "normal": Likelihood(family=Normal, preprocess=_ON_REALS, defaults={"scale": "learned"}),
    "beta": Likelihood(
        family=Beta,
        preprocess={"levels": "squeeze", "binary": "squeeze", "reals": "none"},
        defaults={"least": 0.0},
    ),
    "continuous_bernoulli": Likelihood(
        family=ContinuousBernoulli, preprocess={"levels": "dequantise", "binary": "dequantise", "reals": "none"}
    ),
    "logistic": Likelihood(family=Logistic, preprocess={"levels": "none", "binary": "none"}),
    "categorical": Likelihood(family=Categorical, preprocess={"levels": "none", "binary": "none"}),
    "poisson": Likelihood(family=Poisson, preprocess={"counts": "none"}),
    "negative_binomial": Likelihood(family=NegativeBinomial, preprocess={"counts": "none"}),
    "laplace": Likelihood(family=Laplace, preprocess=_ON_REALS, defaults={"scale": "learned"}),
    "student_t": Likelihood(family=StudentT, preprocess=_ON_REALS, defaults={"scale": "learned"}),
    "log_normal": Likelihood(family=LogNormal, preprocess={"reals": "none"}, defaults={"scale": "learned"}),
}


def _line(family: Family) -> tuple[str, Likelihood]:
    return next((name, line) for name, line in LIKELIHOODS.items() if isinstance(family, line.family))


def native_kind(family: Family) -> Kind:
    """The first kind of data that a likelihood models as they are.

    Example:
        >>> native_kind(Binomial())
        'levels'
    """
    return next(kind for kind, preprocess in _line(family)[1].preprocess.items() if preprocess == "none")


def _outside(family: Family, spec: DataSpec, x: Tensor) -> Tensor:
    """Where data have no density as they are; nowhere if that takes an option that was not given."""
    try:
        inside: Tensor = family.support(spec).check(x.to(torch.get_default_dtype()))
        return ~inside
    except UserError:
        return torch.zeros_like(x, dtype=torch.bool)


def fitting(spec: DataSpec, x: Tensor | None = None) -> list[str]:
    """Names of at most four likelihoods of data of that kind, those that model them as they are first.

    Args:
        spec: The data.
        x: The data themselves: likelihoods whose support they leave are not named; None names them too.

    Example:
        >>> fitting(DataSpec(event_shape=(2,), kind="counts"))
        ['binomial', 'poisson', 'negative_binomial', 'normal']
    """
    names = sorted(
        (name for name, line in LIKELIHOODS.items() if spec.kind in line.preprocess),
        key=lambda name: LIKELIHOODS[name].preprocess[spec.kind] != "none",
    )
    inside = (
        name
        for name in names
        if x is None
        or LIKELIHOODS[name].preprocess[spec.kind] != "none"
        or not _outside(LIKELIHOODS[name].family(), spec, x).any()
    )
    return list(itertools.islice(inside, SUGGESTED))


def _as_another_kind(line: Likelihood, spec: DataSpec, x: Tensor | None) -> str:
    """Options by which whole numbers become what a likelihood models, for the beginning of a remedy."""
    if x is None or (x < 0).any() or (x != x.floor()).any():
        return ""
    if line.preprocess.get("counts") == "none" and spec.kind in ("reals", "binary"):
        return "give --data.kind counts, for all are whole numbers, or "
    if line.preprocess.get("levels") == "none" and spec.kind in ("reals", "counts") and x.max() < MOST_LEVELS:
        return f"give --data.kind levels --data.levels {int(x.max()) + 1}, for all are whole numbers below it, or "
    return ""


def default_preprocess(family: Family, spec: DataSpec, x: Tensor | None = None) -> str:
    """The name of the preprocessing that makes data of this kind fit the likelihood.

    Args:
        family: The likelihood's.
        spec: The data.
        x: The data themselves, for the error to name a value; not needed.

    Raises:
        UserError: If there is none, with the likelihoods that fit.

    Example:
        >>> default_preprocess(Bernoulli(), DataSpec(event_shape=(8, 8), kind="levels", levels=17))
        'binarise'
    """
    name, line = _line(family)
    if spec.kind in line.preprocess:
        return line.preprocess[spec.kind]
    remedy = f"{_as_another_kind(line, spec, x)}try --likelihood {' or '.join(fitting(spec, x))}"
    if line.preprocess.get("binary") == "none":
        remedy += ", or --preprocess binarise --preprocess.threshold T (which makes it another data set)"
    example = ""
    if x is not None:
        outside = _outside(family, spec, x).nonzero()
        example = "".join(f" (value {x[tuple(i)].item():.6g} at {tuple(i.tolist())})" for i in outside[:1])
    raise UserError(f"--likelihood {name} does not model data of the kind {spec.kind}{example}: {remedy}")
