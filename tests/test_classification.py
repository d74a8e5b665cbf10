"""``classify``: Bayes' rule against models whose p(x|c) is known, scores against scikit-learn and a table by hand."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import docstring_parser
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import special, stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor

import pyrovae
from pyrovae import VAE, Dataset, Importance, UserError, commands
from pyrovae.contracts import Attribute, DataSpec, Evidence
from pyrovae.drawing import charts
from pyrovae.evidence.classification import BINS, Classification, classify_split, scores

SIZE, LATENTS, NOISE = 4, 2, 0.7
CLASSES = ("ant", "bee", "cat")
COUNTS = (60, 30, 10)


class ConditionalGaussian:
    """x = W z + a(c) + noise, the columns of W orthogonal: p(x|c) is normal, and its posterior has independent latents."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.weight = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0][:, :LATENTS] * [0.5, 1.5]
        self.offsets = rng.normal(size=(len(CLASSES), SIZE))
        self.covariance = self.weight @ self.weight.T + NOISE**2 * np.eye(SIZE)

    def vae(self, shift: float = 0.0) -> VAE:
        """A linear VAE of these weights: the embedding of a class is its offset; the guide's means are moved by ``shift``."""
        labels = [Attribute("class", CLASSES)]
        likelihood = {"name": "normal", "scale": NOISE}
        vae = VAE(
            (SIZE,), LATENTS, likelihood, network="linear", context={"name": "label", "size": SIZE}, kind="reals", labels=labels
        )
        precision = (self.weight**2).sum(0) / NOISE**2 + 1
        to_mean = self.weight.T / NOISE**2 / precision[:, None]
        raw_scale = 8 * np.arctanh(np.log(precision**-0.5) / 8)
        encoder, decoder = vae.encoder.layers[0], vae.decoder.layers[0]
        with torch.no_grad():
            vae.context_module.tables[0].weight.copy_(torch.tensor(self.offsets))
            both = np.concatenate([to_mean, -to_mean], 1)
            encoder.weight.copy_(torch.tensor(np.concatenate([both, np.zeros_like(both)])))
            encoder.bias.copy_(torch.tensor(np.concatenate([np.full(LATENTS, shift), raw_scale])))
            decoder.weight.copy_(torch.tensor(np.concatenate([self.weight, np.eye(SIZE)], 1)))
            decoder.bias.zero_()
        return vae

    def draw(self, counts: tuple[int, ...], seed: int = 1) -> tuple[Tensor, Tensor]:
        """So many data of each class."""
        rng = np.random.default_rng(seed)
        y = np.repeat(np.arange(len(counts)), counts)
        x = self.offsets[y] + rng.multivariate_normal(np.zeros(SIZE), self.covariance, size=len(y))
        return torch.tensor(x), torch.tensor(y)

    def log_posterior(self, x: Tensor, frequencies: np.ndarray) -> np.ndarray:
        """log p(c|x) by SciPy, (N, C)."""
        log_joint = [
            stats.multivariate_normal(offset, self.covariance).logpdf(x.numpy()) + math.log(p)
            for offset, p in zip(self.offsets, frequencies, strict=True)
        ]
        return special.log_softmax(np.stack(log_joint, -1), -1)


def whole(x: Tensor, y: Tensor, spec: DataSpec) -> Dataset:
    """A data set whose splits are all the whole."""
    rows = torch.arange(len(x))
    return Dataset("toy", spec, x, y, {"train": rows, "valid": rows, "test": rows})


# --- Bayes' rule ---------------------------------------------------------------------------------------------------------


def test_class_posterior_is_bayes_rule_where_p_of_x_is_known(double_precision):
    model = ConditionalGaussian()
    x, y = model.draw((20, 30, 25))
    found = classify_split(model.vae(), whole(x, y, DataSpec((SIZE,), class_names=CLASSES)), model.draw(COUNTS)[1], samples=20)
    expected = model.log_posterior(x, np.array(COUNTS) / 100)
    # The guide is the posterior: any number of samples gives log p(x|c) to rounding.
    np.testing.assert_allclose(found.per_datum["log_posterior"].numpy(), expected, rtol=1e-9, atol=1e-10)
    assert found.classes == list(CLASSES)
    np.testing.assert_allclose(found.frequencies, np.array(COUNTS) / 100, rtol=1e-12)
    assert found.accuracy.mean == pytest.approx(accuracy_score(y, expected.argmax(-1)))
    assert found.log_score.mean == pytest.approx(-log_loss(y, np.exp(expected)))
    assert found.log_score.standard_error == pytest.approx(stats.sem(expected[np.arange(75), y]))
    assert found.untrusted == 0
    assert 0.5 < found.accuracy.mean < 1  # neither trivial nor hopeless


