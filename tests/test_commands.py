"""The Python API: train, evaluate, encode, decode and sample on a run folder and on a VAE in memory."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import docstring_parser
import numpy as np
import pytest
import torch
from estimates import importance
from sklearn.datasets import load_digits

import pyrovae
from pyrovae import Elbo, Importance, commands
from pyrovae.errors import UserError
from pyrovae.evidence.reports.data_evaluation import DataEvaluation
from pyrovae.runs.folder import load

DIGITS = load_digits()


@pytest.fixture(scope="module")
def counting(make_run) -> Path:
    """A binomial likelihood: no noise of preprocessing."""
    return make_run("binomial", likelihood="binomial", epochs=3)


@pytest.fixture(scope="module")
def grey(make_run) -> Path:
    """A normal likelihood of dequantised data."""
    return make_run("normal", likelihood="normal", epochs=2)


@pytest.fixture
def own_digits(tmp_path) -> Path:
    """The digits as a file of one's own, in their order."""
    np.savez(tmp_path / "own.npz", x=DIGITS.images.astype("int64"), y=DIGITS.target)
    return tmp_path / "own.npz"


def without(found: DataEvaluation, *names: str) -> dict:
    return {key: value for key, value in numbers(found).items() if key not in {"seconds", "run", *names}}


def numbers(found: DataEvaluation) -> dict:
    """The fields that are written as JSON."""
    return {key: value for key, value in dataclasses.asdict(found).items() if key != "per_datum"}


def finite(value: object) -> bool:
    if isinstance(value, dict | list):
        return all(finite(part) for part in (value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def test_every_name_that_the_package_promises_is_there():
    for name in pyrovae.__all__:
        assert getattr(pyrovae, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        pyrovae.trian  # noqa: B018


# --- train ------------------------------------------------------------------------------------------------------------------


def test_train_returns_what_it_wrote(tmp_path):
    found = commands.train(epochs=2, latent_dim=3, network="linear", device="cpu", progress=False, out=str(tmp_path / "run"))
    assert found.run == tmp_path / "run"
    assert len(found.fit.history) == 2
    assert not found.fit.interrupted
    assert found.vae.latent_dim == 3
    loaded, trained = load(found.run).state_dict(), found.vae.state_dict()
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], trained[name]) for name in loaded)
    best = max(row["valid_elbo"] for row in found.fit.history)
    assert f"{best:.3f} nats" in found.report()


