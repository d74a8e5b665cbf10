"""An evaluation's model, data and settings that are common to all estimators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

from pyrovae.contracts import Estimator
from pyrovae.data import Dataset
from pyrovae.evidence.measured import fitted, measured
from pyrovae.evidence.prepared import PreparedData, prepare_data
from pyrovae.evidence.reports.data_evaluation import DataEvaluation
from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.evidence.resumable import Kept
from pyrovae.vae import VAE


class Records(Protocol):
    """Storage for evaluations and for their partial results."""

    def kept(self, asked: Mapping[str, Any]) -> Kept | None:
        """Storage for the partial results of an evaluation; None if they are not kept.

        Args:
            asked: The settings that the results depend on, as plain data.
        """

    def write(self, found: Evaluation) -> object:
        """Write what was found."""


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """A model, the data to measure, and the settings that every estimator shares.

    Args:
        vae: The model, on the device to use.
        dataset: Data of the kind that it was trained on; None for an estimator that simulates its own.
        split: ``train``, ``valid``, ``test`` or ``all``.
        limit: At most that many data, a seeded random subset; None for all.
        seed: Of the noise, of binarisation or dequantisation, and of the subset.
        matmul: How float32 products may be rounded, see ``precision.guard``.
        run: Name to report; None for a model in memory.
        records: Where evaluations are written; None if they are not written.
        progress: Show a progress bar where stderr is a terminal.
    """

    vae: VAE
    dataset: Dataset | None = None
    split: str = "test"
    limit: int | None = None
    seed: int = 0
    matmul: str | None = None
    run: str | None = None
    records: Records | None = None
    progress: bool = True

    def measured(self, estimator: Estimator) -> DataEvaluation:
        """The data, measured by an estimator.

        Raises:
            UserError: If an option is out of range, the estimator cannot measure the model, or the data do not fit it.
        """
        settled = fitted(estimator, self.vae)
        data = self.prepared()
        return measured(settled, data, matmul=self.matmul, run=self.run, kept=self.kept, progress=self.progress)

    def prepared(self) -> PreparedData:
        """The data, chosen, bound to the model and checked.

        Raises:
            UserError: If a setting is wrong, or the data do not fit the model.
        """
        assert self.dataset is not None
        return prepare_data(self.vae, self.dataset, self.split, limit=self.limit, seed=self.seed)

    def kept(self, asked: Mapping[str, Any]) -> Kept | None:
        """Storage for results until the evaluation is complete."""
        return None if self.records is None else self.records.kept(asked)

    def write(self, found: Evaluation) -> None:
        """Write a result as soon as it is available."""
        if self.records is not None:
            self.records.write(found)
