"""Importance sampling and annealing beside the exact evidence of three models that have it.

    python benchmarks/exact.py --data-root FOLDER

A linear Gaussian model, of which the evidence is known in closed form; ten bits as latents of a VAE of digits, by enumeration;
two latents of a VAE of MNIST, by quadrature. The two VAEs are trained unless --runs has them. Writes benchmarks/exact.md. To be
met: on the linear model both within 3 standard errors and 0.01 nats of the truth, and a bound that does not fall with more
samples; on the bits mean(estimate of p / p) = 1 within 3 standard errors; on MNIST a median difference below 0.05 nats.
"""

from __future__ import annotations

import argparse
import datetime
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from machine import processor, versions
from torch import Tensor

import pyrovae
from pyrovae import VAE, Annealed, Exact, Importance
from pyrovae.contracts import Evidence
from pyrovae.evidence.importance.weights import ladder
from pyrovae.runs.opening import open_run

DIGITS = {
    "data": "digits",
    "likelihood": "bernoulli",
    "prior": "bernoulli",
    "latent_dim": 10,
    "learning_rate": 3e-3,
    "epochs": 200,
}
MNIST = {"data": "mnist", "likelihood": "bernoulli", "latent_dim": 2, "epochs": 30}
SAMPLES, CHAINS = 5000, 16
GUIDE = Importance(samples=SAMPLES)
WIDENED = Importance(samples=SAMPLES, proposal="widened", widen=1.5)


def linear_model() -> tuple[VAE, Tensor]:
    """Five latents, 20 elements, noise 0.5, and 500 data from it; the guide is off by half a scale and a quarter too wide."""
    vae = VAE((20,), 5, {"name": "normal", "scale": 0.5}, network="linear", kind="reals")
    generator = torch.Generator().manual_seed(0)
    weight = torch.linalg.qr(torch.randn(20, 5, generator=generator))[0] * torch.linspace(0.5, 2.0, 5)
    precision = weight.square().sum(0) / 0.25 + 1
    scale = precision.rsqrt()
    with torch.no_grad():
        vae.decoder.layers[0].weight.copy_(weight)
        vae.decoder.layers[0].bias.zero_()
        vae.encoder.layers[0].weight.copy_(torch.cat([weight.T / 0.25 / precision.unsqueeze(1), torch.zeros(5, 20)]))
        vae.encoder.layers[0].bias.copy_(torch.cat([0.5 * scale, 8 * torch.atanh((1.25 * scale).log() / 8)]))
    z = torch.randn(500, 5, generator=generator)
    return vae, z @ weight.T + 0.5 * torch.randn(500, 20, generator=generator)


def trained(name: str, settings: dict[str, object], home: Path, data_root: str | None) -> Path:
    folder = home / name
    if not folder.exists():
        pyrovae.train(**settings, data_root=data_root, out=str(folder), device="cpu", progress=False)
    return folder


def timed(estimate: object, *given: object, **options: object) -> tuple[Evidence, float]:
    began = time.perf_counter()
    return estimate(*given, **options), time.perf_counter() - began


def mean_with_error(values: Tensor) -> tuple[float, float]:
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()


def linear(temperatures: int) -> Iterator[str]:
    vae, x = linear_model()
    truth, _ = timed(Exact().measure, vae, x)
    weighed, first = timed(GUIDE.measure, vae, x)
    chained, second = timed(Annealed(temperatures=temperatures, chains=CHAINS).measure, vae, x)
    yield "## Linear Gaussian: 20 elements, 5 latents, 500 data drawn from the model"
    yield f"Exact, in closed form: {truth.mean:.4f}. A guide that is half a scale off and a quarter too wide."
    yield ""
    yield "| estimator | mean of estimate - exact | largest of a datum | mean of p_hat / p | seconds |"
    yield "|---|---|---|---|---|"
    for name, found, seconds in (
        (f"importance, K = {SAMPLES:,}", weighed, first),
        (f"annealed, {temperatures:,} temperatures, {CHAINS} chains", chained, second),
    ):
        difference = found.estimate - truth.estimate
        mean, error = mean_with_error(difference)
        ratio, ratio_error = mean_with_error(difference.exp())
        yield (
            f"| {name} | {mean:+.5f} ± {error:.5f} | {difference.abs().max():.3f} | {ratio:.5f} ± {ratio_error:.5f} "
            f"| {seconds:.0f} |"
        )
    bounds = weighed.diagnostics["bound"].mean(0) - truth.estimate.mean()
    yield ""
    yield "Mean bound of K samples minus the exact evidence: " + ", ".join(
        f"{bound:+.4f} (K = {k:,})" for k, bound in zip(ladder(SAMPLES), bounds.tolist(), strict=True)
    ) + f"; {'it never falls' if (bounds.diff() >= 0).all() else 'IT FALLS'}."  # fmt: skip
    yield ""


