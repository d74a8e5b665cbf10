"""Sweeps: the grid, what is impossible, what was trained before, what is written, and the command line's lists."""

from __future__ import annotations

import csv
import json
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import pyrovae
from pyrovae import commands
from pyrovae.engines import Eager
from pyrovae.errors import UserError

TINY = {
    "network": {"name": "mlp", "hidden": [8]},
    "latent_dim": 2,
    "epochs": 1,
    "device": "cpu",
    "samples": 3,
    "limit": 20,
    "progress": False,
}
SMALL = shlex.split("--network.hidden [8] --device cpu --samples 3 --limit 20")
FLAGS = [*SMALL, "--latent-dim", "2", "--epochs", "1"]


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "sweep"


def config_of(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "config.yaml").read_text())


def impossible(out: Path) -> list[dict[str, str]]:
    with open(out / "impossible.csv", newline="") as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return pyrovae.load(run).state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def interrupted_at(monkeypatch) -> Callable[[int], None]:
    """Ctrl-C in that step, counted over all trainings."""

    def set_up(step: int) -> None:
        steps, real = iter(range(1, 10**6)), Eager.step

        def counted(self: Eager, *arguments: Any) -> Any:
            if next(steps) == step:
                signal.raise_signal(signal.SIGINT)
            return real(self, *arguments)

        monkeypatch.setattr(Eager, "step", counted)

    return set_up


# --- the grid ---------------------------------------------------------------------------------------------------------------


