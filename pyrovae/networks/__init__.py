"""Encoders and decoders."""

from __future__ import annotations

from pyrovae.contracts import Network
from pyrovae.networks.linear import Linear
from pyrovae.networks.mlp import Mlp

NETWORKS: dict[str, type[Network]] = {"linear": Linear, "mlp": Mlp}
