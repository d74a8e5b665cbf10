"""Training objectives: Pyro's ELBOs, what each requires, and the weight of the KL term while training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import kl_divergence

from pyrovae.contracts import Family, Model, Objective
from pyrovae.contracts.tables import Table
from pyrovae.errors import UserError, check_number, option


@final
@dataclass(frozen=True, kw_only=True)
class Elbo(Objective):
    """Minus the evidence lower bound, E_q[log p(x, z) - log q(z|x)], by Pyro's Trace_ELBO with any number of particles.

    With the posterior ``delta`` the prior is masked, and the loss is minus the reconstruction, log p(x|z).

    Source: Ranganath, Gerrish and Blei (2014), Black Box Variational Inference.
    """

    def build(self, particles: int) -> Any:
        return Trace_ELBO(num_particles=particles, max_plate_nesting=1, vectorize_particles=particles > 1)


@final
@dataclass(frozen=True, kw_only=True)
class AnalyticElbo(Objective):
    """Minus the evidence lower bound with KL(q(z|x) || p(z)) in closed form, by Pyro's TraceMeanField_ELBO.

    Only for pairs of posterior and prior whose divergence is registered, and for posteriors with a pathwise gradient.

    Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes, appendix B.
    """

    def build(self, particles: int) -> Any:
        return TraceMeanField_ELBO(num_particles=particles, max_plate_nesting=1, vectorize_particles=particles > 1)

    def check(self, model: Model, particles: int) -> None:
        _check_pathwise(model, "elbo-analytic")
        q, p = model.example()
        try:
            kl_divergence(q, p.expand(q.batch_shape))  # type: ignore[arg-type]  # ours are torch's, which no class says
        except NotImplementedError as error:
            raise UserError(
                "objective",
                "elbo-analytic",
                "the divergence of this posterior from this prior has no closed form",
                f"use {option('objective', 'elbo', 'iwae')}",
            ) from error


@final
class _PerDatumRenyi(RenyiELBO):
    """Pyro's RenyiELBO at alpha 0 with its loss as a differentiable tensor; weights are per datum."""

    def differentiable_loss(self, model: Any, guide: Any, *args: Any) -> Tensor:
        """-sum over data of log (1/K) sum_k p(x, z_k) / q(z_k|x)."""
        (traces,) = self._get_traces(model, guide, args, {})  # type: ignore[no-untyped-call]  # Pyro gives it no types
        model_logs, guide_logs = (
            [site["log_prob"] for site in trace.nodes.values() if site["type"] == "sample" and "log_prob" in site]
            for trace in traces
        )
        log_weights: Tensor = sum(model_logs) - sum(guide_logs)
        return -(log_weights.logsumexp(0) - math.log(self.num_particles)).sum()


@final
@dataclass(frozen=True, kw_only=True)
class Iwae(Objective):
    """Minus the importance-weighted bound, E[log (1/K) sum_k p(x, z_k) / q(z_k|x)], K particles per datum: RenyiELBO at alpha 0.

    Source: Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders.
    """

    takes_kl_weight = False

    def build(self, particles: int) -> Any:
        make: Any = _PerDatumRenyi
        return make(alpha=0, num_particles=particles, max_plate_nesting=1, vectorize_particles=True)

    def check(self, model: Model, particles: int) -> None:
        _check_pathwise(model, "iwae")
        if particles < 2:
            raise UserError(
                "particles", particles, "with one particle iwae is the ELBO", f"give {option('particles', 2)} or more"
            )


@final
class _GraphElbo(TraceGraph_ELBO):
    """Pyro's TraceGraph_ELBO with a tensor whose value is the loss and whose gradient is the surrogate's."""

    def differentiable_loss(self, model: Any, guide: Any, *args: Any) -> Tensor:
        """Minus the ELBO, summed over data."""
        losses: tuple[Tensor, Tensor] = self._loss_and_surrogate_loss(model, guide, args, {})  # type: ignore[no-untyped-call]  # Pyro
        elbo, surrogate = losses
        # The surrogate, which holds squares of the cost, must not round the loss away.
        return -elbo.detach() + (surrogate - surrogate.detach())


@final
@dataclass(frozen=True, kw_only=True)
class GraphElbo(Objective):
    """Minus the evidence lower bound for latents without a pathwise gradient: score function with a learned baseline.

    Pyro's TraceGraph_ELBO; the baseline, a small network of x, belongs to the VAE and is trained beside it.

    Source: Mnih and Gregor (2014), Neural Variational Inference and Learning in Belief Networks; Schulman et al. (2015),
    Gradient Estimation Using Stochastic Computation Graphs.
    """

    def build(self, particles: int) -> Any:
        make: Any = _GraphElbo
        return make(num_particles=particles, max_plate_nesting=1)

    def check(self, model: Model, particles: int) -> None:
        if model.parts["posterior"].reparametrised:
            raise UserError(
                "objective",
                "tracegraph",
                f"is for latents without a pathwise gradient, such as {option('prior', 'bernoulli')}",
                f"this posterior has one: use {option('objective', 'elbo', 'elbo-analytic', 'iwae')}",
            )


def _check_pathwise(model: Model, name: str) -> None:
    posterior = model.parts["posterior"]
    if not posterior.has_density:
        raise UserError(
            "objective", name, "a point posterior has no such bound", f"use {option('objective', 'elbo')} (the reconstruction)"
        )
    if not posterior.reparametrised:
        raise UserError(
            "objective",
            name,
            "would give this posterior's encoder a wrong gradient, for it has no pathwise one",
            f"use {option('objective', 'tracegraph', 'elbo')}",
        )


OBJECTIVES = Table(
    "objective",
    Objective,
    "objectives",
    {
        "elbo": Elbo,
        "elbo-analytic": AnalyticElbo,
        "iwae": Iwae,
        "tracegraph": GraphElbo,
    },
)


def natural_objective(posterior: Family) -> str:
    """The default objective: ``elbo``, or ``tracegraph`` if there is no pathwise gradient."""
    return "elbo" if posterior.reparametrised else "tracegraph"


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
        object.__setattr__(self, "weight", check_number("kl_weight", self.weight))
        object.__setattr__(self, "warmup", check_number("kl_warmup", self.warmup))

    @property
    def plain(self) -> bool:
        """Whether the weight is 1 throughout."""
        return self.weight == 1 and not self.warmup

    def at(self, epochs: float) -> float:
        """The weight after that many epochs."""
        return self.weight * min(1.0, epochs / self.warmup) if self.warmup else self.weight
