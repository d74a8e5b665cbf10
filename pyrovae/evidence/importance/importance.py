"""The evidence by importance sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from pyrovae.contracts import Estimator, Evidence, Trust
from pyrovae.errors import check_integer, option
from pyrovae.evidence.exact.quadrature import MOST_LATENTS
from pyrovae.evidence.importance.pareto import limits, summarise_khat, threshold
from pyrovae.evidence.importance.proposals import check_proposal, choose_proposal
from pyrovae.evidence.importance.sampling import weigh
from pyrovae.evidence.importance.weights import summarise_bounds
from pyrovae.evidence.rows import ROWS
from pyrovae.evidence.scoring import as_evidence, check_density
from pyrovae.vae import VAE

FEW_EFFECTIVE = 10.0
"""Effective samples below which a log evidence is unreliable."""

FEWEST_WEIGHTS = 50
"""Samples below which the tail has fewer than ten weights, too few for a k-hat."""


@final
@dataclass(frozen=True, kw_only=True)
class Importance(Estimator):
    """Evidence and ELBO by importance sampling: log (1/K) sum_k p(x, z_k) / q(z_k|x), z_k ~ q(z|x).

    In expectation a lower bound on log p(x) that rises with K. The error is that of the delta method, the standard error of the
    mean weight over the mean weight; it is itself too small if the effective sample size (sum w)^2 / sum w^2 is small or k-hat
    is large. A mode of p(z|x) that the proposal never visits is invisible to all three: check with annealing.

    Args:
        samples: K, samples of z per datum.
        dequantisations: Draws of the uniform noise per datum, where levels are dequantised; each has its own samples of z. The
            bound is their mean, and the Monte Carlo error is their standard error.
        repeats: Independent runs; their mean is reported, and their spread gives the Monte Carlo error.
        proposal: The density from which z is drawn: guide; heavy (the guide with heavier-tailed noise); prior (p(z|c), if the
            guide is unreliable); or widened (the guide stretched about its mean). auto is heavy if the prior's tails are heavier
            than the guide's (laplace, student_t), and otherwise guide.
        widen: Factor by which the guide is stretched for --proposal widened; the default is 1.5.

    Raises:
        UserError: If a number is out of range, the proposal is unknown, or a factor is given for another than widened.

    Source: Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders; Vehtari et al. (2024), Pareto Smoothed
    Importance Sampling.
    """

    samples: int = 500
    dequantisations: int = 4
    repeats: int = 1
    proposal: str = "auto"
    widen: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("samples", "repeats", "dequantisations"):
            check_integer(name, getattr(self, name), 1)
        check_proposal(self.proposal, self.widen)

    def check(self, vae: VAE) -> None:
        """Refuse a plain autoencoder."""
        check_density(vae, "importance")

    def settled(self, vae: VAE) -> Importance:
        """The estimator with ``auto`` replaced by the proposal that it stands for."""
        return replace(self, proposal=choose_proposal(self.proposal, vae))

    def measure(
        self,
        vae: VAE,
        x: Tensor,
        c: Tensor | None = None,
        *,
        seed: int = 0,
        index: Tensor | None = None,
        rows: int = ROWS,
    ) -> Evidence:
        """log p(x) of each datum, see ``Estimator.measure``.

        Args:
            vae: The model; a KL weight used in training has no influence.
            x: Data as they were given, (N, *E).
            c: Their contexts, or None.
            seed: Of the noise.
            index: Row of each datum in its data set, (N,).
            rows: Samples x data that are decoded at a time; no number depends on it.

        Returns:
            Diagnostics (N,): ``log_evidence`` with ``_error`` and the ``_degrees`` of freedom of that, ``effective_sample_size``,
            ``khat`` (the Pareto shape of the weights, see ``pareto.khat``), ``bound`` (N, rungs) at the numbers of samples of
            ``weights.ladder``; for ``guide``, and for ``heavy`` from as many samples of the guide, also ``elbo`` and ``gap`` (log
            evidence - elbo), each with ``_error`` and ``_degrees``, ``reconstruction`` and ``kl`` (elbo = reconstruction - kl),
            ``kl_per_dimension`` and ``posterior_mean`` (N, D).

        Raises:
            UserError: If the posterior is a point, the data have no density under the likelihood, or a log-weight is NaN or +inf.
        """
        self.check(vae)
        options = {name: getattr(self, name) for name in ("samples", "proposal", "widen", "repeats", "dequantisations")}
        return as_evidence(weigh(vae, x, c, seed=seed, index=index, rows=rows, **options))

    def untrusted(self, arrays: Mapping[str, Tensor]) -> Trust:
        """Mark data as untrusted if they have fewer than 10 effective samples or a k-hat above the upper ``pareto.limits``.

        Data with a k-hat between the limits, and all data if there are fewer than 50 samples, are undecided.
        """
        few = arrays["effective_sample_size"] < FEW_EFFECTIVE
        if self.samples < FEWEST_WEIGHTS:
            return Trust(reasons={"effective_sample_size": few}, unclear=~few)
        low, high = self._limits(arrays)
        heavy = arrays["khat"] > high
        unclear = ~few & ~heavy & (arrays["khat"] > low)
        return Trust(reasons={"effective_sample_size": few, "khat": heavy}, unclear=unclear)

    def _limits(self, arrays: Mapping[str, Tensor]) -> tuple[float, float]:
        return limits(self.samples, self._looks(arrays))

    def _looks(self, arrays: Mapping[str, Tensor]) -> int:
        """Number of independent estimates (and k-hats) that are averaged: draws of the noise times repeated runs."""
        by_draw = arrays.get("log_evidence_by_draw", torch.zeros(1, 1))
        return by_draw.shape[-1] * self.repeats

    def warning(self, trust: Trust, arrays: Mapping[str, Tensor]) -> str:
        """Why data are untrusted, and what to try."""
        found = trust.summary()
        which = f"{found['untrusted']} of {len(trust.unclear)} data"
        if self.samples < FEW_EFFECTIVE:
            return f"{which}: {self.samples} samples cannot make {FEW_EFFECTIVE:g} effective ones; try {option('samples', 500)}"
        high = self._limits(arrays)[1] if "khat" in found["untrusted_by"] else 0.0
        why = in_words(found["untrusted_by"], found["untrusted"], high)
        return (
            f"{which} ({why}): their log evidence is expected to be too low, by an unknown amount, and its Monte "
            f"Carlo error is too small; try more {option('samples')}, {option('proposal', 'widened')}, or "
            f"{option('estimator', 'annealed')} (exact for at most 2 latents)"
        )

    def doubt(self, trust: Trust, arrays: Mapping[str, Tensor]) -> str:
        """Why data are undecided, and what to try."""
        which = f"{int(trust.unclear.sum())} of {len(trust.unclear)} data"
        if self.samples < FEWEST_WEIGHTS:
            return f"{which}: {self.samples} samples have too few large weights for a k-hat; try {option('samples', 500)}"
        low, high = self._limits(arrays)
        return (
            f"{which} have a k-hat from {low:.2f} to {high:.2f}: {self.samples} samples do not tell whether that "
            f"is above {threshold(self.samples):.2f}; try more {option('samples')}"
        )

    def remarks(self, vae: VAE) -> list[str]:
        """Remarks on errors that none of the diagnostics shows."""
        check = "exact" if vae.latent_dim <= MOST_LATENTS else "annealed"
        return [f"a mode that the proposal never visits is invisible to these: {option('estimator', check)} is the check"]

    def reported(self, vae: VAE) -> dict[str, Any]:
        """The options that differ from the defaults; the proposal is shown unless it is the guide."""
        found = super().reported(vae)
        return {name: value for name, value in found.items() if (name, value) != ("proposal", "guide")}

    def summary(self, arrays: Mapping[str, Tensor]) -> dict[str, Any]:
        """The bound at fewer samples, and the k-hats."""
        khat = summarise_khat(arrays["khat"], self.samples, self._looks(arrays))
        return {"bounds": summarise_bounds(arrays["bound"], self.samples), "khat": khat}


def in_words(by: Mapping[str, int], untrusted: int, high: float) -> str:
    """The reasons why data are untrusted, each with its number of data if that differs from the total.

    Args:
        by: Name of a diagnostic -> number of data.
        untrusted: Number of all untrusted data.
        high: The k-hat above which data are untrusted.

    Example:
        >>> in_words({"khat": 3, "effective_sample_size": 1}, 3, 0.79)
        'a k-hat above 0.79, 1 with fewer than 10 effective samples'
    """
    texts = {"khat": f"a k-hat above {high:.2f}", "effective_sample_size": f"fewer than {FEW_EFFECTIVE:g} effective samples"}
    words = [(by[name], text) for name, text in texts.items() if name in by]
    return ", ".join(text if count == untrusted else f"{count} with {text}" for count, text in words)
