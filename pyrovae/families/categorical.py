"""The categorical density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae.contracts import DataSpec, Distribution, Family, Shape
from pyrovae.contracts.supports import Support, integers
from pyrovae.families.elements import joint
from pyrovae.families.levels import number_of_levels


@final
class _LevelCategorical(TorchDistribution):
    """Levels 0..L-1 as floats, with a logit each; nothing of the size of the logits is kept besides them.

    Args:
        logits: Shape (*, L); the batch shape is ``*``.
        validate_args: As in torch.
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.logits.shape[-1] - 1)

    @property
    def _levels(self) -> Tensor:
        return torch.arange(self.logits.shape[-1], dtype=self.logits.dtype, device=self.logits.device)

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1) @ self._levels

    @property
    def variance(self) -> Tensor:
        distance = self._levels - self.mean.unsqueeze(-1)
        return (self.logits.softmax(-1) * distance.square()).sum(-1)

    def expand(self, batch_shape: Shape, _instance: object = None) -> _LevelCategorical:
        return _LevelCategorical(self.logits.expand(*batch_shape, self.logits.shape[-1]), self._validate_args)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with torch.no_grad():
            rows = self.logits.softmax(-1).reshape(-1, self.logits.shape[-1])
            drawn = rows.multinomial(torch.Size(sample_shape).numel(), replacement=True)
        return drawn.T.reshape(self._extended_shape(sample_shape)).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        logits = self.logits.expand(*shape, -1)
        chosen = logits.gather(-1, value.long().expand(shape).unsqueeze(-1)).squeeze(-1)
        return chosen - self.logits.logsumexp(-1)


@final
@dataclass(frozen=True, kw_only=True)
class Categorical(Family):
    """Any probabilities of the L levels, from a logit l_x each: log p(x) = l_x - log sum_j e^(l_j), summed over elements.

    The order of the levels is not built in; the decoder has L outputs per element. The encoder sees x / (L - 1).

    Raises:
        UserError: If the data have no levels.
    """

    def support(self, spec: DataSpec) -> Support:
        return integers(0, number_of_levels("categorical", spec) - 1)

    def n_params(self, spec: DataSpec) -> int:
        return number_of_levels("categorical", spec)

    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        logits = params.movedim(-1 - len(spec.event_shape), -1)
        return joint(_LevelCategorical(logits), spec)

    def features(self, x: Tensor, spec: DataSpec) -> Tensor:
        return x / (number_of_levels("categorical", spec) - 1)