def test_a_model_that_the_data_come_from_is_calibrated(double_precision):
    """Data drawn with the frequencies of the training data: of those given probability p, a share p is right."""
    model = ConditionalGaussian()
    rng = np.random.default_rng(3)
    counts = tuple(rng.multinomial(3000, np.array(COUNTS) / 100))
    x, y = model.draw(counts)
    trained = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    found = classify_split(model.vae(), whole(x, y, DataSpec((SIZE,), class_names=CLASSES)), trained, samples=2)
    confidence = found.per_datum["log_posterior"].exp().amax(-1)
    # Right or wrong is a coin of that probability: the sum of the differences has variance sum p (1 - p).
    error = math.sqrt((confidence * (1 - confidence)).sum()) / 3000
    assert abs(found.accuracy.mean - confidence.mean().item()) < 4 * error
    # A bin of n data is off by less than 1/2 / sqrt(n) on average, with at most that standard deviation: the weighted mean of
    # the bins by at most 1/2 sqrt(15 / N) (Cauchy and Schwarz), with a standard deviation of at most 1/2 / sqrt(N).
    assert found.calibration_error < 0.5 * (math.sqrt(15) + 4) / math.sqrt(3000)


def test_attributes_are_classified_by_their_combination(double_precision):
    """The decoder ignores z, so that p(x|c) is the likelihood itself; one combination is in no training datum."""
    labels = [Attribute("glasses", ("no", "yes")), Attribute("subject", ("0", "1", "2")), Attribute("smile", ("no", "yes"))]
    context = {"name": "label", "size": SIZE, "attributes": ["glasses", "smile"]}
    vae = VAE((SIZE,), LATENTS, "bernoulli", network="linear", context=context, kind="binary", labels=labels)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        for table in vae.context_module.tables:
            table.weight.normal_()
        vae.decoder.layers[0].weight[:, LATENTS:] = torch.eye(SIZE)
        first, second = (table.weight.numpy() for table in vae.context_module.tables)
    trained = torch.tensor([[0, 0, 0]] * 5 + [[0, 1, 1]] * 3 + [[1, 2, 1]] * 2)
    vae.context_module.initialise(trained)
    x = torch.tensor([[(i >> bit) & 1 for bit in range(SIZE)] for i in range(16)], dtype=torch.uint8)
    y = torch.tensor([[0, 2, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0]] * 4)
    data = whole(x, y, DataSpec((SIZE,), "binary", 2, attributes=tuple(labels)))
    found = classify_split(vae, data, trained, samples=10)
    assert found.classes == ["glasses=no,smile=no", "glasses=no,smile=yes", "glasses=yes,smile=no", "glasses=yes,smile=yes"]
    assert found.frequencies == [0.5, 0.3, 0.0, 0.2]
    logits = np.stack([(first[g] + second[s]) / math.sqrt(2) for g in (0, 1) for s in (0, 1)])
    log_likelihood = stats.bernoulli.logpmf(x.numpy()[:, None], special.expit(logits)).sum(-1)
    with np.errstate(divide="ignore"):
        expected = special.log_softmax(log_likelihood + np.log(found.frequencies), -1)
    np.testing.assert_allclose(found.per_datum["log_posterior"].numpy(), expected, rtol=1e-9)
    assert found.per_datum["true"].tolist() == [0, 1, 3, 0] * 4
    assert found.log_score.mean == pytest.approx(expected[np.arange(16), [0, 1, 3, 0] * 4].mean())

    unseen = replace(data, y=torch.tensor([[1, 0, 0]] * 16))
    hopeless = classify_split(vae, unseen, trained, samples=10)
    assert hopeless.accuracy.mean == 0
    assert hopeless.log_score.mean == -math.inf
    assert json.loads(hopeless.to_json())["log_score"] == {"mean": None, "standard_error": None}
    assert "no training datum has" in hopeless.table()


