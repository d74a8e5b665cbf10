"""MNIST: pyrovae beside a hand-written PyTorch loop, in nats and in seconds.

    python benchmarks/mnist.py --data-root FOLDER --out benchmarks/mnist.md

Trains 784-400-20 with 50,000 and with 60,000 images, scores both with 500 importance samples on the whole test set, scores
our weights with the hand-written estimator too, and times epochs of the two loops in turn on the same 60,000 images.
"""

from __future__ import annotations

import argparse
import datetime
import math
import statistics
import tempfile
import time
from pathlib import Path

import torch
from machine import processor, versions
from plain_pytorch import PlainTraining, PlainVAE, score

import pyrovae
from pyrovae.engines import Eager
from pyrovae.evidence import keyed
from pyrovae.objectives import Elbo

NETWORK = {"name": "mlp", "hidden": [400]}
TARGETS = {"50,000": (-101.3, -96.0), "60,000": (-100.7, -95.6)}


def trained(folder: Path, data_root: str | None, valid: float | None, epochs: int) -> tuple[pyrovae.VAE, dict]:
    data = {"name": "mnist"} | ({} if valid is None else {"valid": valid})
    began = time.perf_counter()
    result = pyrovae.train(
        data=data, data_root=data_root, network={"name": "mlp", "hidden": [400]}, epochs=epochs, out=str(folder)
    )
    seconds = time.perf_counter() - began
    found = pyrovae.evaluate(folder, data_root=data_root)
    return result.vae, {"found": found, "seconds": seconds}


class OurPosterior(PlainVAE):
    """The hand-written model with our map from the encoder's output to a scale, exp(8 tanh(raw / 8))."""

    def posterior(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, raw = self.encoder(x).chunk(2, -1)
        return mean, 8 * torch.tanh(raw / 8)


def as_plain(vae: pyrovae.VAE) -> PlainVAE:
    """Our weights in the hand-written network."""
    plain = OurPosterior()
    for ours, theirs in ((vae.encoder, plain.encoder), (vae.decoder, plain.decoder)):
        theirs.load_state_dict(ours.layers.state_dict())
    return plain


class OurEpochs:
    """The steps of ``pyrovae.fit`` without its validation, an epoch at a time."""

    def __init__(self, vae: pyrovae.VAE, x: torch.Tensor) -> None:
        self.vae, self.x = vae, x
        optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)
        self.engine = Eager(vae, Elbo().build(1), optimizer, 10.0)

    def epoch(self) -> None:
        for rows in torch.randperm(len(self.x)).split(128):
            batch = self.x[rows]
            self.engine.step(self.vae.preprocessed(batch, torch.rand(batch.shape)), None, 1.0)


def timed(x: torch.Tensor, repeats: int) -> tuple[list[float], list[float]]:
    vae = pyrovae.VAE((28, 28), 20, network=NETWORK, kind="levels", levels=256)
    loops = (OurEpochs(vae, x), PlainTraining(x.flatten(1)))
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for loop, taken in zip(loops, seconds, strict=True):
            began = time.perf_counter()
            loop.epoch()
            taken.append(time.perf_counter() - began)
    return seconds


def row(name: str, found: pyrovae.Evaluation, target: tuple[float, float], seconds: float) -> str:
    met = "met" if found.elbo.mean >= target[0] and found.log_evidence.mean >= target[1] else "MISSED"
    cells = [
        f"{n['mean']:.3f} ± {n['standard_error']:.3f} [{n['monte_carlo_error']:.4f}]" for n in (found.elbo, found.log_evidence)
    ]
    return f"| {name} | {cells[0]} | {cells[1]} | ≥ {target[0]}, ≥ {target[1]}: {met} | {seconds:.0f} |"


def apart(found: pyrovae.Evaluation, other: tuple[float, float]) -> str:
    """How far two estimates of the same numbers are apart, in standard errors of the difference of their Monte Carlo noise."""
    ours = (found.elbo, found.log_evidence)
    differences = [abs(n["mean"] - o) / (n["monte_carlo_error"] * math.sqrt(2)) for n, o in zip(ours, other, strict=True)]
    return f"{differences[0]:.1f} and {differences[1]:.1f} Monte Carlo standard errors apart"


def main(data_root: str | None, out: Path, epochs: int, repeats: int) -> None:
    dataset = pyrovae.load_dataset("mnist", data_root)
    with tempfile.TemporaryDirectory() as folder:
        _, with_valid = trained(Path(folder) / "50000", data_root, None, epochs)
        vae, all_data = trained(Path(folder) / "60000", data_root, 0, epochs)
    test, train = dataset.test, torch.cat([dataset.train.x, dataset.valid.x])
    # The bits that `evaluate --seed 0` draws: the hand-written estimator differs in its samples of z only.
    bits = vae.preprocessed(test.x, keyed.uniform(0, test.index.tolist(), (28, 28))).flatten(1)
    cross = score(as_plain(vae), bits)
    plain = PlainTraining(train.flatten(1))
    began = time.perf_counter()
    for _ in range(epochs):
        plain.epoch()
    plain_seconds = time.perf_counter() - began
    plain_score = score(plain.vae, bits)
    ours, theirs = timed(train, repeats)
    ratio = [a / b for a, b in zip(ours, theirs, strict=True)]
    model = processor()
    lines = [
        "# MNIST: pyrovae beside a hand-written PyTorch loop",
        "",
        f"Command: `python benchmarks/mnist.py --epochs {epochs} --repeats {repeats}`, on {datetime.date.today()}.",
        f"Machine: {model}, {torch.get_num_threads()} threads. {versions()}.",
        "",
        f"784-400-20, Bernoulli, dynamic binarisation, {epochs} epochs, batch 128, Adam at 1e-3, seed 0; whole test set, "
        "500 importance samples a datum. Nats per datum, higher is better; ± standard error over data, [Monte Carlo error].",
        "",
        "| trained by, on | test ELBO | log evidence | target | seconds |",
        "|---|---|---|---|---|",
        row("`pyrovae train`, 50,000", with_valid["found"], TARGETS["50,000"], with_valid["seconds"]),
        row("`pyrovae train --data.valid 0`, 60,000", all_data["found"], TARGETS["60,000"], all_data["seconds"]),
        f"| the same weights and bits, scored by the hand-written estimator | {cross[0]:.3f} | {cross[1]:.3f} | "
        f"{apart(all_data['found'], cross)} | |",
        f"| hand-written loop, 60,000 | {plain_score[0]:.3f} | {plain_score[1]:.3f} | | {plain_seconds:.0f} |",
        "",
        f"Of {all_data['found'].n} test data, {all_data['found'].untrusted} are not to be trusted at 500 samples: "
        "the log evidence of these is a lower bound with an error that is not known, and their Monte Carlo error is too small: "
        "differences of log evidence of a few such errors are to be expected.",
        "",
        f"Time of an epoch on 60,000 images, the two loops in turn, {repeats} times: ours {statistics.median(ours):.2f} s, "
        f"hand-written {statistics.median(theirs):.2f} s (medians); ratio {statistics.median(ratio):.2f} "
        f"(median of pairs, {min(ratio):.2f} to {max(ratio):.2f}; aim: at most 1.5).",
        "",
    ]
    out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/mnist.md"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    main(arguments.data_root, arguments.out, arguments.epochs, arguments.repeats)
