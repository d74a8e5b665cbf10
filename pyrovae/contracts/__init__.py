"""The interfaces between the parts of a VAE: abstract parts and the description of the data.

Shapes: ``*`` any batch, ``B`` data in a batch, ``D`` latent size, ``E`` event shape of x, ``P`` parameters per element,
``C`` size of the context's embedding (0 without a context). Every part is a frozen dataclass whose fields are the
options of the command line; ``build`` turns it into a module once the shapes are known.
"""

from __future__ import annotations

from pyrovae.contracts.context import Context, ContextModule
from pyrovae.contracts.distribution import Distribution, Shape
from pyrovae.contracts.estimator import Estimator
from pyrovae.contracts.evidence import ESTIMATED, LOWER_BOUND, Evidence, Trust
from pyrovae.contracts.family import Density, Family
from pyrovae.contracts.network import Network
from pyrovae.contracts.objective import Engine, Model, Objective
from pyrovae.contracts.part import Part, options_of
from pyrovae.contracts.preprocess import Preprocess, Transform
from pyrovae.contracts.prior import Encode, Prior, PriorModule
from pyrovae.contracts.spec import Attribute, DataSpec, Kind

__all__ = [
    "ESTIMATED",
    "LOWER_BOUND",
    "Attribute",
    "Context",
    "ContextModule",
    "DataSpec",
    "Density",
    "Distribution",
    "Encode",
    "Engine",
    "Estimator",
    "Evidence",
    "Family",
    "Kind",
    "Model",
    "Network",
    "Objective",
    "Part",
    "Preprocess",
    "Prior",
    "PriorModule",
    "Shape",
    "Transform",
    "Trust",
    "options_of",
]
