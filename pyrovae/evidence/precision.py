"""Whether the products in use are exact enough for the digits that are reported; where not, others are used."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.errors import UserError, suggest
from pyrovae.evidence import keyed
from pyrovae.evidence.scoring import estimating
from pyrovae.vae import VAE

DIGIT = 1e-3
"""The last digit that is printed of a number in nats."""

PROBED = 16
"""Data that the probe is made of, each with a block of samples."""

MATMULS = ("highest", "high", "medium")


@final
@dataclass(frozen=True)
class Precision:
    """How exactly log-weights were computed.

    Args:
        path: What the reported numbers were computed with: ``float32 highest``, ``float32 high``, ``float32 medium``
            (torch's names for how float32 products are rounded) or ``float64``.
        difference: |Difference| from float64, with two standard errors added, of the mean over the probed data of their mean
            log-weight or log mean weight, the larger, in nats; 0 for float64 itself.
        refused: The paths that were tried before and differed by half of the last printed digit or more, with their difference.
    """

    path: str
    difference: float
    refused: tuple[tuple[str, float], ...] = ()

    def summary(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {**asdict(self), "refused": [{"path": path, "difference": difference} for path, difference in self.refused]}


@contextmanager
def guard(vae: VAE, y: Tensor, c: Tensor | None, matmul: str | None = None, seed: int = 0) -> Iterator[tuple[VAE, Precision]]:
    """The model to estimate with, and the products to estimate with, chosen by a probe against float64.

    The decoder and the prior are evaluated on some data, with samples of their posterior, as they are and in float64; where
    that can move their mean by half of the last digit that is printed (0.0005 nats), torch's most exact float32 products are
    tried, and then a float64 copy of the model.

    Args:
        vae: The model.
        y: A few data as the likelihood sees them, (B, *E), see ``PROBED``.
        c: Their contexts, or None.
        matmul: What float32 products to start with: ``highest``, ``high`` or ``medium``; None for those that torch is set to.
        seed: Of the probe's samples.

    Raises:
        UserError: If ``matmul`` is unknown.
    """
    if matmul is not None and matmul not in MATMULS:
        raise UserError(f"--matmul {matmul}: unknown; {suggest(matmul, MATMULS)}")
    before = torch.get_float32_matmul_precision()
    names = list(dict.fromkeys([matmul or before, "highest"]))
    is_double = next(vae.parameters()).dtype == torch.float64
    refused: list[tuple[str, float]] = []
    try:
        for name in [] if is_double else names:
            torch.set_float32_matmul_precision(name)
            difference = probe(vae, y, c, seed)
            if difference < DIGIT / 2:
                yield vae, Precision(f"float32 {name}", difference, tuple(refused))
                return
            refused.append((f"float32 {name}", difference))
        yield vae if is_double else copy.deepcopy(vae).double(), Precision("float64", 0.0, tuple(refused))
    finally:
        torch.set_float32_matmul_precision(before)


def probe(vae: VAE, y: Tensor, c: Tensor | None, seed: int = 0) -> float:
    """How far the mean over data can be from float64, of their mean log-weight or log mean weight, in nats: |mean| + 2 errors.

    What is printed is the mean over data, over which roundings of either sign cancel; an infinite weight differs from none.

    Args:
        vae: The model, in whatever precision it is.
        y: Data as the likelihood sees them, (B, *E).
        c: Their contexts, or None.
        seed: Of the samples.
    """
    one, exact = next(vae.parameters()), copy.deepcopy(vae).double()
    data = list(range(len(y)))
    with estimating(vae), estimating(exact):
        c = None if c is None else c.to(one.device)
        # A proposal that is rounded is another proposal, not another number: both sides have the same.
        params = vae.posterior_params(y, c)
        z = keyed.posterior_samples(vae.posterior_density, params, vae.posterior_density(params), seed, data, 0)
        log_weights = [
            _log_weight(model, y.to(dtype), z.to(dtype), params.to(dtype), c)
            for model, dtype in ((vae, one.dtype), (exact, torch.float64))
        ]
    summaries = [torch.stack([w.mean(0), w.logsumexp(0) - math.log(len(w))]) for w in log_weights]
    difference = summaries[0] - summaries[1]
    difference = torch.where(summaries[0] == summaries[1], torch.zeros_like(difference), difference)
    # One datum has no spread: its own difference stands for it.
    spread = difference.std(-1) / math.sqrt(len(y)) if len(y) > 1 else torch.zeros(2)
    found = (difference.mean(-1).abs() + 2 * spread.to(difference)).max().item()
    return found if math.isfinite(found) else math.inf


def _log_weight(vae: VAE, y: Tensor, z: Tensor, params: Tensor, c: Tensor | None) -> Tensor:
    log_joint = vae.log_joint(y, z, c).double()
    return log_joint - vae.posterior_density(params).log_prob(z).double() if vae.parts["posterior"].has_density else log_joint
