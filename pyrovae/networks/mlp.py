"""Multilayer perceptrons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from torch import nn

from pyrovae.contracts import Network
from pyrovae.errors import UserError, check_integer
from pyrovae.networks.feedforward import Feedforward

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "softplus": nn.Softplus, "gelu": nn.GELU, "silu": nn.SiLU}


@final
@dataclass(frozen=True, kw_only=True)
class Mlp(Network):
    """Fully connected layers; the decoder has the encoder's widths in reverse order.

    Args:
        hidden: Widths of the encoder's hidden layers, from the data inwards.
        activation: Nonlinearity after each hidden layer.

    Raises:
        UserError: If a width is below 1 or the activation is not known.
    """

    hidden: tuple[int, ...] = (400,)
    activation: Literal["relu", "tanh", "softplus", "gelu", "silu"] = "relu"

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, list | tuple):
            raise UserError(f"--network.hidden {self.hidden}: needs a list of widths, such as [400]")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for width in self.hidden:
            check_integer("network.hidden", width, 1)
        if self.activation not in ACTIVATIONS:
            raise UserError(f"--network.activation {self.activation}: is none of {', '.join(ACTIVATIONS)}")

    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int = 0) -> Feedforward:
        return Feedforward(event_shape, out_shape, self.hidden, ACTIVATIONS[self.activation], embedding_dim)

    def decoder(self, latent_dim: int, out_shape: tuple[int, ...], embedding_dim: int = 0) -> Feedforward:
        return Feedforward((latent_dim,), out_shape, self.hidden[::-1], ACTIVATIONS[self.activation], embedding_dim)
