"""The one-layer rows of Burda et al. (2016), beside the paper and beside a hand-written PyTorch loop.

    python benchmarks/iwae_table.py train elbo --home FOLDER --data-root FOLDER --stages 8
    python benchmarks/iwae_table.py train iwae --home FOLDER ...
    python benchmarks/iwae_table.py train plain-elbo --home FOLDER ...
    python benchmarks/iwae_table.py train plain-iwae --home FOLDER ...
    python benchmarks/iwae_table.py report --home FOLDER --limit 1000 --limit-last 10000

Stage i of 8 is 3^(i-1) epochs at a learning rate of 1e-3 * 10^(-(i-1)/7): 3280 epochs in all. ``train`` saves as it goes: the
same command goes on where it was killed, bit for bit, or where ``--seconds`` ended it (a GPU lent in calls of ten minutes:
``--device cuda --seconds 540``). The weights of every finished stage are kept; ``report`` scores what there is and writes
benchmarks/iwae_table.md.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import math
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyro
import torch
from iwae_training import (
    BATCH,
    BLOCK,
    ROWS,
    STAGES,
    Training,
    as_vae,
    device_name,
    epochs_through,
    learner,
    learning_rate,
    read,
    write,
)
from torch import Tensor

import pyrovae
from pyrovae import Importance
from pyrovae.cli.spelling import with_flags
from pyrovae.contracts import Evidence
from pyrovae.data import Split
from pyrovae.errors import UserError, check_integer
from pyrovae.evidence.importance.pareto import threshold
from pyrovae.system.devices import choose_device


def train(name: str, home: Path, data_root: str | None, stages: int, seconds: float, device: str) -> None:
    x = pyrovae.load_dataset({"name": "mnist", "valid": 0}, data_root).train.x
    training = Training(ROWS[name], x, home / name, choose_device(device))
    done = training.run(stages, seconds)
    at = training.position
    print(f"{name}: through stage {at.stage - 1}" + ("" if done else f", {at.epoch} epochs of stage {at.stage}; go on with it"))


@dataclass
class Score:
    """log p(x) of test images by one row's weights at the end of one stage, in nats, with what its training took."""

    evidence: Evidence
    active_units: int
    trained_on: str

    def of(self, wanted: Tensor) -> Evidence:
        """Of the images in those rows of the data set."""
        kept = torch.isin(self.evidence.diagnostics["index"], wanted)
        return Evidence(
            estimate=self.evidence.estimate[kept],
            monte_carlo_error=self.evidence.monte_carlo_error[kept],
            diagnostics={key: value[kept] for key, value in self.evidence.diagnostics.items()},
        )


def score(name: str, stage: int, home: Path, images: Split, samples: int, device: torch.device) -> Score | None:
    """A score of the same weights with the same settings is used again; None where the stage is not finished."""
    path = home / name / f"stage_{stage}.safetensors"
    if not path.exists():
        return None
    weights, trained = read(path)
    settings = {"weights": hashlib.sha256(path.read_bytes()).hexdigest(), "images": len(images), "samples": samples}
    settings |= {"pyrovae": pyrovae.__version__, "torch": torch.__version__}
    kept = home / name / f"score_{stage}.safetensors"
    if not (kept.exists() and read(kept)[1] == settings):
        vae = as_vae(weights, ROWS[name].by_hand).to(device)
        found = Importance(samples=samples).measure(vae, images.x, seed=0, index=images.index)
        wanted = ("log_evidence", "log_evidence_error", "khat", "posterior_mean")
        write(kept, {key: found.diagnostics[key] for key in wanted} | {"index": images.index}, settings)
    tensors, _ = read(kept)
    return Score(
        Evidence(
            estimate=tensors["log_evidence"],
            monte_carlo_error=tensors["log_evidence_error"],
            diagnostics={key: tensors[key] for key in ("khat", "index")},
        ),
        # Burda et al. (2016): a latent is active where the variance over data of its posterior mean is above 0.01.
        int((tensors["posterior_mean"].var(0) > 0.01).sum()),
        f"{trained['device']}, {threads(trained['threads'])}, torch {trained['torch']}",
    )


def threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def cell(found: Evidence | None) -> str:
    if found is None:
        return "-"
    return f"{found.mean:.2f} ± {found.standard_error:.2f} [{found.mean_monte_carlo_error:.3f}]"


