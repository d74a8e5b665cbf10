"""Densities, one a file: raw parameters -> distribution, each used in every role that it can serve."""

from pyrovae.families.bernoulli import Bernoulli
from pyrovae.families.binomial import Binomial
from pyrovae.families.normal import Normal

__all__ = ["Bernoulli", "Binomial", "Normal"]
