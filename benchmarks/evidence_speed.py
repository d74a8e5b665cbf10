"""How long importance sampling takes, and how much memory: K samples of each MNIST test image, a 784-200-200-50 net.

    python benchmarks/evidence_speed.py --data-root FOLDER --threads 2

Beside it the same number by a hand-written loop, one image at a time with all its samples at once, on some of the images.
Memory is measured in processes of their own. Writes benchmarks/evidence_speed.md.
"""

from __future__ import annotations

import argparse
import datetime
import math
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from machine import processor, versions

import pyrovae
from pyrovae import VAE, Importance
from pyrovae.data import Split
from pyrovae.evidence.precision import guard_rows
from pyrovae.evidence.scoring import preprocessed

TARGETS = {"highest": 190, "medium": 150}


def model(epochs: int, data_root: str | None) -> tuple[VAE, Split]:
    """A VAE after a little training, so that logits and posteriors are of the usual sizes, and the test images."""
    dataset = pyrovae.load_dataset("mnist", data_root)
    torch.manual_seed(0)
    network = {"name": "mlp", "hidden": [200, 200], "activation": "tanh"}
    vae = VAE((28, 28), 50, "bernoulli", network=network, kind="levels", levels=256)
    pyrovae.fit(vae, dataset, epochs=epochs, device="cpu", progress=False)
    return vae.eval(), dataset.test


def ours(vae: VAE, rows: Split, samples: int) -> tuple[float, float]:
    """Seconds and mean log evidence."""
    began = time.perf_counter()
    found = Importance(samples=samples).measure(vae, rows.x, index=rows.index)
    return time.perf_counter() - began, found.mean


@torch.no_grad()
def one_at_a_time(vae: VAE, bits: torch.Tensor, samples: int) -> tuple[float, float]:
    """The same by a loop over images, in plain torch: seconds and mean log evidence."""
    began, found = time.perf_counter(), []
    for y in bits:
        q = vae.posterior_of_preprocessed(y[None]).base_dist
        noise = torch.randn(samples, q.loc.shape[-1])
        z = q.loc + q.scale * noise
        logits = vae.decoder(z, None).flatten(1)
        log_likelihood = -F.binary_cross_entropy_with_logits(logits, y.flatten().expand_as(logits), reduction="none").sum(-1)
        log_weight = log_likelihood + (-0.5 * z**2 + 0.5 * noise**2 + q.scale.log()).sum(-1)
        found.append(log_weight.logsumexp(0) - math.log(samples))
    return time.perf_counter() - began, torch.stack(found).mean().item()


def memory(count: int, samples: int, threads: int) -> float:
    """Largest resident memory in MiB that an evaluation adds to a process of its own, beyond one of a single datum."""
    code = (
        "import resource, torch; from pyrovae import VAE; from pyrovae import Importance;"
        f"torch.set_num_threads({threads}); torch.manual_seed(0);"
        "vae = VAE((28, 28), 50, 'bernoulli', network={'name': 'mlp', 'hidden': [200, 200]}, kind='binary');"
        f"x = (torch.rand({count}, 28, 28) < 0.3).float(); Importance(samples=500).measure(vae, x[:100]);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        f"Importance(samples={samples}).measure(vae, x); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--alone", type=int, default=200, help="images for the loop over images")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", default=str(Path(__file__).with_suffix(".md")))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    vae, rows = model(given.epochs, given.data_root)
    rows = rows.subset(given.limit, 0)
    lines = []
    for name, target in TARGETS.items():
        with guard_rows(vae, rows, None, matmul=name) as guarded:
            if guarded.precision.refused:
                off = guarded.precision.refused[0][1]
                lines.append(
                    f"| `{name}` | refused by the probe: {off:.2g} nats off | | at most {target} s: does not apply here |"
                )
                continue
            seconds, mean = ours(vae, rows, given.samples)
        whole = seconds * 10_000 / len(rows)
        verdict = "met" if whole <= target else "missed"
        lines.append(
            f"| `{name}` | {seconds:.1f} s for {len(rows):,} images | {mean:.3f} | at most {target} s for 10,000: {verdict} |"
        )
    few = rows.subset(given.alone, 1)
    bits = preprocessed(vae, few.x, few.index.tolist(), 0)
    pairs = [(ours(vae, few, given.samples), one_at_a_time(vae, bits, given.samples)) for _ in range(3)]
    ratios = sorted(alone[0] / together[0] for together, alone in pairs)
    used = {(n, k): memory(n, k, given.threads) for n, k in ((250, 500), (250, 5000), (250, 20_000), (2500, 500))}
    command = f"python benchmarks/evidence_speed.py --threads {given.threads} --samples {given.samples} --limit {given.limit}"
    ours_mean, by_hand = pairs[0][0][1], pairs[0][1][1]
    text = f"""# Time and memory of importance sampling

Command: `{command}`, on {datetime.date.today()}.
Machine: {processor()}, {given.threads} threads. {versions()}.

784-200-200-50 (tanh), Bernoulli, {given.epochs} epochs of training, {given.samples:,} samples of each MNIST test image.

| float32 products | time | mean log evidence | target |
|---|---|---|---|
{chr(10).join(lines)}

One image at a time, all its samples at once, by hand in plain torch, on {len(few)} images: {ratios[1]:.2f} times as long as ours
(median of three pairs, {ratios[0]:.2f} to {ratios[2]:.2f}); means {by_hand:.3f} and {ours_mean:.3f} nats.

Largest resident memory beyond that of a first small evaluation, each in a process of its own:

| images | samples | MiB more |
|---|---|---|
{chr(10).join(f"| {n:,} | {k:,} | {mib:.0f} |" for (n, k), mib in used.items())}
"""
    Path(given.out).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
