"""Batch sizes for decoding."""

from __future__ import annotations

import math

from pyrovae.vae import VAE

ROWS = 2000
"""Samples x data that are decoded at a time: enough for the matrix products, few enough for the cache."""

ELEMENTS = 2**24
"""Parameters of the likelihood that are decoded at a time, at most: 64 MiB in float32."""


def rows_at_a_time(vae: VAE, rows: int) -> int:
    """``rows``, reduced if their likelihood parameters would exceed the memory limit."""
    return max(1, min(rows, ELEMENTS // math.prod(vae.likelihood_density.params_shape)))