def test_a_sweep_trains_every_combination_and_ranks_the_runs(out):
    found = commands.sweep(**TINY, likelihood=["bernoulli", "binomial"], prior=["normal", "mixture"], out=str(out))
    expected = [f"{x}-{z}-mlp,hidden=8-z2" for x in ("bernoulli", "binomial") for z in ("normal", "mixture")]
    assert [run.name for run in found.runs] == expected
    assert (found.trained, found.refusals, found.interrupted) == (4, (), False)
    for run in found.runs:
        config = config_of(run)
        assert run.name.startswith(f"{config['likelihood']['name']}-{config['prior']['name']}-")
    assert [len(group.rows) for group in found.league.groups] == [2, 2]
    assert {row.run for row in found.league.rows} == set(map(str, found.runs))
    assert impossible(out) == []
    written = json.loads((out / "league.json").read_text())
    assert written == json.loads(found.league.to_json())
    with open(out / "league.csv", newline="") as file:
        assert [float(row["log_evidence"]) for row in csv.DictReader(file)] == [row.log_evidence for row in found.league.rows]
    assert (out / "league.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_of_a_sweep_is_the_run_that_train_makes(out, tmp_path):
    found = commands.sweep(**TINY, likelihood="binomial", seed=[0, 3], out=str(out))
    own = {name: TINY[name] for name in ("network", "latent_dim", "epochs", "device", "progress")}
    for run, seed in zip(found.runs, (0, 3), strict=True):
        alone = commands.train(**own, likelihood="binomial", seed=seed, out=str(tmp_path / f"alone{seed}"))
        assert same(weights(run), alone.vae.state_dict())
    assert [run.name for run in found.runs] == ["binomial-normal-mlp,hidden=8-z2", "binomial-normal-mlp,hidden=8-z2-seed3"]


def test_a_sweep_has_every_option_of_train_but_resume():
    ours, theirs = (commands.arguments_of(function) for function in (commands.sweep, commands.train))
    assert set(theirs) - set(ours) == {"resume"}
    assert ours.pop("seed") is None  # that of the training
    assert {name: ours[name] for name in theirs if name in ours} == {
        name: default for name, default in theirs.items() if name not in ("resume", "seed")
    }


def test_lists_of_options_and_parts_with_options(out):
    found = commands.sweep(
        **{**TINY, "latent_dim": [1, 3]},
        likelihood=[{"name": "normal", "scale": 0.5}, "normal"],
        out=str(out),
    )
    configs = [config_of(run) for run in found.runs]
    assert [(c["likelihood"]["scale"], c["latent_dim"]) for c in configs] == [(0.5, 1), (0.5, 3), ("learned", 1), ("learned", 3)]
    assert len({run.name for run in found.runs}) == 4
    assert found.runs[0].name == "normal,scale=0.5-normal-mlp,hidden=8-z1"


# --- what was trained before --------------------------------------------------------------------------------------------------


def test_a_second_call_trains_nothing_and_says_the_same(out, snapshot, monkeypatch):
    options = {**TINY, "likelihood": ["bernoulli", "binomial"], "out": str(out)}
    first, before = commands.sweep(**options), snapshot(out)

    def no_step(self: Eager, *arguments: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Eager, "step", no_step)
    second = commands.sweep(**options)
    assert (second.trained, second.runs, second.league) == (0, first.runs, first.league)
    assert snapshot(out) == before


def test_a_grid_may_grow(out):
    first = commands.sweep(**TINY, likelihood="binomial", out=str(out))
    found = commands.sweep(**TINY, likelihood=["binomial", "bernoulli"], prior=["normal", "mixture"], out=str(out))
    assert (len(found.runs), found.trained) == (4, 3)
    assert first.runs[0] == found.runs[0]


def test_more_epochs_go_on_with_every_run(out, tmp_path):
    commands.sweep(**TINY, likelihood="binomial", out=str(out))
    found = commands.sweep(**{**TINY, "epochs": 2}, likelihood="binomial", out=str(out))
    straight = commands.sweep(**{**TINY, "epochs": 2}, likelihood="binomial", out=str(tmp_path / "straight"))
    assert found.trained == 1
    assert same(weights(found.runs[0]), weights(straight.runs[0]))
    with pytest.raises(UserError, match=r"epochs=1: .* has finished 2 already"):
        commands.sweep(**TINY, likelihood="binomial", out=str(out))


def test_a_run_that_lost_patience_is_finished(out):
    # With a learning rate that changes nothing no epoch is better than the first.
    options = {**TINY, "epochs": 50, "patience": 1, "learning_rate": 1e-30, "likelihood": "binomial", "out": str(out)}
    assert commands.sweep(**options).trained == 1
    again = commands.sweep(**options)
    assert (again.trained, again.league.rows[0].epochs) == (0, 2)


def test_ctrl_c_ends_a_sweep_and_the_next_call_goes_on(cli, out, tmp_path, interrupted_at, monkeypatch):
    line = ["sweep", "--likelihood", "bernoulli,binomial", *SMALL, "--latent-dim", 2, "--epochs", 2]
    interrupted_at(30)  # 10 steps per epoch: in the first epoch of the second run
    stopped = cli(*line, "--out", out)
    monkeypatch.undo()
    assert stopped.code == 130
    assert "interrupted after 1 runs" in stopped.out
    assert not (out / "league.csv").exists()
    answer = cli(*line, "--out", out)
    assert (answer.code, "2 runs, 1 trained now" in answer.out) == (0, True)
    assert "1 of 2: likelihood=bernoulli: finished before" in answer.err
    assert "2 of 2: likelihood=binomial: going on" in answer.err
    cli(*line, "--out", tmp_path / "straight")
    for name in ("bernoulli-normal-mlp,hidden=8-z2", "binomial-normal-mlp,hidden=8-z2"):
        assert same(weights(out / name), weights(tmp_path / "straight" / name))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"batch_size": 64}, "was trained with batch_size=128, now 64"),
        ({"learning_rate": 0.01}, "was trained with learning_rate=0.001, now 0.01"),
        ({"kl_weight": 0.5}, "was trained with kl_weight=1.0, now 0.5"),
        ({"data": {"name": "digits", "split_seed": 1}}, "are not those of the run any more"),
    ],
)
def test_another_option_for_a_run_that_is_there_is_refused(out, snapshot, changed, says):
    commands.sweep(**TINY, likelihood="binomial", out=str(out))
    before = snapshot(out)
    with pytest.raises(UserError, match=says):
        commands.sweep(**{**TINY, **changed}, likelihood=["bernoulli", "binomial"], out=str(out))
    assert snapshot(out) == before


