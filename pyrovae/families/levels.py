"""What densities of the levels 0..L-1 share."""

from __future__ import annotations

from pyrovae.contracts import DataSpec
from pyrovae.errors import UserError, option


def number_of_levels(family: str, spec: DataSpec) -> int:
    """L, which these densities take from the data.

    Raises:
        UserError: If the data have no levels.
    """
    if spec.levels is None:
        raise UserError(
            "likelihood",
            family,
            f"{spec.kind} data have no number of levels",
            f"give {option('data.levels', metavar='L')}, or levels=L of the VAE",
        )
    return spec.levels
