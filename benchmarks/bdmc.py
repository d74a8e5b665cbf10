"""Bidirectional Monte Carlo on a trained MNIST VAE: how far annealing from below and from above are apart.

    python benchmarks/bdmc.py --data-root FOLDER --temperatures 100 300 1000 5000

Trains 784-400-20 with Bernoulli pixels, unless --runs has it, then sandwiches the evidence of data simulated from that model, and
writes benchmarks/bdmc.md after each number of temperatures. To be met: a gap below 0.5 nats with at most 1000 temperatures, and
below 0.2 with at most 5000.
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path

import torch
from machine import processor, versions

import pyrovae
from pyrovae import Bdmc, runs
from pyrovae.evidence.annealing.sandwich import Sandwich, sandwich

SETTINGS = {"data": "mnist", "likelihood": "bernoulli", "network": {"name": "mlp", "hidden": [400]}, "latent_dim": 20}


def trained(home: Path, data_root: str | None, epochs: int) -> Path:
    folder = home / "bdmc"
    if not folder.exists():
        pyrovae.train(**SETTINGS, epochs=epochs, data_root=data_root, out=str(folder), device="cpu")
    return folder


def row(temperatures: int, found: Sandwich, seconds: float) -> str:
    lower, upper = found.lower.mean().item(), found.upper.mean().item()
    forward, reverse = (found.diagnostics[name].mean().item() for name in ("acceptance", "reverse_acceptance"))
    chains = found.diagnostics["effective_sample_size"].mean().item()
    return (
        f"| {temperatures:,} | {lower:.3f} | {upper:.3f} | {found.mean_gap:.3f} ± {found.mean_gap_error:.3f} | "
        f"{found.gap.max().item():.2f} | {chains:.1f} | {forward:.2f} / {reverse:.2f} | {seconds:.0f} |"
    )


def report(folder: Path, given: argparse.Namespace) -> None:
    model = processor()
    vae, epochs = runs.load(folder, torch.device("cpu")), len(runs.read_metrics(folder))
    lines = [
        "# Bidirectional Monte Carlo on a trained MNIST VAE",
        "",
        f"Command: `python benchmarks/bdmc.py --temperatures {' '.join(map(str, given.temperatures))} --simulated "
        f"{given.simulated} --chains {given.chains} --leapfrog {given.leapfrog}`, on {datetime.date.today()}.",
        f"Machine: {model}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}. {versions()}.",
        "",
        f"A 784-400-20 VAE with Bernoulli pixels, trained for {epochs} epochs; {given.simulated} images simulated from it;",
        f"{given.chains} chains an image each way, {given.leapfrog} leapfrog steps a move, from the prior, sigmoid schedule.",
        "Nats per image; ± standard error over images; the largest gap of an image beside it. Effective chains: upwards.",
        "Acceptance: upwards / backwards, mean over temperatures. Seconds: CPU time of both directions and the pilot run.",
        "",
        "| temperatures | lower bound | upper bound | gap | largest | effective chains | acceptance | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    end = [
        "",
        "To be met: a gap below 0.5 with at most 1000 temperatures, below 0.2 with at most 5000. Bounds are so in expectation:",
        "a gap of a single image, or a mean within its error of 0, may be negative.",
        "",
        "This certifies the sampler with these settings on data simulated from the model. Real images, which the model may not",
        "resemble, may be harder; nothing here says that the model is good.",
        "",
    ]
    for temperatures in given.temperatures:
        began = time.process_time()
        annealing = Bdmc(temperatures=temperatures, chains=given.chains, leapfrog=given.leapfrog)
        found = sandwich(vae, annealing, given.simulated)
        lines.append(row(temperatures, found, time.process_time() - began))
        print(lines[-1], flush=True)
        given.out.write_text("\n".join(lines + end), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the trained model")
    parser.add_argument("--epochs", type=int, default=20, help="of the training, where there is no model yet")
    parser.add_argument("--temperatures", type=int, nargs="+", default=[100, 300, 1000, 5000])
    parser.add_argument("--simulated", type=int, default=100)
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--leapfrog", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/bdmc.md"))
    given = parser.parse_args()
    report(trained(given.runs, given.data_root, given.epochs), given)
