"""The report of a model on a split of data: numbers with their errors, and warnings about unreliable ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, final

from torch import Tensor

from pyrovae.contracts import LOWER_BOUND
from pyrovae.errors import option
from pyrovae.evidence.decomposition import Decomposition
from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.evidence.reports.numbers import Number, few_degrees_note, precision_notes
from pyrovae.evidence.reports.report import Line
from pyrovae.preprocess.binarise import BINARISED


@final
@dataclass(frozen=True, kw_only=True)
class Words:
    """Texts of an estimator about its numbers, for a table.

    Args:
        effective: The unit of the effective sample size, ``samples`` or ``chains``.
        bound: Text after the log evidence.
        remarks: Further remarks for the reader.
        warning: Why data are untrusted; empty if none are.
        doubt: Why some data are undecided; empty if none are.
    """

    effective: str = "samples"
    bound: str = ""
    remarks: tuple[str, ...] = ()
    warning: str = ""
    doubt: str = ""


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class DataEvaluation(Evaluation):
    """The result of an estimator on data: per datum, in nats, in the units of the original data, higher is better.

    Args:
        run: The run folder; None for a model in memory.
        data: Name or path of the data.
        split: Which of them.
        n: Number of data.
        samples: Samples of z per datum; None for estimators that have none.
        seed: Seed of the noise and of the subset.
        dequantisations: Draws of the uniform noise per datum where levels are dequantised; None where they are not.
        options: The estimator's other options.
        estimator: Name of the estimator.
        method: How the exact evidence was found: ``linear-Gaussian``, ``enumeration`` or ``quadrature``; None for the others.
        quantity: The quantity estimated: ``log p(x)``, or ``log p(x|c)`` for a conditional model, which differs from log p(x).
        units: Units of the numbers below.
        elbo: The mean over data with its errors, see ``Number``; None where it was not estimated.
        log_evidence: The mean over data with its errors; None for ``elbo`` and ``reconstruction``.
        gap: log evidence - ELBO, with its errors; None unless both were estimated.
        bounds: The importance-weighted bound at fewer ``samples``: ``mean`` and ``standard_error`` of each, rising in
            expectation; None for the others.
        bits_per_dim: -(log evidence, or else ELBO) / (elements log 2), lower is better; None for the posterior ``delta``.
        bits_per_dim_kind: ``exact``, ``density`` (of reals: in their units), ``dequantisation bound`` or ``binarised``.
        reconstruction: E_q[log p(x|z)], mean over data; None where it was not estimated, likewise those down to
            ``active_units``.
        kl: E_q[log q(z|x) - log p(z)], mean over data; elbo = reconstruction - kl.
        kl_per_dimension: Its parts, in order of the latents; None where q or p does not factorise.
        decomposition: The KL split by the aggregate posterior, see ``decomposition.decompose``.
        active_units: Latents whose posterior mean has a variance over data above 0.01 (Burda et al., 2016).
        latent_dim: Number of latents.
        effective_sample_size: ``mean``, ``median``, ``minimum`` over data of (sum w)^2 / sum w^2, of samples or of chains;
            None where there are no weights.
        khat: Pareto shape of the weights: ``median``, ``maximum``, the reliable ``threshold`` at K samples, the ``limits``
            between which k-hat cannot tell (see ``pareto.limits``), and the number ``above`` the threshold and its ``share`` of
            the data; None where it was not estimated (in JSON null stands for an infinity too).
        acceptance: Mean acceptance of the moves at each temperature after the first; None for estimators without moves.
        untrusted: Number of data with unreliable numbers, see ``Estimator.untrusted``; None if they are not judged.
        untrusted_by: Number of these by ``effective_sample_size``, ``khat``, ``tolerance``; a datum may have two reasons.
        cannot_tell: Number of data whose diagnostics are undecided; None in older files, which did not count them.
        precision: How exactly the products were computed, see ``precision.Precision``.
        seconds: Wall clock of the estimation.
        model_sha256: Digest of the model: parts, options and weights.
        data_sha256: Digest of the data that were scored: values, rows and contexts.
        words: Texts of the estimator about its numbers.
        per_datum: Arrays (n,) by name: ``index`` (row in the data set), ``estimate``, ``monte_carlo_error`` with its
            ``degrees_of_freedom``, ``trust`` (0 for trusted, 1 for undecided, 2 for untrusted: the error is a lower bound), and
            further arrays of the estimator.
    """

    ASKED: ClassVar = ("estimator", "split", "n", "samples", "seed", "dequantisations", "options", "data_sha256")
    lower = None
    upper = None

    run: str | None
    data: str
    split: str
    n: int
    samples: int | None
    seed: int
    dequantisations: int | None
    options: dict[str, Any]
    estimator: str
    method: str | None
    quantity: str
    units: str
    elbo: Number | None
    log_evidence: Number | None
    gap: Number | None
    bounds: list[dict[str, float | None]] | None
    bits_per_dim: float | None
    bits_per_dim_kind: str
    reconstruction: float | None
    kl: float | None
    kl_per_dimension: list[float] | None
    decomposition: Decomposition | None
    active_units: int | None
    latent_dim: int
    effective_sample_size: dict[str, float] | None
    khat: dict[str, Any] | None
    acceptance: list[float] | None
    untrusted: int | None
    untrusted_by: dict[str, int] | None = None
    cannot_tell: int | None = None
    precision: dict[str, Any]
    seconds: float
    model_sha256: str
    data_sha256: str
    words: Words = field(default=Words(), repr=False, compare=False, metadata={"written": False})

    def __repr__(self) -> str:
        names = ("estimator", "split", "n", "log_evidence", "elbo")
        return f"DataEvaluation({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def lines(self) -> list[Line]:
        """The numbers, then remarks on them."""
        rows = [("data", f"{self.data}, {self.split}, {self.n} data"), ("estimator", self._settings())]
        rows += [*self._numbers(), *self._parts(), *self._diagnostics()]
        return rows + self._notes()

    def _settings(self) -> str:
        given = [] if self.samples is None else [f"{self.samples} samples per datum"]
        given += [] if self.dequantisations is None else [f"{self.dequantisations} dequantisations"]
        given += [f"{name} {value}" for name, value in self.options.items()]
        how = self.estimator if self.method is None else f"{self.estimator}, by {self.method}"
        return ", ".join([how, *given, f"seed {self.seed}"])

    def _numbers(self) -> list[Line]:
        rows = []
        if self.elbo is not None:
            bound = f"  bound on {self.quantity}" if self.log_evidence is None else ""
            rows.append(("ELBO", f"{self.elbo}{bound}"))
        if self.log_evidence is not None:
            bound = f"  {self.words.bound}" if self.words.bound else ""
            rows.append(("log evidence", f"{self.log_evidence}  {self.quantity}{bound}"))
        if self.gap is not None:
            rows.append(("gap", f"{self.gap}  log evidence - ELBO"))
        if self.bounds is not None and len(self.bounds) > 1:
            rows.append(("bound at samples", ", ".join(f"{b['samples']}: {b['mean']:.3f}" for b in self.bounds)))
        if self.bits_per_dim is not None:
            rows.append(("bits/dim", f"{self.bits_per_dim:.4f}  ({self.bits_per_dim_kind})"))
        return rows

    def _parts(self) -> list[Line]:
        if self.reconstruction is None:
            return []
        active = f"{self.active_units} of {self.latent_dim} units active"
        rows = [("reconstruction", f"{self.reconstruction:.3f}")]
        rows.append(("KL", f"{self.kl:.3f}, {active}") if self.kl is not None else ("latents", active))
        return rows + (self.decomposition.lines() if self.decomposition else [])

    def _diagnostics(self) -> list[Line]:
        rows, ess, khat = [], self.effective_sample_size, self.khat
        if ess is not None and self.log_evidence is not None:
            spread = f"{ess['mean']:.1f} on average, {ess['median']:.1f} median, {ess['minimum']:.1f} at the least"
            rows.append((f"effective {self.words.effective}", spread))
        if khat is not None and self.log_evidence is not None:
            above = f"{khat['share']:.1%} of the data above the reliable {khat['threshold']:.2f}"
            rows.append(("Pareto k-hat", f"{khat['median']:.2f} median, {khat['maximum']:.2f} at the most, {above}"))
        if self.acceptance is not None:
            mean, least = sum(self.acceptance) / len(self.acceptance), min(self.acceptance)
            rows.append(("acceptance", f"{mean:.2f} on average, {least:.2f} at the worst temperature"))
        return rows

    def _notes(self) -> list[Line]:
        notes = ["nats per datum, higher is better; +- standard error over data, [Monte Carlo error]"]
        if self.elbo is None and self.log_evidence is None:
            notes = ["nats per datum, higher is better; a plain autoencoder: neither ELBO nor evidence"]
        if self.bits_per_dim_kind == BINARISED:
            notes.append(
                "binarised data are another data set; for the levels themselves use "
                f"{option('likelihood', 'continuous_bernoulli', 'binomial', 'beta')}"
            )
        few = few_degrees_note([self.elbo, self.log_evidence, self.gap])
        if few is not None:
            notes.append(few)
        if self.log_evidence is not None and self.log_evidence.monte_carlo_error_is == LOWER_BOUND:
            notes.append("at least: the Monte Carlo error of data that are not to be trusted is larger than can be seen")
        notes += [*precision_notes(self.precision), *self.words.remarks]
        warnings = [("NOT TO BE TRUSTED", self.words.warning)] if self.words.warning else []
        doubts = [("CANNOT TELL", self.words.doubt)] if self.words.doubt else []
        return [("", note) for note in notes] + warnings + doubts


def read_evaluation(summary: Mapping[str, Any], per_datum: Mapping[str, Tensor]) -> DataEvaluation:
    """Read an evaluation from a file; fields that an older file lacks have their defaults.

    Args:
        summary: The result of ``DataEvaluation.summary``.
        per_datum: Its arrays.

    Raises:
        KeyError: If it lacks a field that every version has.
        TypeError: If a number is not one.
    """
    known = [
        f.name for f in fields(DataEvaluation) if f.metadata.get("written", True) and (f.name in summary or f.default is MISSING)
    ]
    given = {name: summary[name] for name in known}
    given |= {name: Number.read(given[name]) for name in ("elbo", "log_evidence", "gap") if given[name] is not None}
    parts = given["decomposition"]
    return DataEvaluation(
        **given | {"decomposition": None if parts is None else Decomposition.read(parts), "per_datum": per_datum}
    )