def test_every_class_gets_the_same_noise(double_precision):
    """Two classes with the same embedding have the same estimate to the last bit, however rough it is."""
    model = ConditionalGaussian()
    vae = model.vae(shift=0.8)
    with torch.no_grad():
        vae.context_module.tables[0].weight[1] = vae.context_module.tables[0].weight[0]
    x, y = model.draw((5, 5, 5))
    spec = DataSpec((SIZE,), class_names=CLASSES)
    found = classify_split(vae, whole(x, y, spec), y, samples=7, seed=4).per_datum["log_evidence"]
    assert torch.equal(found[:, 0], found[:, 1])
    exact = stats.multivariate_normal(model.offsets[0], model.covariance).logpdf(x.numpy())
    assert np.abs(found[:, 0].numpy() - exact).max() > 0.01
    assert not torch.equal(found, classify_split(vae, whole(x, y, spec), y, samples=7, seed=5).per_datum["log_evidence"])


def test_data_with_few_effective_samples_are_counted(double_precision):
    model = ConditionalGaussian()
    x, y = model.draw((20, 20, 20))
    found = classify_split(model.vae(shift=0.8), whole(x, y, DataSpec((SIZE,), class_names=CLASSES)), y, samples=40)
    ess, log_posterior = found.per_datum["effective_sample_size"].numpy(), found.per_datum["log_posterior"].numpy()
    expected = sum(min(ess[i, true], ess[i, log_posterior[i].argmax()]) < 10 for i, true in enumerate(y.tolist()))
    assert found.untrusted == expected
    assert 0 < expected < 60
    assert f"NOT TO BE TRUSTED  {expected} of 60" in found.table()


def test_a_datum_without_any_weight_keeps_the_frequencies(double_precision, monkeypatch):
    def nothing(self, vae, x, c, **noise):
        return Evidence(
            estimate=torch.full((len(x),), -math.inf),
            monte_carlo_error=torch.zeros(len(x)),
            diagnostics={"effective_sample_size": torch.zeros(len(x))},
        )

    monkeypatch.setattr(Importance, "measure", nothing)
    model = ConditionalGaussian()
    x, y = model.draw((1, 1, 1))
    found = classify_split(model.vae(), whole(x, y, DataSpec((SIZE,), class_names=CLASSES)), model.draw(COUNTS)[1])
    np.testing.assert_allclose(found.per_datum["log_posterior"].exp().numpy(), [np.array(COUNTS) / 100] * 3)
    assert found.untrusted == 3


# --- scores --------------------------------------------------------------------------------------------------------------


def test_training_data_without_labels_tell_no_frequencies(double_precision):
    model = ConditionalGaussian()
    x, y = model.draw(COUNTS)
    with pytest.raises(UserError, match=r"labels of its training data are unknown"):
        classify_split(model.vae(), whole(x, y, DataSpec((SIZE,), class_names=CLASSES)), None)


def test_calibration_by_hand():
    """Four data at 0.95, three of them right: off by 0.20; 0.55 and 0.57, one right: off by 0.06; one sure and right."""
    first = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.55, 0.57, 1.0], dtype=torch.float64)
    found = scores(torch.stack([first, 1 - first], -1).log(), torch.tensor([0, 0, 0, 1, 0, 1, 0]))
    assert found["accuracy"].mean == pytest.approx(5 / 7)
    full = {number: row for number, row in enumerate(found["bins"]) if row["count"]}
    assert {number: row["count"] for number, row in full.items()} == {8: 2, 14: 5}
    assert (full[8]["confidence"], full[8]["accuracy"]) == (pytest.approx(0.56), 0.5)
    assert (full[14]["confidence"], full[14]["accuracy"]) == (pytest.approx(0.96), pytest.approx(0.8))
    assert found["calibration_error"] == pytest.approx(2 / 7 * 0.06 + 5 / 7 * 0.16)
    assert [row["low"] for row in found["bins"]] == pytest.approx(np.arange(15) / 15)
    assert [row["high"] for row in found["bins"]] == pytest.approx(np.arange(1, 16) / 15)


