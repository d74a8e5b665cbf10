"""The role p(x|z,c): which families model data, and the preprocessing that each wants for a kind of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor

from pyrovae.contracts import DataSpec, Family, Kind
from pyrovae.errors import UserError
from pyrovae.families import Bernoulli, Binomial, Normal


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
    "normal": Likelihood(
        family=Normal,
        preprocess={"binary": "dequantise", "levels": "dequantise", "counts": "dequantise", "reals": "none"},
        defaults={"scale": "learned"},
    ),
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
    fitting = sorted(n for n, other in LIKELIHOODS.items() if spec.kind in other.preprocess)
    remedy = f"use --likelihood {' or '.join(fitting)}"
    if "binary" in line.preprocess:
        remedy += ", or --preprocess binarise --preprocess.threshold T (which makes it another data set)"
    example = ""
    if x is not None:
        outside = (~family.support(spec).check(x)).nonzero()
        example = "".join(f" (value {x[tuple(i)].item():.6g} at {tuple(i.tolist())})" for i in outside[:1])
    raise UserError(f"--likelihood {name} does not model data of the kind {spec.kind}{example}: {remedy}")
