"""Bad command lines, made from the signatures: each is refused with exit code 2 and one line on stderr that names the option."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from child import ask
from report import Count, in_time

from pyrovae import commands
from pyrovae.cli.program import COMMANDS, TRAIN_ROLES
from pyrovae.cli.spelling import option_name
from pyrovae.parts import ROLES, defaults, lookup
from pyrovae.training.settings import Training

LONG = "x" * 300
NUMBERS = ["many", "nan", "", "-1", "{a: 1}", "99999999999999999999999999", "true", "one,two", "--"]
WHOLE = [*NUMBERS, "1.5", "inf"]
REALS = [*(value for value in NUMBERS if not value.startswith("9")), "inf", ".inf", "-.inf", "1e999"]
NAMES = ["nonsense", "", LONG, "1", "[a]", "../x", "No", "\udcff", "a b"]
FLAGS = ["maybe", "2", "", "[true]"]
PATHS = ["", " ", LONG, "notes.txt/x"]

PATH_OF = {"file": "table.npy", "csv": "table.csv", "images": "./uneven"}
"""Data of each source of files."""

NEGATIVE = {"preprocess.threshold"}
"""Options that may be negative."""

ANY_TEXT = {"data.label"}
"""Options that take any text, which is then looked up in the data."""

FIRST = {
    "train": ["--epochs", "1", "--network.hidden", "[4]", "--out", "new"],
    "sweep": ["--epochs", "1", "--network.hidden", "[4]", "--out", "new", "--limit", "3"],
    "compare": ["run", "label"],
    "classify": ["label"],
    "list": [],
}
"""What makes a good command line of a command, quick; of the others a run."""

MANY, LONGEST = 700, 2000
"""Command lines of the long form; characters of a refusal."""

Line = tuple[list[str], str]
"""A command line, and what its refusal must name."""


def run(folder: Path, count: int | None, seed: int) -> list[Count]:
    """Try them all, or so many."""
    lines = [(command, [command, *line], names) for command in COMMANDS for line, names in bad_lines(command)]
    lines += [("", line, line[0]) for line in (["trian"], ["TRAIN"], ["--run"], ["train.py"], [""], ["\udcff"])]
    random.Random(seed).shuffle(lines)
    before, found = _files(folder), Count("bad command lines", "exit 2, one line that names the option, nothing written")
    for command, line, names in in_time(lines[: count or MANY]):
        answer = ask(line, folder)
        where = f"pyrovae {command}: error: " if command else "pyrovae: error: "
        one_line = answer.err.startswith(where) and answer.err.count("\n") == 1 and len(answer.err) < LONGEST
        made = _files(folder) - before
        good = answer.code == 2 and not answer.out and one_line and names in answer.err and not made
        found.note(good, f"{' '.join(map(_short, line))}: exit {answer.code}, {answer.line or answer.out[:100]}")
        for path in sorted(made, reverse=True):
            (folder / path).rmdir() if (folder / path).is_dir() else (folder / path).unlink()
    return [found]


def _short(word: str) -> str:
    return repr(word[:40]) if not word or len(word) > 40 or not word.isprintable() or " " in word else word


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def bad_lines(command: str) -> Iterator[Line]:
    """Good command lines with one thing wrong in each."""
    good = FIRST.get(command, ["run"])
    hints = {} if command == "list" else get_type_hints(getattr(commands, command))
    hints |= {name: hint for name, hint in get_type_hints(Training).items() if "settings" in hints and name not in hints}
    for name in hints:
        if name in ("run", "progress", "return", "training", "settings") or (command == "train" and name == "resume"):
            continue
        flag = option_name(name)
        hint = hints[name]
        if name in TRAIN_ROLES and command in ("train", "sweep"):
            yield from (([*_without(good, flag), f"{flag}={value}"], flag) for value in ("nonsense", "", LONG, "[a]", "\udcff"))
        else:
            yield from (([*_without(good, flag), f"{flag}={value}"], flag) for value in bad_values(name, hint))
        if flag != "--tensorboard":  # which alone means true
            yield [*_without(good, flag), flag, "--seed", "1"], flag
        yield [*good, flag + "x=1"], flag + "x"
        value = {"bool": "true"}.get(_kind(hint), "1")
        yield [*_without(good, flag), f"{flag}={value}", f"{flag}={value}"], flag
    if command == "train":
        yield from _of_parts(good)
    if command == "evaluate":
        yield from _of_estimators(good)
    if command != "list":
        yield [*good, "--no-such-option", "1"], "--no-such-option"
        yield [*good, "--no-such-option=1"], "--no-such-option"
    yield [*good, "notes.txt"], "notes.txt"


def _of_parts(good: list[str]) -> Iterator[Line]:
    for role in TRAIN_ROLES:
        for name in ROLES[role]:
            hints, options = get_type_hints(lookup(role, name)), defaults(role, name)
            chosen = _without(good, f"--{role}")
            if role == "network":
                chosen = _without(chosen, "--network.hidden")
            if "path" in options:
                chosen = [*chosen, "--likelihood", "normal"]
            part = [PATH_OF[name]] if "path" in options else [name]
            for option in options.keys() - {"path"}:
                flag = option_name(f"{role}.{option}")
                for value in bad_values(f"{role}.{option}", hints[option]):
                    yield [*chosen, f"--{role}", *part, f"{flag}={value}"], flag
            flag = option_name(f"{role}.nonsense")
            yield [*chosen, f"--{role}", *part, f"{flag}=1"], flag


def _of_estimators(good: list[str]) -> Iterator[Line]:
    for name in ROLES["estimator"]:
        hints = get_type_hints(lookup("estimator", name))
        for option in defaults("estimator", name):
            flag = option_name(option)
            for value in bad_values(option, hints[option]):
                yield [*good, "--estimator", name, f"{flag}={value}"], flag
        yield [*good, "--estimator", name, "--nonsense=1"], "--nonsense"


def _without(line: list[str], flag: str) -> list[str]:
    """A command line without an option and its value."""
    if flag not in line:
        return line
    place = line.index(flag)
    return line[:place] + line[place + 2 :]


def _kind(hint: Any) -> str:
    names = {getattr(kind, "__name__", str(kind)) for kind in (get_args(hint) or (hint,))}
    return next((kind for kind in ("int", "float", "bool", "Path") if kind in names), "str")


def bad_values(option: str, hint: Any) -> list[str]:
    """Values that no option of that type takes."""
    kind, name = _kind(hint), option.rpartition(".")[2]
    if "tuple" in str(hint):
        return ["many", "[a", "[0]", "[-1]", "[1.5]", "{a: 1}", "[[1]]"] if "int" in str(hint) else ["[]", "[[a]]", "{a: 1}"]
    if name in ("out", "json", "data_root", "data"):
        return [value for value in PATHS if not (name == "data_root" and "/" in value)]
    if kind == "int" and not any(get_args(one) for one in get_args(hint)) and "float" not in str(hint):
        return WHOLE
    if kind == "float" or "float" in str(hint):
        return [value for value in REALS if not (option in NEGATIVE and value == "-1")]
    if kind == "bool":
        return FLAGS
    if option in ANY_TEXT:
        return ["", " "]
    return [value for value in NAMES if value not in _choices(hint)]


def _choices(hint: Any) -> set[str]:
    literals = [hint] if getattr(hint, "__origin__", None) is Literal else get_args(hint)
    return {str(value) for literal in literals for value in get_args(literal)}
