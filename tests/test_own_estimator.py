"""An estimator from outside the package, by the recipe of CONTRIBUTING: a class and a name, and nothing else."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import final

import numpy as np
import pytest
import torch
from known_models import LinearGaussian, all_of, shift_for
from torch import Tensor

import pyrovae
from pyrovae import All, Estimator, Evidence, Importance, UserError
from pyrovae.contracts import DataSpec, Trust
from pyrovae.evidence import keyed
from pyrovae.evidence.scoring import as_evidence, score
from pyrovae.parts import ROLES, defaults

CONTRIBUTING = Path(pyrovae.__file__).parents[1] / "CONTRIBUTING.md"


def recipe() -> type[Estimator]:
    """The class that the recipe shows."""
    source = CONTRIBUTING.read_text(encoding="utf-8").partition("## Add an estimator of log p(x)")[2]
    code = re.search(r"```python\n(.*?)```", source, re.DOTALL)[1]
    names = {"final": final, "dataclass": dataclass, "Estimator": Estimator, "keyed": keyed, "math": math, "score": score}
    names |= {"as_evidence": as_evidence, "__name__": __name__}
    exec("\n".join(line.removeprefix("   ") for line in code.splitlines()), names)
    return names["FromPrior"]


@final
@dataclass(frozen=True, kw_only=True)
class Judging(Estimator):
    """log N(x; mean, covariance) of a model that is known, and the data that are said not to be.

    Args:
        least: Numbers below it are untrusted.
    """

    least: float = -math.inf

    def measure(self, vae: object, x: Tensor, c: Tensor | None = None, *, seed: int = 0, index: Tensor | None = None) -> Evidence:
        log_evidence = torch.tensor(LinearGaussian().log_density(x))
        return Evidence(estimate=log_evidence, monte_carlo_error=torch.zeros_like(log_evidence))

    def untrusted(self, arrays: Mapping[str, Tensor]) -> Trust:
        low = arrays["log_evidence"] < self.least
        return Trust(reasons={"low": low}, unclear=torch.zeros_like(low))

    def warning(self, trust: Trust, arrays: Mapping[str, Tensor]) -> str:
        return f"{int(trust.untrusted.sum())} data are low"


def known() -> tuple[LinearGaussian, pyrovae.VAE, pyrovae.Dataset]:
    model = LinearGaussian(noise=1.5)
    return model, model.vae(shift_for(0.125)), all_of(model.draw(20), DataSpec((2, 3)))


@pytest.mark.usefixtures("open_tables")
def test_the_recipe_estimates_a_known_evidence_by_name():
    model, vae, dataset = known()
    pyrovae.register("estimator", "from-prior", recipe())
    found = pyrovae.evaluate(vae, {"name": "from-prior", "samples": 20_000}, data=dataset)
    # p_hat / p is 1 on average, up to three standard errors of each datum (20 data, float32 data)
    ratio = np.exp(found.per_datum["estimate"].numpy() - model.log_density(dataset.x))
    assert (np.abs(ratio - 1) < 4 * found.per_datum["monte_carlo_error"].numpy() + 1e-5).all()
    assert (found.estimator, found.samples, found.n) == ("from-prior", 20_000, 20)
    assert found.log_evidence.mean == pytest.approx(
        model.log_density(dataset.x).mean(), abs=4 * found.log_evidence.monte_carlo_error
    )
    assert (found.untrusted, found.khat, found.elbo) == (None, None, None)


@pytest.mark.usefixtures("open_tables")
def test_the_recipe_is_a_command_with_flags_help_and_files(make_run, cli, tmp_path):
    pyrovae.register("estimator", "from-prior", recipe())
    run = make_run("two-latents-for-own-estimator")
    asked = ["--limit", "5", "--json", str(tmp_path / "found.json")]
    answer = cli("evaluate", run, "--estimator", "from-prior", "--samples", "2000", *asked)
    assert answer.code == 0, answer.err
    assert "from-prior, 2000 samples per datum" in answer.out
    written = json.loads((tmp_path / "found.json").read_text())
    assert (written["estimator"], written["samples"]) == ("from-prior", 2000)
    exact = pyrovae.evaluate(run, "exact", limit=5)
    # its error says how far it may be from quadrature: four of them
    assert (
        abs(written["log_evidence"]["mean"] - exact.log_evidence.mean) < 4 * written["log_evidence"]["monte_carlo_error"] + 1e-3
    )
    refused = cli("evaluate", run, "--estimator", "from-prior", "--chains", "3")
    assert (refused.code, "from-prior has --samples" in refused.err) == (2, True)
    assert "K, draws of z per datum" in cli("evaluate", "--estimator", "from-prior", "--help").out


def test_an_object_of_a_class_without_a_name_is_taken_and_judges_its_data():
    _, vae, dataset = known()
    truth = LinearGaussian().log_density(dataset.x)
    least = float(np.median(truth)) + 1e-9
    found = pyrovae.evaluate(vae, Judging(least=least), data=dataset)
    assert found.estimator == "Judging"
    np.testing.assert_allclose(found.per_datum["estimate"], truth)
    assert (found.untrusted, found.untrusted_by) == (10, {"low": 10})
    assert "NOT TO BE TRUSTED  10 data are low" in found.table()
    assert found.options == {"least": least}
    assert "NOT TO BE TRUSTED" not in pyrovae.evaluate(vae, Judging(), data=dataset).table()


def test_all_has_the_options_of_those_that_it_runs_with_their_defaults():
    table = ROLES["estimator"]
    own = {f.name: f.default for f in fields(All)}
    union = {}
    for name in ("importance", "annealed", "bdmc", "exact"):
        union |= {f.name: f.default for f in fields(table[name])}
    assert own == union


def test_samples_and_dequantisations_have_one_default_everywhere():
    usual = [defaults("estimator", name) for name in ROLES["estimator"]]
    assert {options["samples"] for options in usual if "samples" in options} == {500}
    assert {options["dequantisations"] for options in usual if "dequantisations" in options} == {4}


@pytest.mark.parametrize("choice", ["importance", {"name": "importance"}, Importance(), "auto", {"name": "auto"}])
def test_a_name_a_mapping_and_an_object_are_the_same(choice):
    _, vae, dataset = known()
    found = pyrovae.evaluate(vae, choice, data=dataset, limit=5)
    same = pyrovae.evaluate(vae, Importance(samples=500, dequantisations=4), data=dataset, limit=5)
    assert torch.equal(found.per_datum["estimate"], same.per_datum["estimate"])
    assert found.log_evidence == same.log_evidence


def test_what_is_no_estimator_is_refused():
    _, vae, dataset = known()
    for wrong in (3, None, {"samples": 3}, LinearGaussian()):
        with pytest.raises(UserError, match="estimator"):
            pyrovae.evaluate(vae, wrong, data=dataset)