def test_scores_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    log_posterior = special.log_softmax(2 * rng.normal(size=(500, 6)), -1)
    y = rng.integers(6, size=500)
    found = scores(torch.tensor(log_posterior), torch.tensor(y))
    confidence, right = np.exp(log_posterior.max(-1)), log_posterior.argmax(-1) == y
    accuracy, sure = calibration_curve(right, confidence, n_bins=BINS)
    full = [row for row in found["bins"] if row["count"]]
    np.testing.assert_allclose([row["accuracy"] for row in full], accuracy)
    np.testing.assert_allclose([row["confidence"] for row in full], sure)
    counts = np.array([row["count"] for row in full])
    assert counts.sum() == 500
    assert found["calibration_error"] == pytest.approx((counts / 500 * np.abs(accuracy - sure)).sum())
    assert found["accuracy"].mean == pytest.approx(right.mean())
    assert found["accuracy"].standard_error == pytest.approx(stats.sem(right))
    assert found["log_score"].mean == pytest.approx(-log_loss(y, np.exp(log_posterior)))


def test_one_datum_has_no_standard_error():
    found = scores(torch.tensor([[0.2, 0.8]]).log(), torch.tensor([1]))
    assert (found["accuracy"].mean, found["accuracy"].standard_error) == (1.0, None)


def test_the_diagram_shows_the_bins():
    probability = torch.tensor([0.95, 0.95, 0.55])
    found = scores(torch.stack([probability, 1 - probability], -1).log(), torch.tensor([0, 1, 0]))
    figure = charts.calibration(found["bins"], found["calibration_error"])
    upper, lower = figure.axes
    assert [bar.get_height() for bar in upper.patches] == pytest.approx([1.0, 0.5])
    assert [bar.get_x() for bar in upper.patches] == pytest.approx([8 / 15, 14 / 15])
    assert [bar.get_height() for bar in lower.patches] == [1, 2]
    assert f"{found['calibration_error']:.4f}" in upper.get_title(loc="left")


def test_the_diagram_shows_how_far_each_accuracy_is_known():
    """Wilson's interval is where the score test does not refuse p: |k/n - p| = z sqrt(p (1 - p) / n) at its ends."""
    bins = [
        {"low": 0.4, "high": 0.5, "confidence": 0.47, "accuracy": 0.4, "count": 5},
        {"low": 0.5, "high": 0.6, "confidence": None, "accuracy": None, "count": 0},
        {"low": 0.9, "high": 1.0, "confidence": 0.96, "accuracy": 1.0, "count": 3},
    ]
    upper, lower = charts.calibration(bins, 0.1).axes
    (bars,) = (container for container in upper.containers if hasattr(container, "has_yerr"))
    ends = bars.lines[2][0].get_segments()
    for (count, right), segment in zip(((5, 2), (3, 3)), ends, strict=True):
        z = stats.norm.ppf(0.975)
        for p in (y for y in segment[:, 1] if y < 1):
            assert abs(right / count - p) == pytest.approx(z * math.sqrt(p * (1 - p) / count), rel=1e-9)
    assert ends[1][:, 1].max() == pytest.approx(1.0)  # all are right, and the error bar still has a length
    assert np.ptp(ends[1][:, 1]) > 0.3
    assert "95% Wilson interval" in lower.figure.legends[0].get_texts()[-1].get_text()


# --- the command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(make_run) -> Path:
    """A conditional model of the digits; not to be written to."""
    return make_run("labelled", context="label", likelihood="binomial")


@pytest.fixture
def own(labelled, tmp_path) -> Path:
    """A copy to write to."""
    return shutil.copytree(labelled, tmp_path / "own")


def test_the_command_writes_numbers_arrays_and_a_picture(cli, own):
    answer = cli("classify", own, "--samples", "5", "--limit", "30", "--seed", "2")
    assert (answer.code, answer.err) == (0, "")
    for text in ("accuracy", "log score", "calibration error", "classes.json", "calibration.png", "nats"):
        assert text in answer.out
    written = json.loads((own / "evidence" / "classes.json").read_text())
    documented = [parameter.arg_name for parameter in docstring_parser.parse(Classification.__doc__).params]
    assert [*written, "per_datum"] == documented
    assert (written["n"], written["samples"], written["seed"], written["run"]) == (30, 5, 2, str(own))
    with np.load(own / "evidence" / "classes.npz") as arrays:
        log_posterior, true, index = (arrays[name] for name in ("log_posterior", "true", "index"))
        assert log_posterior.shape == arrays["log_evidence"].shape == arrays["effective_sample_size"].shape == (30, 10)
        joint = arrays["log_evidence"] + np.log(written["frequencies"])
        np.testing.assert_allclose(log_posterior, special.log_softmax(joint, -1), rtol=1e-6, atol=1e-9)
    digits = pyrovae.load_dataset("digits")
    np.testing.assert_array_equal(true, digits.y[index])
    assert written["accuracy"]["mean"] == pytest.approx((log_posterior.argmax(-1) == true).mean())
    assert written["log_score"]["mean"] == pytest.approx(log_posterior[np.arange(30), true].mean())
    np.testing.assert_allclose(written["frequencies"], np.bincount(digits.train.y) / len(digits.train))
    with Image.open(own / "figures" / "calibration.png") as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L"), dtype=float).std() > 5


