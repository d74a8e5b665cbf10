"""The register of uses of noise, so that two uses of one seed never share random numbers."""

from __future__ import annotations

from enum import IntEnum


class Purpose(IntEnum):
    """A use of the noise of ``keyed.Generators``. The numbers must never change: reported results depend on them.

    ``PRIOR`` and ``HEAVY`` are the first of a range, with a number for each block of samples; ``keyed`` has keys for fewer than
    1024 blocks.

    Attributes:
        OTHER: Whatever is not reported, such as the noise of a test.
        PILOT: The pilot run that finds the step sizes of annealing.
        CHAINS: Annealed chains, upwards.
        SIMULATION: Data simulated from the model.
        REVERSE: Annealed chains, back to the start.
        RESAMPLING: Draws of the posterior in proportion to their weights.
        PRIOR: Samples of the prior as a proposal.
        HEAVY: Noise with heavier tails than the guide's.
    """

    OTHER = 0
    PILOT = 10
    CHAINS = 11
    SIMULATION = 12
    REVERSE = 13
    RESAMPLING = 20
    PRIOR = 1000
    HEAVY = 3000

    def of_block(self, block: int) -> int:
        """The number of a block of samples, from 0, of a purpose that has a range of them."""
        return int(self) + block
