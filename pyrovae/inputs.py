"""What a Python user passes as data, latents or noise -> tensors, or an error in our words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.contracts import Attribute, DataSpec
from pyrovae.errors import UserError, check_integer, shown


def as_tensor(name: str, value: Any) -> Tensor:
    """Real numbers, integers or bits as a tensor.

    Raises:
        UserError: If it is something else.
    """
    try:
        # Python's own numbers are float64, which torch would round.
        tensor = torch.as_tensor(value, dtype=None if hasattr(value, "dtype") else torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(f"{name} {shown(value)}: needs a tensor, an array or a list of numbers") from error
    if tensor.is_complex():
        raise UserError(f"{name} {shown(value)}: needs real numbers")
    return tensor


def as_data(name: str, value: Any, event_shape: tuple[int, ...]) -> Tensor:
    """Numbers as a tensor (*, *E).

    Raises:
        UserError: If they are none, or have another shape.
    """
    x = as_tensor(name, value)
    if x.shape[max(0, x.dim() - len(event_shape)) :] != event_shape:
        raise UserError(f"{name} has shape {tuple(x.shape)}; needs (..., {', '.join(map(str, event_shape))})")
    return x


def as_noise(name: str, value: Any, shape: Sequence[int]) -> Tensor:
    """Uniform noise in [0, 1) as a tensor of that shape.

    Raises:
        UserError: If it is something else.
    """
    u = as_tensor(name, value)
    if u.shape != tuple(shape) or not ((u >= 0) & (u < 1)).all():
        raise UserError(f"{name} {shown(u)}: needs numbers from 0 to below 1, of the shape {tuple(shape)}")
    return u


def check_values(name: str, x: Tensor, spec: DataSpec) -> None:
    """Refuse values that data of that kind cannot have.

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
        raise UserError(f"{name} has {x[first].item():g} at {first}; the data that the VAE was made for are {allowed}")


def labels_of(labels: Sequence[Attribute | Mapping[str, Any]]) -> tuple[Attribute, ...]:
    """What data are labelled with.

    Raises:
        UserError: If something else is given.
    """
    wanted = "what data are labelled with: dataset.spec.labels, or {'name': ..., 'values': [...]} each"
    try:
        return tuple(a if isinstance(a, Attribute) else Attribute(str(a["name"]), tuple(map(str, a["values"]))) for a in labels)
    except (TypeError, KeyError, IndexError) as error:
        raise UserError(f"labels {shown(labels)}: needs {wanted}") from error


def sizes_of(event_shape: Sequence[int]) -> tuple[int, ...]:
    """An event shape as a tuple of Python's own integers.

    Raises:
        UserError: If it is none.
    """
    sizes = event_shape.tolist() if hasattr(event_shape, "tolist") else event_shape
    if not isinstance(sizes, Sequence) or isinstance(sizes, str | bytes) or not sizes:
        raise UserError(f"event_shape {shown(event_shape)}: needs the sizes of at least one dimension, such as (28, 28) or (1,)")
    return tuple(check_integer("event_shape", size, 1) for size in sizes)