def bits(home: Path, data_root: str | None, limit: int, temperatures: int) -> Iterator[str]:
    opened = open_run(trained("exact_digits", DIGITS, home, data_root), None, data_root, "cpu")
    rows = opened.dataset.split("test").subset(limit, 0)
    truth, took = timed(Exact().measure, opened.vae, rows.x, index=rows.index)
    weighed, first = timed(GUIDE.measure, opened.vae, rows.x, index=rows.index)
    annealed = Annealed(temperatures=temperatures, chains=CHAINS)
    chained, second = timed(annealed.measure, opened.vae, rows.x, index=rows.index)
    yield f"## Ten bits as latents: a Bernoulli VAE of digits, {DIGITS['epochs']} epochs, {len(rows)} test images"
    yield f"Exact, by enumeration of 1,024 states: {truth.mean:.4f} ± {truth.standard_error:.4f}, {took:.0f} s."
    yield ""
    yield "| estimator | mean of p_hat / p | standard errors from 1 | mean of estimate - exact | largest of a datum | seconds |"
    yield "|---|---|---|---|---|---|"
    for name, found, seconds in (
        (f"importance, K = {SAMPLES:,}", weighed, first),
        (f"annealed, {temperatures:,} temperatures, {CHAINS} chains", chained, second),
    ):
        difference = found.estimate - truth.estimate
        ratio, error = mean_with_error(difference.exp())
        yield (
            f"| {name} | {ratio:.4f} ± {error:.4f} | {(ratio - 1) / error:+.1f} | {difference.mean():+.4f} "
            f"| {difference.abs().max():.3f} | {seconds:.0f} |"
        )
    yield ""


def plane(home: Path, data_root: str | None, limit: int, temperatures: int, worst: int) -> Iterator[str]:
    opened = open_run(trained("mnist2d", MNIST, home, data_root), None, data_root, "cpu")
    rows = opened.dataset.split("test").subset(limit, 0)
    truth, took = timed(Exact().measure, opened.vae, rows.x, index=rows.index)
    weighed, seconds = timed(GUIDE.measure, opened.vae, rows.x, index=rows.index)
    widened, second = timed(WIDENED.measure, opened.vae, rows.x, index=rows.index)
    difference = weighed.estimate - truth.estimate
    order = difference.abs().argsort(descending=True)[:worst]
    annealed = Annealed(temperatures=temperatures, chains=CHAINS)
    chained, third = timed(annealed.measure, opened.vae, rows.x[order], index=rows.index[order])
    converged = int(truth.diagnostics["converged"].sum())
    yield f"## Two latents: a Bernoulli VAE of MNIST, {MNIST['epochs']} epochs, {len(rows)} test images"
    yield (
        f"Exact, by quadrature: {truth.mean:.4f} ± {truth.standard_error:.4f}, errors of at most "
        f"{truth.monte_carlo_error.max():.1e} nats (tolerance 1e-4), {converged} of {len(rows)} converged, {took:.0f} s."
    )
    yield ""
    yield (
        f"| importance, K = {SAMPLES:,} | median difference from exact | median of its absolute value | mean "
        "| median stated error | k-hat above 0.7 | mean of p_hat / p | seconds |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name, found, took in (("the guide", weighed, seconds), ("the guide widened by 1.5", widened, second)):
        off = found.estimate - truth.estimate
        yield (
            f"| {name} | {off.median():+.4f} | {off.abs().median():.4f} | {off.mean():+.4f} "
            f"| {found.monte_carlo_error.median():.4f} | {int((found.diagnostics['khat'] > 0.7).sum())} of {len(rows)} "
            f"| {'{:.3f} ± {:.3f}'.format(*mean_with_error(off.exp()))} | {took:.0f} |"
        )
    yield ""
    yield (
        f"The {len(order)} largest differences of the guide as it is, what importance sampling said of itself there, and "
        f"annealing with {temperatures:,} temperatures and {CHAINS} chains on the same images ({third:.0f} s):"
    )
    yield ""
    yield "| test image | exact | importance - exact | its error | effective samples | k-hat | annealed - exact | its error |"
    yield "|---|---|---|---|---|---|---|---|"
    for place, row in enumerate(order.tolist()):
        said = {name: weighed.diagnostics[name][row].item() for name in ("effective_sample_size", "khat")}
        yield (
            f"| {rows.index[row].item()} | {truth.estimate[row]:.3f} | {difference[row]:+.3f} "
            f"| {weighed.monte_carlo_error[row]:.3f} | {said['effective_sample_size']:.1f} | {said['khat']:.2f} "
            f"| {chained.estimate[place] - truth.estimate[row]:+.4f} | {chained.monte_carlo_error[place]:.4f} |"
        )
    yield ""


def main(given: argparse.Namespace) -> None:
    model = processor()
    threads = torch.get_num_threads()
    lines = [
        "# Estimators beside the exact evidence",
        "",
        f"Command: `python benchmarks/exact.py --limit {given.limit} --bits-limit {given.bits_limit} --temperatures "
        f"{given.temperatures}`, on {datetime.date.today()}.",
        f"Machine: {model}, {threads} thread{'s' * (threads > 1)}. {versions()}.",
        "",
        "Nats per datum, higher is better; ± standard error over data. Seconds were measured while the machine did other work.",
        "",
    ]
    print("\n".join(lines))
    for section in (
        linear(given.temperatures),
        bits(given.runs, given.data_root, given.bits_limit, given.temperatures),
        plane(given.runs, given.data_root, given.limit, given.temperatures, given.worst),
    ):
        for line in section:
            print(line, flush=True)
            lines.append(line)
    given.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--runs", type=Path, default=Path("runs/exact"))
    parser.add_argument("--limit", type=int, default=200, help="test images of MNIST")
    parser.add_argument("--bits-limit", type=int, default=200, help="test images of digits")
    parser.add_argument("--temperatures", type=int, default=1000)
    parser.add_argument("--worst", type=int, default=8, help="images that are looked at more closely")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/exact.md"))
    main(parser.parse_args())
