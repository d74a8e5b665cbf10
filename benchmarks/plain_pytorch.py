"""The same VAE as a hand-written PyTorch loop: no Pyro, no pyrovae; the yardstick for quality and time.

784-H-D Bernoulli VAE of Kingma and Welling (2014), dynamic binarisation, Adam, gradients clipped.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class PlainVAE(nn.Module):
    def __init__(self, hidden: int = 400, latent: int = 20) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 784))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = self.encoder(x).chunk(2, -1)
        return mean, log_scale.clamp(-8, 8)

    def loss(self, x: Tensor) -> Tensor:
        mean, log_scale = self.posterior(x)
        z = mean + log_scale.exp() * torch.randn_like(mean)
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(-1)
        kl = (0.5 * (mean**2 + (2 * log_scale).exp() - 1) - log_scale).sum(-1)
        return (reconstruction + kl).mean()


class PlainTraining:
    """One epoch at a time, so that it can be timed in turn with another."""

    def __init__(self, x: Tensor, seed: int = 0, batch_size: int = 128, learning_rate: float = 1e-3) -> None:
        torch.manual_seed(seed)
        self.x, self.batch_size = x, batch_size
        self.vae = PlainVAE()
        self.optimizer = torch.optim.Adam(self.vae.parameters(), lr=learning_rate, fused=True)

    def epoch(self) -> None:
        for rows in torch.randperm(len(self.x)).split(self.batch_size):
            grey = self.x[rows]
            bits = (torch.rand(grey.shape) * 255 < grey).float()
            loss = self.vae.loss(bits)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.vae.parameters(), 10.0)
            self.optimizer.step()


@torch.no_grad()
def score(vae: PlainVAE, bits: Tensor, samples: int = 500, seed: int = 0) -> tuple[float, float]:
    """Mean ELBO and importance-sampled log p(x) of binary data, in nats."""
    generator = torch.Generator().manual_seed(seed)
    elbos, evidences = [], []
    for x in bits.split(20):
        mean, log_scale = vae.posterior(x)
        noise = torch.randn(samples, *mean.shape, generator=generator)
        z = mean + log_scale.exp() * noise
        logits = vae.decoder(z)
        log_likelihood = (x * logits - F.softplus(logits)).sum(-1)
        log_weight = (log_likelihood + (-0.5 * z**2 + 0.5 * noise**2 + log_scale).sum(-1)).double()
        elbos.append(log_weight.mean(0))
        evidences.append(log_weight.logsumexp(0) - math.log(samples))
    return torch.cat(elbos).mean().item(), torch.cat(evidences).mean().item()
