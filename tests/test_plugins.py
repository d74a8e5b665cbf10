"""``--plugin FILE``: the command line runs a file of the user's first, and never one that a configuration names."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import yaml

pytestmark = pytest.mark.usefixtures("open_tables")

PLUGIN = '''
from __future__ import annotations

from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch.distributions import constraints

import pyrovae
from pyrovae.contracts import Family


@dataclass(frozen=True, kw_only=True)
class Gumbel(Family):
    """Gumbel with a location from the network and one scale.

    Args:
        scale: The scale.
    """

    scale: float = 1.0

    def support(self, spec):
        return constraints.real

    def n_params(self, spec):
        return 1

    def distribution(self, params, spec, learned):
        (loc,) = params.unbind(-1 - len(spec.event_shape))
        return dist.Gumbel(loc, torch.full_like(loc, self.scale)).to_event(len(spec.event_shape))


pyrovae.register("likelihood", "gumbel", Gumbel)
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data of a Gumbel distribution and a plugin."""
    monkeypatch.chdir(tmp_path)
    x = scipy.stats.gumbel_r.rvs(loc=1.0, scale=2.0, size=(400, 2), random_state=0)
    np.save("x.npy", x.astype(np.float32))
    Path("my_parts.py").write_text(PLUGIN)
    return tmp_path


TRAIN = "--data x.npy --likelihood gumbel --latent-dim 1 --network linear --epochs 2"


def forget() -> None:
    """What another process would not know."""
    from pyrovae.parts import ROLES

    ROLES["likelihood"]._lines.pop("gumbel", None)


def test_the_density_of_a_plugin_is_what_is_evaluated(place: Path, cli: Callable) -> None:
    """A decoder that ignores z is Gumbel(m, s) for every datum, and its evidence is scipy's log-density."""
    answer = cli("train", *TRAIN.split(), "--likelihood.scale", 2, "--out", "run", "--plugin", "my_parts.py")
    assert answer.code == 0, answer.err

    import pyrovae

    vae = pyrovae.load("run")
    weights = dict(vae.decoder.named_parameters())
    for name, weight in weights.items():
        weight.data.zero_()
        if name.endswith("bias"):
            weight.data.fill_(1.0)
    for weight in vae.encoder.parameters():
        weight.data.zero_()
    pyrovae.save(vae, "constant")
    forget()
    line = "evaluate constant --data x.npy --split all --samples 4 --proposal guide --json found.json"
    answer = cli(*line.split(), "--plugin", "my_parts.py")
    assert answer.code == 0, answer.err
    x = np.load("x.npy").astype(float)
    expected = scipy.stats.gumbel_r.logpdf(x, loc=1.0, scale=2.0).sum(-1).mean()
    assert json.loads(Path("found.json").read_text())["log_evidence"]["mean"] == pytest.approx(expected, rel=1e-5)


def test_every_command_takes_a_plugin(place: Path, cli: Callable) -> None:
    commands = [
        f"train {TRAIN} --out runs/a",
        f"train {TRAIN} --out runs/b --seed 1",
        "train --resume --out runs/a --epochs 3",
        "train --config runs/a/config.yaml --out runs/c --epochs 1",
        "evaluate runs/a --samples 5",
        "encode runs/a --out z.npz",
        "sample runs/a --out x.npz",
        "figures runs/a",
        "compare runs/a runs/b --samples 5",
        "sweep --data x.npy --likelihood gumbel,normal --latent-dim 1 --network linear --epochs 1 --samples 5 --out grid",
        "list",
    ]
    for line in commands:
        forget()
        answer = cli(*line.split(), "--plugin=my_parts.py")
        assert answer.code == 0, (line, answer.err)
    assert "Gumbel with a location" in answer.out
    forget()
    assert "--likelihood.scale" in cli("train", "--likelihood", "gumbel", "--plugin", "my_parts.py", "--help").out
    for command in ("train", "evaluate", "classify", "encode", "sample", "figures", "compare", "sweep"):
        assert "--plugin FILE" in cli(command, "--help").out


def test_commands_that_are_printed_carry_the_plugin(place: Path, cli: Callable) -> None:
    answer = cli("train", *TRAIN.split(), "--out", "run", "--plugin", "my_parts.py")
    following = "pyrovae evaluate run --plugin my_parts.py; pyrovae figures run --plugin my_parts.py"
    assert following in " ".join(answer.out.split())
    plain = cli("train", *TRAIN.replace("gumbel", "normal").split(), "--out", "plain")
    assert "pyrovae evaluate plain" in plain.out
    assert "--plugin" not in plain.out


