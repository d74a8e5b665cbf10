"""The validation score during training: cheap, with the same noise every time, and checked for rounding."""

from __future__ import annotations

from torch import Tensor

from pyrovae.data import Split
from pyrovae.evidence.importance.elbo import Elbo
from pyrovae.evidence.importance.reconstruction import Reconstruction
from pyrovae.evidence.precision import guard_rows, representatives
from pyrovae.vae import VAE

PROBED = 128
"""Number of validation data compared with float64, with one sample each."""


def validate(vae: VAE, rows: Split, c: Tensor | None, seed: int) -> dict[str, float]:
    """``valid_elbo`` and ``valid_reconstruction``: means over data in nats, in the units of the data, of one sample per datum.

    Some of the data, the largest and a spread of the others, are computed in float64 too; where the mean could be rounded by
    0.0005 nats or more, all are. Of a plain autoencoder (posterior ``delta``) the reconstruction alone.

    Args:
        vae: The model.
        rows: Validation data.
        c: Their contexts, or None.
        seed: Of the noise; with the same seed it is the same every time.

    Raises:
        UserError: If a log-weight is NaN or +inf.
    """
    probed, share = representatives(rows.x, PROBED, seed)
    few = Split(rows.x[probed], None, rows.index[probed])
    with guard_rows(vae, few, None if c is None else c[probed], seed=seed, share=share) as guarded:
        if not vae.parts["posterior"].has_density:
            return {
                "valid_reconstruction": Reconstruction(dequantisations=1)
                .measure(guarded.vae, rows.x, c, seed=seed, index=rows.index)
                .mean
            }
        found = Elbo(samples=1, dequantisations=1).measure(guarded.vae, rows.x, c, seed=seed, index=rows.index)
    return {"valid_elbo": found.mean, "valid_reconstruction": found.diagnostics["reconstruction"].mean().item()}
