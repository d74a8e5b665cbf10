"""The role p(x|z,c): which families model data, and the preprocessing that each needs for a kind of data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Family, Kind
from pyrovae.contracts.tables import Line, Table
from pyrovae.errors import UserError, option
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
"""Whole numbers up to this may be levels."""

MARGIN = 1e-6
"""For a likelihood with no density at 0 or 1, dequantised data stay this far from both (``preprocess.squeeze``)."""

SUGGESTED = 4
"""Likelihoods that an error message names."""

_ON_REALS: Mapping[Kind, str] = {"binary": "dequantise", "levels": "dequantise", "counts": "dequantise", "reals": "none"}


LIKELIHOODS = Table(
    "likelihood",
    Family,
    "likelihoods",
    {
        "bernoulli": Line(Bernoulli, preprocess={"binary": "none", "levels": "binarise"}),
        "binomial": Line(Binomial, preprocess={"levels": "none", "binary": "none", "counts": "none"}),
        "normal": Line(Normal, preprocess=_ON_REALS, defaults={"scale": "learned"}),
        "beta": Line(Beta, preprocess={"levels": "squeeze", "binary": "squeeze", "reals": "none"}, defaults={"least": 0.0}),
        "continuous_bernoulli": Line(
            ContinuousBernoulli, preprocess={"levels": "dequantise", "binary": "dequantise", "reals": "none"}
        ),
        "logistic": Line(Logistic, preprocess={"levels": "none", "binary": "none"}),
        "categorical": Line(Categorical, preprocess={"levels": "none", "binary": "none"}),
        "poisson": Line(Poisson, preprocess={"counts": "none"}),
        "negative_binomial": Line(NegativeBinomial, preprocess={"counts": "none"}),
        "laplace": Line(Laplace, preprocess=_ON_REALS, defaults={"scale": "learned"}),
        "student_t": Line(StudentT, preprocess=_ON_REALS, defaults={"scale": "learned"}),
        "log_normal": Line(LogNormal, preprocess={"reals": "none"}, defaults={"scale": "learned"}),
    },
)


def preprocess_of(family: Family) -> Mapping[Kind, str]:
    """Kind of data -> name of the preprocessing that a likelihood needs for it; it cannot model a kind that is missing.

    Taken from the table entry of its class if there is one, otherwise derived from its support (``by_support``).
    """
    name = LIKELIHOODS.name_of(type(family))
    said = None if name is None else LIKELIHOODS.line(name).preprocess
    return by_support(family) if said is None else said


def by_support(family: Family) -> Mapping[Kind, str]:
    """The preprocessing for each kind of data, as it follows from the support of a density.

    A probability of whole numbers models a kind of data unchanged if its support contains all values of that kind; a
    probability of bits only models levels after binarising them. A density of reals models reals unchanged and whole numbers
    dequantised, or squeezed if it has no value at the ends of the unit interval.

    Example:
        >>> by_support(Beta())
        {'reals': 'none', 'binary': 'squeeze', 'levels': 'squeeze'}
        >>> by_support(Bernoulli())
        {'binary': 'none', 'levels': 'binarise'}
    """
    if any(_holds(family, DataSpec((1,)), (value,)) for value in (-0.5, 0.5, 1.5)):
        inside, ends = (_holds(family, DataSpec((1,)), values) for values in ((MARGIN, 0.5, 1 - MARGIN), (0.0, 1.0)))
        found: dict[Kind, str] = {"reals": "none"}
        if inside:
            found |= dict.fromkeys(("binary", "levels"), "dequantise" if ends else "squeeze")
        if inside and _holds(family, DataSpec((1,)), (0.0, 1e6)):
            found["counts"] = "dequantise"
        return found
    whole: dict[Kind, tuple[DataSpec, tuple[float, ...]]] = {
        "counts": (DataSpec((1,), "counts"), (0, 1, 1e6)),
        "levels": (DataSpec((1,), "levels", 256), (0, 1, 255)),
        "binary": (DataSpec((1,), "binary", 2), (0, 1)),
    }
    found = {kind: "none" for kind, (spec, values) in whole.items() if _holds(family, spec, values)}
    return {**found, "levels": "binarise"} if list(found) == ["binary"] else found


def _holds(family: Family, spec: DataSpec, values: tuple[float, ...]) -> bool:
    """Whether all of these values have a density."""
    try:
        return bool(family.support(spec).check(torch.tensor(values)).all())
    except UserError:
        return False


def native_kind(family: Family) -> Kind:
    """The first kind of data that a likelihood models without preprocessing.

    Raises:
        UserError: If there is no such kind.

    Example:
        >>> native_kind(Binomial())
        'levels'
    """
    native = (kind for kind, preprocess in preprocess_of(family).items() if preprocess == "none")
    kind = next(native, None)
    if kind is None:
        raise UserError(
            "likelihood", shown_name(family), "models no kind of data as they are", "register it with preprocess={KIND: 'none'}"
        )
    return kind


def shown_name(family: Family) -> str:
    """The name of a likelihood in the table, or else that of its class."""
    return LIKELIHOODS.name_of(type(family)) or type(family).__name__


def _outside(family: Family, spec: DataSpec, x: Tensor) -> Tensor:
    """Where data have no density without preprocessing; nowhere if finding out needs an option that was not given."""
    try:
        inside: Tensor = family.support(spec).check(x.to(torch.get_default_dtype()))
        return ~inside
    except UserError:
        return torch.zeros_like(x, dtype=torch.bool)


def preprocess_by_default(name: str) -> Mapping[Kind, str]:
    """The preprocessing by kind of a likelihood with its default options; none where it has options without a default."""
    said = LIKELIHOODS.line(name).preprocess
    if said is not None:
        return said
    family = _with_defaults(name)
    return {} if family is None else by_support(family)


def _with_defaults(name: str) -> Family | None:
    """A likelihood with its default options; None where one has no default."""
    try:
        return LIKELIHOODS[name]()
    except TypeError:
        return None


def fitting(spec: DataSpec, x: Tensor | None = None) -> list[str]:
    """Names of at most four likelihoods for data of this kind; those that need no preprocessing come first.

    Args:
        spec: The data.
        x: The data themselves: likelihoods with values outside their support are left out; with None they are included.

    Example:
        >>> fitting(DataSpec(event_shape=(2,), kind="counts"))
        ['binomial', 'poisson', 'negative_binomial', 'normal']
    """
    wanted = {name: preprocess_by_default(name) for name in LIKELIHOODS}
    names = sorted((name for name in wanted if spec.kind in wanted[name]), key=lambda name: wanted[name][spec.kind] != "none")
    inside = (name for name in names if x is None or wanted[name][spec.kind] != "none" or _all_inside(name, spec, x))
    return list(itertools.islice(inside, SUGGESTED))


def _all_inside(name: str, spec: DataSpec, x: Tensor) -> bool:
    family = _with_defaults(name)
    return family is not None and not _outside(family, spec, x).any()


def _as_another_kind(wanted: Mapping[Kind, str], spec: DataSpec, x: Tensor | None) -> str:
    """Options that turn whole numbers into data that a likelihood models, for the beginning of a remedy."""
    if x is None or (x < 0).any() or (x != x.floor()).any():
        return ""
    if wanted.get("counts") == "none" and spec.kind in ("reals", "binary"):
        return f"give {option('data.kind', 'counts')}, for all are whole numbers, or "
    if wanted.get("levels") == "none" and spec.kind in ("reals", "counts") and x.max() < MOST_LEVELS:
        levels = f"{option('data.kind', 'levels')} {option('data.levels', int(x.max()) + 1)}"
        return f"give {levels}, for all are whole numbers below it, or "
    return ""


def default_preprocess(family: Family, spec: DataSpec, x: Tensor | None = None) -> str:
    """The name of the preprocessing that makes data of this kind fit the likelihood.

    Args:
        family: The likelihood's.
        spec: The data.
        x: The data themselves, for the error to name a value; not needed.

    Raises:
        UserError: If no preprocessing does; the error names likelihoods that fit.

    Example:
        >>> default_preprocess(Bernoulli(), DataSpec(event_shape=(8, 8), kind="levels", levels=17))
        'binarise'
    """
    name, wanted = shown_name(family), preprocess_of(family)
    if spec.kind in wanted:
        return wanted[spec.kind]
    remedy = f"{_as_another_kind(wanted, spec, x)}try {option('likelihood', *fitting(spec, x))}"
    if wanted.get("binary") == "none":
        binarise = f"{option('preprocess', 'binarise')} {option('preprocess.threshold', metavar='T')}"
        remedy += f", or {binarise} (which makes it another data set)"
    example = ""
    if x is not None:
        outside = _outside(family, spec, x).nonzero()
        example = "".join(f" (value {x[tuple(i)].item():.6g} at {tuple(i.tolist())})" for i in outside[:1])
    raise UserError("likelihood", name, f"does not model data of the kind {spec.kind}{example}", remedy)
