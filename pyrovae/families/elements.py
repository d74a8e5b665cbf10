"""The distribution of single elements and that of the whole event."""

from __future__ import annotations

from typing import Any

from pyrovae.contracts import DataSpec, Distribution


def joint(elements: Distribution, spec: DataSpec) -> Distribution:
    """Independent elements, batch shape (*, *E), as the distribution of an event: batch shape ``*``, event shape E."""
    return elements.to_event(len(spec.event_shape))


def elements_of(distribution: Distribution) -> Any:
    """The distribution of the elements that ``joint`` was given, with its parameters; itself where it is no product of them."""
    return getattr(distribution, "base_dist", distribution)
