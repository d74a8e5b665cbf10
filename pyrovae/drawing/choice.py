"""Chooses how data are drawn: as pictures, tables or curves."""

from __future__ import annotations

from pyrovae.contracts import DataSpec
from pyrovae.drawing.curves import Curves
from pyrovae.drawing.images import Images
from pyrovae.drawing.portraits import Limits, Portrait
from pyrovae.drawing.tables import Tables


def portrait_of(spec: DataSpec, limits: Limits | None) -> Portrait:
    """Pictures where the shape is (H, W), (1, H, W) or (3, H, W), tables where columns have names, else curves.

    Args:
        spec: The data.
        limits: The smallest and largest values that the data can have; None if they are unbounded.
    """
    shape = spec.event_shape
    if len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3)):
        return Images(spec, limits)
    return Tables(spec, limits) if spec.columns else Curves(spec, limits)
