"""Pyro as it is: trace, differentiate, one optimizer over all parameters."""

from __future__ import annotations

from typing import Any, final

import pyro
import torch
from torch import Tensor

from pyrovae.contracts import Engine
from pyrovae.objectives import weight_latents
from pyrovae.vae import VAE


@final
class Eager(Engine):
    """Evaluate the Pyro objective by tracing model and guide at every step.

    Distributions check their arguments on the first step only: the check reads the device.

    Args:
        vae: The model and guide.
        objective: A Pyro ELBO, as ``Objective.build`` returns.
        optimizer: Over all parameters of the VAE.
        clip_norm: Largest global norm of the gradient of the mean loss; 0 for none.
    """

    def __init__(self, vae: VAE, objective: Any, optimizer: torch.optim.Optimizer, clip_norm: float) -> None:
        self.vae = vae
        self.objective = objective
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.parameters = list(vae.parameters())
        self.checked = False

    def step(self, y: Tensor, c: Tensor | None, kl_weight: float) -> Tensor:
        """One optimizer step; the mean loss per datum before it, in nats, on the device, detached."""
        with pyro.get_param_store().scope(), pyro.validation_enabled(not self.checked), weight_latents(kl_weight):
            loss: Tensor = self.objective.differentiable_loss(self.vae.model, self.vae.guide, y, c) / len(y)
        self.checked = True
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        return loss.detach()
