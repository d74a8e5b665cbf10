"""What a source of data promises."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pyrovae.contracts import DataSpec, Part
from pyrovae.data.dataset import Dataset
from pyrovae.data.splitting import Splitting


@dataclass(frozen=True, kw_only=True)
class Source(Part):
    """Where a data set comes from.

    Attributes:
        can_be_named: Whether its options say where the data are, so that a run that records them finds them again.
    """

    can_be_named: ClassVar[bool] = True

    def names(self) -> tuple[str, ...]:
        """Names of the columns, where the data are a table that has them; else empty."""
        return ()

    def remedy(self, found: DataSpec, wanted: DataSpec) -> str:
        """What to do so that the data are what a model was trained on; empty where no option of the source helps.

        Args:
            found: What the data are.
            wanted: What the model was trained on.
        """
        return ""

    @abstractmethod
    def load(self, root: Path) -> Dataset:
        """The data; ``root`` is where downloaded ones are kept.

        Raises:
            UserError: If the data are missing, damaged or unusable.
        """


@dataclass(frozen=True, kw_only=True)
class SplitSource(Splitting, Source):
    """A source whose validation data are taken from the training data.

    Args:
        valid: Validation data taken from the training data: a fraction below 1 or a number of data; 0 for none.
        split_seed: Seed of the random splits.
    """
