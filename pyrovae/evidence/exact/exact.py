"""The evidence without Monte Carlo error, for the models that have it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from pyrovae.contracts import Estimator, Evidence, Trust
from pyrovae.errors import UserError, check_integer, check_number, option
from pyrovae.evidence.exact import enumeration, linear_gaussian
from pyrovae.evidence.exact.method import ENUMERATION, LINEAR_GAUSSIAN, QUADRATURE, exact_method
from pyrovae.evidence.exact.quadrature import quadrature
from pyrovae.evidence.rows import ROWS, rows_at_a_time
from pyrovae.evidence.scoring import as_evidence, score
from pyrovae.vae import VAE

TOLERANCE = 1e-4
"""Of quadrature unless another is given."""

SMALLEST_TOLERANCE = 1e-10
"""Below, the rounding of float64 log-densities of a thousand elements would be most of the error."""

DATA_ROWS = {LINEAR_GAUSSIAN: 1000, ENUMERATION: 50, QUADRATURE: 100}
"""Data measured at a time: with more of them decoded points are shared by more, and more memory is taken."""


@final
@dataclass(frozen=True, kw_only=True)
class Exact(Estimator):
    """Evidence without Monte Carlo error, by the first of three methods that the model allows; none of them uses the guide.

    Linear-Gaussian: p(y|c) = N(W m + b, W S W' + N) for z ~ N(m, S), y|z ~ N(W z + b, N), N diagonal. Enumeration, at most
    12 Bernoulli latents: p(y|c) = sum_z p(z|c) p(y|z,c). Quadrature, one or two continuous latents: p(y|c) = int p(z|c)
    p(y|z,c) dz, by cells that are split until the estimated error is below the tolerance. All computations are in float64.

    Args:
        tolerance: Tolerance of the quadrature for 1 or 2 latents: absolute error of log p(x) in nats, relative error of p(x); the
            default is 1e-4. The other methods have none.
        dequantisations: Draws of the uniform noise per datum, where levels are dequantised. The bound is their mean, and their
            error is their standard error.

    Raises:
        UserError: If a number is out of range.
    """

    in_float64: ClassVar[bool] = True

    tolerance: float | None = None
    dequantisations: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("dequantisations", self.dequantisations, 1)
        if self.tolerance is None:
            return
        if check_number("tolerance", self.tolerance, minimum=SMALLEST_TOLERANCE) >= 1:
            raise UserError("tolerance", self.tolerance, "is a relative error of p(x), needs a number below 1, such as 1e-4")

    def check(self, vae: VAE) -> None:
        """Refuse a model that allows none of the three methods, and a tolerance for methods other than quadrature."""
        method = exact_method(vae)
        if self.tolerance is not None and method != QUADRATURE:
            raise UserError("tolerance", self.tolerance, f"is for quadrature, this model is solved by {method}", "leave it out")

    def settled(self, vae: VAE) -> Exact:
        """With the tolerance of quadrature."""
        if exact_method(vae) != QUADRATURE or self.tolerance is not None:
            return self
        return replace(self, tolerance=TOLERANCE)

    def measure(
        self,
        vae: VAE,
        x: Tensor,
        c: Tensor | None = None,
        *,
        seed: int = 0,
        index: Tensor | None = None,
        rows: int = ROWS,
    ) -> Evidence:
        """log p(x) of each datum, see ``Estimator.measure``.

        Args:
            vae: The model, of any precision.
            x: Data as they were given, (N, *E).
            c: Their contexts, or None.
            seed: Seed of dequantisation or binarisation.
            index: Row of each datum in its data set, (N,).
            rows: States or points x data at a time; it changes numbers only by rounding (for quadrature, within the tolerance).

        Returns:
            Diagnostics (N,): ``log_evidence``; ``log_evidence_error``, for quadrature an estimate of the absolute error in nats,
            else 0; ``quadrature_error``, the largest of these over draws of the noise; ``converged``, 1 where the error is within
            the tolerance, else 0.

        Raises:
            UserError: If the model allows none of the methods, the data have no density under the likelihood, or a log-density
                is NaN or +inf.
        """
        method, tolerance = exact_method(vae), TOLERANCE if self.tolerance is None else self.tolerance
        vae = copy.deepcopy(vae).double()
        measure = {LINEAR_GAUSSIAN: _linear_gaussian, ENUMERATION: _enumerated, QUADRATURE: _quadrature}[method]
        rows = rows_at_a_time(vae, rows)

        def measured(y: Tensor, c: Tensor | None, index: list[int], draw: int) -> dict[str, Tensor]:
            found = measure(vae, y, c, index, tolerance, rows)
            log_evidence = found["log_evidence"] + vae.transform.log_abs_det_jacobian()
            return found | {"log_evidence": log_evidence, "quadrature_error": found["log_evidence_error"]}

        data_rows, draws = DATA_ROWS[method], self.dequantisations
        return as_evidence(score(vae, x, c, measured, index=index, seed=seed, dequantisations=draws, data_rows=data_rows))

    def untrusted(self, arrays: Mapping[str, Tensor]) -> Trust:
        """Mark data as untrusted if quadrature has not reached the tolerance; the error is known nevertheless."""
        stopped = arrays["converged"] == 0
        return Trust(reasons={"tolerance": stopped}, unclear=torch.zeros_like(stopped), error_is_known=True)

    def warning(self, trust: Trust, arrays: Mapping[str, Tensor]) -> str:
        """Why data are untrusted, and what to try."""
        which = f"{int(trust.untrusted.sum())} of {len(trust.unclear)} data"
        return f"{which} did not reach the tolerance: see quadrature_error in the arrays; try a larger {option('tolerance')}"

    def method(self, vae: VAE) -> str:
        """``linear-Gaussian``, ``enumeration`` or ``quadrature``."""
        return exact_method(vae)

    def reported(self, vae: VAE) -> dict[str, Any]:
        """The tolerance, for quadrature only."""
        return {"tolerance": self.tolerance} if exact_method(vae) == QUADRATURE else {}


def _linear_gaussian(vae: VAE, y: Tensor, c: Tensor | None, index: list[int], tolerance: float, rows: int) -> dict[str, Tensor]:
    return _closed_form(linear_gaussian.log_evidence(vae, y, c))


def _enumerated(vae: VAE, y: Tensor, c: Tensor | None, index: list[int], tolerance: float, rows: int) -> dict[str, Tensor]:
    return _closed_form(enumeration.log_evidence(vae, y, c, index, rows))


def _closed_form(log_evidence: Tensor) -> dict[str, Tensor]:
    zero = torch.zeros_like(log_evidence)
    return {"log_evidence": log_evidence, "log_evidence_error": zero, "converged": zero + 1}


def _quadrature(vae: VAE, y: Tensor, c: Tensor | None, index: list[int], tolerance: float, rows: int) -> dict[str, Tensor]:
    found = quadrature(vae, y, c, index, tolerance, rows)
    return {"log_evidence": found.log_evidence, "log_evidence_error": found.error, "converged": found.converged}
