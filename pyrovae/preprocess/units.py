"""The units of numbers computed from preprocessed data."""

from __future__ import annotations

from pyrovae.contracts import Transform
from pyrovae.preprocess.dequantise import DEQUANTISED


def bits_kind(transform: Transform) -> str:
    """What bits per dimension are: ``exact``, a ``density``, or how they differ from the probability of the data."""
    return transform.number_kind or ("density" if transform.given.kind == "reals" else "exact")


def units(transform: Transform) -> str:
    """The units of log p(x): nats per datum, and which density or probability it is the logarithm of."""
    return _in_nats(bits_kind(transform))


def units_of_draws(transform: Transform) -> str:
    """The units of log p(y) for values that the likelihood sees: simulated ones, or data with one draw of the noise.

    Only the average over dequantisation noise is a bound on a probability; log p(y) for a single y is the log density of that y.
    """
    kind = bits_kind(transform)
    return _in_nats("log density of dequantised data in the units of the levels" if kind == DEQUANTISED else kind)


def _in_nats(kind: str) -> str:
    of = {"density": "log density in the units of the data", "exact": "log probability of the data"}.get(kind, kind)
    return f"nats per datum ({of}), higher is better"
