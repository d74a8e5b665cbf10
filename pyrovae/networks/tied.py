"""Autoencoders with a decoder that reuses the encoder's weights, transposed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Never, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyrovae.contracts import Network
from pyrovae.errors import UserError, option
from pyrovae.networks.feedforward import Feedforward
from pyrovae.networks.options import Activation, activation_of, check_activation, check_widths


@final
class TransposedDecoder(nn.Module):
    """z -> an encoder's layers backwards, each with its weight transposed and a bias of its own.

    Parameter 0 of each element, its location or logit, comes from the shared weights; further parameters come from an affine
    map of the last hidden features (z, where there are no hidden layers) and the embedding.

    Args:
        encoder: The encoder; its weights are used but not owned, so it must be registered elsewhere.
        out_shape: Event shape of the output, (P, *E).
        hidden: Widths of the encoder's hidden layers.
        activation: Constructor of the nonlinearity after each hidden layer.
        embedding_dim: C, mapped linearly and added to the output of the first layer.
    """

    def __init__(
        self,
        encoder: Feedforward,
        out_shape: tuple[int, ...],
        hidden: Sequence[int],
        activation: Callable[[], nn.Module],
        embedding_dim: int,
    ) -> None:
        super().__init__()
        n_params, *event_shape = out_shape
        _, latent_dim = encoder.out_shape
        self.out_shape = tuple(out_shape)
        # In a tuple, which registers nothing: a module attribute would be saved, counted and optimised a second time. The
        # weights are looked up on every call, since a move to another device may replace them, and a copy of both modules has
        # its own encoder in its own tuple.
        self._tied = (encoder,)
        self.activation = activation()
        widths = [latent_dim, *hidden[::-1], math.prod(event_shape)]
        self.biases = nn.ParameterList(torch.zeros(width) for width in widths[1:])
        self.condition = nn.Linear(embedding_dim, widths[1], bias=False) if embedding_dim else None
        others_shape = (n_params - 1, *event_shape)
        self.others = Feedforward(widths[-2:-1], others_shape, embedding_dim=embedding_dim) if n_params > 1 else None

    def weights(self) -> list[Tensor]:
        """The encoder's weights in the decoder's order, each (outputs, inputs) of the decoder, sharing their memory."""
        _, latent_dim = self._tied[0].out_shape
        weights = [layer.weight for layer in self._tied[0].layers if isinstance(layer, nn.Linear)]
        # Rows after the first D give no means, and columns after those of the data belong to the embedding.
        weights[-1] = weights[-1][:latent_dim]
        weights[0] = weights[0][:, : len(self.biases[-1])]
        return [weight.T for weight in reversed(weights)]

    def forward(self, z: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(*, D) and (*, C) -> (*, *out_shape)."""
        (weight, bias), *deeper = zip(self.weights(), self.biases, strict=True)
        features, h = z, functional.linear(z, weight, bias)
        if self.condition is not None:
            h = h + self.condition(embedding)
        for weight, bias in deeper:
            features = self.activation(h)
            h = functional.linear(features, weight, bias)
        h = h.unsqueeze(-2)
        if self.others is not None:
            h = torch.cat([h, self.others(features, embedding).flatten(h.dim() - 1)], -2)
        output: Tensor = h.unflatten(-1, self.out_shape[1:])
        return output


@final
@dataclass(frozen=True, kw_only=True)
class Tied(Network):
    """Fully connected layers; the decoder has the encoder's weights, transposed, and its own biases.

    Encoder W_k act(... W_1 x ...), decoder W_1' act(... W_k' z ...), where only those rows of W_k count that give the mean (the
    first parameter) of each latent. The weights give the decoder the mean (the first parameter) of each element; an affine map
    of its last hidden features gives the others. A context has its own weights on both sides.

    Args:
        hidden: Widths of the encoder's hidden layers, from the data inwards; none ties two affine maps.
        activation: Nonlinearity after each hidden layer.

    Raises:
        UserError: If a width is below 1 or the activation is not known.

    Source: Vincent, Larochelle, Lajoie, Bengio and Manzagol (2010), Stacked Denoising Autoencoders: Learning Useful
    Representations in a Deep Network with a Local Denoising Criterion.
    """

    hidden: tuple[int, ...] = ()
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "hidden", check_widths("network.hidden", self.hidden))
        check_activation(self.activation)

    @property
    def affine(self) -> bool:
        return not self.hidden

    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int = 0) -> Feedforward:
        return Feedforward(event_shape, out_shape, self.hidden, activation_of(self.activation), embedding_dim)

    def decoder(self, latent_dim: int, out_shape: tuple[int, ...], embedding_dim: int = 0) -> Never:
        """Not available: a tied decoder needs an encoder.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "network", "tied", "its decoder is an encoder transposed and cannot be alone", f"use {option('network', 'mlp')}"
        )

    def pair(
        self,
        event_shape: tuple[int, ...],
        posterior_shape: tuple[int, ...],
        likelihood_shape: tuple[int, ...],
        embedding_dim: int = 0,
    ) -> tuple[Feedforward, TransposedDecoder]:
        """An encoder and the decoder that uses its weights.

        Raises:
            UserError: If the encoder sees data of a different size than the decoder returns.
        """
        if math.prod(event_shape) != math.prod(likelihood_shape[1:]):
            raise UserError(
                "network",
                "tied",
                f"the encoder sees shape {event_shape}, the decoder returns {likelihood_shape[1:]}, and weights can "
                "be shared between equal sizes only",
                f"use {option('network', 'mlp')}",
            )
        encoder = self.encoder(event_shape, posterior_shape, embedding_dim)
        activation = activation_of(self.activation)
        return encoder, TransposedDecoder(encoder, likelihood_shape, self.hidden, activation, embedding_dim)
