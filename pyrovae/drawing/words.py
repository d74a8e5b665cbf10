"""Names for the distributions of a model in the titles of figures."""

from __future__ import annotations

from pyrovae.vae import VAE


def mean_of(vae: VAE) -> str:
    """The mean that is drawn: E[x|z], or E[x|z,c] with a context."""
    return "E[x|z]" if vae.parts["context"].reads is None else "E[x|z,c]"


def prior_of(vae: VAE) -> str:
    """The prior that z is drawn from: p(z|c) where it differs by context, else p(z)."""
    _, prior = vae.example()
    return "p(z|c)" if len(prior.batch_shape) else "p(z)"
