"""The posterior ``delta``, a plain autoencoder: only the reconstruction is trained, kept by and reported."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from estimates import elbo, evaluate_split, importance, reconstruction
from scipy import special, stats
from torch import Tensor

import pyrovae
from pyrovae import VAE, Importance, UserError, commands, fit, runs
from pyrovae.cli.spelling import in_flags
from pyrovae.contracts import DataSpec
from pyrovae.data import Dataset
from pyrovae.engines import Eager
from pyrovae.evidence import keyed
from pyrovae.objectives import Elbo

SHAPE = (2, 3)
QUIET = {"device": "cpu", "progress": False}
SQUASHED = {"prior": "uniform", "posterior": {"name": "delta", "squash": "sigmoid"}}
PLAIN = {"prior": "normal", "posterior": "delta"}


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    with pyro.get_param_store().scope():
        yield
    torch.set_default_dtype(torch.float32)


def autoencoder(kind: str = "binary", levels: int | None = None, **parts: object) -> VAE:
    torch.manual_seed(0)
    network = {"name": "mlp", "hidden": [5], "activation": "tanh"}
    given = {"likelihood": "bernoulli", **PLAIN, **parts}
    return VAE(SHAPE, 2, network=network, kind=kind, levels=levels, **given)


def bits(count: int = 9) -> Tensor:
    return torch.tensor([[(i * 11 + 5 >> bit) & 1 for bit in range(6)] for i in range(count)]).reshape(count, *SHAPE)


def dataset(x: Tensor, valid: int = 0) -> Dataset:
    n = len(x)
    rows = {"train": torch.arange(n - valid), "valid": torch.arange(n - valid, n), "test": torch.arange(n)}
    return Dataset("toy", DataSpec(SHAPE, "binary", 2), x, None, rows)


def code(vae: VAE, y: Tensor) -> Tensor:
    """The point that the encoder gives, by the documented formula."""
    out = vae.encoder(y).squeeze(-2)
    return 1e-6 + (1 - 2e-6) * torch.sigmoid(out) if vae.parts["posterior"].squash == "sigmoid" else out


def log_likelihood(vae: VAE, y: Tensor) -> np.ndarray:
    """log p(y|z) at that point by SciPy, (N,)."""
    with torch.no_grad():
        chance = special.expit(vae.decoder(code(vae, y)).squeeze(-3).numpy())
    return stats.bernoulli.logpmf(y.numpy(), chance).sum((1, 2))


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [PLAIN, SQUASHED], ids=["plain", "squashed"])
@pytest.mark.parametrize("particles", [1, 3])
def test_loss_is_the_reconstruction_alone_and_so_is_its_gradient(parts, particles):
    vae, y = autoencoder(**parts), bits().double()
    optimizer = torch.optim.SGD(vae.parameters(), lr=0.0)
    loss = Eager(vae, Elbo().build(particles), optimizer, clip_norm=0.0).step(y, None, 1.0)
    found = {name: parameter.grad.clone() for name, parameter in vae.named_parameters()}
    assert loss.item() == pytest.approx(-log_likelihood(vae, y).mean(), rel=1e-12)

    vae.zero_grad()
    logits = vae.decoder(code(vae, y)).squeeze(-3)
    (torch.logaddexp(logits, torch.zeros_like(logits)) - y * logits).sum((1, 2)).mean().backward()
    for name, parameter in vae.named_parameters():
        torch.testing.assert_close(
            found[name], parameter.grad, rtol=1e-11, atol=1e-13, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert all((gradient != 0).any() for gradient in found.values())


def test_the_prior_has_no_say():
    losses = []
    for prior in ("uniform", {"name": "beta", "concentration1": 0.7, "concentration0": 30.0}):
        vae = autoencoder(prior=prior, posterior=SQUASHED["posterior"])
        result = fit(vae, dataset(bits()), epochs=3, batch_size=4, **QUIET)
        losses.append([row["loss"] for row in result.history])
    assert losses[0] == losses[1]


# --- what makes no sense ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [elbo, importance])
def test_there_is_neither_elbo_nor_evidence(estimator):
    with pytest.raises(UserError, match=rf"estimator='{estimator.__name__}': .*use estimator='reconstruction'$") as caught:
        estimator(autoencoder(), bits(), samples=3)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"estimator='{estimator.__name__}': .*use estimator='reconstruction'$"):
        evaluate_split(autoencoder(), dataset(bits()), estimator=estimator.__name__)


@pytest.mark.parametrize("posterior", ["normal", "full_normal", "flow"])
def test_reconstruction_is_for_points(posterior):
    vae = autoencoder(posterior=posterior)
    with pytest.raises(UserError, match=r"estimator='reconstruction': .*use estimator='importance' or elbo$"):
        reconstruction(vae, bits())
    with pytest.raises(UserError, match=r"estimator='reconstruction': .*use estimator='importance' or elbo$"):
        evaluate_split(vae, dataset(bits()), estimator="reconstruction")


LEARNED = ["mixture", "vamp", "flow", {"name": "student_t", "df": "learned"}]


@pytest.mark.parametrize("prior", LEARNED, ids=str)
def test_a_prior_that_nothing_would_train_is_refused(prior):
    name = prior if isinstance(prior, str) else prior["name"]
    with pytest.raises(UserError, match=rf"posterior='delta': .*prior='{name}'; use prior='normal', or posterior='normal'$"):
        autoencoder(prior=prior)


def test_a_prior_that_learns_from_the_context_is_refused():
    parts = {"prior": {"name": "normal", "context": "learned"}, "posterior": "delta", "context": "label"}
    with pytest.raises(UserError, match=r"posterior='delta': .*prior='normal'"):
        VAE(SHAPE, 2, **parts, kind="binary", labels=[{"name": "class", "values": ["a", "b"]}])


@pytest.mark.parametrize(("options", "flag"), [({"kl_weight": 0.5}, "kl_weight=0.5"), ({"kl_warmup": 2.0}, "kl_warmup=2.0")])
def test_there_is_no_kl_term_to_weigh(options, flag, tmp_path):
    with pytest.raises(UserError, match=rf"{flag}: the posterior delta has no KL term"):
        fit(autoencoder(), dataset(bits()), **options, **QUIET)
    with pytest.raises(UserError, match=rf"{flag}: the posterior delta has no KL term"):
        pyrovae.train(posterior="delta", latent_dim=2, **options, out=str(tmp_path / "run"), **QUIET)
    assert not (tmp_path / "run").exists()


# --- what is reported -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [PLAIN, SQUASHED], ids=["plain", "squashed"])
def test_reconstruction_is_the_log_likelihood_at_the_encoders_output(parts):
    vae, x = autoencoder(**parts), bits(20)
    found = reconstruction(vae, x)
    np.testing.assert_allclose(found.estimate.numpy(), log_likelihood(vae, x.double()), rtol=1e-12)
    assert (found.monte_carlo_error == 0).all()
    torch.testing.assert_close(found.diagnostics["posterior_mean"], code(vae, x.double()).detach(), rtol=1e-12, atol=0)
    for options in ({"rows": 1}, {"rows": 3}, {"seed": 5}):
        torch.testing.assert_close(reconstruction(vae, x, **options).estimate, found.estimate, rtol=1e-12, atol=0)


def test_reconstruction_of_dequantised_data_is_in_their_units():
    vae = autoencoder("levels", 5, likelihood={"name": "normal", "scale": 0.5})
    x = torch.arange(24).reshape(4, *SHAPE) % 5
    found = reconstruction(vae, x, seed=2)
    y = (x + keyed.uniform(2, list(range(4)), SHAPE)) / 5
    with torch.no_grad():
        mean = vae.decoder(code(vae, y)).squeeze(-3).numpy()
    expected = stats.norm.logpdf(y.numpy(), mean, 0.5).sum((1, 2)) - 6 * math.log(5)
    np.testing.assert_allclose(found.estimate.numpy(), expected, rtol=1e-11)


def test_the_report_says_what_there_is_not():
    vae, x = autoencoder(), bits(30)
    report = evaluate_split(vae, dataset(x), estimator="reconstruction")
    assert report.reconstruction == pytest.approx(log_likelihood(vae, x.double()).mean(), rel=1e-12)
    absent = ("elbo", "log_evidence", "bits_per_dim", "kl", "kl_per_dimension", "effective_sample_size", "untrusted")
    assert [getattr(report, name) for name in absent] == [None] * len(absent)
    written = json.loads(report.to_json())
    assert [written[name] for name in absent] == [None] * len(absent)
    active = int((code(vae, x.double()).detach().var(0, correction=0) > 0.01).sum())
    assert (report.active_units, report.latent_dim) == (active, 2)
    table = report.table()
    assert f"{report.reconstruction:.3f}" in table
    assert "neither ELBO nor evidence" in table
    assert "bits/dim" not in table
    assert "log evidence" not in table


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_weights_of_the_highest_validation_reconstruction_are_kept():
    data, vae = dataset(bits(30), valid=12), autoencoder()
    result = fit(vae, data, epochs=25, batch_size=9, learning_rate=0.5, **QUIET)
    found = [row["valid_reconstruction"] for row in result.history]
    assert all(math.isnan(row["valid_elbo"]) and math.isnan(row["valid_bits_per_dim"]) for row in result.history)
    assert result.best_epoch == 1 + int(np.argmax(found)) < 25  # otherwise the last weights would do
    assert log_likelihood(vae, data.valid.x.double()).mean() == pytest.approx(max(found), rel=1e-12)


def test_patience_watches_the_validation_reconstruction():
    result = fit(autoencoder(), dataset(bits(30), valid=12), epochs=50, learning_rate=1e-300, patience=2, **QUIET)
    assert (len(result.history), result.best_epoch, result.out_of_patience) == (3, 1, True)


@pytest.fixture(scope="module")
def run(make_run) -> Path:
    torch.set_default_dtype(torch.float32)
    return make_run("plain", prior="uniform", posterior={"name": "delta", "squash": "sigmoid"}, epochs=6, learning_rate=1e-2)


@pytest.fixture
def single_precision():
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("single_precision")
def test_a_squashed_run_learns_and_encodes_between_0_and_1(run):
    history = runs.read_metrics(run)
    assert history[-1]["valid_reconstruction"] > history[0]["valid_reconstruction"] + 1
    assert math.isnan(history[-1]["valid_elbo"])
    found = commands.encode(run)
    assert ((found.mean > 0) & (found.mean < 1)).all()
    assert len(found.mean.unique(dim=0)) > 1000  # of 1797 data
    assert (found.scale == 0).all()
    with pytest.warns(UserWarning, match="does not fit its codes to the prior"):
        assert set(commands.sample(run, count=5).x.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.usefixtures("single_precision")
def test_a_run_reports_its_reconstruction_and_names_the_next_step(run, tmp_path):
    report = commands.evaluate(run, estimator="reconstruction", device="cpu", json=str(tmp_path / "found.json"))
    assert json.loads((tmp_path / "found.json").read_text())["reconstruction"] == report.reconstruction
    assert commands.evaluate(run, device="cpu").reconstruction == report.reconstruction  # it has nothing else
    for estimator in ("importance", "elbo", Importance(samples=7)):
        with pytest.raises(UserError, match="use estimator='reconstruction'"):
            commands.evaluate(run, estimator, device="cpu")
    for given in ("auto", "reconstruction"):
        with pytest.raises(UserError, match=r"^samples: reconstruction has no such option; estimator='reconstruction' has deq"):
            commands.evaluate(run, {"name": given, "samples": 7}, device="cpu")
    result = commands.resume(run, **QUIET)
    assert f"next: pyrovae evaluate {run}; pyrovae figures {run}" in result.report(
        in_flags
    )  # no --estimator: it has nothing else
    best = max(row["valid_reconstruction"] for row in result.fit.history)
    assert f"validation reconstruction {best:.3f} nats" in result.report()
