"""Affine encoder and decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pyrovae.contracts import Network
from pyrovae.networks.feedforward import Feedforward


@final
@dataclass(frozen=True, kw_only=True)
class Linear(Network):
    """One affine map each way; with a normal likelihood of one learned scale this is probabilistic PCA.

    Source: Tipping and Bishop (1999), Probabilistic Principal Component Analysis.
    """

    @property
    def affine(self) -> bool:
        return True

    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int = 0) -> Feedforward:
        return Feedforward(event_shape, out_shape, embedding_dim=embedding_dim)

    def decoder(self, latent_dim: int, out_shape: tuple[int, ...], embedding_dim: int = 0) -> Feedforward:
        return Feedforward((latent_dim,), out_shape, embedding_dim=embedding_dim)
