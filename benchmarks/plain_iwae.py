"""The net of Burda et al. (2016) as a hand-written PyTorch loop: no Pyro, no pyrovae; the yardstick of iwae_table.py.

784-200-200-50 with tanh, mirrored; Bernoulli likelihood; log (1/K) sum_k w_k with one sample or several of q(z|x).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def _layers(*widths: int) -> nn.Sequential:
    inner = [part for a, b in pairwise(widths[:-1]) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*inner, nn.Linear(*widths[-2:]))


class PlainIwae(nn.Module):
    def __init__(self, particles: int, pixels: int = 784, hidden: int = 200, latent: int = 50) -> None:
        super().__init__()
        self.particles = particles
        self.encoder = _layers(pixels, hidden, hidden, 2 * latent)
        self.decoder = _layers(latent, hidden, hidden, pixels)

    def loss(self, x: Tensor) -> Tensor:
        """Minus the mean over data of log (1/K) sum_k p(x, z_k) / q(z_k|x), in nats."""
        mean, raw = self.encoder(x).chunk(2, -1)
        # The map that pyrovae has from the encoder's output to a scale: the weights mean the same there.
        log_scale = 8 * torch.tanh(raw / 8)
        noise = torch.randn(self.particles, *mean.shape, device=x.device)
        z = mean + log_scale.exp() * noise
        logits = self.decoder(z)
        log_likelihood = (x * logits - F.softplus(logits)).sum(-1)
        log_weight = log_likelihood + (0.5 * (noise**2 - z**2) + log_scale).sum(-1)
        return (math.log(self.particles) - log_weight.logsumexp(0)).mean()


class PlainStep:
    """One optimizer step at a time, as ``pyrovae.engines.Eager`` takes them."""

    def __init__(self, net: PlainIwae, optimizer: torch.optim.Optimizer) -> None:
        self.net, self.optimizer = net, optimizer

    def step(self, x: Tensor) -> Tensor:
        loss = self.net.loss(x.flatten(1))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()
