"""Completion in the shell: bash itself is asked what it would complete."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from pyrovae.cli import COMMANDS
from pyrovae.parts import ROLES


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script for bash, as the command line prints it."""
    command = [sys.executable, "-m", "pyrovae", "--print-completion", "bash"]
    path = tmp_path_factory.mktemp("completion") / "pyrovae"
    path.write_text(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    return path


def completed(script, words, folder):
    """What bash offers for the last word of a command line."""
    line = " ".join(f"'{word}'" for word in words)
    code = f"""
source {script}
COMP_WORDS=(pyrovae {line}); COMP_CWORD={len(words)}; COMP_LINE="pyrovae {" ".join(words)}"; COMP_POINT=${{#COMP_LINE}}
function_name=$(complete -p pyrovae | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function_name pyrovae "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=folder)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tr"], ["train"]),
        (["s"], ["sample", "sweep"]),
        (["train", "--lik"], ["--likelihood", "--likelihood.scale", "--likelihood.components"]),
        (["train", "--likelihood", "bi"], ["binomial"]),
        (["train", "--latent-dim", "3", "--prior", "vam"], ["vamp"]),
        (["train", "--objective", "au"], ["auto"]),
        (["evaluate", "runs/a", "--split", "va"], ["valid"]),
        (["train", "--data", "dig"], ["digits"]),
        (["train", "--data", "my_cur"], ["my_curves.npy"]),
        (["compare", "--wi"], ["--wide"]),
        (["list", "net"], ["network"]),
    ],
)
def test_bash_completes_commands_options_names_and_paths(script, tmp_path, words, expected):
    (tmp_path / "my_curves.npy").touch()
    found = completed(script, words, tmp_path)
    assert found >= set(expected)
    assert all(word.startswith(words[-1]) for word in found)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "list"])
def test_every_option_of_the_help_is_completed(script, cli, tmp_path, command):
    """The script is written from signatures and tables; the help from the parser that reads the command line."""
    lines = [["--help"]]
    if command == "evaluate":
        lines = [["--estimator", name, "--help"] for name in ROLES["estimator"]]
    text = "".join(cli(command, *line).out for line in lines)
    flags = set(re.findall(r"^ +(?:-h, )?(--[a-z][a-z0-9._-]*)", text, re.MULTILINE))
    found = completed(script, [command, "--"], tmp_path)
    assert flags - found == set()
    signs = {"--help", "--version"}
    options = {flag for flag in found if "." not in flag} - signs
    assert options - flags == set()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_script_has_every_name_of_every_table(cli, shell):
    answer = cli("--print-completion", shell)
    assert (answer.code, answer.err) == (0, "")
    assert [name for table in ROLES.values() for name in table if not re.search(rf"\b{name}\b", answer.out)] == []
    assert answer.out.startswith("#compdef pyrovae") == (shell == "zsh")


@pytest.mark.parametrize("shell", ["fish", ""])
def test_another_shell_is_refused_in_one_line(cli, shell):
    answer = cli("--print-completion", shell)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "no such shell; " in answer.err


def test_without_shtab_the_extra_is_named(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    answer = cli("--print-completion", "bash")
    assert (answer.code, answer.out) == (2, "")
    assert "pip install 'pyrovae[completion]'" in answer.err
