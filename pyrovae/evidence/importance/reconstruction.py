"""The reconstruction of a plain autoencoder, which has no evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from pyrovae.contracts import Estimator, Evidence
from pyrovae.errors import UserError, check_integer, option
from pyrovae.evidence.rows import ROWS, rows_at_a_time
from pyrovae.evidence.scoring import as_evidence, check_log_weights, score
from pyrovae.vae import VAE


@final
@dataclass(frozen=True, kw_only=True)
class Reconstruction(Estimator):
    """log p(x|z) at the point z = f(x) of the posterior delta; neither a bound on log p(x) nor comparable with one.

    Args:
        dequantisations: Draws of the uniform noise per datum, where levels are dequantised.

    Raises:
        UserError: If the number is below 1.
    """

    estimates: ClassVar[Literal["reconstruction"]] = "reconstruction"

    dequantisations: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("dequantisations", self.dequantisations, 1)

    def check(self, vae: VAE) -> None:
        """Refuse a posterior with a density."""
        if vae.parts["posterior"].has_density:
            raise UserError(
                "estimator",
                "reconstruction",
                "is for the posterior delta; this one has an ELBO and evidence, which report the reconstruction too",
                f"use {option('estimator', 'importance')} or elbo",
            )

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
        """The reconstruction of each datum, with diagnostics ``reconstruction`` and ``posterior_mean``.

        Arguments and errors as for ``Importance.measure``.
        """
        self.check(vae)

        def measure(y: Tensor, c: Tensor | None, index: list[int], draw: int) -> dict[str, Tensor]:
            z = vae.parts["posterior"].mean(vae.posterior_of_preprocessed(y, c))
            log_likelihood = vae.likelihood(z, c).log_prob(y).double()
            check_log_weights(log_likelihood[None], index)
            found = log_likelihood + vae.transform.log_abs_det_jacobian()
            # The posterior is a point, so every sample is the same and there is no Monte Carlo error.
            return {"reconstruction": found, "reconstruction_error": torch.zeros_like(found), "posterior_mean": z.double()}

        return as_evidence(
            score(
                vae,
                x,
                c,
                measure,
                index=index,
                seed=seed,
                dequantisations=self.dequantisations,
                data_rows=rows_at_a_time(vae, rows),
            ),
            "reconstruction",
        )
