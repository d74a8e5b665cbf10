"""What is reported of a model on a split of data: numbers with their errors, and when not to believe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, final

from torch import Tensor

from pyrovae.evidence.decomposition import Decomposition
from pyrovae.evidence.exact.quadrature import MOST_LATENTS
from pyrovae.evidence.reports.numbers import Number, few_degrees_note, precision_notes
from pyrovae.evidence.reports.report import Line, Report
from pyrovae.evidence.reports.trust import FEW_EFFECTIVE, FEWEST_WEIGHTS, LOWER_BOUND
from pyrovae.preprocess.binarise import BINARISED


@final
@dataclass(frozen=True, kw_only=True)
class Evaluation(Report):
    """What ``evaluate`` reports: per datum, in nats, in the units of the data that was given, higher is better.

    Args:
        run: The run folder; None for a model in memory.
        data: Name or path of the data.
        split: Which of them.
        n: Number of data.
        samples: Samples of z a datum; None for estimators that have none.
        seed: Of the evaluation's noise and of the subset.
        dequantisations: Draws of the uniform noise a datum where levels are dequantised; None where they are not.
        options: The estimator's other options.
        estimator: ``elbo``, ``importance``, ``annealed``, ``exact`` or ``reconstruction``.
        method: How the exact evidence was found: ``linear-Gaussian``, ``enumeration`` or ``quadrature``; None for the others.
        quantity: What is estimated: ``log p(x)``, or ``log p(x|c)`` of a conditional model, which is not log p(x).
        units: What the numbers below are measured in.
        elbo: The mean over data with its errors, see ``Number``; None where it was not estimated.
        log_evidence: Likewise; None for ``elbo`` and ``reconstruction``.
        gap: log evidence - ELBO, likewise; None without both.
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
        untrusted: Data whose number is not to be relied on, see ``trust.judge``.
        untrusted_by: Why: how many by ``effective_sample_size``, ``khat``, ``tolerance``; a datum may have two reasons.
        cannot_tell: Data of which it cannot be told; None in files that did not tell them apart.
        precision: How exactly the products were computed, see ``precision.Precision``.
        seconds: Wall clock of the estimation.
        model_sha256: Digest of the model: parts, options and weights.
        data_sha256: Digest of the data that were scored: values, rows and contexts.
        per_datum: Arrays (n,) by name: ``index`` (row in the data set), ``estimate``, ``monte_carlo_error`` with its
            ``degrees_of_freedom``, ``trust`` (0 for trusted, 1 where it cannot be told, 2 for untrusted: the error is a lower
            bound), and those that the estimator has besides.
    """

    ASKED: ClassVar = ("estimator", "split", "n", "samples", "seed", "dequantisations", "options", "data_sha256")

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
    khat: dict[str, float | int] | None
    acceptance: list[float] | None
    untrusted: int | None
    untrusted_by: dict[str, int] | None = None
    cannot_tell: int | None = None
    precision: dict[str, Any]
    seconds: float
    model_sha256: str
    data_sha256: str

    def lines(self) -> list[Line]:
        """The numbers, then the remarks on them."""
        rows = [("data", f"{self.data}, {self.split}, {self.n} data"), ("estimator", self._settings())]
        rows += [*self._numbers(), *self._parts(), *self._diagnostics()]
        return rows + self._notes()

    def _settings(self) -> str:
        given = [] if self.samples is None else [f"{self.samples} samples a datum"]
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
            of = "  lower bound in expectation" if self.estimator == "annealed" else ""
            rows.append(("log evidence", f"{self.log_evidence}  {self.quantity}{of}"))
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
            of = "chains" if self.estimator == "annealed" else "samples"
            spread = f"{ess['mean']:.1f} on average, {ess['median']:.1f} median, {ess['minimum']:.1f} at the least"
            rows.append((f"effective {of}", spread))
        if khat is not None and self.log_evidence is not None:
            above = f"{khat['share']:.1%} of the data above the reliable {khat['threshold']:.2f}"
            rows.append(("Pareto k-hat", f"{khat['median']:.2f} median, {khat['maximum']:.2f} at the most, {above}"))
        if self.acceptance is not None:
            mean, least = sum(self.acceptance) / len(self.acceptance), min(self.acceptance)
            rows.append(("acceptance", f"{mean:.2f} on average, {least:.2f} at the worst temperature"))
        return rows

    def _notes(self) -> list[Line]:
        notes = ["nats per datum, higher is better; +- standard error over data, [Monte Carlo error]"]
        if self.estimator == "reconstruction":
            notes = ["nats per datum, higher is better; a plain autoencoder: neither ELBO nor evidence"]
        if self.bits_per_dim_kind == BINARISED:
            notes.append(
                "binarised data are another data set; for the levels themselves use --likelihood continuous_bernoulli, "
                "binomial or beta"
            )
        few = few_degrees_note([self.elbo, self.log_evidence, self.gap])
        if few is not None and self.estimator != "reconstruction":
            notes.append(few)
        if self.log_evidence is not None and self.log_evidence.monte_carlo_error_is == LOWER_BOUND:
            notes.append("at least: the Monte Carlo error of data that are not to be trusted is larger than can be seen")
        notes += precision_notes(self.precision)
        if self.estimator == "importance":
            check = "exact" if self.latent_dim <= MOST_LATENTS else "annealed"
            notes.append(f"a mode that the proposal never visits is invisible to these: --estimator {check} is the check")
        warnings = [("NOT TO BE TRUSTED", self._warning())] if self.untrusted else []
        doubts = [("CANNOT TELL", self._doubt())] if self.cannot_tell else []
        return [("", note) for note in notes] + warnings + doubts

    def _warning(self) -> str:
        which = f"{self.untrusted} of {self.n} data"
        if self.estimator == "exact":
            return f"{which} did not reach the tolerance: see quadrature_error in the arrays; try a larger --tolerance"
        if self.estimator == "annealed":
            few = f"{which} have fewer effective chains than a quarter of them, or than 2"
            return f"{few}; try more --temperatures, --leapfrog steps or --chains"
        if self.samples < FEW_EFFECTIVE:
            return f"{which}: {self.samples} samples cannot make {FEW_EFFECTIVE:g} effective ones; try --samples 500"
        return (
            f"{which} ({why_untrusted(self)}): their log evidence is expected to be too low, by an unknown amount, and its Monte "
            "Carlo error is too small; try more --samples, --proposal widened, or --estimator annealed"
        )

    def _doubt(self) -> str:
        which = f"{self.cannot_tell} of {self.n} data"
        if self.estimator == "annealed":
            return f"{which} have fewer effective chains than half of them, or than 4; try more --temperatures or --chains"
        if self.samples < FEWEST_WEIGHTS:
            return f"{which}: {self.samples} samples have too few large weights for a k-hat; try --samples 500"
        low, high = self.khat["limits"]
        return (
            f"{which} have a k-hat from {low:.2f} to {high:.2f}: {self.samples} samples do not tell whether that is above "
            f"{self.khat['threshold']:.2f}; try more --samples"
        )


def read_evaluation(summary: Mapping[str, Any], per_datum: Mapping[str, Tensor]) -> Evaluation:
    """The evaluation that a file holds; fields that a file of an older version lacks have their defaults.

    Args:
        summary: What ``Evaluation.summary`` returned.
        per_datum: Its arrays.

    Raises:
        KeyError: If it lacks a field that every version has.
        TypeError: If a number is not one.
    """
    known = [f.name for f in fields(Evaluation) if f.name != "per_datum" and (f.name in summary or f.default is MISSING)]
    given = {name: summary[name] for name in known}
    given |= {name: Number.read(given[name]) for name in ("elbo", "log_evidence", "gap") if given[name] is not None}
    parts = given["decomposition"]
    return Evaluation(**given | {"decomposition": None if parts is None else Decomposition.read(parts), "per_datum": per_datum})


def why_untrusted(evaluation: Evaluation) -> str:
    """The reasons why data of importance sampling are not to be trusted, each with their number where it is not that of all.

    Args:
        evaluation: By importance sampling, with such data.
    """
    by, khat, words = evaluation.untrusted_by or {}, evaluation.khat, {}
    if "khat" in by:
        words["khat"] = f"a k-hat above {khat['limits'][1]:.2f}"
    if "effective_sample_size" in by:
        words["effective_sample_size"] = f"fewer than {FEW_EFFECTIVE:g} effective samples"
    counts = {name: "" if by[name] == evaluation.untrusted else f"{by[name]} with " for name in words}
    return ", ".join(f"{counts[name]}{text}" for name, text in words.items())
