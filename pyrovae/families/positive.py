"""Unconstrained numbers -> positive ones, within bounds that float32 can work with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BOUND = 8.0

COUNTS = 24 * math.log(2)
"""The bound of a rate of counts, e^COUNTS = 2^24: above it float32 does not tell neighbouring counts apart."""


def bounded_exp(raw: Tensor, bound: float = BOUND) -> Tensor:
    """exp(bound tanh(raw / bound)): positive, within [e^-bound, e^bound], exactly 1 at 0, like exp near it.

    Args:
        raw: Any shape; the logarithm of the result where |raw| is well below the bound.
        bound: Above 0; 8 keeps the result within [3.4e-4, 2981].

    Example:
        >>> bounded_exp(torch.tensor([0.0, 1000.0]))
        tensor([1.0000e+00, 2.9810e+03])
    """
    return torch.exp(bound * torch.tanh(raw / bound))
