"""Train on the embedded digits, evaluate, draw: what `make demo` shows."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import pyrovae
from pyrovae import Exact
from pyrovae.cli.spelling import in_flags, with_flags
from pyrovae.errors import UserError
from pyrovae.system.claims import Claim, TakenError
from pyrovae.system.door import leave
from pyrovae.system.interruption import stopped

RUN = Path("runs/demo")
TOLERANCE = 0.01
"""Nats: two latents can be integrated out to that on a grid that refines itself, which is exact evidence in seconds."""


def claimed(run: Path) -> Claim:
    """The run as this demo's own until it ends, for a demo removes what an earlier one left there.

    Raises:
        UserError: If another demo is at work there.
    """
    try:
        return Claim(run.with_name(f".{run.name}-under-way"))
    except TakenError as error:
        raise UserError("out", run, "another demo is at work there", "wait for it, or choose another folder") from error


def main(epochs: int, run: Path) -> int:
    """Show it; the exit code."""
    began = time.perf_counter()
    if (run / "demo").is_file():  # ours, from an earlier demo
        shutil.rmtree(run)
    print(f"training a VAE with 2 latents on scikit-learn's digits, {epochs} epochs ...")
    trained = pyrovae.train(
        data="digits",
        likelihood="binomial",
        latent_dim=2,
        network={"name": "mlp", "hidden": [200]},
        epochs=epochs,
        learning_rate=2e-3,
        out=str(run),
    )
    (run / "demo").touch()
    if trained.fit.signal is not None:
        return stopped(trained.fit.signal, f"{trained.report(in_flags)}\nor begin anew with: make demo")
    trained_at = time.perf_counter()
    print("computing log p(x) of the 300 test digits, by integrating out both latents ...")
    exact = pyrovae.evaluate(run, Exact(tolerance=TOLERANCE))
    bound = pyrovae.evaluate(run, "elbo")
    evaluated_at = time.perf_counter()
    pictures = pyrovae.figures(run)
    drawn_at = time.perf_counter()

    print(f"\n{'per test digit':<16}{'mean':>10}{'s.e. over data':>16}{'numerical error':>17}")
    for name, number in (("ELBO", bound.elbo), ("log evidence", exact.log_evidence)):
        print(f"{name:<16}{number.mean:>10.3f}{number.standard_error:>16.3f}{number.monte_carlo_error:>17.4f}  nats")
    print(f"{'bits/dim':<16}{exact.bits_per_dim:>10.4f}  ({exact.bits_per_dim_kind})")
    print(
        f"{'seconds':<16}{drawn_at - began:>10.1f}  (training {trained_at - began:.1f}, "
        f"evidence {evaluated_at - trained_at:.1f}, pictures {drawn_at - evaluated_at:.1f})"
    )
    gap = exact.log_evidence.mean - bound.elbo.mean
    sure = exact.n - exact.untrusted
    print(f"\nThe log evidence is exact to {TOLERANCE} nats for {sure} of {exact.n} digits. The ELBO, which training maximised,")
    print(f"is {gap:.1f} nats below it: that is lost because q(z|x) is a normal distribution from an encoder.")
    print("\npictures (latent.png is a map of the two latents, grid.png what they can draw):")
    print("\n".join(f"  {path}" for path in pictures))
    print("\nnext, with another likelihood:")
    print("  . .venv/bin/activate")
    print("  pyrovae train --likelihood normal --latent-dim 2 --epochs 100 --out runs/second")
    print("  pyrovae evaluate runs/second --estimator exact --tolerance 0.01")
    return 0


def demo() -> int:
    """Show it, with what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=120, help="of training; %(default)s unless given")
    parser.add_argument("--out", type=Path, default=RUN, help="the run folder; %(default)s unless given")
    arguments = parser.parse_args()
    with claimed(arguments.out):
        return main(arguments.epochs, arguments.out)


if __name__ == "__main__":
    leave(demo, "demo", spell=with_flags)
