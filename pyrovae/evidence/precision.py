"""Whether the products in use are exact enough for the digits that are reported; where not, others are used."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.errors import UserError, suggest
from pyrovae.evidence import keyed
from pyrovae.evidence.pieces import in_chunks
from pyrovae.evidence.rows import ROWS, rows_at_a_time
from pyrovae.evidence.scoring import estimating, preprocessed
from pyrovae.system.devices import alone
from pyrovae.vae import VAE

DIGIT = 1e-3
"""The last digit that is printed of a number in nats."""

DATUM = 10 * DIGIT
"""A datum whose log-weights are rounded by so much, in nats, is computed in float64, however little the mean would move."""

MOST_DATA = 0.25
"""Where more of the data than this are rounded by so much, all are computed in float64."""

PROBED = 1600
"""Samples of the latents that are compared of all data together, about: at least two of each, at most a block."""

CHUNK = 4096
"""Data whose sizes are added up at a time."""

MATMULS = ("highest", "high", "medium")

Preprocessed = Callable[[VAE, slice], Tensor]
"""(model, rows) -> what the model's likelihood sees of these data, (B, *E), on its device and in its precision."""


@final
@dataclass(frozen=True)
class Precision:
    """How exactly log-weights were computed.

    Args:
        path: What the reported numbers were computed with: ``float32 highest``, ``float32 high``, ``float32 medium``
            (torch's names for how float32 products are rounded) or ``float64``.
        difference: |Difference| from float64, with two standard errors added, of the mean over data of their mean log-weight or
            log mean weight, the larger, in nats, ``rows_in_float64`` being exact; 0 for float64 itself.
        refused: The paths that were tried before and differed by half of the last printed digit or more, with their difference.
        rows_in_float64: Data that ``path`` would have rounded by ``DATUM`` nats or more each: they were computed in float64.
    """

    path: str
    difference: float
    refused: tuple[tuple[str, float], ...] = ()
    rows_in_float64: int = 0

    def summary(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {**asdict(self), "refused": [{"path": path, "difference": difference} for path, difference in self.refused]}


@final
@dataclass(frozen=True)
class Guarded:
    """A model that is exact enough for each of some data.

    Args:
        vae: For most of them.
        exact: Its float64 copy, for the others; None where there are none.
        doubtful: Which are the others, (N,).
        precision: What is reported of it.
    """

    vae: VAE
    exact: VAE | None
    doubtful: Tensor
    precision: Precision

    def measure(self, compute: Callable[[VAE, Tensor], Mapping[str, Tensor]], part: slice = slice(None)) -> dict[str, Tensor]:
        """Per-datum tensors by name, (B, ...), of some of the data, each by the model that is exact enough for it.

        Args:
            compute: (model, rows (b,)) -> tensors of these rows.
            part: Which data.
        """
        rows, doubtful = torch.arange(len(self.doubtful))[part], self.doubtful[part]
        groups = [(self.vae, rows[~doubtful]), (self.exact or self.vae, rows[doubtful])]
        found = [compute(model, chosen) for model, chosen in groups if len(chosen)]
        order = torch.cat([chosen for _, chosen in groups]).argsort()
        return {name: torch.cat([each[name] for each in found])[order] for name in found[0]}


def unguarded(vae: VAE, count: int) -> Guarded:
    """A model of whose precision nothing needs to be asked, for so many data."""
    return Guarded(vae, None, torch.zeros(count, dtype=torch.bool), Precision("float64", 0.0))


@contextmanager
def guard(
    vae: VAE,
    y: Preprocessed,
    c: Tensor | None,
    index: list[int],
    *,
    matmul: str | None = None,
    seed: int = 0,
    share: Tensor | None = None,
) -> Iterator[Guarded]:
    """The model to estimate with, and the products to estimate with, chosen by a comparison with float64.

    The decoder and the prior are evaluated on every datum, with samples of its posterior, as they are and in float64. A datum
    that is rounded by 0.01 nats or more is computed in float64. Where the others can still move the mean over data by half of
    the last digit that is printed (0.0005 nats), torch's most exact float32 products are tried, and then a float64 copy of the
    model for all data.

    Args:
        vae: The model.
        y: The data, see ``Preprocessed``.
        c: Their contexts, or None.
        index: Row of each in its data set.
        matmul: What float32 products to start with: ``highest``, ``high`` or ``medium``; None for those that torch is set to.
        seed: Of the samples.
        share: Where these data stand for others too: the share of all data that each stands for, (N,). One sample of each is
            compared, and the mean decides alone.

    Raises:
        UserError: If ``matmul`` is unknown.
    """
    if matmul is not None and (not isinstance(matmul, str) or matmul not in MATMULS):
        raise UserError("matmul", matmul, "unknown", suggest(str(matmul), MATMULS))
    with alone():  # how products are rounded is the whole process's
        before = torch.get_float32_matmul_precision()
        nobody = torch.zeros(len(index), dtype=torch.bool)
        if vae.dtype == torch.float64:
            yield Guarded(vae, None, nobody, Precision("float64", 0.0))
            return
        exact = copy.deepcopy(vae).double()
        weight = torch.full((len(index),), 1 / len(index), dtype=torch.float64) if share is None else share
        samples = 1 if share is not None else max(2, min(keyed.BLOCK, PROBED // len(index)))
        refused: list[tuple[str, float]] = []
        try:
            for name in dict.fromkeys([matmul or before, "highest"]):
                torch.set_float32_matmul_precision(name)
                found = roundings(vae, exact, y, c, index, samples, seed)
                doubtful = nobody if share is not None else ~(found.abs() < DATUM).all(0)
                difference = mean_rounding(found[:2, ~doubtful], weight[~doubtful])
                if doubtful.sum() <= MOST_DATA * len(index) and difference < DIGIT / 2:
                    precision = Precision(f"float32 {name}", difference, tuple(refused), int(doubtful.sum()))
                    yield Guarded(vae, exact if doubtful.any() else None, doubtful, precision)
                    return
                refused.append((f"float32 {name}", mean_rounding(found[:2], weight)))
            yield Guarded(exact, None, nobody, Precision("float64", 0.0, tuple(refused)))
        finally:
            torch.set_float32_matmul_precision(before)


def guard_rows(
    vae: VAE, rows: Split, c: Tensor | None, *, matmul: str | None = None, seed: int = 0, share: Tensor | None = None
) -> AbstractContextManager[Guarded]:
    """``guard`` for rows of a data set: preprocessed with the noise that estimators give them."""
    index = rows.index.tolist()
    return guard(
        vae, lambda vae, part: preprocessed(vae, rows.x[part], index[part], seed), c, index, matmul=matmul, seed=seed, share=share
    )


def mean_rounding(found: Tensor, share: Tensor) -> float:
    """How far the mean over data can be from float64, in nats: |mean| + 2 errors, the largest of several numbers of each datum.

    Roundings of either sign cancel in a mean; an infinite weight differs from none.

    Args:
        found: Differences, (numbers, N).
        share: Share of all data that each stands for, (N,).
    """
    mean = (found * share).sum(-1)
    spread = (share * (found - mean.unsqueeze(-1))).square().sum(-1).sqrt()
    worst = (mean.abs() + 2 * spread).max().item()
    return worst if math.isfinite(worst) else math.inf


def roundings(vae: VAE, exact: VAE, y: Preprocessed, c: Tensor | None, index: list[int], samples: int, seed: int = 0) -> Tensor:
    """How each datum is rounded, in nats, (3, N), on the CPU.

    The difference of its mean log-weight from that in float64, of its log mean weight, and of a sample's log-weight, as the root
    of the mean square: where one sample has most of the weight, others do not make up for its rounding.

    Args:
        vae: The model, in whatever precision it is.
        exact: The same in float64.
        y: The data, see ``Preprocessed``.
        c: Their contexts, or None.
        index: Row of each in its data set.
        samples: Of the latents of each, at most ``keyed.BLOCK``.
        seed: Of the samples.
    """
    device = vae.device

    def compute(part: slice) -> dict[str, Tensor]:
        chunk_c = None if c is None else c[part].to(device)
        seen = y(vae, part)
        # A proposal that is rounded is another proposal, not another number: both sides have the same.
        params = vae.posterior_params(seen, chunk_c)
        q = vae.posterior_density(params)
        z = keyed.posterior_samples(vae.posterior_density, params, q, seed, index[part], 0, samples)
        rounded = _log_weight(vae, seen, z, params, chunk_c)
        exactly = _log_weight(exact, y(exact, part), z.double(), params.double(), chunk_c)
        typical = _difference(rounded, exactly).square().mean(0).sqrt()
        means = (_difference(r, e) for r, e in zip(_means(rounded), _means(exactly), strict=True))
        return {"difference": torch.stack([*means, typical], -1).cpu()}

    with estimating(vae), estimating(exact):
        return in_chunks(compute, len(index), max(1, rows_at_a_time(vae, ROWS) // samples))["difference"].T


def _means(log_weight: Tensor) -> tuple[Tensor, Tensor]:
    return log_weight.mean(0), log_weight.logsumexp(0) - math.log(len(log_weight))


def _difference(rounded: Tensor, exactly: Tensor) -> Tensor:
    # Weights of zero are the same, whatever the difference of their logarithms.
    return torch.where(rounded == exactly, torch.zeros_like(rounded), rounded - exactly)


def _log_weight(vae: VAE, y: Tensor, z: Tensor, params: Tensor, c: Tensor | None) -> Tensor:
    log_joint = vae.log_joint(y, z, c).double()
    return log_joint - vae.posterior_density(params).log_prob(z).double() if vae.parts["posterior"].has_density else log_joint


def representatives(x: Tensor, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows that stand for all data, and the share of the data that each stands for: half the largest, half a spread of the rest.

    Rounding grows with the values, so the data with the largest sum of |x| stand for themselves; of each of ``count / 2`` equal
    parts of the others, in the order of that sum, one at random stands for its part. The order of the rows is of no matter.

    Args:
        x: All data (N, *E).
        count: How many rows, an even number; all of them where there are no more.
        seed: Of the spread.
    """
    order = torch.cat([part.double().abs().flatten(1).sum(1) for part in x.split(CHUNK)]).argsort(descending=True)
    if len(x) <= count:
        return order.sort().values, torch.full((len(x),), 1 / len(x), dtype=torch.float64)
    largest, others = order[: count // 2], order[count // 2 :]
    edges = torch.linspace(0, len(others), count // 2 + 1, dtype=torch.float64).round().long()
    sizes = edges.diff()
    inside = torch.rand(count // 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    spread = others[edges[:-1] + (inside * sizes).long()]
    share = torch.cat([torch.ones(count // 2, dtype=torch.float64), sizes.double()]) / len(x)
    return torch.cat([largest, spread]), share
