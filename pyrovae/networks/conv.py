"""Convolutional networks for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from torch import Tensor, nn

from pyrovae.contracts import Network
from pyrovae.errors import UserError, check_integer, option
from pyrovae.networks.feedforward import Feedforward
from pyrovae.networks.options import Activation, activation_of, check_activation, check_widths

SMALLEST, LARGEST = 8, 64
COLOURS = ((), (1,), (3,))
"""What may precede (H, W) in an event shape."""


def _image(event_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, H, W) of one image; UserError for anything else."""
    colours, size = event_shape[:-2], event_shape[-2:]
    if colours not in COLOURS or len(size) != 2 or not SMALLEST <= min(size) <= max(size) <= LARGEST:
        raise UserError(
            "network",
            "conv",
            f"needs images (H, W), (1, H, W) or (3, H, W) of {SMALLEST}x{SMALLEST} to {LARGEST}x{LARGEST} pixels, "
            f"the data have shape {event_shape}",
            f"use {option('network', 'mlp')}, or {option('data.size', metavar='N')} for a folder of larger pictures",
        )
    return (*(colours or (1,)), *size)


def _halved(size: tuple[int, int], channels: Sequence[int]) -> list[tuple[int, int]]:
    """Sizes before the first and after each convolution; a half is rounded up. UserError if one would halve a single pixel."""
    sizes = [size]
    for _ in channels:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    if (1, 1) in sizes[:-1]:
        raise UserError(
            "network.channels",
            list(channels),
            f"{len(channels)} convolutions, but {sizes.index((1, 1))} halve {size[0]}x{size[1]} pixels to a single one",
            "give no more than that",
        )
    return sizes


def _normalised(channels: int) -> nn.GroupNorm:
    """Features of one datum over its pixels and channels: mean 0 and variance 1, whatever else is in the batch."""
    return nn.GroupNorm(1, channels)


@final
class ConvEncoder(nn.Module):
    """Image -> convolutions of stride 2 -> dense layers (with the embedding) -> an output of any shape.

    Args:
        event_shape: (H, W), (1, H, W) or (3, H, W).
        out_shape: Event shape of the output.
        channels: Channels after each convolution.
        hidden: Width of the dense layer between convolutions and output.
        activation: Constructor of the nonlinearity after each layer but the last.
        embedding_dim: C, concatenated to the input of the dense layers.

    Raises:
        UserError: If the event is no such image, or too small for so many convolutions.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        channels: Sequence[int],
        hidden: int,
        activation: Callable[[], nn.Module],
        embedding_dim: int,
    ) -> None:
        super().__init__()
        self.image = _image(tuple(event_shape))
        self.in_dims = len(event_shape)
        self.coarsest = (channels[-1], *_halved(self.image[1:], channels)[-1])
        layers: list[nn.Module] = []
        for a, b in pairwise([self.image[0], *channels]):
            layers += [nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1), _normalised(b), activation()]
        # The last is not normalised: how bright an image is may be what its latents say.
        self.down = nn.Sequential(*layers[:-2], layers[-1])
        self.dense = Feedforward(self.coarsest, out_shape, (hidden,), activation, embedding_dim)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(*, *event_shape) and (*, C) -> (*, *out_shape)."""
        leading = x.shape[: x.dim() - self.in_dims]
        features = self.down(x.reshape(-1, *self.image))
        output: Tensor = self.dense(features.reshape(*leading, *self.coarsest), embedding)
        return output


@final
class Doubling(nn.Module):
    """Transposed convolution of stride 2 to an exact size, 2 n or 2 n - 1 for an input of size n.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        size: Height and width of the output.
    """

    def __init__(self, channels_in: int, channels_out: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        # A kernel that is a multiple of the stride covers all pixels equally often: no chequered pattern.
        self.convolution = nn.ConvTranspose2d(channels_in, channels_out, kernel_size=4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, n, m) -> (B, channels_out, *size)."""
        height, width = self.size
        larger: Tensor = self.convolution(x)
        return larger[..., :height, :width]


@final
class ConvDecoder(nn.Module):
    """z (and embedding) -> dense layers -> transposed convolutions of stride 2 -> P parameters for each element of an image.

    Args:
        latent_dim: D.
        out_shape: (P, *E) with E an image.
        channels: Channels of the encoder, from the image inwards.
        hidden: Width of the dense layer between latents and convolutions.
        activation: Constructor of the nonlinearity after each layer but the last.
        embedding_dim: C, concatenated to z.

    Raises:
        UserError: If the event is no such image, or too small for so many convolutions.
    """

    def __init__(
        self,
        latent_dim: int,
        out_shape: tuple[int, ...],
        channels: Sequence[int],
        hidden: int,
        activation: Callable[[], nn.Module],
        embedding_dim: int,
    ) -> None:
        super().__init__()
        n_params, *event_shape = out_shape
        colours, height, width = _image(tuple(event_shape))
        self.out_shape = tuple(out_shape)
        *sizes, smallest = _halved((height, width), channels)
        self.coarsest = (channels[-1], *smallest)
        self.dense = Feedforward((latent_dim,), self.coarsest, (hidden,), activation, embedding_dim)
        layers: list[nn.Module] = []
        for (a, b), size in zip(pairwise([*channels[::-1], n_params * colours]), sizes[::-1], strict=True):
            layers += [activation(), Doubling(a, b, size), _normalised(b)]
        self.up = nn.Sequential(*layers[:-1])

    def forward(self, z: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(*, D) and (*, C) -> (*, *out_shape)."""
        features = self.dense(z, embedding)
        output: Tensor = self.up(features.reshape(-1, *self.coarsest))
        return output.reshape(*z.shape[:-1], *self.out_shape)


@final
@dataclass(frozen=True, kw_only=True)
class Conv(Network):
    """Convolutions for images of 8x8 to 64x64 pixels, shapes (H, W), (1, H, W) or (3, H, W), odd and unequal sizes included.

    Each convolution of the encoder halves the image (stride 2, half sizes rounded up), each transposed convolution of the
    decoder doubles it back to its previous size; a dense layer stands between them and the latents. Between two convolutions
    the features of a datum are normalised over its own pixels and channels (one group).

    Args:
        channels: Channels after each convolution of the encoder, from the image inwards; the decoder has them in reverse order.
        hidden: Width of the dense layer.
        activation: Nonlinearity after each layer but the last.

    Raises:
        UserError: If there are no channels, a number is below 1 or the activation is not known; when it is built, if the data
            are not such images or would be halved beyond a single pixel.

    Source: LeCun, Boser, Denker, Henderson, Howard, Hubbard and Jackel (1989), Backpropagation Applied to Handwritten Zip Code
    Recognition; Zeiler, Krishnan, Taylor and Fergus (2010), Deconvolutional Networks; Wu and He (2018), Group Normalization.
    """

    channels: tuple[int, ...] = (32, 64)
    hidden: int = 256
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "channels", check_widths("network.channels", self.channels))
        if not self.channels:
            raise UserError("network.channels", [], "needs the channels of at least one convolution, such as [32,64]")
        check_integer("network.hidden", self.hidden, 1)
        check_activation(self.activation)

    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int = 0) -> ConvEncoder:
        activation = activation_of(self.activation)
        return ConvEncoder(event_shape, out_shape, self.channels, self.hidden, activation, embedding_dim)

    def decoder(self, latent_dim: int, out_shape: tuple[int, ...], embedding_dim: int = 0) -> ConvDecoder:
        activation = activation_of(self.activation)
        return ConvDecoder(latent_dim, out_shape, self.channels, self.hidden, activation, embedding_dim)
