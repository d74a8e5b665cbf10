"""The discretised logistic density, and mixtures of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from pyrovae.contracts import DataSpec, Distribution, Family, Shape
from pyrovae.contracts.supports import Support, integers
from pyrovae.errors import check_integer
from pyrovae.families.elements import joint
from pyrovae.families.levels import number_of_levels
from pyrovae.families.positive import bounded_exp
from pyrovae.families.rounded import rounded

TOGETHER = 2**20
"""Probabilities that are summed at a time."""


@final
class _DiscretisedLogistics(TorchDistribution):
    """A mixture of logistics, each rounded to the nearest level.

    Args:
        logits: Of the components' weights, shape (K, *); the batch shape is ``*``.
        loc: Locations, in levels, shape (K, *).
        scale: Scales, in levels, shape (K, *).
        levels: Number of levels.
        validate_args: As in torch.
    """

    arg_constraints = {  # noqa: RUF012
        "logits": constraints.real,
        "loc": constraints.real,
        "scale": constraints.positive,
    }

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None) -> None:
        self.logits, self.loc, self.scale, self.levels = logits, loc, scale, levels
        super().__init__(loc.shape[1:], validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.levels - 1)

    def _sum(self, weight: Callable[[Tensor], Tensor]) -> Tensor:
        """sum_l weight(l) P(x > l), shape *; some levels at a time, for all at once would need the memory of L decoders."""
        total, shares = torch.zeros_like(self.loc[0]), self.logits.softmax(0)
        levels = torch.arange(self.levels - 1, dtype=self.loc.dtype, device=self.loc.device)
        for some in levels.split(max(1, TOGETHER // max(1, self.loc.numel()))):
            level = some.view(-1, *([1] * self.loc.dim()))
            above = (shares * torch.sigmoid((self.loc - level - 0.5) / self.scale)).sum(1)
            total = total + (weight(level.squeeze(1)) * above).sum(0)
        return total

    @property
    def mean(self) -> Tensor:
        """The sum over levels l of P(x > l)."""
        return self._sum(torch.ones_like)

    @property
    def variance(self) -> Tensor:
        """E[x^2] is the sum over levels l of (2 l + 1) P(x > l)."""
        return self._sum(lambda level: 2 * level + 1) - self.mean.square()

    def expand(self, batch_shape: Shape, _instance: object = None) -> _DiscretisedLogistics:
        missing = len(batch_shape) - len(self.batch_shape)

        def expanded(parameter: Tensor) -> Tensor:
            with_ones = parameter.reshape(len(parameter), *([1] * missing), *self.batch_shape)
            return with_ones.expand(len(parameter), *batch_shape)

        logits, loc, scale = (expanded(p) for p in (self.logits, self.loc, self.scale))
        return _DiscretisedLogistics(logits, loc, scale, self.levels, self._validate_args)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            component = dist.Categorical(logits=self.logits.movedim(0, -1), validate_args=False).sample(sample_shape).unsqueeze(0)
            loc, scale = (p.reshape(len(p), *([1] * len(sample_shape)), *self.batch_shape) for p in (self.loc, self.scale))
            loc, scale = (p.expand(-1, *shape).gather(0, component).squeeze(0) for p in (loc, scale))
            x = loc + scale * torch.logit(torch.rand_like(loc))
            return x.round().clamp(0, self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log(S(a) - S(b)) = log S(a) + log S(-b) + log(1 - e^(b - a)) of a sigmoid S, which underflows nowhere."""
        if self._validate_args:
            self._validate_sample(value)
        missing = value.dim() - len(self.batch_shape)
        logits, loc, scale = (p.reshape(len(p), *([1] * missing), *self.batch_shape) for p in (self.logits, self.loc, self.scale))
        first, last = value == 0, value == self.levels - 1
        below = logsigmoid((value + 0.5 - loc) / scale).masked_fill(last, 0.0)
        above = logsigmoid((loc - value + 0.5) / scale).masked_fill(first, 0.0)
        width = torch.log(-torch.expm1(-1 / scale)).masked_fill(first | last, 0.0)
        return torch.logsumexp(logits.log_softmax(0) + below + above + width, 0)


@final
@dataclass(frozen=True, kw_only=True)
class Logistic(Family):
    """Levels as rounded logistics: P(x) = S((x + 1/2 - m) / s) - S((x - 1/2 - m) / s), the ends taking the tails.

    S is the sigmoid; log P is summed over elements. m = (1 + raw 0) (L - 1) / 2 and s = ``bounded_exp``(raw 1) (L - 1) / 8,
    in levels: raw parameters 0 are a broad density around mid-grey. With K components, P(x) = sum_k w_k P_k(x), the raw
    parameters are K logits of the weights, K locations and K scales; the components start side by side, m_k =
    (1 + (2 k + 1 - K) / K + raw) (L - 1) / 2 for k = 0..K-1, with scales ``bounded_exp``(raw) (L - 1) / (8 K). The mean is
    the exact sum over levels. The encoder sees x / (L - 1).

    Source: Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture
    Likelihood and Other Modifications.

    Args:
        components: K, the number of logistics that are mixed for each element.

    Raises:
        UserError: If components is below 1, or the data have no levels.
    """

    components: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("likelihood.components", self.components, 1)

    def support(self, spec: DataSpec) -> Support:
        return integers(0, number_of_levels("logistic", spec) - 1)

    def n_params(self, spec: DataSpec) -> int:
        return 2 if self.components == 1 else 3 * self.components

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        levels, event_dim, count = number_of_levels("logistic", spec), len(spec.event_shape), self.components
        # A level of 65,535 and half a level: float32 would know the difference to 0.004.
        dtype, params = params.dtype, params.double()
        by_kind = params.unflatten(-1 - event_dim, (-1, count)).movedim((-2 - event_dim, -1 - event_dim), (0, 1))
        *logits, location, scale = by_kind.unbind(0)
        offsets = torch.arange(1 - count, count, 2, dtype=params.dtype, device=params.device) / count
        location = location + offsets.view(count, *([1] * (location.dim() - 1)))
        half = (levels - 1) / 2
        exact: Distribution = _DiscretisedLogistics(
            logits[0] if logits else torch.zeros_like(location),
            half * (1 + location),
            half / (4 * count) * bounded_exp(scale),
            levels,
        )
        return rounded(joint(exact, spec), dtype)

    def features(self, x: Tensor, spec: DataSpec) -> Tensor:
        return x / (number_of_levels("logistic", spec) - 1)
