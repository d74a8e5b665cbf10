"""An estimator of log p(x)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from torch import Tensor

from pyrovae.contracts.evidence import Evidence, Trust
from pyrovae.contracts.part import Part, options_of


class Estimator(Part):
    """An estimator of log p(x) of data, or of what there is instead; its fields are its options, each with a default.

    ``samples`` and ``dequantisations`` are reported in columns of their own where an estimator has them. ``vae`` is a
    ``pyrovae.VAE`` throughout.

    Attributes:
        estimates: Which number the ``Evidence`` holds: ``log_evidence``, ``elbo`` or ``reconstruction``.
        takes_data: Whether it measures data that are given; False for one that simulates its own.
        in_float64: Whether it computes in float64 by itself, whatever the model is.
        effective: What ``effective_sample_size`` counts, ``samples`` or ``chains``.
        bound: What is said about the log evidence in addition to its quantity, for example ``lower bound in expectation``.
        unwritten: Diagnostics that are not kept for each datum, because ``summary`` contains what is reported of them.
    """

    estimates: ClassVar[Literal["log_evidence", "elbo", "reconstruction"]] = "log_evidence"
    takes_data: ClassVar[bool] = True
    in_float64: ClassVar[bool] = False
    effective: ClassVar[str] = "samples"
    bound: ClassVar[str] = ""
    unwritten: ClassVar[tuple[str, ...]] = ()

    def check(self, vae: Any) -> None:
        """Refuse a model that it cannot measure; every model with a density fits unless overridden.

        Raises:
            UserError: Saying why, and naming an estimator that can.
        """

    def settled(self, vae: Any) -> Self:
        """The same estimator, with every option that was left open chosen to suit the model; unchanged unless overridden.

        Raises:
            UserError: If an option does not fit the model.
        """
        return self

    @abstractmethod
    def measure(self, vae: Any, x: Tensor, c: Tensor | None = None, *, seed: int = 0, index: Tensor | None = None) -> Evidence:
        """The numbers of each datum, in nats, in the units of the data that was given, every constant kept.

        A datum's number must not depend on the other data: noise is keyed by seed and row, see ``pyrovae.evidence.keyed``.

        Args:
            vae: The model, prepared for data of this kind.
            x: Data as they were given, (N, *E).
            c: Their contexts, or None.
            seed: Of the noise.
            index: Row of each datum in its data set, (N,); 0..N-1 unless given.

        Raises:
            UserError: If the model cannot be measured, or a number is NaN.
        """

    def evaluate(self, task: Any) -> Any:
        """What is reported: the data of the task, measured, unless overridden.

        Args:
            task: A model, its data and settings, a ``pyrovae.evidence.task.Task``.
        """
        return task.measured(self)

    def untrusted(self, arrays: Mapping[str, Tensor]) -> Trust | None:
        """Which data are not to be relied on; None for an estimator that does not judge its numbers.

        Args:
            arrays: The diagnostics of the data, (N, ...).
        """
        return None

    def warning(self, trust: Trust, arrays: Mapping[str, Tensor]) -> str:
        """What is printed about untrusted data: how many, why, and what to try."""
        return f"{int(trust.untrusted.sum())} of {len(trust.unclear)} data: {', '.join(trust.summary()['untrusted_by'])}"

    def doubt(self, trust: Trust, arrays: Mapping[str, Tensor]) -> str:
        """What is printed about data that can be called neither trusted nor untrusted: how many, why, and what to try."""
        return f"{int(trust.unclear.sum())} of {len(trust.unclear)} data"

    def remarks(self, vae: Any) -> list[str]:
        """What a reader of its numbers should know besides; nothing unless overridden."""
        return []

    def method(self, vae: Any) -> str | None:
        """How it computes, where that depends on the model; None unless overridden."""
        return None

    def reported(self, vae: Any) -> dict[str, Any]:
        """The options that a report names: those that are not the defaults, unless overridden."""
        own = [f for f in options_of(self) if f.name not in ("samples", "dequantisations")]
        return {f.name: getattr(self, f.name) for f in own if getattr(self, f.name) != f.default}

    def summary(self, arrays: Mapping[str, Tensor]) -> dict[str, Any]:
        """Further fields of the report, made of its diagnostics; none unless overridden."""
        return {}
