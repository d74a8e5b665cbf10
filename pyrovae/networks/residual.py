"""Fully connected residual networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from pyrovae.contracts import Network
from pyrovae.errors import check_integer
from pyrovae.networks.feedforward import joined
from pyrovae.networks.options import Activation, activation_of, check_activation


@final
class ResidualBlock(nn.Module):
    """h + W2 act(W1 norm(h) + b1) + b2, with layer normalisation.

    Args:
        width: Size of h and of the hidden layer.
        activation: Constructor of the nonlinearity.
    """

    def __init__(self, width: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.change = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), activation(), nn.Linear(width, width))

    def forward(self, h: Tensor) -> Tensor:
        """(*, width) -> (*, width)."""
        change: Tensor = self.change(h)
        return h + change


@final
class ResidualStack(nn.Module):
    """Flattened input (and embedding) -> affine map to h -> blocks -> affine map to an output of any shape.

    Nothing normalises h itself, so that an affine map of the input reaches the output past all blocks.

    Args:
        in_shape: Event shape of the input.
        out_shape: Event shape of the output.
        width: Size of h.
        blocks: Number of blocks.
        activation: Constructor of the nonlinearity.
        embedding_dim: C, concatenated to the input.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        width: int,
        blocks: int,
        activation: Callable[[], nn.Module],
        embedding_dim: int,
    ) -> None:
        super().__init__()
        self.in_dims = len(in_shape)
        self.out_shape = tuple(out_shape)
        self.layers = nn.Sequential(
            nn.Linear(math.prod(in_shape) + embedding_dim, width),
            *(ResidualBlock(width, activation) for _ in range(blocks)),
            nn.Linear(width, math.prod(out_shape)),
        )

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(*, *in_shape) and (*, C) -> (*, *out_shape)."""
        flat = x.flatten(x.dim() - self.in_dims)
        output: Tensor = self.layers(joined(flat, embedding)).unflatten(-1, self.out_shape)
        return output


@final
@dataclass(frozen=True, kw_only=True)
class Residual(Network):
    """Fully connected residual blocks, h <- h + W2 act(W1 norm(h)), between affine maps, for data of any shape.

    Depth costs little here: a block that has learned nothing yet passes its input on. The norm is layer normalisation of each
    datum separately, before the weights (pre-activation).

    Args:
        width: Size of h, in encoder and decoder.
        blocks: Number of residual blocks in each.
        activation: Nonlinearity in a block.

    Raises:
        UserError: If the width is below 2 (of a single number, layer normalisation leaves nothing), the number of blocks below
            1 or the activation not known.

    Source: He, Zhang, Ren and Sun (2016), Identity Mappings in Deep Residual Networks; Ba, Kiros and Hinton (2016), Layer
    Normalization.
    """

    width: int = 256
    blocks: int = 3
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("network.width", self.width, 2)
        check_integer("network.blocks", self.blocks, 1)
        check_activation(self.activation)

    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int = 0) -> ResidualStack:
        return self._stack(event_shape, out_shape, embedding_dim)

    def decoder(self, latent_dim: int, out_shape: tuple[int, ...], embedding_dim: int = 0) -> ResidualStack:
        return self._stack((latent_dim,), out_shape, embedding_dim)

    def _stack(self, in_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int) -> ResidualStack:
        return ResidualStack(in_shape, out_shape, self.width, self.blocks, activation_of(self.activation), embedding_dim)