def test_a_picture_elsewhere_leaves_the_runs_figures_alone(own, tmp_path):
    found = pyrovae.classify(own, samples=2, limit=5, out=str(tmp_path / "c.png"))
    assert (tmp_path / "c.png").is_file()
    assert not (own / "figures").exists()
    assert found.table().startswith("data ")


def test_frequencies_are_those_of_the_training_data_of_the_run(own, tmp_path):
    """Other data may have other shares of the classes; p(c) stays what was trained on."""
    digits = pyrovae.load_dataset("digits")
    few = digits.y < 2
    np.savez(tmp_path / "few.npz", x=digits.x[few].numpy(), y=digits.y[few].numpy())
    # A data set with its splits: of a file of new data every row would be scored.
    data = pyrovae.load_dataset({"name": "file", "path": str(tmp_path / "few.npz"), "levels": 17})
    other = pyrovae.classify(own, data=data, samples=2, limit=5)
    np.testing.assert_allclose(other.frequencies, np.bincount(digits.train.y) / len(digits.train))
    assert other.classes == [str(digit) for digit in range(10)]

    # A model in memory has no record of its data: those given stand for them.
    in_memory = pyrovae.classify(pyrovae.load(own), data=data, samples=2, limit=5)
    train = data.train.y
    np.testing.assert_allclose(in_memory.frequencies, np.bincount(train, minlength=10) / len(train))
    assert torch.equal(in_memory.per_datum["log_evidence"][:, :2], other.per_datum["log_evidence"][:, :2])
    assert in_memory.per_datum["log_evidence"][:, 2:].isnan().all()
    assert in_memory.per_datum["log_posterior"][:, 2:].eq(-math.inf).all()


def test_the_same_seed_classifies_the_same(labelled):
    vae, digits = pyrovae.load(labelled), pyrovae.load_dataset("digits")
    first, again, other = (commands.classify(vae, data=digits, samples=3, limit=20, seed=seed) for seed in (1, 1, 2))
    assert {**asdict(first), "seconds": 0, "per_datum": 0} == {**asdict(again), "seconds": 0, "per_datum": 0}
    assert torch.equal(first.per_datum["log_posterior"], again.per_datum["log_posterior"])
    assert not torch.equal(first.per_datum["index"], other.per_datum["index"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples=0: needs an integer"),
        ({"split": "tset"}, "split='tset': unknown"),
        ({"limit": 0}, "limit=0: needs an integer"),
        ({"seed": -1}, "seed=-1: needs an integer"),
        ({"out": "picture.jpg"}, r"out='picture\.jpg': needs a name that ends in \.png"),
    ],
)
def test_wrong_options_are_refused(labelled, options, message):
    with pytest.raises(UserError, match=message):
        pyrovae.classify(labelled, **options)


def test_what_cannot_be_classified_is_refused(labelled, digits_run, make_run, tmp_path, cli):
    answer = cli("classify", digits_run)
    assert answer.code == 2
    assert answer.err == (
        f"pyrovae classify: error: {digits_run}: has no context, so there is no log p(x|c) to compare; "
        "pyrovae train --context label makes one\n"
    )
    digits = pyrovae.load_dataset("digits")
    np.save(tmp_path / "x.npy", digits.x.numpy())
    with pytest.raises(UserError, match=r"x\.npy': has no labels"):
        pyrovae.classify(labelled, data={"name": "file", "path": str(tmp_path / "x.npy"), "levels": 17})
    point = make_run("labelled-point", context="label", likelihood="binomial", posterior="delta")
    with pytest.raises(UserError, match=r"posterior delta is a point without a density.*another posterior"):
        pyrovae.classify(point)
    assert not (digits_run / "evidence" / "classes.json").exists()
    assert not (point / "figures").exists()
