"""The estimator of the evidence lower bound by simple averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from pyrovae.contracts import Estimator, Evidence
from pyrovae.errors import check_integer
from pyrovae.evidence.importance.sampling import weigh
from pyrovae.evidence.rows import ROWS
from pyrovae.evidence.scoring import as_evidence, check_density
from pyrovae.vae import VAE


@final
@dataclass(frozen=True, kw_only=True)
class Elbo(Estimator):
    """The evidence lower bound E_q[log p(x|z) + log p(z) - log q(z|x)] <= log p(x), by simple averaging.

    Args:
        samples: K, samples of z per datum.
        repeats: Independent runs; their mean is reported, and their spread gives the Monte Carlo error.
        dequantisations: Draws of the uniform noise per datum, where levels are dequantised; each has its own samples of z.

    Raises:
        UserError: If a number is below 1.

    Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes.
    """

    estimates: ClassVar[Literal["elbo"]] = "elbo"

    samples: int = 500
    dequantisations: int = 4
    repeats: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("samples", "repeats", "dequantisations"):
            check_integer(name, getattr(self, name), 1)

    def check(self, vae: VAE) -> None:
        """Refuse a plain autoencoder."""
        check_density(vae, "elbo")

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
        """The bound of each datum; arguments, diagnostics and errors as for ``Importance.measure``.

        The Monte Carlo error is the standard error of the average, NaN for K = 1.
        """
        self.check(vae)
        options = {name: getattr(self, name) for name in ("samples", "repeats", "dequantisations")}
        found = weigh(vae, x, c, seed=seed, index=index, rows=rows, proposal="guide", widen=None, **options)
        return as_evidence(found, "elbo")
