"""What a Python user passes as data, latents, noise or a description of data -> ours, or an error in our words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from pyrovae.contracts import Attribute, DataSpec, Density, Kind, Transform
from pyrovae.errors import UserError, check_integer, check_is
from pyrovae.inputs.fitting import outside
from pyrovae.preprocess.dequantise import DEQUANTISED


def as_tensor(name: str, value: Any) -> Tensor:
    """Real numbers, integers or bits, as a tensor.

    Raises:
        UserError: If it is something else.
    """
    try:
        # Python's own numbers are float64, which torch would round.
        tensor = torch.as_tensor(value, dtype=None if hasattr(value, "dtype") else torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(name, value, "needs a tensor, an array or a list of numbers") from error
    if tensor.is_complex():
        raise UserError(name, value, "needs real numbers")
    return tensor


def as_data(name: str, value: Any, event_shape: tuple[int, ...]) -> Tensor:
    """Numbers as a tensor (*, *E).

    Raises:
        UserError: If they are not numbers, or have another shape.
    """
    x = as_tensor(name, value)
    if x.shape[max(0, x.dim() - len(event_shape)) :] != event_shape:
        raise UserError(name, x, f"needs shape (..., {', '.join(map(str, event_shape))})")
    return x


def as_codes(name: str, value: Any) -> Tensor:
    """Codes of labels as a tensor of integers.

    Raises:
        UserError: If they are something else.
    """
    codes = as_tensor(name, value)
    if (codes.is_floating_point() and bool((codes != codes.floor()).any())) or bool((codes < 0).any()):
        raise UserError(name, value, "needs the codes of labels, integers from 0 up")
    return codes.long()


def as_noise(name: str, value: Any, shape: Sequence[int]) -> Tensor:
    """Uniform noise in [0, 1) as a tensor of that shape.

    Raises:
        UserError: If it is something else.
    """
    u = as_tensor(name, value)
    if u.shape != tuple(shape) or not ((u >= 0) & (u < 1)).all():
        raise UserError(name, u, f"needs numbers from 0 to below 1, of the shape {tuple(shape)}")
    return u


def as_preprocessed(value: Any, transform: Transform, density: Density, like: Tensor) -> Tensor:
    """Preprocessed data as a tensor (*, *E) in the precision and on the device of the model.

    Args:
        value: The data.
        transform: The preprocessing that they are to have passed.
        density: The likelihood that they are for.
        like: A parameter of the model.

    Raises:
        UserError: If they cannot be preprocessed data: whole numbers by type, or where dequantised ones are due, or values that
            have no density under the likelihood.
    """
    raw = "data as they were given are for vae.encode(x)"
    if not (isinstance(value, Tensor) and value.is_floating_point()):
        raise UserError("y", value, "preprocessed data are a tensor of floating-point numbers", raw)
    y = as_data("y", value, transform.given.event_shape).to(like)
    if transform.number_kind == DEQUANTISED and bool((y == y.floor()).all()) and bool((y > 1).any()):
        raise UserError("y", y, "has whole numbers only, which dequantised data never have", raw)
    bad = ~density.support.check(y)
    if bad.any():
        first = tuple(bad.nonzero()[0].tolist())
        raise UserError("y", y, f"has {y[first].item():g} at {first}, which is {outside(density)}", raw)
    return y


def check_values(name: str, x: Tensor, spec: DataSpec) -> None:
    """Refuse values that data of this kind cannot have.

    Raises:
        UserError: With the first of them.
    """
    top = math.inf if spec.levels is None else spec.levels - 1
    bad = ~torch.isfinite(x)
    if spec.kind != "reals":
        bad |= (x < 0) | (x > top) | (x != x.floor())
    if bad.any():
        first = tuple(bad.nonzero()[0].tolist())
        allowed = {"reals": "finite numbers", "counts": "integers from 0 up"}.get(spec.kind, f"integers 0..{top}")
        raise UserError(name, x, f"has {x[first].item():g} at {first}", f"the data that the VAE was made for are {allowed}")


def data_spec(
    event_shape: Sequence[int],
    kind: Kind,
    levels: int | None,
    labels: Sequence[Attribute | Mapping[str, Any]],
    columns: Sequence[str],
) -> DataSpec:
    """The description of a datum that a VAE is given.

    Raises:
        UserError: If one of these is something else, or they do not fit each other.
    """
    sizes = _sizes(event_shape)
    if not isinstance(kind, str) or kind not in get_args(Kind):
        raise UserError("kind", kind, f"is none of {', '.join(get_args(Kind))}")
    if levels is not None:
        levels = check_integer("levels", levels, 2)
    if kind == "levels" and levels is None:
        raise UserError("kind", kind, "needs the number of levels", "give levels, the number of values")
    if levels is not None and kind in ("reals", "counts"):
        raise UserError("levels", levels, f"{kind} have none", "leave it out, or say kind='levels'")
    named = _labels(labels)
    one_class = len(named) == 1 and named[0].name == "class"
    return DataSpec(
        sizes,
        kind,
        {"levels": levels, "binary": 2}.get(kind),
        class_names=named[0].values if one_class else (),
        attributes=() if one_class else named,
        columns=_columns(sizes, columns),
    )


def _columns(event_shape: tuple[int, ...], columns: Sequence[str]) -> tuple[str, ...]:
    check_is("columns", columns, Sequence, "the names of the columns of a table, dataset.spec.columns")
    names = tuple(map(str, columns))
    if names and (event_shape != (len(names),) or len(set(names)) < len(names)):
        raise UserError("columns", list(names), "needs a name for each element of a datum, all different")
    return names


def _labels(labels: Sequence[Attribute | Mapping[str, Any]]) -> tuple[Attribute, ...]:
    wanted = "what data are labelled with: dataset.spec.labels, or {'name': ..., 'values': [...]} each"
    try:
        return tuple(a if isinstance(a, Attribute) else Attribute(str(a["name"]), tuple(map(str, a["values"]))) for a in labels)
    except (TypeError, KeyError, IndexError) as error:
        raise UserError("labels", labels, f"needs {wanted}") from error


def _sizes(event_shape: Sequence[int]) -> tuple[int, ...]:
    sizes = event_shape.tolist() if hasattr(event_shape, "tolist") else event_shape
    if not isinstance(sizes, Sequence) or isinstance(sizes, str | bytes) or not sizes:
        raise UserError("event_shape", event_shape, "needs the sizes of at least one dimension, such as (28, 28) or (1,)")
    return tuple(check_integer("event_shape", size, 1) for size in sizes)
