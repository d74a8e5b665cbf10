"""How a training step is run."""

from __future__ import annotations

from pyrovae.engines.eager import Eager

__all__ = ["Eager"]
