"""The role q(z|x,c): the families that an encoder may parametrise."""

from __future__ import annotations

from pyrovae.contracts import Family
from pyrovae.families import Normal

POSTERIORS: dict[str, type[Family]] = {"normal": Normal}
