"""Fully connected layers between any two shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn


def joined(flat: Tensor, embedding: Tensor | None) -> Tensor:
    """(*, N) and an embedding, repeated to the same leading shape, side by side: (*, N + C); (*, N) without one."""
    if embedding is None:
        return flat
    return torch.cat([flat, embedding.expand(*flat.shape[:-1], embedding.shape[-1])], -1)


@final
class Feedforward(nn.Module):
    """Flattened input (and embedding) -> hidden layers -> an output of any shape.

    Args:
        in_shape: Event shape of the input.
        out_shape: Event shape of the output.
        hidden: Widths of the hidden layers; none makes an affine map.
        activation: Constructor of the nonlinearity after each hidden layer; ``nn.GLU``, h sigmoid(g), takes two numbers a unit.
        embedding_dim: C, concatenated to the input.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        hidden: Sequence[int] = (),
        activation: Callable[[], nn.Module] = nn.ReLU,
        embedding_dim: int = 0,
    ) -> None:
        super().__init__()
        self.in_dims = len(in_shape)
        self.out_shape = tuple(out_shape)
        widths = [math.prod(in_shape) + embedding_dim, *hidden, math.prod(out_shape)]
        numbers = 2 if activation is nn.GLU else 1
        inner = [layer for a, b in pairwise(widths[:-1]) for layer in (nn.Linear(a, numbers * b), activation())]
        self.layers = nn.Sequential(*inner, nn.Linear(widths[-2], widths[-1]))

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(*, *in_shape) and (*, C) -> (*, *out_shape)."""
        flat = x.flatten(x.dim() - self.in_dims)
        output: Tensor = self.layers(joined(flat, embedding)).unflatten(-1, self.out_shape)
        return output
