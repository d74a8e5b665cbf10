"""Data that share a context are measured together."""

from __future__ import annotations

import torch
from torch import Tensor


def distinct(c: Tensor | None, count: int, device: torch.device) -> tuple[list[Tensor | None], Tensor]:
    """The contexts of some data, each once, and which of them each datum has; one None without a context.

    Args:
        c: Contexts (count, ...), or None.
        count: Number of data.
        device: Where the numbers are wanted.

    Example:
        >>> contexts, which = distinct(torch.tensor([7, 3, 7]), 3, torch.device("cpu"))
        >>> [c.item() for c in contexts], which.tolist()
        ([3, 7], [1, 0, 1])
    """
    if c is None:
        return [None], torch.zeros(count, dtype=torch.long, device=device)
    values, which = torch.unique(c, dim=0, return_inverse=True)
    return list(values), which.to(device)
