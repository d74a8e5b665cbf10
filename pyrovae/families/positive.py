"""Unconstrained numbers -> positive ones, within bounds that float32 can work with."""

from __future__ import annotations

import torch
from torch import Tensor

BOUND = 8.0


def bounded_exp(raw: Tensor) -> Tensor:
    """exp(8 tanh(raw / 8)): positive, within [e^-8, e^8] = [3.4e-4, 2981], exactly 1 at 0, like exp near it.

    Args:
        raw: Any shape; the logarithm of the result where |raw| is well below 8.

    Example:
        >>> bounded_exp(torch.tensor([0.0, 1000.0]))
        tensor([1.0000e+00, 2.9810e+03])
    """
    return torch.exp(BOUND * torch.tanh(raw / BOUND))
