"""Prepares data for a model: rows are chosen, preprocessing is bound and values are checked, once, before any computation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pyrovae.contracts import DataSpec, Distribution
from pyrovae.data import Dataset, Split
from pyrovae.errors import check_integer, check_seed
from pyrovae.evidence.digests import model_digest, rows_digest
from pyrovae.evidence.precision import Guarded, guard_rows, unguarded
from pyrovae.evidence.scoring import preprocessed
from pyrovae.vae import VAE

BATCH = 4096
"""Data that are encoded at a time."""


@final
@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """Rows of a data set that a model can take; ``prepare_data`` makes it.

    Args:
        vae: The model, prepared for data of this kind.
        name: Name or path of the data set.
        split: Name of the rows in reports: ``train``, ``valid``, ``test`` or ``all``.
        spec: What a datum is.
        rows: The rows: data, labels and positions in the data set.
        c: What the model is conditioned on, for each row, on the CPU; None without a context.
        seed: Of the noise of the preprocessing, which is keyed by seed and position.
    """

    vae: VAE
    name: str
    split: str
    spec: DataSpec
    rows: Split
    c: Tensor | None
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def contexts(self) -> Tensor | None:
        """``c`` on the device of the model."""
        return None if self.c is None else self.c.to(self.vae.device)

    def on(self, vae: VAE) -> PreparedData:
        """The same data for another model of the same kind, such as a float64 copy or the untrained model."""
        return replace(self, vae=vae)

    def digests(self) -> dict[str, str]:
        """``model_sha256`` and ``data_sha256``: equal digests and settings give equal numbers."""
        return {"model_sha256": model_digest(self.vae), "data_sha256": rows_digest(self.rows, self.c)}

    def guarded(self, matmul: str | None = None, *, share: Tensor | None = None) -> AbstractContextManager[Guarded]:
        """The model and the products that are exact enough for these data, see ``precision.guard``.

        Raises:
            UserError: If ``matmul`` is unknown.
        """
        return guard_rows(self.vae, self.rows, self.c, matmul=matmul, seed=self.seed, share=share)

    def unguarded(self) -> Guarded:
        """The model without a precision check, for computations that are in float64 anyway."""
        return unguarded(self.vae, len(self))

    def batches(self, rows: int = BATCH) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Preprocessed data y (B, *E), with the noise of evaluation, and contexts or None, on the device."""
        index = self.rows.index.tolist()
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            y = preprocessed(self.vae, self.rows.x[part], index[part], self.seed)
            yield y, None if self.c is None else self.c[part].to(y.device)

    def seen(self) -> Tensor:
        """All preprocessed data, y (N, *E), on the model's device."""
        return torch.cat([y for y, _ in self.batches()])

    def posteriors(self) -> Iterator[Distribution]:
        """q(z|x,c) of batches of the data, with the noise of evaluation: batch shape (B,), event shape (D,)."""
        for y, c in self.batches():
            yield self.vae.posterior_of_preprocessed(y, c)


def prepare_data(vae: VAE, dataset: Dataset, split: str = "test", *, limit: int | None = None, seed: int = 0) -> PreparedData:
    """Choose rows, bind the model's preprocessing to the data, and refuse data that do not fit the model.

    Args:
        vae: The model, on the device to use; its preprocessing is fitted to the training split if that has not been done.
        dataset: Data of the kind that it was trained on.
        split: ``train``, ``valid``, ``test`` or ``all``.
        limit: At most that many data, a seeded random subset; None for all.
        seed: Of the subset and of the noise of the preprocessing.

    Raises:
        UserError: If an argument is out of range, the data have the wrong shape or kind, have no density under the likelihood,
            lack the labels that the model is conditioned on, or have labels that it was not trained on.
    """
    seed = check_seed("seed", seed)
    rows = dataset.split(split)
    if limit is not None:
        rows = rows.subset(check_integer("limit", limit, 1), seed)
    return prepare_rows(vae, dataset, rows, split=dataset.reported(split), seed=seed)


def prepare_rows(vae: VAE, dataset: Dataset, rows: Split, *, split: str = "some", seed: int = 0) -> PreparedData:
    """Prepare rows that have already been chosen.

    Args:
        vae: As above.
        dataset: As above.
        rows: Rows of the data set.
        split: Their name in reports.
        seed: Of the noise of the preprocessing.

    Raises:
        UserError: As above.
    """
    vae.prepare(dataset.spec, rows.x if vae.prepared else dataset.train.x, dataset.name)
    reads = vae.parts["context"].reads
    c = None if reads is None else getattr(rows, reads)
    vae.context_module.check(c)
    vae.check_support(rows.x)
    return PreparedData(vae=vae, name=dataset.name, split=split, spec=dataset.spec, rows=rows, c=c, seed=seed)
