"""Labels as they are written, integers or text, -> codes and the names of the codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from pyrovae.contracts import Attribute

MISSING = ("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "<NA>", "null", "NULL")
"""How programs write that a value is not known: no class of its own."""


@final
@dataclass(frozen=True)
class Labels:
    """The labels of a data set; by default it has none.

    Args:
        y: Codes, (N,) where a datum has one label, (N, A) where it has several.
        class_names: Names of the codes of the one label; else empty.
        attributes: The labels where a datum has several; else empty.
    """

    y: Tensor | None = None
    class_names: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()


def one_label(values: np.ndarray) -> Labels:
    """A label of every datum.

    Args:
        values: Integers or text, (N,); their codes are in sorted order.

    Example:
        >>> one_label(np.array(["dog", "ant", "dog"]))
        Labels(y=tensor([1, 0, 1]), class_names=('ant', 'dog'), attributes=())
    """
    names, codes = np.unique(values, return_inverse=True)
    return Labels(torch.from_numpy(codes).long(), tuple(str(name) for name in names))


def several_labels(columns: Mapping[str, np.ndarray]) -> Labels:
    """Several labels of every datum.

    Args:
        columns: Name of a label -> its values, (N,), as in ``one_label``.
    """
    labels = {name: one_label(values) for name, values in columns.items()}
    codes = torch.stack([label.y for label in labels.values()], dim=1)
    return Labels(codes, attributes=tuple(Attribute(name, label.class_names) for name, label in labels.items()))
