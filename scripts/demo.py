"""Train on the embedded digits, evaluate, draw: what `make demo` shows."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import pyrovae
from pyrovae.cli.spelling import with_flags
from pyrovae.system.door import leave
from pyrovae.system.interruption import stopped

RUN = Path("runs/demo")


def main(epochs: int, run: Path) -> int:
    """Show it; the exit code."""
    began = time.perf_counter()
    if (run / "demo").is_file():  # ours, from an earlier demo
        shutil.rmtree(run)
    print(f"training a VAE with 10 latents on scikit-learn's digits, {epochs} epochs ...")
    trained = pyrovae.train(data="digits", likelihood="binomial", latent_dim=10, epochs=epochs, out=str(run))
    (run / "demo").touch()
    if trained.fit.signal is not None:
        return stopped(trained.fit.signal, f"{trained.report()}\nor begin anew with: make demo")
    trained_at = time.perf_counter()
    print("estimating log p(x) of the 300 test digits, 5000 samples each ...")
    found = pyrovae.evaluate(run, samples=5000)
    evaluated_at = time.perf_counter()
    pictures = pyrovae.figures(run)
    drawn_at = time.perf_counter()

    print(f"\n{'per test digit':<16}{'mean':>10}{'s.e. over data':>16}{'Monte Carlo error':>19}")
    for name, number in (("ELBO", found.elbo), ("log evidence", found.log_evidence)):
        noise = f"{'at least ' if number.monte_carlo_error_is == 'lower bound' else ''}{number.monte_carlo_error:.4f}"
        print(f"{name:<16}{number.mean:>10.3f}{number.standard_error:>16.3f}{noise:>19}  nats")
    print(f"{'bits/dim':<16}{found.bits_per_dim:>10.4f}  ({found.bits_per_dim_kind})")
    print(
        f"{'seconds':<16}{drawn_at - began:>10.1f}  (training {trained_at - began:.1f}, "
        f"evidence {evaluated_at - trained_at:.1f}, pictures {drawn_at - evaluated_at:.1f})"
    )
    if found.untrusted:
        print(
            f"the log evidence of {found.untrusted} of {found.n} digits is expected to be too low, and its error larger than\n"
            f"can be seen, for few of their samples carry the weight; of {found.cannot_tell} more it cannot be told\n"
            "(docs/evidence.md, When not to believe it)"
        )
    print("\npictures:")
    print("\n".join(f"  {path}" for path in pictures))
    print("\nnext: . .venv/bin/activate")
    print("      pyrovae train --likelihood normal --out runs/second; pyrovae evaluate runs/second; pyrovae list")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=250)
    parser.add_argument("--out", type=Path, default=RUN)
    arguments = parser.parse_args()
    leave(lambda: main(arguments.epochs, arguments.out), "demo", spell=with_flags)
