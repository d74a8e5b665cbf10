"""Data far from 0: float64 up to the preprocessing, the numbers of data nearer to 0, refused where float32 would change them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from estimates import elbo, exact
from scipy import stats

from pyrovae import VAE, UserError, commands, runs
from pyrovae.contracts import DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.evidence.decomposition import decompose
from pyrovae.evidence.digests import model_digest
from pyrovae.preprocess.rounding import too_coarse
from pyrovae.system.tensorfiles import read_tensors, write_tensors

QUIET = {"device": "cpu", "progress": False}
LINEAR = {"likelihood": "normal", "network": "linear", "latent_dim": 1, "learning_rate": 0.01, "preprocess": "standardise"}
FAR = 1e9
STEP = 2.0**-20
"""Multiples of it, up to 8, can be moved by 10^9 without a rounding in float64."""


def noise(count: int, size: int = 2, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(size=(count, size)) / STEP) * STEP


def saved(folder: Path, x: np.ndarray) -> str:
    np.save(folder / "x.npy", x)
    return str(folder / "x.npy")


def marginal(vae: VAE) -> tuple[np.ndarray, np.ndarray, stats._multivariate.multivariate_normal_frozen]:
    """Mean and scale of the preprocessing, and p(y) of a linear Gaussian model by scipy, from its weights."""
    decoder = vae.decoder.layers[0]
    weight, bias = (tensor.detach().double().numpy() for tensor in (decoder.weight, decoder.bias))
    with torch.no_grad():
        scale = vae.likelihood(torch.zeros(1)).base_dist.scale.double().numpy()
    covariance = weight @ weight.T + np.diag(scale**2)
    mean, unit = (tensor.numpy() for tensor in (vae.transform.mean, vae.transform.scale))
    return mean, unit, stats.multivariate_normal(bias, covariance)


@pytest.mark.parametrize(
    ("x", "truth"),
    [
        (FAR + noise(2400), stats.multivariate_normal([FAR] * 2, np.eye(2))),
        ((1.7e9 + 5 * noise(2400, 3)).round(), stats.multivariate_normal([1.7e9] * 3, 25 * np.eye(3))),
    ],
    ids=["1e9 + noise", "times of Unix"],
)
def test_the_evidence_of_standardised_data_is_that_of_the_numbers_in_the_file(x, truth, tmp_path):
    trained = commands.train(saved(tmp_path, x), epochs=20, out=str(tmp_path / "run"), **LINEAR, **QUIET)
    test = trained.dataset.rows["test"].numpy()
    found = commands.evaluate(trained.run, estimator="exact", device="cpu")
    mean, unit, density = marginal(trained.vae)
    each = density.logpdf((x[test] - mean) / unit) - np.log(unit).sum()
    assert found.log_evidence.mean == pytest.approx(each.mean(), abs=1e-6)
    assert found.log_evidence.standard_error == pytest.approx(each.std(ddof=1) / np.sqrt(len(test)), rel=1e-6)
    # A model of a handful of numbers comes near to the density that the data are from; the entropy of these is known.
    assert abs(found.log_evidence.mean + truth.entropy()) <= 4 * found.log_evidence.standard_error
    guide = commands.evaluate(trained.run, device="cpu")
    assert abs(guide.log_evidence.mean - each.mean()) <= 4 * guide.log_evidence.monte_carlo_error + 1e-4


def moved(folder: Path, by: float, **options: object) -> Path:
    """A run on labelled noise that was moved."""
    x, y = noise(240), np.arange(240) % 3
    folder.mkdir()
    np.savez(folder / "x.npz", x=by + x, y=y)
    small = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "epochs": 2, "batch_size": 50}
    commands.train(
        str(folder / "x.npz"), "normal", preprocess="standardise", out=str(folder / "run"), **small, **options, **QUIET
    )
    return folder / "run"


MODELS = {"vamp": {"prior": {"name": "vamp", "components": 5}}, "label": {"context": "label"}, "delta": {"posterior": "delta"}}


@pytest.mark.parametrize("model", MODELS)
def test_no_number_changes_when_the_data_are_moved(model, tmp_path):
    """Training, every estimator, codes, classes and draws; the mean of the data is known to 1e-7 there, of their scale 1."""
    near, far = (moved(tmp_path / name, by, **MODELS[model]) for name, by in (("near", 0.0), ("far", FAR)))
    closely = {"rtol": 1e-4, "atol": 1e-4}
    history = [runs.read_metrics(run)[-1] for run in (near, far)]
    np.testing.assert_allclose(*[[row["loss"], row["valid_reconstruction"]] for row in history], **closely)
    estimators = ("reconstruction",) if model == "delta" else ("elbo", "importance", "annealed", "exact")
    small = {"importance": {"samples": 50}, "annealed": {"temperatures": 5, "chains": 2}, "elbo": {"samples": 20}}
    for estimator in estimators:
        options = {"estimator": {"name": estimator, **small.get(estimator, {})}, "limit": 3, "device": "cpu"}
        found = [commands.evaluate(run, **options).per_datum["estimate"].numpy() for run in (near, far)]
        np.testing.assert_allclose(*found, err_msg=estimator, **closely)
    codes = [commands.encode(run, device="cpu") for run in (near, far)]
    np.testing.assert_allclose(codes[0].mean, codes[1].mean, **closely)
    if model == "delta":
        return
    drawn = [commands.sample(run, count=50, device="cpu") for run in (near, far)]
    np.testing.assert_allclose(drawn[0].x, drawn[1].x - FAR, **closely)
    np.testing.assert_allclose(drawn[0].mean, drawn[1].mean - FAR, **closely)
    given = {"given": "1"} if model == "label" else {}
    decoded = [commands.decode(run, codes[0].mean[:5], **given) for run in (near, far)]
    np.testing.assert_allclose(decoded[0], decoded[1] - FAR, **closely)
    if model == "label":
        classes = [commands.classify(run, samples=5, limit=3, device="cpu").per_datum["log_posterior"] for run in (near, far)]
        np.testing.assert_allclose(*classes, **closely)
    c = torch.ones(6, dtype=torch.long) if model == "label" else None
    split = [decompose(runs.load(run), torch.tensor(by + noise(6)), c).kl.mean for run, by in ((near, 0.0), (far, FAR))]
    np.testing.assert_allclose(*split, **closely)
    if model == "label":
        return
    commands.figures(far, device="cpu")
    assert {path.stem for path in (far / "figures").glob("*.png")} >= {"reconstructions", "samples", "latent"}


# --- what float32 would change ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["normal", "student_t", "log_normal"])
def test_data_that_float32_would_change_are_refused_with_a_remedy_that_works(likelihood, tmp_path):
    data = saved(tmp_path, FAR + noise(200))
    options = {"network": "linear", "latent_dim": 1, "epochs": 1, **QUIET}
    with pytest.raises(UserError, match=r"preprocess='none': data value \d+\.\d+ at .* becomes 1000000000 in float32") as error:
        commands.train(data, likelihood, out=str(tmp_path / "refused"), **options)
    assert not (tmp_path / "refused").exists()
    remedy = str(error.value).partition("; train with ")[2]
    said = {
        flag: value for flag, value in (("likelihood", "normal"), ("preprocess", "standardise")) if f"{flag}='{value}'" in remedy
    }
    assert "preprocess" in said
    trained = commands.train(data, **{"likelihood": likelihood, **said}, out=str(tmp_path / "run"), **options)
    assert np.isfinite(trained.fit.history[-1]["loss"])


@pytest.mark.parametrize(
    ("x", "coarse"),
    [
        (noise(1000), False),
        (1000 + noise(1000), False),  # float32 has steps of 6e-5 there
        (1e6 + noise(1000), True),  # of 0.06
        (1e-9 * noise(1000), False),
        (np.where(noise(1000) < 0.3, 0.0, 1.7e9 + noise(1000)), True),  # many of them missing, as zeros
        (np.concatenate([noise(999), np.full((1, 2), 1e12)]), False),  # an outlier
        (np.arange(0, 1, 0.1)[np.arange(1000) % 10, None] * (1 + 2.0**-52 * (noise(1000) > 0)), False),  # computed in two ways
        (np.full((1000, 1), 1 / 3), False),
        (np.array([[1e9], [1e9 + 1]]), True),
        (np.array([[0.0], [1e9 + 1]]), False),
        (9e15 + np.arange(1000.0)[:, None], True),
        (2**24 + 2 * np.arange(1000.0)[:, None], False),
        (np.array([[FAR + 0.5]]), False),  # one datum differs from none
    ],
)
def test_what_is_too_coarse(x, coarse):
    assert (too_coarse(torch.tensor(x), torch.float32) is not None) is coarse
    assert too_coarse(torch.tensor(x), torch.float64) is None


def test_a_value_that_is_0_in_float32_only_is_said_to_be(tmp_path):
    x = np.exp(noise(100))
    x[7, 1] = 1e-50
    with pytest.raises(
        UserError, match=r"value 1e-50 at \(7, 1\) becomes 0 in float32 .*outside the support of likelihood='log_normal'"
    ):
        commands.train(saved(tmp_path, x), "log_normal", network="linear", epochs=1, out=str(tmp_path / "run"), **QUIET)


def test_one_scale_for_columns_of_all_sizes_is_too_coarse(tmp_path):
    data = saved(tmp_path, noise(200) * [1e-3, 1e6])
    options = {"likelihood": "normal", "network": "linear", "epochs": 1, **QUIET}
    everything = {"name": "standardise", "over": "everything"}
    with pytest.raises(UserError, match=r"preprocess='standardise': .*train with preprocess\.over='data'"):
        commands.train(data, preprocess=everything, out=str(tmp_path / "run"), **options)
    commands.train(data, preprocess="standardise", out=str(tmp_path / "run"), **options)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_that_float64_does_not_hold_are_refused(dtype, tmp_path):
    x = (2**53 + np.arange(-19, 1, dtype=np.int64)).reshape(-1, 2).astype(dtype)
    as_reals = {"name": "file", "path": saved(tmp_path, x), "kind": "reals"}
    assert np.array_equal(commands.load_dataset(as_reals).x.numpy().astype(dtype), x)
    with pytest.raises(UserError, match=r"x has the integer 9007199254740993 at \(9, 1\).*subtract"):
        commands.load_dataset(saved(tmp_path, x + dtype(1)))


def test_integers_of_a_table_that_float64_does_not_hold_are_refused(tmp_path):
    rows = [f"{2**53 - 20 + i},{i}" for i in range(20)]
    (tmp_path / "x.csv").write_text("\n".join(["id,b", *rows]))
    table = {"name": "csv", "path": str(tmp_path / "x.csv"), "kind": "reals"}
    assert commands.load_dataset(table).x[:, 0].tolist() == [2**53 - 20 + i for i in range(20)]
    (tmp_path / "x.csv").write_text("\n".join(["id,b", *rows, f"{2**53 + 1},3"]))
    with pytest.raises(UserError, match=r"column id has whole numbers of 2\^53 or more.*data\.columns"):
        commands.load_dataset(table)


def test_large_counts_and_levels_are_refused_with_a_remedy_that_works(tmp_path):
    data = saved(tmp_path, (1.7e9 + 5 * noise(200)).astype(np.int64))
    with pytest.raises(UserError, match=r"data\.kind='reals', preprocess='standardise'"):
        commands.load_dataset(data)
    with pytest.raises(UserError, match=r"data\.levels=1700000100: .*data\.kind='reals', preprocess='standardise'"):
        commands.load_dataset({"name": "file", "path": data, "levels": 1_700_000_100})
    as_reals = {"name": "file", "path": data, "kind": "reals"}
    commands.train(as_reals, epochs=1, out=str(tmp_path / "run"), **LINEAR, **QUIET)


# --- files --------------------------------------------------------------------------------------------------------------


def written_by_older_code(run: Path, weights: dict[str, torch.Tensor]) -> None:
    """Weights that know nothing of the configuration."""
    write_tensors(run / runs.MODEL, weights, {}, run)


def edit(run: Path, change) -> None:
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config["run"]["data"])
    path.write_text(yaml.safe_dump(config))


def test_digests_are_of_float32_as_they_were_and_of_float64_beside(tmp_path):
    x = FAR + noise(100)
    record = commands.load_dataset(saved(tmp_path, x)).record()
    assert record["sha256"] == hashlib.sha256(x.astype(np.float32).tobytes()).hexdigest()
    assert record["sha256_float64"] == hashlib.sha256(x.tobytes()).hexdigest()
    narrow = commands.load_dataset(saved(tmp_path, noise(100).astype(np.float32))).record()
    assert narrow["sha256_float64"] is None


def test_a_change_that_float32_does_not_see_is_noticed_unless_the_run_is_older(tmp_path):
    data = saved(tmp_path, FAR + noise(100))
    run = commands.train(data, epochs=1, out=str(tmp_path / "run"), **LINEAR, **QUIET).run
    before = commands.evaluate(run, estimator="exact", device="cpu")
    saved(tmp_path, FAR + noise(100) * (1 + STEP))
    with pytest.raises(UserError, match="another sha256_float64"):
        commands.evaluate(run, estimator="exact", device="cpu")
    saved(tmp_path, FAR + noise(100))
    edit(run, lambda data: data.pop("sha256_float64"))
    written_by_older_code(run, read_tensors(run / runs.MODEL)[0])
    after = commands.evaluate(run, estimator="exact", device="cpu")
    assert json.loads(after.to_json()) == json.loads(before.to_json()) | {"seconds": after.seconds}


def test_a_run_that_is_older_than_an_option_is_resumed(tmp_path):
    lines = [",".join(map(repr, map(float, row))) for row in noise(60)]
    (tmp_path / "x.csv").write_text("\n".join(["a,b", *lines]))
    run = commands.train(tmp_path / "x.csv", epochs=1, out=str(tmp_path / "run"), **LINEAR, **QUIET).run
    config = yaml.safe_load((run / "config.yaml").read_text())
    for option in ("columns", "delimiter"):
        del config["data"][option]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert len(commands.resume(run, epochs=2, progress=False).fit.history) == 2


def test_a_run_whose_preprocessing_was_written_in_float32_opens_as_it_was(tmp_path):
    run = commands.train(saved(tmp_path, 30 + noise(100)), epochs=1, out=str(tmp_path / "run"), **LINEAR, **QUIET).run
    weights = runs.load(run).state_dict()
    assert weights["transform.mean"].dtype == weights["transform.scale"].dtype == torch.float64
    older = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    written_by_older_code(run, older)
    opened = runs.load(run)
    assert runs.load(runs.save(opened, tmp_path / "again")).state_dict().keys() == older.keys()
    assert {name: tensor.dtype for name, tensor in opened.state_dict().items()} == {k: v.dtype for k, v in older.items()}
    assert model_digest(opened) != model_digest(VAE.from_config(opened.config()))
    mean, unit, density = marginal(opened)
    x = 30 + noise(20, seed=1)
    expected = density.logpdf((x - mean.astype(float)) / unit.astype(float)) - np.log(unit.astype(float)).sum()
    np.testing.assert_allclose(exact(opened, torch.tensor(x)).estimate.numpy(), expected, rtol=1e-6)


def test_the_preprocessing_keeps_its_precision_when_the_model_changes_its_own(tmp_path):
    vae = VAE((2,), 1, "normal", network="linear", preprocess="standardise")
    x = torch.tensor(FAR + noise(50))
    vae.prepare(DataSpec((2,)), x)
    for model in (vae.double(), vae.float(), vae.to(torch.float32)):
        assert model.transform.mean.dtype == torch.float64
        np.testing.assert_allclose(model.transform.mean.numpy(), x.numpy().mean(0), rtol=1e-15)
        assert model.preprocessed(x).dtype == next(model.parameters()).dtype
        assert abs(model.preprocessed(x).double().std(correction=0).item() - 1) < 0.1
    assert torch.isfinite(elbo(vae, x, samples=2).estimate).all()


@pytest.mark.parametrize("over", ["data", "everything"])
def test_data_of_one_element_are_saved(over, tmp_path):
    data = saved(tmp_path, 7 + 2 * noise(100, 1))
    options = {"likelihood": "normal", "network": "linear", "latent_dim": 1, "epochs": 1, **QUIET}
    trained = commands.train(data, preprocess={"name": "standardise", "over": over}, out=str(tmp_path / "run"), **options)
    kept = runs.load(trained.run).state_dict()
    for name, tensor in trained.vae.state_dict().items():
        assert torch.equal(kept[name], tensor), name
    commands.resume(trained.run, epochs=2, progress=False)


def test_weights_of_any_layout_are_saved(tmp_path):
    """A tensor of one element may have any strides and count as contiguous."""
    odd = {"one": torch.tensor(3.0).expand(1), "columns": torch.arange(6.0).reshape(2, 3).T, "same": torch.tensor(2.0).expand(4)}
    written_by_older_code(tmp_path, odd)
    kept, _ = read_tensors(tmp_path / runs.MODEL)
    assert {name: tensor.tolist() for name, tensor in kept.items()} == {name: tensor.tolist() for name, tensor in odd.items()}


def test_numbers_that_differ_in_their_last_bits_are_constant():
    x = torch.tensor([[0.1 + 0.2], [0.3]], dtype=torch.float64)
    vae = VAE((1,), 1, "normal", network="linear", preprocess="standardise")
    vae.prepare(DataSpec((1,)), x)
    assert vae.transform.scale.tolist() == [1.0]


def test_wide_integers_in_memory_are_taken_as_they_are():
    x = torch.arange(10**9, 10**9 + 60).reshape(30, 2)
    rows = torch.arange(30)
    dataset = Dataset("mine", DataSpec((2,)), x, None, dict.fromkeys(("train", "valid", "test"), rows))
    vae = VAE((2,), 1, "normal", network="linear", preprocess="standardise")
    vae.prepare(dataset.spec, dataset.x)
    expected = (x.numpy() - x.numpy().mean(0)) / x.numpy().std(0)
    np.testing.assert_allclose(vae.preprocessed(x).numpy(), expected, rtol=1e-6)