# --- what is impossible -------------------------------------------------------------------------------------------------------


def test_impossible_pairs_are_rows_with_their_reason(cli, out):
    answer = cli("sweep", "--likelihood", "poisson,binomial", "--posterior", "normal,bernoulli", *FLAGS, "--out", out)
    assert answer.code == 0
    rows = impossible(out)
    found = [(row["likelihood"], row["posterior"]) for row in rows]
    assert found == [("poisson", "normal"), ("poisson", "bernoulli"), ("binomial", "bernoulli")]
    assert "likelihood='poisson': does not model data of the kind levels" in rows[0]["reason"]
    assert "they must agree" in rows[2]["reason"]
    text = " ".join(answer.out.split())
    poisson = "likelihood=poisson posterior=normal, likelihood=poisson posterior=bernoulli: --likelihood poisson: does not model "
    assert text.count(poisson) == text.count("they must agree") == text.count("likelihood=binomial posterior=bernoulli: ") == 1
    assert not any("\n" in row["reason"] for row in rows)
    assert "1 of 1: likelihood=binomial posterior=normal" in answer.err


def test_another_grid_in_the_same_folder_keeps_what_was_impossible(out):
    commands.sweep(**TINY, likelihood=["binomial", "poisson", "log_normal"], out=str(out))
    kept = {row["likelihood"]: row["reason"] for row in impossible(out)}
    commands.sweep(**TINY, likelihood=["binomial", "poisson"], posterior=["normal", "bernoulli"], out=str(out))
    rows = impossible(out)
    found = [(row["likelihood"], row["posterior"]) for row in rows]
    # Of both grids is poisson with a normal posterior; the natural one has a name of its own.
    earlier = [("poisson", "natural"), ("log_normal", "natural")]
    assert found == [*earlier, ("binomial", "bernoulli"), ("poisson", "normal"), ("poisson", "bernoulli")]
    assert [row["reason"] for row in rows[:2]] == [kept["poisson"], kept["log_normal"]]
    commands.sweep(**TINY, likelihood=["binomial", "poisson"], posterior=["normal", "bernoulli"], out=str(out))
    assert impossible(out) == rows


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe", b"likelihood\nnormal,2\n"])
def test_a_file_of_another_is_not_written_over(out, content):
    out.mkdir()
    (out / "impossible.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"impossible\.csv: is not what a sweep writes; remove it, or give another out"):
        commands.sweep(**TINY, likelihood="binomial", out=str(out))
    assert [path.name for path in out.iterdir()] == ["impossible.csv"]
    assert (out / "impossible.csv").read_bytes() == content


def test_nothing_is_trained_where_everything_is_impossible(cli, out):
    answer = cli("sweep", "--likelihood", "poisson,log_normal", *FLAGS, "--out", out)
    assert (answer.code, answer.out) == (2, "")
    assert "none of 2 combinations can be trained" in answer.err
    assert answer.err.count("\n") == 1
    assert [path.name for path in out.iterdir()] == ["impossible.csv"]


def test_an_autoencoder_has_no_place_in_a_league(out):
    found = commands.sweep(**TINY, likelihood="binomial", posterior=["normal", "delta"], out=str(out))
    (refusal,) = found.refusals
    assert refusal.choice["posterior"] == "delta"
    assert "no evidence" in refusal.reason
    assert len(found.runs) == 1


def test_a_run_that_diverges_is_a_row_and_the_others_are_trained(out, monkeypatch):
    real = Eager.step

    def step(self: Eager, *arguments: Any) -> Any:
        likelihood = self.vae.parts["likelihood"]
        found = real(self, *arguments)
        return found * float("nan") if type(likelihood).__name__ == "Binomial" else found

    monkeypatch.setattr(Eager, "step", step)
    found = commands.sweep(**TINY, likelihood=["binomial", "bernoulli"], out=str(out))
    assert [row.likelihood for row in found.league.rows] == ["bernoulli"]
    assert [row["likelihood"] for row in impossible(out)] == ["binomial"]
    assert "diverged" in impossible(out)[0]["reason"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"likelihood": ["binomial", "binomal"]}, "likelihood='binomal': unknown; did you mean binomial"),
        ({"likelihood": [{"name": "normal", "scale": -1}]}, "likelihood.scale=-1: needs"),
        ({"prior": ["normal", "normal"]}, "prior='normal': given twice"),
        ({"prior": []}, "prior: needs at least one value"),
        ({"latent_dim": [2, 0]}, "latent_dim=0: needs an integer of at least 1"),
        ({"seed": [0, -1]}, "seed=-1: needs an integer"),
        ({"epochs": 0}, "epochs=0: needs an integer of at least 1"),
        ({"samples": 0}, "samples=0: needs an integer of at least 1"),
        ({"split": "tset"}, "split='tset': unknown"),
        ({"device": "gpu"}, "device='gpu': unknown"),
        ({"out": None}, "out: needs a folder"),
        ({"out": "/dev/null/x"}, "out='/dev/null/x': could not be written there"),
    ],
    ids=str,
)
def test_a_wrong_option_is_an_error_and_no_impossible_pair(out, options, says):
    with pytest.raises(UserError, match=says):
        commands.sweep(**{**TINY, "out": str(out), **options})
    assert not out.exists()


