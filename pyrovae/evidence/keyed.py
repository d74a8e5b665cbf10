"""Noise keyed by (seed, datum, block), independent of batch, chunk, subset and device."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyrovae.contracts import Density, Distribution
from pyrovae.errors import UserError, check_seed, option
from pyrovae.evidence.purposes import Purpose
from pyrovae.system.devices import own_noise

BLOCK = 50
"""Number of samples of one datum that are drawn together."""

_DATA_PER_STREAM = 2**22
_STREAMS = 2**10
_MASK = 2**32 - 1


def _mix(value: int) -> int:
    """A permutation of 32-bit integers (the finaliser of Appleby's MurmurHash3): no two keys collide."""
    value &= _MASK
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        value = ((value ^ (value >> shift)) * factor) & _MASK
    return value ^ (value >> 16)


def _key(seed: int, datum: int, stream: int) -> int:
    check_seed("seed", seed)
    if not (0 <= datum < _DATA_PER_STREAM and stream < _STREAMS):
        raise UserError(
            None,
            f"noise for sample {(stream - 1) * BLOCK} of datum {datum}",
            f"there are keys for {_DATA_PER_STREAM:,} data and {(_STREAMS - 1) * BLOCK:,} samples each",
            "take fewer",
        )
    return _mix(_mix(seed + 0x9E3779B9) ^ (datum + stream * _DATA_PER_STREAM))


def check_room(samples: int, draws: int) -> None:
    """Refuse more samples of the latents and draws of the preprocessing noise than there are keys: noise would be reused.

    Raises:
        UserError: If there are too many; it says the largest number of samples.
    """
    if draws * (math.ceil(samples / BLOCK) + 1) > _STREAMS:
        of_draws = f"with {option('dequantisations', draws)} " if draws > 1 else ""
        most = max(0, _STREAMS // draws - 1) * BLOCK
        raise UserError("samples", samples, f"{of_draws}there is noise for {most:,} samples per datum", "take fewer")


def repeated(seed: int, repeat: int) -> int:
    """The seed of an independent run; for the first run, the seed given."""
    check_seed("seed", seed)
    return seed if repeat == 0 else _mix(seed ^ _mix(0x2545F491 + repeat))


def _fill(
    draw: Callable[[Tensor, torch.Generator], Tensor],
    seed: int,
    index: Sequence[int],
    stream: int,
    shape: tuple[int, ...],
) -> Tensor:
    noise = torch.empty(len(index), *shape)
    generator = torch.Generator()
    for row, datum in enumerate(index):
        generator.manual_seed(_key(seed, datum, stream))
        draw(noise[row], generator)
    return noise


def uniform(seed: int, index: Sequence[int], shape: tuple[int, ...], draw: int = 0) -> Tensor:
    """Uniform noise on [0, 1) for the preprocessing of each datum, shape (len(index), *shape), on the CPU.

    Args:
        seed: Of the evaluation.
        index: Row of each datum in its data set.
        shape: Event shape E.
        draw: Number of the draw, from 0.
    """
    # Streams are counted down from the top, because the posterior uses those from 1 up.
    stream = 0 if draw == 0 else _STREAMS - draw
    return _fill(lambda row, generator: row.uniform_(generator=generator), seed, index, stream, shape)


def posterior_noise(seed: int, index: Sequence[int], block: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of a block of samples of the latents of each datum, (BLOCK, len(index), *shape), on the CPU.

    Args:
        seed: Of the evaluation.
        index: Row of each datum in its data set.
        block: Number of the block, from 0.
        shape: That of the latents, (D,).
    """
    noise = _fill(lambda row, generator: row.normal_(generator=generator), seed, index, block + 1, (BLOCK, *shape))
    return noise.transpose(0, 1)


def posterior_samples(
    density: Density, params: Tensor, q: Distribution, seed: int, index: Sequence[int], block: int, count: int = BLOCK
) -> Tensor:
    """The first samples of a block of q(z|x) for each datum, shape (count, len(index), D), on the device of the parameters.

    Args:
        density: The posterior.
        params: Its raw parameters for each datum, (len(index), P, D).
        q: What the density made of them.
        seed: Of the evaluation.
        index: Row of each datum in its data set.
        block: Number of the block, from 0.
        count: At most BLOCK.
    """
    noise = posterior_noise(seed, index, block, density.spec.event_shape)
    z = density.family.from_noise(q, noise[:count].to(params))
    return _sample_each(density, params, seed, index, block)[:count] if z is None else z


class Generators:
    """A generator of noise for each datum: what a datum gets does not depend on the others, nor on the device.

    Args:
        seed: Of the evaluation.
        index: Row of each datum in its data set.
        purpose: The use of the noise, or the number of one of its blocks; keeps several uses of one seed apart.
    """

    def __init__(self, seed: int, index: Sequence[int], purpose: int = Purpose.OTHER) -> None:
        self._generators = []
        for datum in index:
            # The seed is permuted differently for blocks, so that no purpose coincides with one of their streams.
            key = _mix(_key(seed, datum, 0) ^ _mix(0x51ED270B + purpose))
            self._generators.append(torch.Generator().manual_seed(key))

    def normal(self, *shape: int) -> Tensor:
        """The next standard normal noise of each datum, (len(index), *shape), on the CPU."""
        noise = torch.empty(len(self._generators), *shape)
        for row, generator in zip(noise, self._generators, strict=True):
            row.normal_(generator=generator)
        return noise

    def uniform(self, *shape: int) -> Tensor:
        """The next uniform noise on [0, 1) of each datum, (len(index), *shape), on the CPU."""
        noise = torch.empty(len(self._generators), *shape)
        for row, generator in zip(noise, self._generators, strict=True):
            row.uniform_(generator=generator)
        return noise

    def each(self, draw: Callable[[int], Tensor]) -> Tensor:
        """Stacked results of ``draw(row)``, each called with torch's CPU generator in the state of that datum's generator."""
        found = []
        with own_noise():
            for row, generator in enumerate(self._generators):
                torch.default_generator.set_state(generator.get_state())
                found.append(draw(row))
                generator.set_state(torch.default_generator.get_state())
        return torch.stack(found)


def _sample_each(density: Density, params: Tensor, seed: int, index: Sequence[int], block: int) -> Tensor:
    samples = []
    density = copy.deepcopy(density).cpu()
    with own_noise():
        for row, datum in zip(params.cpu(), index, strict=True):
            torch.default_generator.manual_seed(_key(seed, datum, block + 1))
            samples.append(density(row).sample((BLOCK,)))
    return torch.stack(samples, 1).to(params.device)
