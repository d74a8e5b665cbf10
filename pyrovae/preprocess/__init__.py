"""Data -> the support that a likelihood needs, with log|det J|, or a declared quantiser."""

from __future__ import annotations

from pyrovae.contracts import Preprocess
from pyrovae.contracts.tables import Table
from pyrovae.preprocess.binarise import Binarise
from pyrovae.preprocess.dequantise import Dequantise
from pyrovae.preprocess.none import NoPreprocess
from pyrovae.preprocess.squeeze import Squeeze
from pyrovae.preprocess.standardise import Standardise

PREPROCESSES = Table(
    "preprocess",
    Preprocess,
    "preprocesses",
    {
        "none": NoPreprocess,
        "binarise": Binarise,
        "dequantise": Dequantise,
        "squeeze": Squeeze,
        "standardise": Standardise,
    },
)
