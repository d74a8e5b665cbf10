"""Statically binarised MNIST: a standard normal prior and a VampPrior beside their published evidence.

    python benchmarks/static_mnist.py train normal --data-root FOLDER --epochs 400
    python benchmarks/static_mnist.py train vamp --data-root FOLDER --epochs 400
    python benchmarks/static_mnist.py report --data-root FOLDER --limit 10000

A gated 300-300 net with 40 latents, as in Tomczak and Welling (2018), VAE with a VampPrior, who report -88.56 nats for the
standard prior and -85.57 for 500 pseudo-inputs, with 5,000 importance samples. Ctrl-C saves; the same command with more epochs
goes on where it stopped; ``report`` scores what there is and writes benchmarks/static_mnist.md.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import torch
from machine import processor, versions

import pyrovae
from pyrovae import runs
from pyrovae.comparison import Settings, read_entry

PUBLISHED = {"normal": -88.56, "vamp": -85.57}
PRIORS = {"normal": "normal", "vamp": {"name": "vamp", "components": 200}}
SETTINGS = {
    "data": "binarized-mnist",
    "likelihood": "bernoulli",
    "network": {"name": "mlp", "hidden": [300, 300], "activation": "gated"},
    "latent_dim": 40,
    "batch_size": 100,
}


def train(name: str, home: Path, data_root: str | None, epochs: int, learning_rate: float, kl_warmup: float) -> None:
    folder = home / name
    options = {**SETTINGS, "prior": PRIORS[name], "learning_rate": learning_rate, "kl_warmup": kl_warmup}
    pyrovae.train(**options, data_root=data_root, epochs=epochs, out=str(folder), resume=folder.exists())


def row(name: str, home: Path, data_root: str | None, samples: int, limit: int) -> str:
    # An evaluation of the same weights with the same settings is used again.
    found = read_entry(home / name, Settings(samples=samples, limit=limit), data_root=data_root).evaluation
    history, config = runs.read_metrics(home / name), runs.read_config(home / name)
    best = max(history, key=lambda line: line["valid_elbo"])
    evidence, elbo = found.log_evidence, found.elbo
    return (
        f"| {name} | {found.n:,} | {elbo['mean']:.2f} | {evidence['mean']:.2f} ± {evidence['standard_error']:.2f} "
        f"[{evidence['monte_carlo_error']:.3f}] | {PUBLISHED[name]:.2f} | {evidence['mean'] - PUBLISHED[name]:+.2f} | "
        f"{found.active_units} of {found.latent_dim} | {found.untrusted} | "
        f"{config['learning_rate']:g} | {config['kl_warmup']:g} | "
        f"{len(history)} (best: {best['epoch']:.0f}) | "
        f"{history[-1]['seconds'] / 60:.0f} |"
    )


def report(home: Path, data_root: str | None, samples: int, limits: list[int], out: Path) -> None:
    counts = dict(zip(PRIORS, limits * len(PRIORS) if len(limits) == 1 else limits, strict=True))
    model = processor()
    lines = [
        "# Statically binarised MNIST beside published numbers",
        "",
        "Commands: `python benchmarks/static_mnist.py train normal`, `... train vamp`, then "
        f"`... report --samples {samples} --limit {' '.join(map(str, limits))}`, on {datetime.date.today()}.",
        f"Machine: {model}, {torch.get_num_threads()} threads. {versions()}.",
        "",
        "Larochelle's bits; a gated 300-300 net, 40 latents, batch 100, Adam, the weights of the best validation ELBO;",
        f"a seeded subset of the test images, {samples:,} importance samples each. Nats per datum, higher is better; ± standard",
        "error over data, [Monte Carlo error]. Published: Tomczak and Welling (2018), who trained until 50 epochs brought no",
        "gain, at 5e-4, with 100 epochs of KL warm-up and 500 pseudo-inputs (here 200).",
        "",
        "| prior | images | ELBO | log evidence | published | difference | active units | untrusted | rate | warm-up | epochs "
        "| minutes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(row(name, home, data_root, samples, counts[name]) for name in PRIORS if (home / name).exists()),
        "",
        "The published numbers are of all 10,000 test images; ours of a subset are uncertain by the standard error, and so is",
        "the difference. Minutes were measured while the machine did other work.",
        "",
    ]
    out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["train", "report"])
    parser.add_argument("prior", choices=list(PRIORS), nargs="?", default="normal")
    parser.add_argument("--data-root")
    parser.add_argument("--home", type=Path, default=Path("runs/static_mnist"))
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--kl-warmup", type=float, default=100)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--limit", type=int, nargs="+", default=[10_000], help="test images: one number, or one a prior")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/static_mnist.md"))
    given = parser.parse_args()
    if given.task == "train":
        train(given.prior, given.home, given.data_root, given.epochs, given.learning_rate, given.kl_warmup)
    else:
        report(given.home, given.data_root, given.samples, given.limit, given.out)
