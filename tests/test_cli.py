"""The command line: help, spelling, configurations in and out, what is printed, exit codes."""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import inspect
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from pyrovae import commands
from pyrovae.cli.program import COMMANDS
from pyrovae.engines import Eager
from pyrovae.parts import ROLES, option_of

SCRIPTS = Path(__file__).parent.parent / "scripts"
SMALL = shlex.split("--network.hidden [8] --latent-dim 2 --device cpu")
TINY = [*SMALL, "--epochs", "1"]
WITHOUT_FLAG = {command: {"progress"} for command in ("train", "sweep", "evaluate", "compare")}
"""Parameters that only a program has."""


def parameters(command: str) -> list[str]:
    if command in ("train", "sweep"):
        return list(commands.arguments_of(getattr(commands, command)))
    return [] if command == "list" else list(inspect.signature(getattr(commands, command)).parameters)


def parsed(cli, *arguments: str) -> dict:
    """What a command line means: the configuration that it prints."""
    answer = cli("train", *arguments, "--print_config")
    assert (answer.code, answer.err) == (0, "")
    return yaml.safe_load(answer.out)


def config_of(folder: Path) -> dict:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    return {key: value for key, value in config.items() if key != "run"}


def same_weights(first: Path, second: Path) -> bool:
    a, b = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["--help", "-h", "help", None])
def test_top_help_names_every_command_with_its_summary(cli, spelling):
    answer = cli(*filter(None, [spelling]))
    assert answer.code == 0
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", answer.out, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["trian"]])
def test_help_version_and_typos_do_not_wait_for_torch(shell, arguments):
    code = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); "
        f"from pyrovae.cli.program import main; main({arguments!r})"
    )
    assert shell("-c", code).out.splitlines()[-1] == "False"


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"list"}))
def test_summaries_are_the_first_lines_of_the_functions_docstrings(command):
    assert COMMANDS[command] == inspect.getdoc(getattr(commands, command)).splitlines()[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_names_each_parameter_with_dashes(cli, command):
    answer = cli(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    flags = re.findall(r"^  (?:-h, )?(--[\w.-]+)|^  (run) ", answer.out, re.MULTILINE)
    expected = set(parameters(command)) - WITHOUT_FLAG.get(command, set())
    found = {(flag or positional).removeprefix("--").replace("-", "_") for flag, positional in flags}
    assert expected <= found
    assert not [flag for flag, _ in flags if "_" in flag]


def test_help_shows_the_options_of_the_chosen_part_only(cli):
    assert "--likelihood.scale" in cli("train", "--likelihood", "normal", "--help").out
    assert "--likelihood.scale" not in cli("train", "--likelihood", "bernoulli", "--help").out


def test_version_is_that_of_the_package(cli):
    assert cli("--version").out == f"pyrovae {importlib.metadata.version('pyrovae')}\n"


# --- spelling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "--likelihood normal --likelihood.scale 0.5 --latent-dim 3 --batch-size 64 --network.hidden [40,30]",
        "--latent-dim 3 --network.hidden [40,30] --likelihood.scale 0.5 --batch-size 64 --likelihood normal",
        "--likelihood=normal --likelihood.scale=0.5 --latent_dim=3 --batch_size=64 --network.hidden=[40,30]",
        "--batch_size 64 --latent-dim=3 --likelihood.name normal --likelihood.scale 0.5 --network.hidden '[40, 30]'",
    ],
)
def test_options_come_in_any_order_with_dashes_or_underscores(cli, line):
    config = parsed(cli, *shlex.split(line))
    assert config["likelihood"] == {"name": "normal", "scale": 0.5}
    assert config["network"]["hidden"] == [40, 30]
    assert (config["latent_dim"], config["batch_size"]) == (3, 64)


def test_names_are_taken_with_dashes_or_underscores(cli):
    assert parsed(cli, "--data", "fashion_mnist")["data"]["name"] == "fashion-mnist"


