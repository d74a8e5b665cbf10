"""Groups data that share a context."""

from __future__ import annotations

import torch
from torch import Tensor


def distinct(c: Tensor | None, count: int, device: torch.device) -> tuple[list[Tensor | None], Tensor]:
    """The distinct contexts of some data, and the number of each datum's context; a single None without a context.

    Args:
        c: Contexts (count, ...), or None.
        count: Number of data.
        device: Device of the numbers.

    Example:
        >>> contexts, which = distinct(torch.tensor([7, 3, 7]), 3, torch.device("cpu"))
        >>> [c.item() for c in contexts], which.tolist()
        ([3, 7], [1, 0, 1])
    """
    if c is None:
        return [None], torch.zeros(count, dtype=torch.long, device=device)
    values, which = torch.unique(c, dim=0, return_inverse=True)
    return list(values), which.to(device)
