"""Completion in the shell: commands, options and names of parts, written out once as a script of bash or zsh by ``shtab``."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from docstring_parser import parse

from pyrovae import commands, parts
from pyrovae.cli.parsing import AUTOMATIC, WHOLE
from pyrovae.cli.spelling import option_name
from pyrovae.contracts import options_of
from pyrovae.errors import UserError, suggest
from pyrovae.training.settings import Training

SHELLS = ("bash", "zsh")

FLAGS = {
    "train": ("config", "print-config", "resume", "quiet"),
    "sweep": ("quiet", "wide"),
    "evaluate": ("quiet",),
    "compare": ("quiet", "wide"),
    "figures": ("evidence",),
}
"""Options of a command that are not read from its function's signature as it stands; the others have a value each."""

UNSEEN = ("progress", "resume", "evidence")
"""Parameters of the functions that are another option, or none, on the command line."""

FILES = ("config", "json", "out", "plugin")
FOLDERS = ("data_root",)
WORDS = {"split": ("train", "valid", "test", "all"), "device": ("auto", "cpu", "cuda")}
"""The values of options that take a file, a folder, or one of a few words."""

DATA = "_pyrovae_data"
PREAMBLE = {
    "bash": DATA + '() {{ compgen -W "{names}" -- "$1"; compgen -f -- "$1"; }}',
    "zsh": DATA + "() {{ compadd -- {names}; _files; }}",
}
"""A function of the shell for ``--data``, which takes a name or a path."""


def completion_script(shell: str, described: dict[str, str]) -> str:
    """A script that makes the shell complete ``pyrovae``.

    Args:
        shell: bash or zsh.
        described: Command -> one line about it.

    Raises:
        UserError: If the shell is another one, or shtab is missing.
    """
    if shell not in SHELLS:
        raise UserError(None, f"--print-completion {shell}", "no such shell", suggest(shell, SHELLS))
    try:
        import shtab
    except ImportError as error:
        raise UserError(
            None, f"--print-completion {shell}", "needs the package shtab", "pip install 'pyrovae[completion]'"
        ) from error
    names = " ".join(sorted(parts.ROLES["data"]))
    preamble = PREAMBLE[shell].format(names=names)
    script: str = shtab.complete(_program(described, shtab.FILE, shtab.DIRECTORY), shell, preamble=preamble)
    return script


def _program(described: dict[str, str], file: Any, folder: Any) -> argparse.ArgumentParser:
    """The whole command line as argparse knows it, with all options of all parts."""
    program = argparse.ArgumentParser(prog="pyrovae")
    program.add_argument("--version", action="store_true", help="Print the version.")
    program.add_argument("--print-completion", choices=SHELLS, help="Print a script that completes pyrovae in the shell.")
    subparsers = program.add_subparsers()
    for command, text in described.items():
        parser = subparsers.add_parser(command, help=text, description=text)
        if command == "list":
            parser.add_argument("role", nargs="?", choices=list(parts.ROLES), help="One role; all without it.")
        else:
            _add_options(parser, command, file, folder)
    return program


def _add_options(parser: argparse.ArgumentParser, command: str, file: Any, folder: Any) -> None:
    function: Callable[..., Any] = getattr(commands, command)
    about = {p.arg_name: " ".join((p.description or "").split()) for p in parse(function.__doc__ or "").params}
    given = [(name, each.default) for name, each in inspect.signature(function).parameters.items() if name not in UNSEEN]
    if WHOLE[0] in dict(given):
        settings = parse(Training.__doc__ or "").params
        about |= {p.arg_name: " ".join((p.description or "").split()) for p in settings}
        given += [(field.name, field.default) for field in fields(Training) if field.name not in dict(given)]
    for name, default in given:
        text = about.get(name, "").partition(";")[0].replace("%", "%%")
        if name == "run":
            parser.add_argument("run", nargs="+" if command == "compare" else None, help=text).complete = folder  # type: ignore[attr-defined]  # shtab's
        elif name == "estimator":
            _add_estimator(parser, text)
        elif name in parts.ROLES:
            _add_role(parser, name, text)
        elif name not in WHOLE:
            _add_value(parser, name, text, isinstance(default, bool), file, folder)
    _add_value(parser, "plugin", "A Python file that registers parts.", False, file, folder)
    for flag in FLAGS.get(command, ()):
        if flag == "config":
            _add_value(parser, flag, "A YAML file of options.", False, file, folder)
        else:
            parser.add_argument(f"--{flag}", action="store_true", help=about.get(flag, "").replace("%", "%%"))


def _add_role(parser: argparse.ArgumentParser, role: str, about: str) -> None:
    """The option of a role, and those of all its parts."""
    table = parts.ROLES[role]
    if role == "data":
        parser.add_argument("--data", help=about).complete = dict.fromkeys(SHELLS, DATA)  # type: ignore[attr-defined]  # shtab's
    else:
        parser.add_argument(f"--{role}", choices=[*table, *(["auto"] if role in AUTOMATIC else [])], help=about)
    options = {option.name: option.type for part in table.values() for option in options_of(part)}
    for option, kind in options.items():
        if (role, option) != ("data", "path"):
            words = ("true", "false") if "bool" in str(kind) else None
            parser.add_argument(option_name(f"{role}.{option}"), choices=words, help=f"An option of some --{role}.")


def _add_estimator(parser: argparse.ArgumentParser, about: str) -> None:
    """The estimator, and the options of all of them, which are options of the command."""
    table = parts.ROLES["estimator"]
    parser.add_argument("--estimator", choices=[*table, "auto"], help=about)
    for option in dict.fromkeys(option.name for part in table.values() for option in options_of(part)):
        parser.add_argument(option_name(option), help="An option of some --estimator.")


def _add_value(parser: argparse.ArgumentParser, name: str, about: str, is_bool: bool, file: Any, folder: Any) -> None:
    words: Sequence[str] | None = ("true", "false") if is_bool else WORDS.get(name)
    action = parser.add_argument(option_name(name), choices=words, help=about)
    if name in FILES or name in FOLDERS:
        action.complete = file if name in FILES else folder  # type: ignore[attr-defined]  # shtab's
