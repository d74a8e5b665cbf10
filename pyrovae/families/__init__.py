"""Densities, one a file: raw parameters -> distribution, each used in every role that it can serve."""

from pyrovae.families.bernoulli import Bernoulli
from pyrovae.families.beta import Beta
from pyrovae.families.binomial import Binomial
from pyrovae.families.categorical import Categorical
from pyrovae.families.continuous_bernoulli import ContinuousBernoulli
from pyrovae.families.laplace import Laplace
from pyrovae.families.log_normal import LogNormal
from pyrovae.families.logistic import Logistic
from pyrovae.families.negative_binomial import NegativeBinomial
from pyrovae.families.normal import Normal
from pyrovae.families.poisson import Poisson
from pyrovae.families.student_t import StudentT

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ContinuousBernoulli",
    "Laplace",
    "LogNormal",
    "Logistic",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "StudentT",
]