def test_train_leaves_the_callers_random_state_as_it_was(tmp_path):
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    commands.train(epochs=1, latent_dim=2, network="linear", device="cpu", progress=False, out=str(tmp_path / "run"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_splits_of_the_digits_are_disjoint_and_everything(digits_run):
    rows = commands.load_dataset("digits").rows
    assert sorted(torch.cat(list(rows.values())).tolist()) == list(range(len(DIGITS.images)))
    assert len(rows["test"]) == pytest.approx(len(DIGITS.images) / 6, abs=1)


# --- evaluate ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["importance", "elbo"])
def test_evaluate_writes_the_documented_keys_and_finite_numbers(run, tmp_path, estimator):
    found = commands.evaluate(run, {"name": estimator, "samples": 5}, limit=30, json=str(tmp_path / "copy.json"))
    text = (run / "evidence" / f"{estimator}.json").read_text()
    written = json.loads(text)
    documented = [parameter.arg_name for parameter in docstring_parser.parse(DataEvaluation.__doc__).params]
    assert list(written) == [name for name in documented if name not in ("per_datum", "words")]
    assert finite(written)
    assert text == (tmp_path / "copy.json").read_text() == found.to_json()
    assert written == found.summary()
    assert (written["log_evidence"] is None) == (estimator == "elbo")
    assert (written["run"], written["n"], written["samples"]) == (str(run), 30, 5)


@pytest.mark.parametrize(("estimator", "key"), [("importance", "log_evidence"), ("elbo", "elbo")])
def test_evaluate_writes_the_numbers_of_each_datum(run, estimator, key):
    found = commands.evaluate(run, {"name": estimator, "samples": 5}, limit=30, seed=2)
    summary = json.loads((run / "evidence" / f"{estimator}.json").read_text())
    rows = commands.load_dataset("digits").test.subset(30, 2)
    with np.load(run / "evidence" / f"{estimator}.npz") as written:
        assert set(written) == set(found.per_datum) >= {"index", "estimate", "monte_carlo_error", "elbo", "kl", "posterior_mean"}
        assert all(len(written[name]) == 30 for name in written)
        np.testing.assert_array_equal(written["index"], rows.index)
        assert written["estimate"].mean() == pytest.approx(summary[key]["mean"], rel=1e-12)
        error = np.sqrt((written["monte_carlo_error"] ** 2).sum()) / 30
        assert error == pytest.approx(summary[key]["monte_carlo_error"], rel=1e-12)
        assert written["kl"].mean() == pytest.approx(summary["kl"], rel=1e-12)
        again = importance(load(run), rows.x, samples=5, seed=2, index=rows.index)
        np.testing.assert_allclose(written["effective_sample_size"], again.diagnostics["effective_sample_size"], rtol=1e-6)


@pytest.mark.parametrize("value", [0, 2.5])
def test_the_number_of_dequantisations_is_checked(grey, value):
    with pytest.raises(UserError, match=f"dequantisations={value}: needs an integer of at least 1"):
        commands.evaluate(load(grey), Importance(samples=2, dequantisations=value), data="digits", limit=2)


@pytest.mark.parametrize(("given", "draws"), [({}, 4), ({"dequantisations": 1}, 1)])
def test_dequantised_levels_are_drawn_four_times_unless_told(grey, given, draws):
    rows = commands.load_dataset("digits").test.subset(9, 0)
    found = commands.evaluate(load(grey), Importance(samples=3, **given), data="digits", limit=9)
    each = importance(load(grey), rows.x, samples=3, index=rows.index, dequantisations=draws)
    assert found.dequantisations == draws
    assert found.log_evidence.mean == pytest.approx(each.mean, rel=1e-12)


@pytest.mark.parametrize("estimator", ["importance", "elbo"])
def test_its_numbers_agree_with_each_other(counting, estimator):
    found = commands.evaluate(load(counting), {"name": estimator, "samples": 20}, data="digits", device="cpu")
    nats = found.elbo.mean if estimator == "elbo" else found.log_evidence.mean
    assert found.bits_per_dim == pytest.approx(-nats / 64 / math.log(2))
    assert found.bits_per_dim_kind == "exact"
    assert found.elbo.mean == pytest.approx(found.reconstruction - found.kl)
    assert found.kl == pytest.approx(sum(found.kl_per_dimension), rel=1e-4)
    assert found.n == 300
    assert 1 <= found.effective_sample_size["minimum"] <= found.effective_sample_size["median"] <= 20
    if estimator == "importance":
        assert found.log_evidence.mean > found.elbo.mean


def test_its_means_and_errors_are_those_of_the_data_one_by_one(counting):
    vae, test = load(counting), commands.load_dataset("digits").test
    found = commands.evaluate(vae, Importance(samples=7), data="digits", seed=4, device="cpu")
    each = importance(vae, test.x, samples=7, seed=4, index=test.index).estimate.numpy()
    assert found.log_evidence.mean == pytest.approx(each.mean())
    assert found.log_evidence.standard_error == pytest.approx(each.std(ddof=1) / math.sqrt(len(each)))


@pytest.mark.parametrize(("split", "share"), [("train", 25 / 36), ("valid", 5 / 36), ("test", 6 / 36), ("all", 1)])
def test_a_split_is_evaluated(counting, split, share):
    found = commands.evaluate(load(counting), Elbo(samples=1), data="digits", split=split, device="cpu")
    assert found.split == split
    assert found.n == pytest.approx(share * len(DIGITS.images), abs=1.5)


def test_a_limit_takes_a_seeded_random_subset(counting):
    vae, test = load(counting), commands.load_dataset("digits").test
    chosen = []
    for seed in range(4):
        found, again = (commands.evaluate(vae, Elbo(samples=3), data="digits", limit=1, seed=seed, device="cpu") for _ in "12")
        assert without(found) == without(again)
        each = importance(vae, test.x, samples=3, seed=seed, index=test.index).diagnostics["elbo"]
        chosen.append(int((each - found.elbo.mean).abs().argmin()))
        assert each[chosen[-1]].item() == pytest.approx(found.elbo.mean, rel=1e-6)
    assert len(set(chosen)) > 1
    everything = commands.evaluate(vae, Elbo(samples=1), data="digits", limit=10**6, device="cpu")
    assert everything.n == len(test)


def test_a_run_and_its_vae_in_memory_have_the_same_evidence(counting, tmp_path):
    data = commands.load_dataset("digits")
    on_disk = commands.evaluate(counting, Importance(samples=4), json=None)
    in_memory = commands.evaluate(load(counting), Importance(samples=4), data=data)
    assert on_disk.run == str(counting)
    assert in_memory.run is None
    assert without(on_disk) == without(in_memory)


def test_a_vae_in_memory_needs_data(counting):
    with pytest.raises(UserError, match=r"^data: a VAE in memory has no data of its own; give some$"):
        commands.evaluate(load(counting))


def test_data_of_ones_own_have_the_evidence_of_the_same_data_by_name(counting, own_digits):
    by_name = commands.evaluate(load(counting), Importance(samples=2), data="digits", split="all", device="cpu")
    own = commands.evaluate(counting, Importance(samples=2), data=own_digits, split="all", device="cpu")
    assert own.data == str(own_digits)
    named = ("data", "data_sha256")  # of the bytes of the array, which differ with its type
    assert without(own, *named) == without(by_name, *named)


def test_kinds_of_bits_per_dim_are_named(run, grey, make_run, tmp_path):
    np.save(tmp_path / "reals.npy", np.random.default_rng(0).normal(size=(40, 3)))
    reals = make_run("reals", data=str(tmp_path / "reals.npy"), likelihood="normal")
    kinds = [commands.evaluate(run, Importance(samples=1), limit=3).bits_per_dim_kind for run in (run, grey, reals)]
    assert [kind.split()[0].rstrip(":") for kind in kinds] == ["binarised", "dequantisation", "density"]


# --- encode and decode --------------------------------------------------------------------------------------------------------


def test_encode_writes_every_datum_in_its_order_with_its_label(counting, tmp_path):
    commands.encode(counting, out=str(tmp_path / "z.npz"))
    with np.load(tmp_path / "z.npz") as written:
        assert {name: written[name].shape for name in written} == {
            "mean": (1797, 2),
            "scale": (1797, 2),
            "y": (1797,),
            "index": (1797,),
        }
        np.testing.assert_array_equal(written["y"], DIGITS.target)
        np.testing.assert_array_equal(written["index"], np.arange(1797))
        with torch.no_grad():
            q = load(counting).posterior_of_preprocessed(torch.tensor(DIGITS.images, dtype=torch.float32))
        np.testing.assert_allclose(written["mean"], q.mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(written["scale"], q.stddev, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_encode_keeps_rows_and_labels_of_a_split_together(counting, split):
    everything, found = commands.encode(counting), commands.encode(counting, split=split)
    np.testing.assert_array_equal(found.y, DIGITS.target[found.index])
    torch.testing.assert_close(found.mean, everything.mean[found.index])


def test_encode_is_seeded_where_preprocessing_is_random(digits_run):
    first, again, other = (commands.encode(digits_run, split="test", seed=seed).mean for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_encode_of_a_vae_in_memory_and_of_data_without_labels(counting, tmp_path):
    np.save(tmp_path / "x.npy", DIGITS.images[:50].astype("int64"))
    found = commands.encode(load(counting), data={"name": "file", "path": str(tmp_path / "x.npy"), "levels": 17})
    assert found.y is None
    torch.testing.assert_close(found.mean, commands.encode(counting).mean[:50])
    commands.encode(counting, data=tmp_path / "x.npy", out=str(tmp_path / "z.npz"))
    with np.load(tmp_path / "z.npz") as written:
        assert set(written) == {"mean", "scale", "index"}


def test_decode_is_the_mean_of_the_likelihood(counting, digits_run):
    z = torch.randn(3, 5, 2)
    for run, tosses in ((counting, 16), (digits_run, 1)):
        vae = load(run)
        with torch.no_grad():
            logits = vae.decoder(z, None).reshape(3, 5, 8, 8)
        expected = torch.from_numpy(tosses / (1 + np.exp(-logits.double().numpy())))
        torch.testing.assert_close(commands.decode(run, z).double(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(commands.decode(vae, z), commands.decode(run, z))


def test_decode_refuses_latents_of_another_size(counting):
    with pytest.raises(UserError, match=r"\(4, 3\).*\(\.\.\., 2\)"):
        commands.decode(counting, torch.zeros(4, 3))


# --- sample -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["counting", "grey"])
def test_samples_are_whole_numbers_within_the_levels(request, tmp_path, name):
    run = request.getfixturevalue(name)
    commands.sample(run, count=40, out=str(tmp_path / "x.npz"), seed=3)
    with np.load(tmp_path / "x.npz") as written:
        assert {key: written[key].shape for key in written} == {"z": (40, 2), "mean": (40, 8, 8), "x": (40, 8, 8)}
        assert set(np.unique(written["x"])) <= set(range(17))
        assert len(np.unique(written["x"])) > 2
        np.testing.assert_allclose(written["mean"], commands.decode(run, torch.tensor(written["z"])), rtol=1e-5, atol=1e-4)


def test_samples_of_binarised_data_are_bits(digits_run):
    found = commands.sample(digits_run, count=20)
    assert set(found.x.unique().tolist()) == {0.0, 1.0}
    assert 0 <= found.mean.min() <= found.mean.max() <= 1


def test_samples_have_the_priors_and_the_likelihoods_moments(counting):
    found = commands.sample(counting, count=4000, seed=1)
    error = 4 / math.sqrt(found.z.numel())
    assert found.z.mean().abs() < error
    assert (found.z.var() - 1).abs() < error * math.sqrt(2)
    residual = (found.x - found.mean).double()
    variance = found.mean.double() * (1 - found.mean.double() / 16)
    assert residual.sum().abs() < 4 * variance.sum().sqrt()
    assert (residual**2).sum() == pytest.approx(variance.sum().item(), rel=0.03)


def test_samples_are_seeded_and_leave_the_callers_random_state(counting):
    vae = load(counting)
    before = torch.random.get_rng_state()
    first, again, other = (commands.sample(vae, count=6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.z, again.z)
    assert not torch.equal(first.z, other.z)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_run_and_its_vae_in_memory_draw_the_same(counting):
    assert torch.equal(commands.sample(counting, count=6).x, commands.sample(load(counting), count=6).x)


# --- data -------------------------------------------------------------------------------------------------------------------


def test_a_file_with_its_own_splits_and_named_labels(tmp_path):
    random = np.random.default_rng(0)
    parts = {name: random.normal(size=(size, 3)) for name, size in (("train", 20), ("valid", 6), ("test", 9))}
    labels = {f"y_{name}": random.choice(["cat", "dog", "eel"], len(x)) for name, x in parts.items()}
    np.savez(tmp_path / "x.npz", **parts, **labels)
    data = commands.load_dataset(str(tmp_path / "x.npz"))
    assert (data.spec.kind, data.spec.event_shape) == ("reals", (3,))
    for name, x in parts.items():
        split = data.split(name)
        np.testing.assert_allclose(split.x, x, rtol=1e-6)
        assert [data.spec.class_names[code] for code in split.y] == labels[f"y_{name}"].tolist()


@pytest.mark.parametrize(
    ("values", "kind", "levels"),
    [
        (np.array([[0, 1], [1, 1]]), "binary", 2),
        (np.array([[True, False], [True, True]]), "binary", 2),
        (np.array([[0.0, 1.0], [1.0, 1.0]]), "binary", 2),
        (np.array([[0, 3], [1, 1]], "uint8"), "levels", 256),
        (np.array([[0, 3], [1, 900]]), "counts", None),
        (np.array([[0, -3], [1, 1]]), "reals", None),
        (np.array([[0.5, 1], [1, 1]]), "reals", None),
    ],
)
def test_the_kind_of_data_is_read_off_them_as_documented(tmp_path, values, kind, levels):
    np.save(tmp_path / "x.npy", np.repeat(values, 5, axis=0))
    spec = commands.load_dataset(tmp_path / "x.npy").spec
    assert (spec.kind, spec.levels) == (kind, levels)


def test_resume_by_python_is_training_in_one_go(make_run, tmp_path, run):
    found = commands.resume(run, epochs=2, device="cpu", progress=False)
    whole = load(make_run("two-epochs", epochs=2)).state_dict()
    assert [row["epoch"] for row in found.fit.history] == [1, 2]
    assert all(torch.equal(tensor, whole[name]) for name, tensor in found.vae.state_dict().items())


def test_more_samples_than_a_picture_holds_are_refused_before_they_are_drawn(digits_run, tmp_path, cli):
    answer = cli("sample", digits_run, "--count", "3000", "--out", tmp_path / "x.png")
    assert answer.code == 2
    assert answer.err == (
        "pyrovae sample: error: --count 3000: a picture has room for 512 draws; take fewer, or --out FILE.npz for any number\n"
    )
    assert not (tmp_path / "x.png").exists()
    assert cli("sample", digits_run, "--count", "3000", "--out", tmp_path / "x.npz").code == 0
    with np.load(tmp_path / "x.npz") as written:
        assert written["x"].shape == (3000, 8, 8)


def test_more_samples_than_fit_the_memory_are_refused(digits_run, cli):
    answer = cli("sample", digits_run, "--count", str(10**12))
    assert answer.code == 2
    assert "error: --count 1000000000000 needs 776000.0 GB of memory, and " in answer.err  # 4 bytes x (2 + 3 x 64) x 10^12
    assert answer.err.endswith("are free; draw fewer, several times with another --seed\n")
