"""The benchmark of the paper's table: going on after a kill, the hand-written loop beside ours, the report."""

import math
from pathlib import Path

import pytest
import torch
from estimates import importance
from scipy import stats

import pyrovae
from pyrovae.contracts import DataSpec
from pyrovae.data import Dataset
from pyrovae.errors import UserError

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import iwae_table

    return iwae_table


@pytest.fixture
def training(table, monkeypatch):
    import iwae_training

    monkeypatch.setattr(iwae_training, "BLOCK", 2)
    monkeypatch.setattr(iwae_training, "SAVE_SECONDS", 0.0)
    return iwae_training


def pictures(n=110):
    return torch.randint(0, 256, (n, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_the_schedule_is_the_papers(training):
    assert training.epochs_through(5) == 121
    assert training.epochs_through(training.STAGES) == 3280
    assert training.learning_rate(1) == 1e-3
    assert training.learning_rate(training.STAGES) == pytest.approx(1e-4)


class Killed(BaseException):
    pass


def killed_after(steps, step):
    left = iter(range(steps))

    def killing(bits):
        if next(left, None) is None:
            raise Killed
        return step(bits)

    return killing


@pytest.mark.parametrize("name", ["elbo", "iwae", "plain-iwae"])
def test_a_killed_training_ends_with_the_same_bits(training, tmp_path, name):
    row, x = training.ROWS[name], pictures()
    whole = training.Training(row, x, tmp_path / "whole", CPU)
    assert whole.run(2)
    # 24 steps in all, blocks of 2: within an epoch and within a block, within the second stage, at the start of a block.
    for steps in (3, 1, 7, 4):
        part = training.Training(row, x, tmp_path / "parts", CPU)
        part.learner.step = killed_after(steps, part.learner.step)
        with pytest.raises(Killed):
            part.run(2)
        torch.randn(7)
    part = training.Training(row, x, tmp_path / "parts", CPU)
    assert 0 < part.learner.optimizer.state_dict()["state"][0]["step"] < 24
    assert part.run(2)
    for file in ("checkpoint.safetensors", "stage_1.safetensors", "stage_2.safetensors"):
        (one, about), (other, about_other) = (training.read(tmp_path / folder / file) for folder in ("whole", "parts"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert about | {"seconds": 0} == about_other | {"seconds": 0}


def test_a_limit_of_time_stops_it_and_other_data_are_refused(training, tmp_path):
    row, x = training.ROWS["plain-elbo"], pictures()
    assert not training.Training(row, x, tmp_path, CPU).run(1, seconds=0.0)
    assert training.read(tmp_path / "checkpoint.safetensors")[1]["block"] == 0
    with pytest.raises(UserError, match=r"was trained with images=110, not 90; give another home"):
        training.Training(row, x[:90], tmp_path, CPU)


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_the_hand_written_loop_takes_the_same_steps(training, objective):
    bits = (pictures(200) > 229).double().split(20)
    losses, learners = [], []
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        for name in (objective, f"plain-{objective}"):
            torch.manual_seed(0)
            learner = training.learner(training.ROWS[name], CPU)
            losses.append(torch.stack([learner.step(batch) for batch in bits]))
            learners.append(learner)
    finally:
        torch.set_default_dtype(before)
    # float64 throughout: a relative 1e-16 of 500 nats, magnified by ten steps of Adam.
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-8)
    assert losses[0][0] - losses[0][-1] > 10
    for one, other in zip(*(learner.module.parameters() for learner in learners), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


def test_copied_weights_are_the_same_model(training):
    torch.manual_seed(3)
    plain = training.PlainIwae(5)
    vae = training.as_vae(plain.state_dict(), by_hand=True)
    y, z = (pictures(6) > 127).float(), 2 * torch.randn(6, 50)
    with torch.no_grad():
        mean, raw = plain.encoder(y.flatten(1)).chunk(2, -1)
        q = vae.posterior_of_preprocessed(y).base_dist
        log_joint = vae.log_joint(y, z)
        probability = torch.sigmoid(plain.decoder(z).double())
    torch.testing.assert_close(q.loc, mean)
    torch.testing.assert_close(q.scale.log(), 8 * torch.tanh(raw / 8), rtol=1e-4, atol=1e-6)
    expected = stats.bernoulli.logpmf(y.flatten(1), probability).sum(-1) + stats.norm.logpdf(z.double()).sum(-1)
    # A sum of 834 terms in float32.
    torch.testing.assert_close(log_joint.double(), torch.from_numpy(expected), rtol=834 * 6e-8, atol=0)


def test_the_report_of_equal_weights_shows_no_difference(table, training, tmp_path, monkeypatch):
    x = pictures(130)
    rows = {"train": torch.arange(110), "valid": torch.arange(0), "test": torch.arange(110, 130)}
    dataset = Dataset("mnist", DataSpec((28, 28), "levels", 256), x, None, rows)
    monkeypatch.setattr(pyrovae, "load_dataset", lambda data, root: dataset, raising=False)
    table.train("elbo", tmp_path, None, stages=2, seconds=math.inf, device="cpu")
    for stage in (1, 2):
        weights, about = training.read(tmp_path / "elbo" / f"stage_{stage}.safetensors")
        by_hand = {key.replace(".layers", ""): value for key, value in weights.items()}
        training.write(tmp_path / "plain-elbo" / f"stage_{stage}.safetensors", by_hand, about)
    given = {"samples": 60, "limit": 8, "limit_last": 20, "repeats": 1, "device": "cpu", "out": tmp_path / "table.md"}
    table.report(tmp_path, None, **given)
    text = given["out"].read_text(encoding="utf-8")
    staged = [line.split(" | ") for line in text.partition("## Beside")[0].splitlines() if line.startswith("| `elbo`, K = 1 |")]
    assert [cells[1:3] for cells in staged] == [["1", "1"], ["2", "4"]]
    assert all(cells[4] == cells[5] and cells[6] == "+0.00 ± 0.00 |" for cells in staged)

    # The table's numbers are the estimator's own, of the weights as they were kept.
    vae = training.as_vae(training.read(tmp_path / "elbo" / "stage_2.safetensors")[0], by_hand=False)
    test = dataset.test
    found = importance(vae, test.x, samples=60, seed=0, index=test.index)
    (last,) = (line.split(" | ") for line in text.splitlines() if line.startswith("| `elbo`, K = 1, pyrovae"))
    assert last[2:5] == ["20", table.cell(found), "-86.76"]
    few = test.subset(8, 0)
    found = importance(vae, few.x, samples=60, seed=0, index=few.index)
    assert staged[-1][4] == table.cell(found)

    # Scored once: a second report does not estimate again.
    monkeypatch.setattr(table, "Importance", None)
    table.report(tmp_path, None, **given)
    scored = text.partition("## Time")[0]
    assert given["out"].read_text(encoding="utf-8").startswith(scored)


def test_a_report_refuses_what_it_cannot_make(table, tmp_path, monkeypatch):
    spec = DataSpec((28, 28), "levels", 256)
    rows = {"train": torch.arange(5), "valid": torch.arange(0), "test": torch.arange(5)}
    monkeypatch.setattr(pyrovae, "load_dataset", lambda *_: Dataset("mnist", spec, pictures(5), None, rows), raising=False)
    given = {"limit": 8, "repeats": 1, "device": "cpu", "out": tmp_path / "table.md"}
    with pytest.raises(UserError, match=r"samples=1: needs an integer of at least 2"):
        table.report(tmp_path, None, samples=1, limit_last=20, **given)
    with pytest.raises(UserError, match=r"limit_last=7: needs an integer of at least 8"):
        table.report(tmp_path, None, samples=60, limit_last=7, **given)
    with pytest.raises(UserError, match=r"has no finished stage; run benchmarks/iwae_table.py train"):
        table.report(tmp_path, None, samples=60, limit_last=20, **given)
