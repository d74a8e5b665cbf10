"""The mixture of posteriors at learned pseudo-inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from pyrovae.contracts import DataSpec, Distribution, Encode, Prior, PriorModule
from pyrovae.contracts.supports import REALS
from pyrovae.errors import check_integer
from pyrovae.priors.context import check_context, used_embedding
from pyrovae.priors.mixtures import mixture

SPREAD = 0.01
"""Standard deviation of the noise that separates pseudo-inputs starting at the same point: equal ones would stay equal."""


@final
class PseudoInputs(PriorModule):
    """Learned inputs of the encoder whose posteriors, averaged, are the prior.

    Args:
        components: K.
        event_shape: E, what the encoder sees.
        embedding_dim: C of the model, 0 without a context.
        conditional: Whether p(z) depends on the context; if it does not, each pseudo-input has an embedding of its own.
    """

    support = REALS
    initialised: Tensor

    def __init__(self, components: int, event_shape: tuple[int, ...], embedding_dim: int, conditional: bool) -> None:
        super().__init__()
        self.conditional = conditional
        self.inputs = nn.Parameter(0.5 + SPREAD * torch.randn(components, *event_shape))
        own = embedding_dim > 0 and not conditional
        self.embeddings = nn.Parameter(torch.randn(components, embedding_dim)) if own else None
        self.register_buffer("initialised", torch.tensor(False))

    def initialise(self, features: Tensor) -> None:
        """Initialise, once, at K random data (reused from the first if there are fewer) plus a little noise."""
        if self.initialised:
            return
        chosen = torch.randperm(len(features))[torch.arange(len(self.inputs)) % len(features)]
        with torch.no_grad():
            start = features[chosen.to(features.device)].to(self.inputs)
            self.inputs.copy_(start + SPREAD * torch.randn_like(start))
            self.initialised.fill_(True)

    def forward(self, embedding: Tensor | None, encode: Encode) -> Distribution:
        """Batch shape (), or (*,) of the embedding where p(z) depends on it; event shape (D,)."""
        if self.conditional and embedding is not None:
            inputs = self.inputs.expand(*embedding.shape[:-1], *self.inputs.shape)
            posteriors = encode(inputs, embedding.unsqueeze(-2))
        else:
            posteriors = encode(self.inputs, self.embeddings)
        equal = self.inputs.new_zeros(posteriors.batch_shape)
        return mixture(equal, posteriors)


@final
@dataclass(frozen=True, kw_only=True)
class Vamp(Prior):
    """p(z) = 1/K sum_k q(z|u_k): the posterior, averaged over K learned pseudo-inputs (VampPrior).

    The pseudo-inputs u_k lie where the encoder's inputs do and start at random training data. Every evaluation of p(z) passes
    them through the encoder, which is trained by both of its roles.

    Args:
        context: ``none`` (the same for every context; where the encoder needs one, each pseudo-input learns an embedding of
            its own) or ``learned``: p(z|c) = 1/K sum_k q(z|u_k, c), which passes K inputs for each datum.
        components: K; the authors use 500.

    Raises:
        UserError: If K is below 1, the context neither of these, or learned without a context.

    Source: Tomczak and Welling (2018), VAE with a VampPrior.
    """

    context: Literal["none", "learned"] = "none"
    components: int = 50

    natural_posterior = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_context(self.context)
        check_integer("prior.components", self.components, 1)

    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        conditional = used_embedding(self.context, embedding_dim) > 0
        return PseudoInputs(self.components, data.event_shape, embedding_dim, conditional)
