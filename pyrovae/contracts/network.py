"""The networks of encoder and decoder."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from pyrovae.contracts.part import Part


class Network(Part):
    """Builds the encoder and the decoder; both accept any leading batch shape.

    What a network returns for a datum must not depend on the other data in the batch.
    """

    @property
    def affine(self) -> bool:
        """Whether the decoder is affine in z, whatever the embedding; not unless overridden."""
        return False

    @abstractmethod
    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int = 0) -> nn.Module:
        """A module (x (*, *event_shape), embedding (*, C) or None) -> (*, *out_shape)."""

    @abstractmethod
    def decoder(self, latent_dim: int, out_shape: tuple[int, ...], embedding_dim: int = 0) -> nn.Module:
        """A module (z (*, D), embedding (*, C) or None) -> (*, *out_shape)."""

    def pair(
        self,
        event_shape: tuple[int, ...],
        posterior_shape: tuple[int, ...],
        likelihood_shape: tuple[int, ...],
        embedding_dim: int = 0,
    ) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder of one VAE; overridden where they share weights.

        Args:
            event_shape: E, what the encoder sees.
            posterior_shape: (P, D), what the encoder returns.
            likelihood_shape: (P, *E), what the decoder returns.
            embedding_dim: C.

        Raises:
            UserError: Where the network cannot take data of that shape.
        """
        return (
            self.encoder(event_shape, posterior_shape, embedding_dim),
            self.decoder(posterior_shape[-1], likelihood_shape, embedding_dim),
        )
