"""A family of densities, and the module that a family becomes once shapes are known."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, final

from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pyrovae.contracts.distribution import Distribution
from pyrovae.contracts.part import Part
from pyrovae.contracts.spec import DataSpec
from pyrovae.contracts.supports import Support, as_support


class Family(Part):
    """A density written once: raw network outputs -> a distribution with event shape E.

    A family serves as a likelihood p(x|z,c), a posterior q(z|x,c) or a prior p(z), wherever its support fits.

    Attributes:
        reparametrised: Whether ``distribution(...).rsample`` carries a pathwise gradient.
        has_density: Whether it has a density at all; a point mass has none, so neither ELBO nor evidence.
    """

    reparametrised: ClassVar[bool] = False
    has_density: ClassVar[bool] = True

    @abstractmethod
    def support(self, spec: DataSpec) -> Support | Constraint:
        """The values of one element (not of the event) that have a density."""

    @abstractmethod
    def n_params(self, spec: DataSpec) -> int:
        """P: how many raw parameters an element takes from the network."""

    @abstractmethod
    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        """The distribution of raw parameters (*, P, *E): batch shape ``*``, event shape E.

        Args:
            params: Raw, unconstrained network outputs, shape (*, P, *E).
            spec: The data that it is a density of.
            learned: The module that ``self.learned(spec)`` built.
        """

    def learned(self, spec: DataSpec) -> nn.Module:
        """Parameters that belong to the family and not to the network; none unless overridden."""
        return nn.Module()

    def mean(self, distribution: Distribution) -> Tensor:
        """E[x], shape (*, *E), in the units of the density: what a picture of the distribution shows."""
        return distribution.mean

    def stddev(self, distribution: Distribution) -> Tensor:
        """Standard deviation of each element, shape (*, *E)."""
        return distribution.stddev

    def features(self, x: Tensor, spec: DataSpec) -> Tensor:
        """What an encoder sees instead of x: the same information on a scale near 1; x itself unless overridden."""
        return x

    def from_noise(self, distribution: Distribution, noise: Tensor) -> Tensor | None:
        """The sample that standard normal ``noise`` (*, *E) stands for, or None if there is no map from noise to samples.

        A family that has one is sampled for many data in one call with noise keyed by datum; the others are sampled
        datum by datum.

        Args:
            distribution: What ``self.distribution`` returned.
            noise: Shape (*, *E) with any further leading dimensions.
        """
        return None

    def log_stretch(self, distribution: Distribution, noise: Tensor) -> Tensor | None:
        """log|det dx/dnoise| of ``from_noise``, shape (*,), if the map stretches noise of any size alike; None if it does not.

        Such a density has the tails of a normal; made from noise with heavier tails, it has heavier tails too.

        Args:
            distribution: What ``self.distribution`` returned.
            noise: As for ``from_noise``.
        """
        return None

    def tail_df(self, learned: nn.Module) -> float | None:
        """Degrees of freedom of a Student t whose tails are as heavy as this density's or heavier.

        None where they are no heavier than those of a normal density.

        Args:
            learned: The module that ``self.learned(spec)`` built.
        """
        return None

    def build(self, spec: DataSpec) -> Density:
        """The module of this family for data of that shape."""
        return Density(self, spec)


@final
class Density(nn.Module):
    """A family that knows its event shape: ``forward(params (*, P, *E)) -> Distribution``.

    Args:
        family: The density.
        spec: The data that it is a density of.
    """

    def __init__(self, family: Family, spec: DataSpec) -> None:
        super().__init__()
        self.family = family
        self.spec = spec
        self.support = as_support(family.support(spec))
        self.params_shape = (family.n_params(spec), *spec.event_shape)
        self.learned = family.learned(spec)

    if TYPE_CHECKING:

        def __call__(self, params: Tensor) -> Distribution: ...

    def forward(self, params: Tensor) -> Distribution:
        """Batch shape ``*``, event shape E."""
        return self.family.distribution(params, self.spec, self.learned)