@pytest.mark.parametrize("scale", ["learned", "element", "network"])
def test_a_word_and_a_number_are_both_taken_where_either_is_allowed(cli, here, scale):
    assert parsed(cli, "--likelihood", "normal", "--likelihood.scale", scale)["likelihood"]["scale"] == scale
    assert parsed(cli, "--likelihood", "normal", "--likelihood.scale", "0.25")["likelihood"]["scale"] == 0.25


def test_options_of_parts_reach_the_model(cli, here):
    line = "--likelihood normal --likelihood.scale learned --network.hidden [9,5] --latent-dim 3 --epochs 1 --device cpu"
    assert cli("train", *shlex.split(line), "--out", "run").code == 0
    shapes = {tuple(tensor.shape) for tensor in load_file(here / "run" / "model.safetensors").values()}
    assert {(9, 64), (5, 9), (6, 5), (5, 3), (9, 5), (64, 9), ()} <= shapes


# --- configurations -----------------------------------------------------------------------------------------------------


def test_a_printed_configuration_makes_the_same_run_as_the_options_that_printed_it(cli, here):
    options = [*TINY, *shlex.split("--likelihood normal --likelihood.scale element --data.valid 0.1 --kl-warmup 2 --seed 3")]
    (here / "f.yaml").write_text(cli("train", *options, "--print_config").out)
    assert cli("train", *options, "--out", "a").code == 0
    assert cli("train", "--config", "f.yaml", "--out", "b").code == 0
    assert config_of(here / "a") == config_of(here / "b")
    assert same_weights(here / "a", here / "b")


def test_a_runs_own_configuration_repeats_it_to_the_last_bit(cli, here, digits_run):
    assert cli("train", "--config", digits_run / "config.yaml", "--out", "again").code == 0
    assert same_weights(digits_run, here / "again")
    assert config_of(digits_run) == config_of(here / "again")


def test_a_configuration_written_by_hand_is_taken(cli, here):
    (here / "f.yaml").write_text("likelihood: normal\nlatent-dim: 3\nnetwork:\n  name: mlp\n  hidden: [4]\n")
    config = parsed(cli, "--config", "f.yaml")
    assert config["likelihood"]["name"] == "normal"
    assert (config["latent_dim"], config["network"]["hidden"]) == (3, [4])


CONFIG = """
data: {name: file, path: mine.npy, levels: 5}
likelihood: {name: normal, scale: 0.3}
network: {name: mlp, hidden: [5]}
preprocess: {name: binarise, threshold: 2.0}
latent_dim: 4
"""


@pytest.mark.parametrize(
    ("role", "name"), [("likelihood", "binomial"), ("network", "linear"), ("preprocess", "dequantise"), ("data", "digits")]
)
def test_another_choice_on_the_command_line_drops_the_configurations_options_of_that_part_only(cli, here, role, name):
    (here / "f.yaml").write_text(CONFIG)
    written, config = yaml.safe_load(CONFIG), parsed(cli, "--config", "f.yaml", f"--{role}", name)
    assert config[role]["name"] == name
    assert not (set(written[role]) - {"name"}) & set(config[role])
    for other in {"likelihood", "network", "preprocess"} - {role}:
        assert config[other].items() >= written[other].items()
    assert config["latent_dim"] == 4


def test_the_same_choice_on_the_command_line_keeps_the_configurations_options(cli, here):
    (here / "f.yaml").write_text(CONFIG)
    config = parsed(cli, "--likelihood", "normal", "--config", "f.yaml", "--latent-dim", "9")
    assert config["likelihood"]["scale"] == 0.3
    assert config["latent_dim"] == 9


# --- training -----------------------------------------------------------------------------------------------------------


def test_runs_are_numbered_and_the_report_names_them(cli, here):
    for number in (1, 2):
        answer = cli("train", "--quiet", *TINY)
        folder = f"runs/digits-{number}"
        assert (answer.code, answer.err) == (0, "")
        assert f"run: {folder}\n" in answer.out
        assert f"pyrovae evaluate {folder}" in answer.out
        assert (here / folder / "model.safetensors").is_file()


