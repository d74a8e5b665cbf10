"""Chooses the method by which the evidence of a model is computed exactly."""

from __future__ import annotations

from pyrovae.contracts.supports import BITS, as_support
from pyrovae.errors import UserError, option
from pyrovae.evidence.exact.enumeration import MOST_BITS
from pyrovae.evidence.exact.linear_gaussian import is_linear_gaussian
from pyrovae.evidence.exact.quadrature import MOST_LATENTS, has_quadrature
from pyrovae.evidence.scoring import check_density
from pyrovae.parts import name_of
from pyrovae.vae import VAE

LINEAR_GAUSSIAN, ENUMERATION, QUADRATURE = "linear-Gaussian", "enumeration", "quadrature"


def exact_method(vae: VAE) -> str:
    """The method for the exact evidence of a model: ``linear-Gaussian`` (closed form), ``enumeration`` or ``quadrature``.

    Raises:
        UserError: If there is none; it says why and what to use instead.
    """
    check_density(vae, "exact")
    if is_linear_gaussian(vae):
        return LINEAR_GAUSSIAN
    if _has_bits(vae) and vae.latent_dim <= MOST_BITS:
        return ENUMERATION
    if has_quadrature(vae):
        return QUADRATURE
    names = {role: name_of(role, vae.parts[role]) for role in ("network", "likelihood", "prior")}
    raise UserError(
        "estimator",
        "exact",
        f"needs a linear Gaussian model, at most {MOST_BITS} Bernoulli latents or at most {MOST_LATENTS} "
        f"latents; this one has {vae.latent_dim} {'Bernoulli ' if _has_bits(vae) else ''}latents, "
        f"network {names['network']}, likelihood {names['likelihood']} and prior {names['prior']}",
        f"use {option('estimator', 'annealed')}, importance or bdmc",
    )


def _has_bits(vae: VAE) -> bool:
    return as_support(vae.prior_module.support) == BITS
