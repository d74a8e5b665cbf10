"""The evidence without Monte Carlo error, for the models that have it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.contracts import Evidence
from pyrovae.errors import UserError, check_number
from pyrovae.evidence.exact import enumeration, linear_gaussian
from pyrovae.evidence.exact.enumeration import MOST_BITS
from pyrovae.evidence.exact.linear_gaussian import is_linear_gaussian
from pyrovae.evidence.exact.quadrature import MOST_LATENTS, has_quadrature, quadrature
from pyrovae.evidence.importance.estimators import ROWS, rows_at_a_time
from pyrovae.evidence.scoring import as_evidence, check_density, score
from pyrovae.parts import name_of
from pyrovae.vae import VAE

LINEAR_GAUSSIAN, ENUMERATION, QUADRATURE = "linear-Gaussian", "enumeration", "quadrature"

SMALLEST_TOLERANCE = 1e-10
"""Below, the rounding of float64 log-densities of a thousand elements would be most of the error."""

DATA_ROWS = {LINEAR_GAUSSIAN: 1000, ENUMERATION: 50, QUADRATURE: 100}
"""Data measured at a time: with more of them decoded points are shared by more, and more memory is taken."""


def exact_method(vae: VAE) -> str:
    """How the evidence of a model is known: ``linear-Gaussian`` (closed form), ``enumeration`` or ``quadrature``.

    Raises:
        UserError: If it is not, saying why and what there is instead.
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
        f"--estimator exact: needs a linear Gaussian model, at most {MOST_BITS} Bernoulli latents or at most {MOST_LATENTS} "
        f"latents; this one has {vae.latent_dim} {'Bernoulli ' if _has_bits(vae) else ''}latents, "
        f"network {names['network']}, likelihood {names['likelihood']} and prior {names['prior']}; "
        "use --estimator annealed, importance or bdmc"
    )


def exact(
    vae: VAE,
    x: Tensor,
    c: Tensor | None = None,
    *,
    tolerance: float = 1e-4,
    seed: int = 0,
    index: Tensor | None = None,
    rows: int = ROWS,
    dequantisations: int = 1,
) -> Evidence:
    """log p(x) of each datum, by the first of three ways that the model allows; the guide has no part in any.

    Linear-Gaussian: p(y|c) = N(W m + b, W S W' + N) for z ~ N(m, S), y|z ~ N(W z + b, N), N diagonal. Enumeration, at most
    12 Bernoulli latents: p(y|c) = sum_z p(z|c) p(y|z,c). Quadrature, one or two continuous latents: p(y|c) = int p(z|c)
    p(y|z,c) dz, by cells that are split until the estimated error is below the tolerance. All in float64.

    Args:
        vae: The model, of any precision.
        x: Data (N, *E) as they were given; preprocessing and its Jacobian are applied here.
        c: Context, or None.
        tolerance: Of quadrature: absolute error of log p(x) in nats, relative error of p(x).
        seed: Of dequantisation or binarisation.
        index: Row of each datum in its data set, (N,); 0..N-1 where it is not given.
        rows: States or points x data at a time; no number depends on it beyond rounding (of quadrature, the tolerance).
        dequantisations: Draws of the uniform noise for each datum where levels are dequantised: the bound's mean over them,
            and their standard error as the error.

    Returns:
        Per datum in nats, higher is better. Diagnostics (N,): ``log_evidence``; ``log_evidence_error``, for quadrature an
        estimate of the absolute error in nats, else 0; ``converged``, 1 where that is within the tolerance, else 0.

    Raises:
        UserError: If the model allows none of the three, the tolerance is out of range, the data have no density under the
            likelihood, or a log-density is NaN or +inf.
    """
    if check_number("tolerance", tolerance, minimum=SMALLEST_TOLERANCE) >= 1:
        raise UserError(f"--tolerance {tolerance}: is a relative error of p(x), needs a number below 1, such as 1e-4")
    method = exact_method(vae)
    vae = copy.deepcopy(vae).double()
    measure = {LINEAR_GAUSSIAN: _linear_gaussian, ENUMERATION: _enumerated, QUADRATURE: _quadrature}[method]
    rows = rows_at_a_time(vae, rows)

    def measured(y: Tensor, c: Tensor | None, data: list[int], draw: int) -> dict[str, Tensor]:
        found = measure(vae, y, c, data, tolerance, rows)
        log_evidence = found["log_evidence"] + vae.transform.log_abs_det_jacobian()
        return found | {"log_evidence": log_evidence, "quadrature_error": found["log_evidence_error"]}

    data_rows = DATA_ROWS[method]
    return as_evidence(score(vae, x, c, measured, index=index, seed=seed, dequantisations=dequantisations, data_rows=data_rows))


def _has_bits(vae: VAE) -> bool:
    return repr(vae.prior_module.support) == repr(constraints.boolean)


def _linear_gaussian(vae: VAE, y: Tensor, c: Tensor | None, data: list[int], tolerance: float, rows: int) -> dict[str, Tensor]:
    return _closed_form(linear_gaussian.log_evidence(vae, y, c))


def _enumerated(vae: VAE, y: Tensor, c: Tensor | None, data: list[int], tolerance: float, rows: int) -> dict[str, Tensor]:
    return _closed_form(enumeration.log_evidence(vae, y, c, data, rows))


def _closed_form(log_evidence: Tensor) -> dict[str, Tensor]:
    zero = torch.zeros_like(log_evidence)
    return {"log_evidence": log_evidence, "log_evidence_error": zero, "converged": zero + 1}


def _quadrature(vae: VAE, y: Tensor, c: Tensor | None, data: list[int], tolerance: float, rows: int) -> dict[str, Tensor]:
    found = quadrature(vae, y, c, data, tolerance, rows)
    return {"log_evidence": found.log_evidence, "log_evidence_error": found.error, "converged": found.converged}
