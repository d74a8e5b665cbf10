"""Labels as they are written, integers or text, -> codes and the names of the codes."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from pyrovae.contracts import Attribute
from pyrovae.data.written import in_order, is_number

MISSING: tuple[str, ...] = ("", "nan", "NaN", "NAN", "-nan", "-NaN", "NaT", "NA", "#NA", "#N/A", "#N/A N/A", "N/A", "n/a", "<NA>")
MISSING += ("null", "NULL", "None", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN")
"""How programs write that a value is not known, those that pandas reads so among them: no class of its own."""


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
    return Labels(*coded(values))


def coded(values: np.ndarray) -> tuple[Tensor, tuple[str, ...]]:
    """The codes (N,) of integers or text (N,), in sorted order, and the names of the codes."""
    names, codes = np.unique(values, return_inverse=True)
    return torch.from_numpy(codes).long(), tuple(str(name) for name in names)


def label_in_words(name: str, texts: Sequence[str]) -> Labels:
    """A label of every datum, each spelling a class; numbers are in their order, so that 10 comes after 9.

    Args:
        name: What the label is called, for the warning that two classes are the same number.
        texts: (N,).

    Example:
        >>> label_in_words("size", ["10", "9", "10"])
        Labels(y=tensor([1, 0, 1]), class_names=('9', '10'), attributes=())
    """
    names = set(texts)
    numbers = all(map(is_number, names))
    values = sorted(names, key=in_order if numbers else None)
    if numbers:
        for first, second in itertools.pairwise(values):
            if in_order(first)[0] == in_order(second)[0]:
                warnings.warn(
                    f"{name}: {first} and {second} are one number and two classes; write them alike if they are one",
                    UserWarning,
                    stacklevel=2,
                )
                break
    codes = {text: code for code, text in enumerate(values)}
    return Labels(torch.tensor([codes[text] for text in texts]), tuple(values))


def several_labels(labels: Mapping[str, Labels]) -> Labels:
    """Several labels of every datum.

    Args:
        labels: Name of a label -> what ``one_label`` or ``label_in_words`` returned.
    """
    codes = torch.stack([label.y for label in labels.values() if label.y is not None], dim=1)
    return Labels(codes, attributes=tuple(Attribute(name, label.class_names) for name, label in labels.items()))