def test_resume_goes_on_to_the_same_last_bit(cli, here):
    assert cli("train", *TINY, "--out", "parts").code == 0
    assert cli("train", "--resume", "--out", "parts", "--epochs", "3").code == 0
    assert cli("train", *SMALL, "--epochs", "3", "--out", "whole").code == 0
    assert same_weights(here / "parts", here / "whole")
    with open(here / "parts" / "metrics.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


@pytest.mark.parametrize("option", ["--latent-dim 3", "--seed 4", "--likelihood normal", "--learning-rate 0.5", "--data.valid 9"])
def test_resume_refuses_other_options(cli, run, snapshot, option):
    before = snapshot(run)
    answer = cli("train", "--resume", "--out", run, *shlex.split(option))
    assert answer.code == 2
    assert option.split()[0].removeprefix("--").partition(".")[0].replace("-", "_") in answer.err.replace("-", "_")
    assert snapshot(run) == before


def test_ctrl_c_saves_and_prints_the_command_that_goes_on(cli, here, monkeypatch):
    step, done = Eager.step, []

    def interrupted(*arguments):
        done.append(1)
        if len(done) == 13:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    options = [*SMALL, "--epochs", "3"]
    with monkeypatch.context() as patch:
        patch.setattr(Eager, "step", interrupted)
        answer = cli("train", *options, "--out", "parts")
    assert answer.code == 130
    go_on = shlex.split(answer.out.splitlines()[-1].partition("go on with: ")[2])
    assert go_on[0] == "pyrovae"
    assert cli(*go_on[1:]).code == 0
    assert cli("train", *options, "--out", "whole").code == 0
    assert same_weights(here / "parts", here / "whole")


def test_ctrl_c_outside_training_is_one_line_and_130(cli, run, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "draw_samples", interrupted)
    answer = cli("sample", run)
    assert (answer.code, answer.err) == (130, "interrupted\n")


# --- the other commands ---------------------------------------------------------------------------------------------------


def test_list_names_every_family_of_every_table_with_its_options(cli):
    answer = cli("list")
    assert answer.code == 0
    sections = {text.split()[0]: text for text in answer.out.split("\n\n")}
    for role, table in ROLES.items():
        families = re.split(r"^  (?=\S)", sections[f"--{role}"], flags=re.MULTILINE)[1:]
        listed = {text.split()[0]: text for text in families}
        assert set(listed) == set(table)
        for name, part in table.items():
            flags = {f"--{option_of(role, field.name)}".replace("_", "-") for field in dataclasses.fields(part)}
            assert set(re.findall(r"^ +(--[\w.-]+)", listed[name], re.MULTILINE)) == flags


def test_evaluate_prints_the_table_and_where_its_numbers_are(cli, run):
    answer = cli("evaluate", run, "--samples", "3", "--limit", "20", "--estimator", "elbo")
    assert (answer.code, answer.err) == (0, "")
    assert re.search(r"^ELBO +-\d", answer.out, re.MULTILINE)
    assert Path(answer.out.split()[-1]) == run / "evidence" / "elbo.json"
    assert (run / "evidence" / "elbo.json").is_file()


@pytest.mark.parametrize(
    ("line", "count"), [("encode {run} --split test --out z.npz", 300), ("sample {run} --count 5 --out x.npz", 5)]
)
def test_what_was_written_is_named(cli, run, here, line, count):
    answer = cli(*line.format(run=run).split())
    assert (answer.code, answer.err) == (0, "")
    assert str(count) in answer.out
    assert Path(answer.out.split()[-1]).is_file()


@pytest.mark.parametrize("script", ["train", "evaluate", "sample", "figures"])
def test_scripts_are_doors_to_the_commands(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    assert stop.value.code in (0, None)
    assert f"usage: pyrovae {script} " in capsys.readouterr().out


def test_a_script_works_from_anywhere(shell):
    answer = shell(SCRIPTS / "evaluate.py", "nowhere")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("pyrovae evaluate: error: nowhere: ")


def test_a_reader_that_goes_away_is_no_traceback():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run([sys.executable, "-m", "pyrovae", "--help"], stdout=closed, stderr=subprocess.PIPE, check=False)
    assert done.stderr == b""
