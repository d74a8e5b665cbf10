"""What a datum is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, final

Kind = Literal["levels", "counts", "reals", "binary"]


@final
@dataclass(frozen=True)
class Attribute:
    """A label that every datum has.

    Args:
        name: Its name, such as ``glasses``; ``class`` where it is the only one and has none of its own.
        values: Names of its codes 0, 1, ...
    """

    name: str
    values: tuple[str, ...]


@final
@dataclass(frozen=True)
class DataSpec:
    """The description of a datum, independent of the model.

    Args:
        event_shape: Shape E of one datum.
        kind: ``levels`` (integers 0..levels-1, such as bytes), ``counts`` (integers from 0 up), ``binary`` (0 or 1)
            or ``reals``.
        levels: Number of levels; None for counts and reals.
        class_names: Names of the labels 0, 1, ... where a datum has one label, y (N,); else empty.
        attributes: The labels where a datum has several, y (N, A); else empty.
        columns: Names of the elements of a datum that is a row of a table, (*E,) = (number of columns,); else empty.
    """

    event_shape: tuple[int, ...]
    kind: Kind = "reals"
    levels: int | None = None
    class_names: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    # What elements are called is no part of what a model is: digests of models are made of the representation.
    columns: tuple[str, ...] = field(default=(), repr=False)

    @property
    def labels(self) -> tuple[Attribute, ...]:
        """The labels of a datum: the class, or the attributes; empty without labels."""
        return self.attributes or ((Attribute("class", self.class_names),) if self.class_names else ())

    @property
    def size(self) -> int:
        """Number of elements of one datum."""
        return math.prod(self.event_shape)
