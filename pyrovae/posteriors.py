"""The role q(z|x,c): the families that an encoder may parametrise."""

from __future__ import annotations

from pyrovae.contracts import Family
from pyrovae.contracts.tables import Table
from pyrovae.families.bernoulli import Bernoulli
from pyrovae.families.beta import Beta
from pyrovae.families.delta import Delta
from pyrovae.families.flow import Flow
from pyrovae.families.full_normal import FullNormal
from pyrovae.families.normal import Normal

POSTERIORS = Table(
    "posterior",
    Family,
    "posteriors",
    {
        "normal": Normal,
        "full_normal": FullNormal,
        "beta": Beta,
        "bernoulli": Bernoulli,
        "flow": Flow,
        "delta": Delta,
    },
)
