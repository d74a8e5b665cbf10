"""Checks that float32 products are exact enough for the reported digits, and switches to more exact ones if not."""

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
"""Rounding of a datum's log-weights, in nats, from which it is computed in float64 even if the mean hardly changes."""

MOST_DATA = 0.25
"""Share of such data above which all data are computed in float64."""

PROBED = 1600
"""Approximate number of latent samples compared, over all data: at least two per datum, at most a block."""

CHUNK = 4096
"""Number of data whose sums of |x| are computed at a time."""

MATMULS = ("highest", "high", "medium")

Preprocessed = Callable[[VAE, slice], Tensor]
"""(model, rows) -> these data preprocessed for the model, (B, *E), on its device and in its precision."""


@final
@dataclass(frozen=True)
class Precision:
    """The precision with which log-weights were computed.

    Args:
        path: The arithmetic of the reported numbers: ``float32 highest``, ``float32 high``, ``float32 medium``
            (torch's names for how float32 products are rounded) or ``float64``.
        difference: |Difference| from float64 plus two standard errors, in nats, of the mean over data of the mean log-weight or
            of the log mean weight, whichever is larger; ``rows_in_float64`` count as exact; 0 for float64 itself.
        refused: The paths tried earlier that differed by half of the last printed digit or more, with their difference.
        rows_in_float64: Number of data that ``path`` would have rounded by ``DATUM`` nats or more: computed in float64.
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
    """Models of sufficient precision for each datum.

    Args:
        vae: The model for most data.
        exact: Its float64 copy, for the other data; None if there are none.
        doubtful: Which data need the float64 copy, (N,).
        precision: The report on the precision.
    """

    vae: VAE
    exact: VAE | None
    doubtful: Tensor
    precision: Precision

    def measure(self, compute: Callable[[VAE, Tensor], Mapping[str, Tensor]], part: slice = slice(None)) -> dict[str, Tensor]:
        """Compute per-datum tensors by name, (B, ...), for part of the data, each datum with a model exact enough for it.

        Args:
            compute: (model, rows (b,)) -> tensors of these rows.
            part: Slice of the data.
        """
        rows, doubtful = torch.arange(len(self.doubtful))[part], self.doubtful[part]
        groups = [(self.vae, rows[~doubtful]), (self.exact or self.vae, rows[doubtful])]
        found = [compute(model, chosen) for model, chosen in groups if len(chosen)]
        order = torch.cat([chosen for _, chosen in groups]).argsort()
        return {name: torch.cat([each[name] for each in found])[order] for name in found[0]}


def unguarded(vae: VAE, count: int) -> Guarded:
    """A model whose precision needs no check, for ``count`` data."""
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
    """Choose the model and the precision of products for an estimate by a comparison with float64.

    The decoder and the prior are evaluated on every datum, with samples of its posterior, both as they are and in float64. A
    datum that is rounded by 0.01 nats or more is computed in float64. If the rounding of the others can still change the mean
    over data by half of the last printed digit (0.0005 nats), torch's most exact float32 products are tried, and then a float64
    copy of the model for all data.

    Args:
        vae: The model.
        y: The data, see ``Preprocessed``.
        c: Their contexts, or None.
        index: Row of each in its data set.
        matmul: The float32 products to start with: ``highest``, ``high`` or ``medium``; None for torch's current setting.
        seed: Seed of the samples.
        share: If these data represent others too, the share of all data that each represents, (N,). One sample of each is then
            compared, and only the mean decides.

    Raises:
        UserError: If ``matmul`` is unknown.
    """
    if matmul is not None and (not isinstance(matmul, str) or matmul not in MATMULS):
        raise UserError("matmul", matmul, "unknown", suggest(str(matmul), MATMULS))
    with alone():  # the rounding of products is a setting of the whole process
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
    """``guard`` for rows of a data set, preprocessed with the same noise as in the estimators."""
    index = rows.index.tolist()
    return guard(
        vae, lambda vae, part: preprocessed(vae, rows.x[part], index[part], seed), c, index, matmul=matmul, seed=seed, share=share
    )


def mean_rounding(found: Tensor, share: Tensor) -> float:
    """Bound on the difference of the mean over data from float64, in nats: |mean| + 2 errors, the largest over the numbers.

    Roundings of opposite sign cancel in a mean; differences that are not finite make the bound infinite.

    Args:
        found: Differences, (numbers, N).
        share: Share of all data that each stands for, (N,).
    """
    mean = (found * share).sum(-1)
    spread = (share * (found - mean.unsqueeze(-1))).square().sum(-1).sqrt()
    worst = (mean.abs() + 2 * spread).max().item()
    return worst if math.isfinite(worst) else math.inf


def roundings(vae: VAE, exact: VAE, y: Preprocessed, c: Tensor | None, index: list[int], samples: int, seed: int = 0) -> Tensor:
    """Rounding of each datum, in nats, (3, N), on the CPU.

    The differences from float64 of its mean log-weight, of its log mean weight, and of a single sample's log-weight (root mean
    square): if one sample has most of the weight, the others do not compensate for its rounding.

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
        # Rounding of the proposal merely changes the proposal, so both sides use the same one.
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
    # Two weights of zero are equal, although the difference of their logarithms is NaN.
    return torch.where(rounded == exactly, torch.zeros_like(rounded), rounded - exactly)


def _log_weight(vae: VAE, y: Tensor, z: Tensor, params: Tensor, c: Tensor | None) -> Tensor:
    log_joint = vae.log_joint(y, z, c).double()
    return log_joint - vae.posterior_density(params).log_prob(z).double() if vae.parts["posterior"].has_density else log_joint


def representatives(x: Tensor, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows that represent all data, and the share of the data that each represents: half the largest, half spread over the rest.

    Rounding grows with the values, so the data with the largest sum of |x| stand for themselves; of each of ``count / 2`` equal
    parts of the others, in the order of that sum, one random datum stands for its part. The order of the rows does not matter.

    Args:
        x: All data (N, *E).
        count: How many rows, an even number; all of them where there are no more.
        seed: Seed of the random choice.
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