def test_a_run_says_which_part_it_needs(place: Path, cli: Callable) -> None:
    assert cli("train", *TRAIN.split(), "--out", "run", "--plugin", "my_parts.py").code == 0
    forget()
    for line in ("evaluate run", "sample run", "figures run", "encode run", "train --resume --out run --epochs 9"):
        answer = cli(*line.split())
        assert answer.code == 2
        (error,) = answer.err.splitlines()
        assert "gumbel" in error
        assert "--plugin FILE" in error
        assert "needs the likelihood gumbel, which is not registered here" in error
        assert "damaged" not in error

    import pyrovae

    with pytest.raises(
        pyrovae.UserError, match=r'needs the likelihood gumbel.*pyrovae\.register\("likelihood", "gumbel", CLASS\)'
    ):
        pyrovae.load("run")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n\ny = nothing\n", "line 3: NameError: name 'nothing' is not defined"),
        ("def f(:\n", "line 1: SyntaxError: "),
        ("import there_is_no_such_module\n", "line 1: ModuleNotFoundError: "),
        ("\nimport sys\nsys.exit(0)\n", "line 3: SystemExit: 0"),
        ("import pyrovae\npyrovae.register('likelihood', 'normal', int)\n", "line 2: "),
        ("raise ValueError('two\\nlines')", "line 1: ValueError: two"),
        ("raise ValueError", "line 1: ValueError"),
    ],
)
def test_an_error_in_the_file_is_one_line(place: Path, cli: Callable, source: str, message: str) -> None:
    Path("odd.py").write_text(source)
    answer = cli("list", "--plugin", "odd.py")
    assert (answer.code, answer.out) == (2, "")
    (error,) = answer.err.splitlines()
    assert error.startswith(f"pyrovae list: error: --plugin odd.py: {message}") or f"--plugin odd.py: {message}" in error


def test_an_error_of_a_part_while_it_is_used_is_one_line_too(place: Path, cli: Callable) -> None:
    source = PLUGIN.replace("return dist.Gumbel", "raise IndexError('no such row')\n        return dist.Gumbel")
    Path("odd.py").write_text(source)
    line = source.splitlines().index("        raise IndexError('no such row')") + 1
    answer = cli("train", *TRAIN.split(), "--out", "run", "--plugin", "odd.py")
    assert answer.code == 2
    assert f"--plugin odd.py: line {line}: IndexError: no such row" in answer.err


def test_a_file_that_is_not_there_is_refused(place: Path, cli: Callable) -> None:
    for given in ("none.py", "."):
        answer = cli("list", "--plugin", given)
        assert answer.code == 2
        assert f"--plugin {given}: is no file" in answer.err
    assert "--plugin: needs a value" in cli("list", "--plugin").err
    assert "given twice" in cli("list", "--plugin", "my_parts.py", "--plugin", "my_parts.py").err


def test_nothing_that_is_read_names_a_plugin(place: Path, cli: Callable) -> None:
    Path("evil.py").write_text("open('ran', 'w').close()")
    assert cli("train", *TRAIN.split(), "--out", "run", "--plugin", "my_parts.py").code == 0
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    Path("named.yaml").write_text(yaml.safe_dump({**config, "plugin": "evil.py"}))
    Path("nested.yaml").write_text(yaml.safe_dump({**config, "data": {**config["data"], "plugin": "evil.py"}}))
    Path("run/config.yaml").write_text(yaml.safe_dump({**config, "plugin": "evil.py"}))
    for line in (
        "train --config named.yaml --out other",
        "train --config nested.yaml --out other",
        "train --resume --out run --epochs 9",
        "evaluate run",
        "compare run run2",
    ):
        answer = cli(*line.split(), "--plugin", "my_parts.py")
        assert answer.code == 2
        assert len(answer.err.splitlines()) == 1
    assert "names a plugin" in cli("evaluate", "run").err
    assert not Path("ran").exists()


def test_what_a_plugin_defines_can_be_looked_up_as_a_module(place: Path, cli: Callable) -> None:
    """Types of options are text under ``from __future__ import annotations``; they are read in the plugin's own namespace."""
    assert cli("list", "--plugin", "my_parts.py").code == 0
    assert sys.modules["pyrovae_plugin_my_parts"].Gumbel().scale == 1.0
