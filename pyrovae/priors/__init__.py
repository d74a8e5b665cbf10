"""The role p(z) or p(z|c)."""

from __future__ import annotations

from pyrovae.contracts import Prior
from pyrovae.contracts.tables import Table
from pyrovae.priors.bernoulli import FixedBernoulli
from pyrovae.priors.beta import FixedBeta
from pyrovae.priors.flow import Flow
from pyrovae.priors.laplace import StandardLaplace
from pyrovae.priors.mixture import LearnedMixture
from pyrovae.priors.normal import StandardNormal
from pyrovae.priors.student_t import StandardStudentT
from pyrovae.priors.uniform import StandardUniform
from pyrovae.priors.vamp import Vamp

PRIORS = Table(
    "prior",
    Prior,
    "priors",
    {
        "normal": StandardNormal,
        "laplace": StandardLaplace,
        "student_t": StandardStudentT,
        "beta": FixedBeta,
        "uniform": StandardUniform,
        "bernoulli": FixedBernoulli,
        "mixture": LearnedMixture,
        "vamp": Vamp,
        "flow": Flow,
    },
)