# --- the command line -----------------------------------------------------------------------------------------------------------


def test_an_option_is_for_those_parts_that_have_it(cli, out):
    line = ["--likelihood", "normal,binomial", "--likelihood.scale", 0.5, "--prior", "normal,mixture", "--prior.components=3"]
    assert cli("sweep", *line, *FLAGS, "--out", out).code == 0
    made = [config_of(folder) for folder in sorted(out.iterdir()) if folder.is_dir()]
    assert {c["likelihood"].get("scale") for c in made if c["likelihood"]["name"] == "normal"} == {0.5}
    assert {c["prior"].get("components") for c in made if c["prior"]["name"] == "mixture"} == {3}
    assert len(made) == 4


def test_comma_lists_of_numbers_and_both_spellings(cli, out):
    line = [
        *SMALL,
        "--epochs",
        1,
        "--likelihood=binomial",
        "--latent_dim=1,3",
        "--seed",
        "0,5",
        "--network=mlp,linear",
        "--out",
        out,
    ]
    assert cli("sweep", *line).code == 0
    made = [config_of(folder) for folder in out.iterdir() if folder.is_dir()]
    found = {(c["latent_dim"], c["seed"], c["network"]["name"]) for c in made}
    assert found == {(d, seed, net) for d in (1, 3) for seed in (0, 5) for net in ("mlp", "linear")}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--likelihood normal,binomial --likelihood.components 3", "--likelihood.components: no likelihood of the list has"),
        ("--prior.components 3", "--prior.components: no prior of the list has such an option; normal has"),
        ("--posterior.flow 3", "--posterior.flow: of which posterior? name it with --posterior"),
        ("--likelihood normal,betta", "--likelihood betta: unknown; did you mean beta"),
        ("--likelihood normal --likelihood.scale wide --out new", "--likelihood.scale wide: needs"),
        ("--latent-dim 2,x", "--latent-dim [2,x]: needs an integer"),
        ("--liklihood normal", "--liklihood: no such option; did you mean --likelihood"),
        ("--resume", "--resume: no such option"),
        ("", "--out: needs a folder for the runs of the sweep"),
    ],
)
def test_a_wrong_line_ends_with_one_line_and_code_2(cli, here, line, says):
    answer = cli("sweep", *line.split())
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"pyrovae sweep: error: {says}")
    assert answer.err.count("\n") == 1
    assert list(here.iterdir()) == []
