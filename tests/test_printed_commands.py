"""Commands that are printed can be given to a shell as they are, whatever a run is called."""

from __future__ import annotations

import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import pytest

import pyrovae
from pyrovae import UserError, commands
from pyrovae import cli as command_line
from pyrovae.cli.spelling import in_flags, with_flags
from pyrovae.commands.recipe import TrainResult
from pyrovae.training.loop import FitResult

NAMES = ["my run", "it's; rm -r $HOME", 'a"b`c`', "-n", "*"]
TINY = ["--network.hidden", "[8]", "--latent-dim", "2", "--epochs", "1", "--device", "cpu"]


def printed(text: str) -> list[list[str]]:
    """The command lines of pyrovae in a text, as a shell would split them."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    lines, words = [], []
    for word in [*lexer, ";"]:
        if word == ";":
            lines.append(words)
            words = []
        else:
            words.append(word)
    return [words[words.index("pyrovae") + 1 :] for words in lines if "pyrovae" in words]


@pytest.mark.parametrize("name", NAMES)
def test_what_train_says_comes_next_can_be_run(here, cli, name):
    """Told by what the files of the run are after it."""
    made = cli("train", f"--out={name}", *TINY)
    assert made.code == 0, made
    (following,) = [line.removeprefix("next: ") for line in made.out.splitlines() if line.startswith("next: ")]
    evaluate, figures = printed(following)
    assert cli(*evaluate, "--samples", 2, "--limit", 5).code == 0
    assert cli(*figures).code == 0
    assert (Path(name) / "evidence" / "importance.json").is_file()
    assert (Path(name) / "figures").is_dir()
    refused = cli("figures", *figures[1:], "--evidence", "--only", "evidence_annealing")
    assert refused.code == 2
    assert printed(refused.err.partition("make one with ")[2])[0][:2] == evaluate[:2]
    (Path(name) / "model.safetensors").unlink()
    lost = cli(*evaluate)
    assert lost.code == 2
    again = printed(lost.err.rpartition("deleted: ")[2].replace(" goes on with it", ""))[0]
    assert cli(*again).code == 0


@pytest.mark.parametrize("name", NAMES)
def test_what_an_interrupted_training_says_can_be_run(here, cli, name):
    made = cli("train", f"--out={name}", *TINY)
    assert made.code == 0, made
    stopped = FitResult(history=[], best_epoch=0, interrupted=True, out_of_patience=False, signal=2)
    (line,) = printed(TrainResult(Path(name), None, None, stopped).report(in_flags).partition("go on with: ")[2])
    assert cli(*line, "--epochs", 2).code == 0


def called(text: str) -> list[object]:
    """What the calls of pyrovae in a text return, with separators between them left out."""
    calls = re.findall(r"pyrovae\.\w+\(.*?\)(?=$|;| or pyrovae| goes on)", text, re.MULTILINE)
    return [eval(call, {"pyrovae": pyrovae}) for call in calls]


@pytest.mark.parametrize("name", ["my run", "it's; rm -r $HOME"])
def test_calls_that_are_printed_in_python_can_be_made(here, name, monkeypatch):
    """Of few data, for the calls say how many samples are wanted, not that it should be quick."""
    options = {"network": {"name": "mlp", "hidden": [8]}, "latent_dim": 2, "device": "cpu", "progress": False}
    for command in ("evaluate", "compare"):
        monkeypatch.setattr(pyrovae, command, partial(getattr(commands, command), limit=5), raising=False)
    made = commands.train(**options, epochs=1, out=name)
    evaluation, pictures = called(made.report())
    assert (evaluation.run, evaluation.samples, evaluation.n) == (name, 500, 5)
    assert {path.parent for path in pictures} == {Path(name) / "figures"}
    (longer,) = called(commands.resume(name, progress=False).report().splitlines()[0])
    assert (longer.run, len(longer.fit.history)) == (Path(name), 2)
    (Path(name) / "model.safetensors").unlink()
    with pytest.raises(UserError, match="or it was deleted") as refused:
        commands.figures(name)
    assert len(called(str(refused.value))) == 1
    assert (Path(name) / "model.safetensors").is_file()
    with pytest.raises(UserError, match="no evaluation of its present weights") as refused:
        commands.figures(name, evidence=True, only="evidence_bound")
    (evaluation,) = called(str(refused.value))
    assert (evaluation.estimator, evaluation.samples) == ("importance", 5000)
    assert [path.stem for path in commands.figures(name, evidence=True, only="evidence_bound")] == ["evidence_bound"]
    assert with_flags(refused.value).endswith(f"make one with pyrovae evaluate {shlex.quote(name)} --samples 5000")
    for other in ("digits-1", "digits-2"):
        shutil.copytree(name, f"runs/{other}")
    with pytest.raises(UserError, match="needs at least two runs") as refused:
        commands.compare([name])
    (league,) = called(str(refused.value))
    assert len(league.rows) == 2


def test_no_command_is_printed_with_a_bare_path():
    """A command line with something in it is made by ``command``, which quotes it."""
    commands = "|".join(command_line.COMMANDS)
    for path in Path(pyrovae.__file__).parent.rglob("*.py"):
        if path.parent.name == "cli":
            continue
        text = path.read_text(encoding="utf-8")
        assert re.findall(rf'f"[^"\n]*pyrovae (?:{commands})[^"\n]*\{{[^"\n]*', text) == [], path
