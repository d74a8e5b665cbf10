"""Encoders and decoders."""

from __future__ import annotations

from pyrovae.contracts import Network
from pyrovae.contracts.tables import Table
from pyrovae.networks.conv import Conv
from pyrovae.networks.linear import Linear
from pyrovae.networks.mlp import Mlp
from pyrovae.networks.modules import Modules
from pyrovae.networks.residual import Residual
from pyrovae.networks.tied import Tied

NETWORKS = Table(
    "network",
    Network,
    "networks",
    {
        "linear": Linear,
        "mlp": Mlp,
        "conv": Conv,
        "residual": Residual,
        "tied": Tied,
    },
    unlisted={"modules": Modules},
)
