"""What `make demo` shows: numbers that can be trusted, and no other demo's run taken away."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

import pyrovae
from pyrovae import Exact, Importance
from pyrovae.system.claims import Claim

DEMO = Path(__file__).parents[1] / "scripts" / "demo.py"


@pytest.mark.slow
def test_the_demo_ends_in_exact_evidence_and_its_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["demo.py", "--epochs", "2"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(DEMO), run_name="__main__")
    assert stop.value.code == 0
    out = capsys.readouterr().out
    run = tmp_path / "runs" / "demo"
    assert "exact to 0.01 nats for 300 of 300 digits" in out
    assert "NOT TO BE TRUSTED" not in out
    elbo, evidence = (float(re.search(rf"^{name} +(-[\d.]+)", out, re.MULTILINE)[1]) for name in ("ELBO", "log evidence"))
    assert elbo < evidence
    # Importance sampling from the prior, which covers every mode of two latents, is another way to the same number.
    found = pyrovae.evaluate(run, Importance(proposal="prior", samples=20000), limit=50)
    other = pyrovae.evaluate(run, Exact(tolerance=1e-3), limit=50)
    assert found.log_evidence.mean == pytest.approx(other.log_evidence.mean, abs=5 * found.log_evidence.monte_carlo_error + 0.01)
    named = [Path(line.strip()) for line in out.splitlines() if line.startswith("  runs/")]
    assert {path.name for path in named} >= {"reconstructions.png", "grid.png", "latent.png"}
    assert all((tmp_path / path).is_file() for path in named)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["demo"]  # the claim has left nothing


def test_a_demo_does_not_remove_the_run_of_another_that_is_at_work(tmp_path, shell):
    run = tmp_path / "runs" / "demo"
    run.mkdir(parents=True)
    (run / "demo").touch()
    (run / "kept").touch()
    with Claim(run.with_name(".demo-under-way")):
        answer = shell(DEMO, "--epochs", "1")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "demo: error: --out runs/demo: another demo is at work there; wait for it, or choose another folder\n"
    assert (run / "kept").exists()
