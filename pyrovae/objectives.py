"""Which Pyro ELBO is minimised, what it requires, and the weight of the KL term while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from pyro.infer import Trace_ELBO
from pyro.poutine.messenger import Messenger

from pyrovae.contracts import Objective
from pyrovae.errors import check_number


@final
@dataclass(frozen=True, kw_only=True)
class Elbo(Objective):
    """Minus the evidence lower bound, E_q[log p(x, z) - log q(z|x)], by Pyro's Trace_ELBO with any number of particles.

    Source: Ranganath, Gerrish and Blei (2014), Black Box Variational Inference.
    """

    def build(self, particles: int) -> Any:
        return Trace_ELBO(num_particles=particles, max_plate_nesting=1, vectorize_particles=particles > 1)


OBJECTIVES: dict[str, type[Objective]] = {"elbo": Elbo}


@final
class weight_latents(Messenger):  # noqa: N801  (a context manager, named as Pyro names its own)
    """Multiply the log-probability of every latent site by a weight: the KL weight, for training only.

    Args:
        weight: At 1 nothing changes.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.weight


@final
@dataclass(frozen=True, kw_only=True)
class KLSchedule:
    """The weight of the KL term, rising linearly from 0 (Bowman et al., 2016, Generating Sentences from a Continuous Space).

    Args:
        weight: The final weight; 1 trains the evidence lower bound (Higgins et al., 2017, beta-VAE, for others).
        warmup: Epochs until it is reached.

    Raises:
        UserError: If either is negative or not finite.

    Example:
        >>> [KLSchedule(weight=1.0, warmup=2).at(epochs) for epochs in (0.5, 1.0, 3.0)]
        [0.25, 0.5, 1.0]
    """

    weight: float = 1.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        check_number("kl_weight", self.weight)
        check_number("kl_warmup", self.warmup)

    def at(self, epochs: float) -> float:
        """The weight after that many epochs."""
        return self.weight * min(1.0, epochs / self.warmup) if self.warmup else self.weight