def difference(ours: Evidence | None, by_hand: Evidence | None) -> str:
    """Of the means, with its standard error over images: both were scored on the same bits."""
    if ours is None or by_hand is None:
        return "-"
    apart = ours.estimate - by_hand.estimate
    return f"{apart.mean():+.2f} ± {apart.std() / math.sqrt(len(apart)):.2f}"


def timed(name: str, bits: Tensor, repeats: int) -> str:
    """Time of a step of ours and of the hand-written loop, on the same batches in turn."""
    steps = [learner(ROWS[row], bits.device).step for row in (name, f"plain-{name}")]
    batches = bits.split(BATCH)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        for step, taken in zip(steps, seconds, strict=True):
            began = time.perf_counter()
            losses = [step(batch) for batch in batches]
            losses[-1].item()  # waits for a GPU
            taken.append(1e3 * (time.perf_counter() - began) / len(batches))
    # The first turn warms up.
    ours, by_hand = (taken[1:] for taken in seconds)
    ratios = [a / b for a, b in zip(ours, by_hand, strict=True)]
    return (
        f"| `{ROWS[name].objective}`, K = {ROWS[name].particles} | {statistics.median(ours):.2f} | "
        f"{statistics.median(by_hand):.2f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
    )


def stage_lines(scores: dict[tuple[str, int], Score | None], wanted: Tensor) -> list[str]:
    lines = []
    for name, stage in scores:
        row, ours, by_hand = ROWS[name], scores[name, stage], scores.get((f"plain-{name}", stage))
        if row.by_hand or (ours is None and by_hand is None):
            continue
        pair = [None if found is None else found.of(wanted) for found in (ours, by_hand)]
        lines.append(
            f"| `{row.objective}`, K = {row.particles} | {stage} | {epochs_through(stage)} | {learning_rate(stage):.2e} | "
            f"{cell(pair[0])} | {cell(pair[1])} | {difference(*pair)} |"
        )
    return lines


def paper_lines(scores: dict[tuple[str, int], Score | None], samples: int) -> list[str]:
    lines = []
    for name, row in ROWS.items():
        stage = max((at for other, at in scores if other == name and scores[name, at] is not None), default=None)
        if stage is None:
            continue
        found = scores[name, stage]
        above = (found.evidence.diagnostics["khat"] > threshold(samples)).double().mean().item()
        lines.append(
            f"| `{row.objective}`, K = {row.particles}, {'by hand' if row.by_hand else 'pyrovae'} | {stage} of {STAGES} | "
            f"{len(found.evidence.estimate):,} | {cell(found.evidence)} | {row.published:.2f} | "
            f"{found.evidence.mean - row.published:+.2f} | {found.active_units} | {above:.1%} |"
        )
    return lines


def time_lines(bits: Tensor, repeats: int) -> list[str]:
    return [
        f"Milliseconds a step of {BATCH} images, the two loops in turn, {repeats} times {len(bits) // BATCH} steps (medians;",
        f"ratio: median of pairs, and range), on {device_name(bits.device.type)}, {threads(torch.get_num_threads())},",
        "while the machine did other work.",
        "",
        "| row | pyrovae | by hand | ratio |",
        "|---|---|---|---|",
        *(timed(name, bits, repeats) for name in ("elbo", "iwae")),
    ]


