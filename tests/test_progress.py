"""What is said while a training goes on, how it ends, and how its results print."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import sys

import pytest

import pyrovae
from pyrovae.cli.program import main
from pyrovae.training.progress import progress_of

SMALL = shlex.split("--network.hidden [8] --latent-dim 2 --device cpu")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_redirected_training_logs_a_line_an_epoch(cli, here):
    answer = cli("train", *SMALL, "--epochs", 3, "--out", "run")
    assert answer.code == 0
    rows = (here / "run" / "metrics.csv").read_text().splitlines()[1:]
    said = [
        re.fullmatch(r"epoch (\d) of 3: ELBO (-[\d.]+) nats, [\d.]+ bits/dim, [\d,]+ data/s", line)
        for line in answer.err.splitlines()
    ]
    assert [int(line[1]) for line in said] == [1, 2, 3]
    assert [float(line[2]) for line in said] == [round(float(row.split(",")[2]), 2) for row in rows]


def test_epochs_of_before_are_counted(cli, here):
    cli("train", *SMALL, "--epochs", 1, "--quiet", "--out", "run")
    answer = cli("train", "--resume", "--epochs", 2, "--out", "run")
    assert [line.partition(":")[0] for line in answer.err.splitlines()] == ["epoch 2 of 2"]


@pytest.mark.parametrize(
    ("line", "last"),
    [
        ("train --epochs 2 --out run", "next: pyrovae evaluate run; "),
        ("sweep --epochs 1 --samples 2 --limit 9 --out run", "1 runs, 1 trained"),
    ],
)
def test_quiet_leaves_the_report_alone(cli, here, line, last):
    answer = cli(*shlex.split(line), *SMALL, "--quiet")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[-1].startswith(last)


@pytest.mark.parametrize("command", ["evaluate", "compare", "sweep"])
def test_quiet_shows_no_bar_on_a_terminal_and_the_same_report(command, make_run, tmp_path, monkeypatch, capsys):
    runs = [shutil.copytree(make_run("digits-beside", seed=seed), tmp_path / f"run-{seed}") for seed in (1, 2)]
    line = {
        "evaluate": ["evaluate", runs[0], "--samples", 20, "--limit", 20],
        "compare": ["compare", *runs, "--samples", 20, "--limit", 20],
        "sweep": ["sweep", "--epochs", 1, "--samples", 2, "--limit", 9, *SMALL, "--out", tmp_path / "sweep"],
    }[command]
    said = {}
    for quiet in (True, False):
        for made in [*tmp_path.glob("*/evidence"), *tmp_path.glob("sweep")]:
            shutil.rmtree(made)
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        with pytest.raises(SystemExit, match=r"^0$"):
            main([*map(str, line), *(["--quiet"] if quiet else [])])
        said[quiet] = capsys.readouterr().out, terminal.getvalue()
    assert said[True][1] == ""
    assert re.search(r"\d+%\|.*(data|run)", said[False][1])
    assert re.sub(r"\d+\.\d s\b", "", said[True][0]) == re.sub(r"\d+\.\d s\b", "", said[False][0]) != ""


def test_quiet_is_no_part_of_a_configuration_and_takes_no_value(cli, here):
    assert "quiet" not in cli("train", "--quiet", "--print_config").out
    answer = cli("train", "--quiet=no")
    assert (answer.code, answer.err) == (
        2,
        "pyrovae train: error: --quiet=no: takes no value; give --quiet alone, or leave it out\n",
    )


def test_a_terminal_has_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_of(4, 1, True) as say:
        say("ELBO -3.00 nats")
    assert re.search(r"50%.* 2/4 .*ELBO -3.00 nats", sys.stderr.getvalue())


def test_a_log_that_is_full_does_not_end_the_training(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Full())
    with progress_of(2, 0, True) as say:
        say("ELBO")


@pytest.mark.parametrize(
    ("given", "written"), [("--tensorboard", True), ("--tensorboard true", True), ("--tensorboard=false", False)]
)
def test_tensorboard_alone_means_true(cli, here, given, written):
    assert cli("train", *shlex.split(given), *SMALL, "--epochs", 1, "--quiet", "--out", "run").code == 0
    assert (here / "run" / "tensorboard").is_dir() == written


def test_tensorboard_alone_before_another_option_and_for_a_sweep(cli, here):
    line = ["--tensorboard", *SMALL, "--epochs", 1, "--quiet"]
    assert cli("sweep", *line, "--samples", 2, "--limit", 5, "--out", "all").code == 0
    assert [path.name for path in (here / "all").glob("*/tensorboard")] == ["tensorboard"]


def test_a_training_that_diverged_and_a_typing_error_have_other_exit_codes(cli, here):
    assert cli("train", *SMALL, "--epochs", 1, "--learning-rate", "1e6", "--out", "run").code == 3
    assert cli("train", *SMALL, "--learning-rate", "-1", "--out", "run").code == 2


def test_results_print_short(tmp_path):
    found = pyrovae.train(network="linear", latent_dim=2, epochs=2, device="cpu", progress=False, out=tmp_path / "run")
    elbo = found.fit.history[found.fit.best_epoch - 1]["valid_elbo"]
    assert repr(found.fit) == f"FitResult(2 epochs, best_epoch={found.fit.best_epoch}, valid_elbo={elbo:.6g})"
    assert repr(found) == f"TrainResult(run={str(tmp_path / 'run')!r}, fit={found.fit!r})"
