"""Estimators by name: which option is whose, what is written, and how far they agree."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from estimates import certify, evaluate_split, exact, judge
from known_models import LinearGaussian, all_of, shift_for
from scipy import stats

import pyrovae
from pyrovae import All, UserError, commands
from pyrovae.contracts import DataSpec
from pyrovae.evidence.importance.pareto import summarise_khat
from pyrovae.evidence.scoring import average
from pyrovae.objectives import weight_latents

FEW = {"temperatures": 6, "chains": 3, "leapfrog": 2}


@pytest.fixture(scope="module")
def home(make_run) -> Path:
    """A run with two latents, so that everything exists for it."""
    return make_run("two-latents-for-evidence")


@pytest.fixture
def run(home, tmp_path) -> Path:
    return shutil.copytree(home, tmp_path / "run")


def toy(shift: float = 0.0) -> tuple[LinearGaussian, object, object]:
    model = LinearGaussian()
    return model, model.vae(shift=shift), all_of(model.draw(40), DataSpec((2, 3)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--estimator elbo --temperatures 5", "--temperatures: elbo has no such option; --estimator elbo has --samples"),
        ("--estimator exact --samples 5", "--samples: exact has no such option; --estimator exact has --tolerance"),
        ("--estimator annealed --samples 5", "--samples: annealed has no such option; --estimator annealed has --temperatures"),
        ("--estimator annealed --temperatures 1", "--temperatures 1: needs an integer of at least 2"),
        ("--estimator annealed --chains 0", "--chains 0: needs an integer of at least 1"),
        ("--estimator annealed --schedule cosine", "--schedule cosine: unknown"),
        ("--estimator bdmc --limit 3", "--limit 3: this estimator simulates its data; leave it out, --simulated says how many"),
        ("--estimator bdmc --split train", "--split train: this estimator simulates its data"),
        ("--estimator bdmc --samples 3", "bdmc has --temperatures, --chains, --leapfrog, --schedule, --start, --simulated"),
        ("--estimator bdmc --simulated 0", "--simulated 0: needs an integer of at least 1"),
        ("--estimator importance --simulated 3", "--simulated: importance has no such option"),
        ("--estimator reconstruction", "--estimator reconstruction: is for the posterior delta"),
        ("--estimator anealed", "--estimator anealed: unknown; did you mean annealed"),
        ("--samples 0", "--samples 0: needs an integer of at least 1"),
        ("--matmul fast", "--matmul fast: unknown"),
    ],
)
def test_an_option_of_another_estimator_is_refused(run, cli, snapshot, line, message):
    before = snapshot(run)
    answer = cli("evaluate", run, *line.split())
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert snapshot(run) == before


def test_tolerance_is_refused_where_there_is_a_closed_form():
    _, vae, dataset = toy()
    with pytest.raises(UserError, match=r"tolerance=0\.01: is for quadrature, this model is solved by linear-Gaussian"):
        evaluate_split(vae, dataset, estimator="exact", tolerance=0.01)


def test_there_is_no_evidence_of_a_plain_autoencoder(make_run):
    plain = make_run("plain-for-evidence", posterior="delta")
    for name in ("elbo", "importance", "annealed", "exact", "bdmc", "all"):
        with pytest.raises(UserError, match=r"the posterior delta is a point without a density.*estimator='reconstruction'"):
            commands.evaluate(plain, estimator=name)
    assert commands.evaluate(plain).estimator == "reconstruction"


def test_each_estimator_reports_the_exact_evidence_of_a_linear_gaussian_model():
    model, vae, dataset = toy(shift_for(0.125))
    truth = stats.multivariate_normal(model.bias, model.covariance()).logpdf(dataset.x.double().reshape(-1, 6).numpy())
    for name, options in (("exact", {}), ("importance", {"samples": 2000}), ("annealed", {"temperatures": 60, "chains": 8})):
        found = evaluate_split(vae, dataset, estimator=name, **options)
        assert found.estimator == name
        error = found.log_evidence.monte_carlo_error
        # float32 data and weights: 1e-5 nats
        assert abs(found.log_evidence.mean - truth.mean()) < 3 * error + 1e-5
        assert found.method == ("linear-Gaussian" if name == "exact" else None)
        assert found.log_evidence.standard_error == pytest.approx(stats.sem(found.per_datum["estimate"]), rel=1e-9)
    gap = evaluate_split(vae, dataset, samples=2000).gap
    assert abs(gap.mean - 0.125) < 4 * gap.monte_carlo_error


def test_a_certificate_holds_the_evidence_of_its_own_data():
    _, vae, dataset = toy()
    vae.prepare(dataset.spec, None)
    found = certify(vae, simulated=30, temperatures=40, chains=6)
    # E log p(x) of the model's own data: minus the entropy of a normal
    model = LinearGaussian()
    expected = -stats.multivariate_normal(model.bias, model.covariance()).entropy()
    for bound in (found.lower, found.upper):
        error = math.hypot(bound.standard_error, bound.monte_carlo_error)
        assert abs(bound.mean - expected) < 4 * error
    assert abs(found.gap.mean) < 4 * found.gap.monte_carlo_error
    assert found.upper.mean - found.lower.mean == pytest.approx(found.gap.mean)
    assert "simulated from the model" in found.table()


def test_all_sets_every_estimator_beside_the_exact_evidence(run, cli):
    options = ["--limit", 6, "--samples", 60, "--simulated", 4, "--tolerance", 0.001]
    for name, value in FEW.items():
        options += [f"--{name}", value]
    answer = cli("evaluate", run, "--estimator", "all", *options)
    assert answer.code == 0, answer.err
    written = json.loads((run / "evidence" / "all.json").read_text())
    assert set(written["evaluations"]) == {"importance", "annealed", "exact"}
    with np.load(run / "evidence" / "all.npz") as arrays:
        for name in ("importance", "annealed"):
            difference = arrays[name] - arrays["exact"]
            assert written["differences"][name]["mean"] == pytest.approx(difference.mean())
            assert written["differences"][name]["largest"] == pytest.approx(np.abs(difference).max())
    for name in ("importance", "annealed", "exact", "bdmc", "all"):
        assert (run / "evidence" / f"{name}.json").is_file()
    assert "minus exact, of the same data" in answer.out
    named = [line.split()[-1] for line in answer.out.partition("\nwritten ")[2].splitlines()]
    assert named == [str(run / "evidence" / f"{name}.json") for name in ("importance", "annealed", "exact", "bdmc", "all")]


@pytest.mark.parametrize("option", ["--simulated", "--samples", "--chains", "--repeats"])
def test_all_refuses_before_the_first_estimator_begins(run, cli, snapshot, option):
    before = snapshot(run)
    answer = cli("evaluate", run, "--estimator", "all", option, 0)
    assert answer.code == 2
    assert f"{option} 0: needs an integer of at least 1" in answer.err
    assert snapshot(run) == before


def test_differences_of_dequantised_data_are_paired_by_draw(make_run):
    """Importance sampling and quadrature see the same noise u: their difference has the error of z alone."""
    run = make_run("dequantised-for-evidence", likelihood="normal", latent_dim=1)
    found = [
        commands.evaluate(run, All(samples=2000, simulated=1, temperatures=2, chains=2), limit=10, seed=seed) for seed in range(6)
    ]
    differences = np.array([each.differences["importance"].number.mean for each in found])
    errors = np.array([each.differences["importance"].number.monte_carlo_error for each in found])
    own = found[0].evaluations["importance"].log_evidence.monte_carlo_error
    assert (errors < own / 2).all()  # far below that of u, which both share
    # six differences with a mean of 0, up to the bias of 2000 samples, which is below an error
    assert abs(differences.mean()) < 4 * np.sqrt((errors**2).mean() / 6) + errors.mean()
    assert found[0].evaluations["exact"].untrusted == 0


def test_all_says_why_there_is_no_exact_evidence(make_run, tmp_path):
    large = make_run("three-latents-for-evidence", latent_dim=3)
    with pytest.raises(UserError, match=r"tolerance=0\.1: no estimator of this model has such an option"):
        commands.evaluate(large, All(tolerance=0.1, **FEW))
    found = commands.evaluate(large, All(samples=30, simulated=2, **FEW), limit=3)
    assert found.reference == "annealed"
    assert "at most 2 latents; this one has 3 latents" in found.table()
    assert set(found.differences) == {"importance"}


def test_k_hat_and_effective_samples_say_which_data_are_not_to_be_trusted():
    """A guide half as wide as the posterior has a k-hat of 3/4, above every threshold."""
    _, vae, dataset = toy()
    good = evaluate_split(vae, dataset, samples=2000)
    bad = evaluate_split(vae, dataset, samples=2000, proposal="widened", widen=0.4)
    assert good.untrusted == 0
    assert "NOT TO BE TRUSTED" not in good.table()
    assert bad.khat["threshold"] == pytest.approx(1 - 1 / math.log10(2000))
    khat, effective = bad.per_datum["khat"], bad.per_datum["effective_sample_size"]
    low, high = bad.khat["limits"]
    assert low < bad.khat["threshold"] < high
    heavy, few = khat > high, effective < 10
    assert bad.untrusted_by == {"khat": int(heavy.sum()), "effective_sample_size": int(few.sum())}
    assert bad.untrusted == int((heavy | few).sum()) > 20
    assert bad.cannot_tell == int(((khat > low) & ~heavy & ~few).sum()) > 5
    assert bad.untrusted + bad.cannot_tell > 30
    assert bad.khat["above"] == int((khat > bad.khat["threshold"]).sum())
    assert bad.per_datum["trust"].bincount().tolist() == [40 - bad.untrusted - bad.cannot_tell, bad.cannot_tell, bad.untrusted]
    assert heavy[few].all()  # so that all that are untrusted have the first reason, and some the second too
    reasons = f"a k-hat above {high:.2f}, {int(few.sum())} with fewer than 10 effective samples"
    assert f"NOT TO BE TRUSTED  {bad.untrusted} of 40 data ({reasons})" in bad.table()
    assert "(exact for at most 2 latents)" in bad.table()
    assert f"CANNOT TELL        {bad.cannot_tell} of 40 data have a k-hat from {low:.2f} to {high:.2f}" in bad.table()
    assert bad.elbo is None  # of the guide it would be, not of what was drawn from
    few = evaluate_split(vae, dataset, samples=5)
    assert (few.untrusted, few.untrusted_by) == (40, {"effective_sample_size": 40})
    assert "5 samples cannot make 10 effective ones" in few.table()
    without_tail = evaluate_split(vae, dataset, samples=40)
    assert (without_tail.untrusted, without_tail.cannot_tell) == (0, 40)
    assert "40 samples have too few large weights for a k-hat; try samples=500" in without_tail.table()


def test_an_error_that_is_known_to_be_too_small_is_a_lower_bound():
    _, vae, dataset = toy(shift_for(0.125))
    narrow = LinearGaussian().vae(stretch=0.4)
    good, bad = (evaluate_split(model, dataset, samples=500) for model in (vae, narrow))
    assert (good.untrusted, good.log_evidence.monte_carlo_error_is, good.gap.monte_carlo_error_is) == (0, *["estimate"] * 2)
    assert "at least" not in good.table()
    assert bad.untrusted > 0
    written = json.loads(bad.to_json())
    for name in ("log_evidence", "gap"):
        assert written[name]["monte_carlo_error_is"] == "lower bound"
        assert f"[at least {written[name]['monte_carlo_error']:.4f}]" in bad.table()
    # an average of logarithms needs no tail of the weights
    assert written["elbo"]["monte_carlo_error_is"] == "estimate"
    assert f"[{written['elbo']['monte_carlo_error']:.4f}]" in bad.table()
    every = pyrovae.evaluate(narrow, All(samples=500, simulated=1, temperatures=80, chains=8), data=dataset)
    assert every.differences["importance"].number.monte_carlo_error_is == "lower bound"


def test_what_training_knows_does_not_move_the_evidence():
    """A KL weight or a scale that is in force, the size of a plate, and gradients."""
    _, vae, dataset = toy(0.5)
    options = {"importance": {"samples": 60}, "annealed": FEW, "exact": {}}
    for name, chosen in options.items():
        plain = evaluate_split(vae, dataset, estimator=name, **chosen).per_datum["estimate"]
        plate = pyro.plate("outer", 4000, subsample_size=40)
        with weight_latents(0.01), pyro.poutine.scale(scale=0.1), plate, torch.enable_grad():
            assert torch.equal(evaluate_split(vae, dataset, estimator=name, **chosen).per_datum["estimate"], plain)
    assert all(parameter.grad is None for parameter in vae.parameters())


def test_the_guide_does_not_move_the_exact_evidence():
    model, vae, dataset = toy(0.0)
    _, off, _ = toy(3.0)
    assert torch.equal(exact(vae, dataset.x).estimate, exact(off, dataset.x).estimate)
    np.testing.assert_allclose(exact(vae, dataset.x).estimate, model.log_density(dataset.x), rtol=1e-5)


def test_the_parts_of_the_kl_are_reported():
    found = evaluate_split(toy(0.3)[1], toy()[2], samples=500)
    split = found.decomposition
    assert split.n == 40
    assert split.log_n == pytest.approx(math.log(40))
    assert split.mutual_information.mean + split.marginal_kl.mean == pytest.approx(split.kl.mean, rel=1e-6)
    assert abs(split.kl.mean - found.kl) < 5 * math.hypot(split.kl.monte_carlo_error, found.elbo.monte_carlo_error)
    assert "mutual information of datum and latent (at most log N = 3.689, N = 40)" in found.table()
    assert json.loads(found.to_json())["decomposition"]["total_correlation"] is not None


def test_a_model_in_memory_is_evaluated_and_nothing_is_written(here):
    _, vae, dataset = toy()
    found = pyrovae.evaluate(vae, All(samples=30, simulated=3, **FEW), data=dataset)
    assert found.reference == "exact"
    assert list(here.iterdir()) == []


def test_one_draw_that_did_not_converge_is_enough_to_distrust_a_datum():
    draws = [
        {"converged": torch.tensor([float(ok), 1.0]), "quadrature_error": torch.tensor([0.3 * (not ok), 1e-5])}
        for ok in (1, 0, 1)
    ]
    found = average(draws)
    assert judge("exact", found, {}).untrusted.tolist() == [True, False]
    assert found["quadrature_error"].tolist() == pytest.approx([0.3, 1e-5])


@pytest.mark.parametrize(("khat", "median"), [([0.1, math.inf, math.inf], math.inf), ([-math.inf, 0.1, 0.3, 0.5], 0.2)])
def test_infinite_khats_have_a_median(khat, median):
    assert summarise_khat(torch.tensor(khat, dtype=torch.float64), 5000, 1)["median"] == pytest.approx(median)


def test_few_chains_cannot_be_trusted_whatever_their_weights():
    arrays = {"effective_sample_size": torch.tensor([1.3, 2.5, 3.9, 5.0])}
    assert judge("annealed", arrays, {"chains": 4}).state.tolist() == [2, 1, 1, 0]
    assert judge("annealed", arrays, {"chains": 8}).state.tolist() == [2, 1, 1, 0]
    assert judge("annealed", arrays, {"chains": 16}).state.tolist() == [2, 2, 2, 1]
