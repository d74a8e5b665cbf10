"""Multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

from torch import nn

from pyrovae.contracts import Network
from pyrovae.networks.feedforward import Feedforward
from pyrovae.networks.options import Activation, activation_of, check_activation, check_widths


@final
@dataclass(frozen=True, kw_only=True)
class Mlp(Network):
    """Fully connected layers; the decoder has the encoder's widths in reverse order.

    Args:
        hidden: Widths of the encoder's hidden layers, from the data inwards.
        activation: Nonlinearity after each hidden layer; ``gated`` is h sigmoid(g), two linear maps a layer (Dauphin, Fan, Auli
            and Grangier, 2017, Language Modeling with Gated Convolutional Networks).

    Raises:
        UserError: If a width is below 1 or the activation is not known.
    """

    hidden: tuple[int, ...] = (400,)
    activation: Activation | Literal["gated"] = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "hidden", check_widths("network.hidden", self.hidden))
        check_activation(self.activation, "gated")

    @property
    def affine(self) -> bool:
        return not self.hidden

    def _activation(self) -> Callable[[], nn.Module]:
        return nn.GLU if self.activation == "gated" else activation_of(self.activation)

    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int = 0) -> Feedforward:
        return Feedforward(event_shape, out_shape, self.hidden, self._activation(), embedding_dim)

    def decoder(self, latent_dim: int, out_shape: tuple[int, ...], embedding_dim: int = 0) -> Feedforward:
        return Feedforward((latent_dim,), out_shape, self.hidden[::-1], self._activation(), embedding_dim)
