"""Learning rates, schedules and a warm-up of the KL term on statically binarised MNIST: what another default would gain.

    python benchmarks/learning_rate.py --data-root FOLDER

A small model and a part of the training data, so that all trainings take a quarter of an hour on an idle core. Each is written to
--home/results.jsonl when it ends, so that what was stopped goes on with the next one, and benchmarks/learning_rate.md is written
anew from what there is.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import time
from pathlib import Path
from statistics import mean

import torch
from machine import processor, versions

import pyrovae
from pyrovae import VAE, Dataset, Importance, Training

MODEL: dict[str, object] = {"likelihood": "bernoulli", "network": {"name": "mlp", "hidden": [200]}, "latent_dim": 20}

CASES: dict[str, dict[str, object]] = {
    "1e-3 (the default)": {"learning_rate": 1e-3},
    "1e-3, warmup-cosine": {"learning_rate": 1e-3, "schedule": "warmup-cosine"},
    "3e-4, KL warm-up": {"learning_rate": 3e-4, "kl_warmup": 0.25},
    "3e-3, warmup-cosine": {"learning_rate": 3e-3, "schedule": "warmup-cosine"},
    "3e-3": {"learning_rate": 3e-3},
    "1e-3, KL warm-up": {"learning_rate": 1e-3, "kl_warmup": 0.25},
    "3e-4": {"learning_rate": 3e-4},
    "1e-3, plateau": {"learning_rate": 1e-3, "schedule": {"name": "plateau", "patience": 2, "factor": 0.3}},
    "1e-3, cosine": {"learning_rate": 1e-3, "schedule": "cosine"},
}
"""What is compared; ``kl_warmup`` as a part of all epochs."""

FOLLOWS = "## What follows\n"
"""Where the part of the page begins that is not written by this program."""


def data(root: str | None, train: int, valid: int) -> Dataset:
    """The first so many of the training and validation data, and all test data."""
    whole = pyrovae.load_dataset("binarized-mnist", root)
    rows = {**whole.rows, "train": whole.rows["train"][:train], "valid": whole.rows["valid"][:valid]}
    return dataclasses.replace(whole, rows=rows)


def result(name: str, dataset: Dataset, epochs: int, seed: int, samples: int, limit: int) -> dict[str, object]:
    """Train once; the best validation ELBO, and the test evidence of these weights."""
    torch.manual_seed(seed)
    vae = VAE(dataset.spec.event_shape, kind=dataset.spec.kind, **MODEL)
    chosen = dict(CASES[name])
    warmup = float(str(chosen.pop("kl_warmup", 0.0))) * epochs
    training = Training(epochs=epochs, batch_size=100, kl_warmup=warmup, seed=seed, **chosen)
    began = time.monotonic()
    fitted = pyrovae.fit(vae, dataset, training, device="cpu")
    seconds = time.monotonic() - began
    if fitted.interrupted:
        raise SystemExit("interrupted; the same command goes on with this training")
    few = dataset.test.subset(limit, 0)
    found = Importance(samples=samples, dequantisations=1).measure(vae, few.x, seed=0, index=few.index)
    elbos = [row["valid_elbo"] for row in fitted.history]
    return {
        "case": name,
        "seed": seed,
        "epochs": epochs,
        "train": len(dataset.train),
        "best_epoch": fitted.best_epoch,
        "valid_elbo": max(elbos),
        "half": max(elbos[: epochs // 2]),
        "log_evidence": found.mean,
        "standard_error": found.standard_error,
        "seconds": seconds,
    }


def table(results: list[dict[str, object]]) -> list[str]:
    """A line a case, the mean over seeds, with the difference to the default on the same seeds."""
    base = {row["seed"]: row for row in results if row["case"] == next(iter(CASES))}
    lines = [
        "| learning rate | seeds | validation ELBO at half the epochs | at the end | to the default | test log evidence "
        "| to the default | best epoch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        rows = [row for row in results if row["case"] == case]
        if not rows:
            continue
        gain = {
            key: mean(float(str(row[key])) - float(str(base[row["seed"]][key])) for row in rows if row["seed"] in base)
            for key in ("valid_elbo", "log_evidence")
        }
        average = {
            key: mean(float(str(row[key])) for row in rows) for key in ("half", "valid_elbo", "log_evidence", "best_epoch")
        }
        lines.append(
            f"| {case} | {len(rows)} | {average['half']:.2f} | {average['valid_elbo']:.2f} | {gain['valid_elbo']:+.2f} | "
            f"{average['log_evidence']:.2f} | {gain['log_evidence']:+.2f} | {average['best_epoch']:.0f} |"
        )
    return lines


def report(results: list[dict[str, object]], command: str, samples: int, limit: int, conclusion: str) -> str:
    """The page."""
    one = results[0]
    lines = [
        "# Learning rates and schedules on statically binarised MNIST",
        "",
        f"Command: `{command}`, on {datetime.date.today()}.",
        f"Machine: {processor()}, {torch.get_num_threads()} threads. {versions()}.",
        "",
        f"Larochelle's bits, the first {one['train']:,} training images; an MLP of 200, 20 latents, batch 100, Adam,",
        f"{one['epochs']} epochs; the weights of the best validation ELBO; the evidence of {limit:,} test images,",
        f"{samples} importance samples each. Nats per datum, higher is better. KL warm-up: over the first quarter of the epochs;",
        "of the rate: one epoch.",
        "",
        *table(results),
        "",
        conclusion.strip(),
        "",
    ]
    return "\n".join(lines)


def main(given: argparse.Namespace) -> None:
    given.home.mkdir(parents=True, exist_ok=True)
    kept = given.home / "results.jsonl"
    results = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    dataset = data(given.data_root, given.train, given.valid)
    settings = {"epochs": given.epochs, "train": given.train}
    command = f"python benchmarks/learning_rate.py --train {given.train} --epochs {given.epochs} --seeds {given.seeds}"
    conclusion = given.out.read_text(encoding="utf-8").partition(FOLLOWS)[2] if given.out.exists() else ""
    for seed in range(given.seeds):
        for case in CASES:
            wanted = {"case": case, "seed": seed, **settings}
            if not any(wanted.items() <= row.items() for row in results):
                results.append(result(case, dataset, given.epochs, seed, given.samples, given.limit))
                with kept.open("a") as file:
                    file.write(json.dumps(results[-1]) + "\n")
            ours = [row for row in results if settings.items() <= row.items()]
            given.out.write_text(report(ours, command, given.samples, given.limit, FOLLOWS + conclusion), encoding="utf-8")
    print(given.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--home", type=Path, default=Path("runs/learning_rate"))
    parser.add_argument("--train", type=int, default=10_000, help="training images")
    parser.add_argument("--valid", type=int, default=1_000, help="validation images")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--limit", type=int, default=1_000, help="test images")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/learning_rate.md"))
    given = parser.parse_args()
    main(given)
