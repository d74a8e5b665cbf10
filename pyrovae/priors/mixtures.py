"""Mixtures whose components may be of any kind."""

from __future__ import annotations

from typing import final

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import MixtureSameFamily

from pyrovae.contracts import Distribution


@final
class Mixture(MixtureSameFamily, TorchDistributionMixin):
    """log p(z) = logsumexp_k(log pi_k + log p_k(z)), for components p_k that need not broadcast z.

    A normal broadcasts z against its K means; components with transforms that see an embedding need a copy of z each.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Shape (*,) of values (*, D)."""
        if self._validate_args:
            self._validate_sample(value)
        components = self.component_distribution
        shape = components.batch_shape + components.event_shape
        each = value.unsqueeze(-1 - len(self.event_shape))
        each = each.expand(torch.broadcast_shapes(each.shape, shape))
        log_weights = torch.log_softmax(self.mixture_distribution.logits, dim=-1)
        return torch.logsumexp(components.log_prob(each) + log_weights, dim=-1)


def mixture(logits: Tensor, components: Distribution) -> Distribution:
    """A mixture with weights softmax(logits), (*, K), of the last dimension of a batch (*, K) of components."""
    weights = dist.Categorical(logits=logits)
    return Mixture(weights, components)  # type: ignore[arg-type]  # a distribution of torch's, which no class of it and Pyro says