def report(
    home: Path, data_root: str | None, samples: int, limit: int, limit_last: int, repeats: int, device: str, out: Path
) -> None:
    check_integer("samples", samples, 2)
    check_integer("limit", limit, 2)
    check_integer("limit_last", limit_last, limit)
    check_integer("repeats", repeats, 1)
    dataset = pyrovae.load_dataset({"name": "mnist", "valid": 0}, data_root)
    test = dataset.test
    finished = [s for s in range(1, STAGES + 1) if any((home / name / f"stage_{s}.safetensors").exists() for name in ROWS)]
    if not finished:
        raise UserError("home", home, "has no finished stage", "run benchmarks/iwae_table.py train first")
    few = test.subset(limit, 0)
    images = dict.fromkeys(finished, few) | {finished[-1]: test.subset(limit_last, 0)}
    on = choose_device(device)
    scores = {(name, stage): score(name, stage, home, images[stage], samples, on) for name in ROWS for stage in finished}
    bits = (dataset.train.x[: BATCH * BLOCK] > 127).float().to(on)
    machines = sorted({found.trained_on for found in scores.values() if found is not None})
    lines = [
        "# The one-layer rows of Burda, Grosse and Salakhutdinov (2016)",
        "",
        f"Commands: `python benchmarks/iwae_table.py train ROW --stages {finished[-1]}` for the rows {', '.join(ROWS)}, then "
        f"`... report --samples {samples} --limit {limit} --limit-last {limit_last}`, on {datetime.date.today()}.",
        f"Trained on: {'; '.join(machines)}. Scored on: {device_name(on.type)}, {threads(torch.get_num_threads())}. "
        f"torch {torch.__version__}, pyro-ppl {pyro.__version__}, pyrovae {pyrovae.__version__}.",
        "",
        "784-200-200 tanh, 50 latents, Bernoulli; 60,000 training images binarised afresh each epoch, batch 20, Adam with",
        "beta1 0.9, beta2 0.999, epsilon 1e-4; stage i of 8 is 3^(i-1) epochs at a learning rate of 1e-3 * 10^(-(i-1)/7).",
        f"log p(x) by importance sampling, {samples:,} samples of the guide a datum, in nats, higher is better; ± standard error",
        "over images, [Monte Carlo error]. The hand-written loop is `plain_iwae.py`, its weights copied into the same VAE and",
        "scored by the same estimator on the same images and bits; the difference is of pairs, ± its standard error over images.",
        "Both loops start from the same weights and draw the same bits and noise, so that at first they differ by rounding only;",
        "one training each: what another seed would move is in none of the errors. Weights start as torch's `nn.Linear` does,",
        "the paper's as Glorot and Bengio (2010) have them.",
        "",
        "## Where each row stands after each stage",
        "",
        f"The same {len(few):,} test images, a seeded subset, throughout. A dash: the row has not been trained that far.",
        "",
        "| row | stage | epochs so far | learning rate | log p(x), pyrovae | log p(x), by hand | difference |",
        "|---|---|---|---|---|---|---|",
        *stage_lines(scores, few.index),
        "",
        "## Beside the paper",
        "",
        f"The last stage that is finished; the paper's numbers are after all {STAGES} ({epochs_through(STAGES):,} epochs), of "
        "10,000 test",
        "images. Active: the posterior mean has a variance over these images above 0.01. Untrusted: the share of images whose",
        f"k-hat is above {threshold(samples):.2f}, too much for {samples:,} samples: there log p(x) may well be higher, and the",
        "Monte Carlo error is too small. The paper's numbers are by the same estimator with 5,000 samples.",
        "",
        "| row | stage | images | log p(x) | paper | difference from the paper | active units of 50 | untrusted |",
        "|---|---|---|---|---|---|---|---|",
        *paper_lines(scores, samples),
        "",
        "## Time",
        "",
        *time_lines(bits, repeats),
        "",
    ]
    out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    training, reporting = tasks.add_parser("train"), tasks.add_parser("report")
    training.add_argument("row", choices=list(ROWS))
    training.add_argument("--stages", type=int, choices=range(1, STAGES + 1), default=STAGES)
    training.add_argument("--seconds", type=float, default=math.inf, help="stop after that long, saved")
    reporting.add_argument("--samples", type=int, default=5000)
    reporting.add_argument("--limit", type=int, default=1000, help="test images after each stage")
    reporting.add_argument("--limit-last", type=int, default=10_000, help="test images after the last finished stage")
    reporting.add_argument("--repeats", type=int, default=15, help="turns of the timing")
    reporting.add_argument("--out", type=Path, default=Path("benchmarks/iwae_table.md"))
    for task in (training, reporting):
        task.add_argument("--home", type=Path, default=Path("runs/iwae_table"))
        task.add_argument("--data-root")
        task.add_argument("--device", default="cpu")
        task.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    try:
        if given.task == "train":
            train(given.row, given.home, given.data_root, given.stages, given.seconds, given.device)
        else:
            limits = (given.limit, given.limit_last)
            report(given.home, given.data_root, given.samples, *limits, given.repeats, given.device, given.out)
    except UserError as error:
        sys.exit(with_flags(error))
