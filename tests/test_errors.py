"""Errors: an option, its value, a reason and a remedy, spelled for people who write Python and for people who type commands."""

from __future__ import annotations

import pickle
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrovae.cli.spelling import with_flags
from pyrovae.errors import NOT_GIVEN, Note, UserError, command, option

IMPORTANCE = {"name": "importance", "samples": 500}
STRANGE = ["my run", "it's; rm -r $HOME", 'a"b`c`', "-n", "*", "=x", "\ufdd0{}\ufdd1", "--out"]


def test_an_error_has_its_parts():
    error = UserError("prior.components", 0, "needs at least 1", f"try {option('prior.components', 10)}")
    assert (error.option, error.value) == ("prior.components", 0)
    assert (error.reason, error.remedy) == ("needs at least 1", "try prior.components=10")


@pytest.mark.parametrize(
    ("error", "python", "flags"),
    [
        (UserError("latent_dim", 0, "needs 1"), "latent_dim=0: needs 1", "--latent-dim 0: needs 1"),
        (UserError("latent_dim", None, "needs 1"), "latent_dim=None: needs 1", "--latent-dim None: needs 1"),
        (UserError("likelihood", "mpl", "unknown"), "likelihood='mpl': unknown", "--likelihood mpl: unknown"),
        (UserError("data", "", "unknown"), "data='': unknown", "--data '': unknown"),
        (UserError("resume", NOT_GIVEN, "needs a run", f"give {option('out', metavar='RUN')}"),
         "resume: needs a run; give out=RUN", "--resume: needs a run; give --out RUN"),
        (UserError("data.grey", True, "is for pictures"), "data.grey=True: is for pictures", "--data.grey true: is for pictures"),
        (UserError(None, Path("a/b.csv"), "is empty", "fill it"), "a/b.csv: is empty; fill it", "a/b.csv: is empty; fill it"),
        (UserError(None, NOT_GIVEN, "the VAE is untrained"), "the VAE is untrained", "the VAE is untrained"),
        (UserError("network.hidden", [400, 400], "is too wide"),
         "network.hidden=[400, 400]: is too wide", "--network.hidden [400, 400]: is too wide"),
    ],
)  # fmt: skip
def test_an_error_is_spelled_for_its_reader(error: UserError, python: str, flags: str):
    assert (str(error), with_flags(error)) == (python, flags)


@pytest.mark.parametrize("value", [torch.zeros(1000, 3), np.zeros((1000, 3)), "x" * 5000, list(range(5000))])
def test_a_large_value_is_never_printed_whole(value):
    error = UserError("x", value, "needs one column")
    assert error.value is value
    assert max(len(str(error)), len(with_flags(error))) < 300
    assert "\n" not in str(error)


def test_an_error_within_another_is_spelled_once_and_for_its_reader():
    inner = UserError(None, Path("run"), "has no data of its own", f"name them with {option('data')}")
    outer = UserError("data", "other.csv", f"p(c) is that of the run: {inner.said(remedy=False)}", "restore them")
    assert with_flags(outer) == "--data other.csv: p(c) is that of the run: run: has no data of its own; restore them"
    whole = UserError(None, Path("a"), f"cannot be read ({inner.said()})")
    assert with_flags(whole) == "a: cannot be read (run: has no data of its own; name them with --data)"
    assert str(whole) == "a: cannot be read (run: has no data of its own; name them with data)"


def test_an_error_is_changed_in_one_place_and_keeps_the_rest():
    error = UserError("scale", -1, "needs a positive number", f"try {option('likelihood', 'normal')}").but(
        option="likelihood.scale"
    )
    assert with_flags(error) == "--likelihood.scale -1: needs a positive number; try --likelihood normal"


def test_an_error_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(UserError("epochs", 0, "needs at least 1", f"try {option('epochs', 5)}")))
    assert (error.option, error.value, error.remedy) == ("epochs", 0, "try epochs=5")


@pytest.mark.parametrize("text", STRANGE)
def test_what_a_user_wrote_is_no_markup(text: str):
    error = UserError("data", text, f"has no column {text}", f"give {option('data.columns', text)}")
    for said in (str(error), with_flags(error)):
        assert said.isprintable()
        assert said.count(text if text.isprintable() else "{}") >= 3


@pytest.mark.parametrize("text", STRANGE)
def test_a_command_is_a_line_for_a_shell_and_a_call_in_python(text: str):
    error = UserError(None, NOT_GIVEN, f"go on with {command('evaluate', text, estimator=IMPORTANCE, resume=True)}")
    words = shlex.split(with_flags(error).partition("go on with ")[2])
    assert words[:2] == ["pyrovae", "evaluate"]
    assert words[2].removeprefix("./") == (text if text.isprintable() else text.encode("unicode_escape").decode())
    assert words[3:] == ["--estimator", "importance", "--samples", "500", "--resume"]
    assert f"pyrovae.evaluate({text!r}, estimator={IMPORTANCE}, resume=True)" in str(error)


def test_a_note_is_spelled_for_its_reader():
    note = Note(f"{option('preprocess', 'standardise')} brings it to scale 1")
    assert str(note) == "preprocess='standardise' brings it to scale 1"
    assert with_flags(note) == "--preprocess standardise brings it to scale 1"
    assert with_flags(UserWarning("as it is")) == "as it is"
