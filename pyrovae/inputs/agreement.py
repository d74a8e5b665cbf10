"""Parts that do not fit each other or the data they are built for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrovae.contracts import Density, Family, PriorModule, Transform
from pyrovae.contracts.supports import Support, as_support
from pyrovae.errors import NOT_GIVEN, UserError, option
from pyrovae.likelihoods import default_preprocess
from pyrovae.parts import name_of


def check_latents(parts: Mapping[str, Any], prior: PriorModule, support: Support) -> None:
    """Refuse a prior and a posterior that do not describe the same latents.

    Args:
        parts: ``prior`` and ``posterior`` as options.
        prior: The module that was built of the prior.
        support: Of the posterior.

    Raises:
        UserError: If their supports differ, or the posterior has no density and the prior has parameters to be trained.
    """
    names = {role: name_of(role, parts[role]) for role in ("prior", "posterior")}
    natural = parts["prior"].natural_posterior
    of_prior = as_support(prior.support)
    if of_prior != support:
        raise UserError(
            "posterior",
            names["posterior"],
            f"lives on {support}, {option('prior', names['prior'])} on {of_prior}: they must agree",
            f"try {option('posterior', natural)}",
        )
    if not parts["posterior"].has_density and any(True for _ in prior.parameters()):
        raise UserError(
            "posterior",
            names["posterior"],
            f"masks the prior, so nothing would train the parameters of {option('prior', names['prior'])}",
            f"use {option('prior', 'normal')}, or {option('posterior', natural)}",
        )


def check_kind(likelihood: Family, transform: Transform) -> None:
    """Refuse a preprocessing that turns the data into a kind that the likelihood does not model.

    Raises:
        UserError: Naming the preprocessing that the likelihood wants for such data.
    """
    wanted = default_preprocess(likelihood, transform.made)
    if wanted != "none":
        raise UserError(
            "likelihood",
            name_of("likelihood", likelihood),
            f"is no probability of {transform.made.kind} data as they are",
            f"use {option('preprocess', wanted)}, or {option('data.kind')} to say what the data are",
        )


def check_made(likelihood: Family, density: Density, transform: Transform) -> None:
    """Refuse data if their preprocessed values have a different support than the density was built for.

    Args:
        likelihood: The likelihood, as an option.
        density: The same, built.
        transform: The preprocessing, fitted to the data.

    Raises:
        UserError: Naming the number of levels to build with.
    """
    check_kind(likelihood, transform)
    support = as_support(likelihood.support(transform.made))
    if support != density.support:
        raise UserError(
            "data",
            NOT_GIVEN,
            f"are {support}, the VAE was built for data that are {density.support}",
            f"build it with {option('levels', transform.given.levels)}",
        )
