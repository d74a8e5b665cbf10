"""The command line: parses and prints, nothing else. Options come from the signatures of ``pyrovae.commands``."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pyrovae.cli.parsing import (
    ALONE,
    TRAIN_ROLES,
    Parser,
    add_data,
    add_estimator,
    add_part,
    flat,
    is_given,
    names_of,
    several,
    spelt_out,
    take,
    take_flag,
    underscored,
    with_value,
)
from pyrovae.cli.plugins import plugin
from pyrovae.cli.spelling import PLUGIN_GIVEN, in_flags, with_flags
from pyrovae.errors import NOT_GIVEN, UserError, check_path, option, shown, suggest
from pyrovae.system.door import leave
from pyrovae.system.interruption import stopped
from pyrovae.system.terminal import wrapped

COMMANDS = {
    "train": "Train a VAE and write a run folder.",
    "evaluate": "Estimate the ELBO and the evidence of a run, in nats per datum; higher is better.",
    "classify": "Classify data by Bayes' rule with a conditional model: accuracy, log score and calibration of p(c|x).",
    "encode": "Encode data: posterior means and scales, and the labels if there are any.",
    "sample": "Draw from the model: z ~ p(z|c), x ~ p(x|z,c).",
    "figures": "Draw figures of what a run has learned.",
    "compare": "Rank runs by log evidence on the same data, with paired standard errors.",
    "sweep": "Train every combination of the options that are given as lists, and rank the runs.",
    "list": "The families by role, each with its options, support and one line of meaning.",
}

LABELS = 19
"""Columns of the names at the left of a report; continuation lines begin after them."""

WIDE = "Show all columns of the table and whole names, however wide the terminal is."

USAGE = """usage: pyrovae COMMAND [OPTIONS]

A probabilistic-programming VAE: choose p(z), p(x|z) and q(z|x), train, and ask how good it is, in nats.

commands:
{commands}

pyrovae COMMAND --help tells a command's options; those of a chosen part are shown with it:
  pyrovae train --likelihood normal --help
Completion in the shell: pyrovae --print-completion bash (or zsh); docs/installing.md says where to put it.
Parts of your own: --plugin FILE runs a Python file of yours first, which calls pyrovae.register (docs/extending.md).
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0; 1 where stdout could not be written; 2 after an error that the user can mend, 3 after a
    training that diverged, with one line on stderr; 128 + its number after a signal.
    """
    PLUGIN_GIVEN.set(None)
    command, *tokens = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    leave(lambda: _run(command, tokens), f"pyrovae {command}" if command in COMMANDS else "pyrovae", tokens, with_flags)


def _run(command: str, tokens: list[str]) -> int:
    if command in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(USAGE.format(commands="\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())))
        return 0
    if command in ("-V", "--version", "version"):
        from pyrovae.version import __version__

        print(f"pyrovae {__version__}")
        return 0
    if command == "--print-completion":
        from pyrovae.cli.completion import completion_script

        print(completion_script(tokens[0] if tokens else "", COMMANDS))
        return 0
    if command not in COMMANDS:
        raise UserError(None, shown(command), "no such command", suggest(command, COMMANDS))
    run = {"train": _train, "evaluate": _evaluate, "sweep": _sweep, "compare": _compare, "list": _list}.get(command, _other)
    tokens = [underscored(token) for token in tokens]
    _check_each_option_once(tokens)
    tokens, path = take("plugin", tokens)
    PLUGIN_GIVEN.set(path)
    with plugin(path):
        return run(command, tokens)


def _check_each_option_once(tokens: Sequence[str]) -> None:
    flags = [token.partition("=")[0].removesuffix(".name") for token in tokens if token.startswith("--")]
    for flag in flags:
        if flags.count(flag) > 1:
            raise UserError(None, flag.replace("_", "-"), "given twice", "give it once")


def _train(command: str, tokens: list[str]) -> int:
    from pyrovae import commands, parts

    tokens, quiet = take_flag("quiet", spelt_out(tokens))
    tokens, config = _configuration(with_value("tensorboard", tokens))
    tokens = spelt_out(flat(_without_options_of_others(config, tokens))) + tokens
    names: dict[str, Any] = {}
    for role in TRAIN_ROLES:
        tokens, long = take(f"{role}.name", tokens)
        tokens, short = take(role, tokens)
        names[role] = long if short is None else short
    default = commands.arguments_of(commands.train)
    parser = Parser("train", commands.train, {*TRAIN_ROLES, "resume", "progress"})
    parser.add_training()
    parser.add_argument("--config", action="config", help="Read options from a YAML file, such as a run's config.yaml.")
    parser.add_argument("--resume", action="store_true", help=parser.doc("resume"))
    parser.add_quiet()
    chosen: dict[str, Any] = {}
    for role in TRAIN_ROLES:
        given = default[role] if names[role] is None else names[role]
        if role == "posterior" and given is None:
            given = parts.lookup("prior", chosen["prior"]["name"]).natural_posterior
        chosen[role] = add_part(parser, role, given, tokens)
    parsed = parser.parse(tokens)
    for role, part in chosen.items():
        options = {k: v for k, v in parsed.pop(role, {}).items() if k != "name"}
        parsed[role] = part["name"] if part["name"] == "auto" else {**options, **part}
    result = commands.train(**parsed, progress=not quiet)
    if result.fit.signal is not None:
        return stopped(result.fit.signal, result.report(in_flags))
    print(result.report(in_flags))
    return 0


def _evaluate(command: str, tokens: list[str]) -> int:
    from pyrovae import commands
    from pyrovae.runs.records import place

    tokens, quiet = take_flag("quiet", tokens)
    parser = Parser(command, commands.evaluate, {"run", "data", "estimator", "progress"})
    parser.add_argument("run", help=parser.doc("run"))
    parser.add_quiet()
    tokens, name, options = add_estimator(parser, tokens)
    parsed = _with_data(parser, tokens)
    values = {option: parsed.pop(option) for option in options}
    given = {option: value for option, value in values.items() if is_given(option, tokens)}
    with _noting_unwritten() as unwritten:
        found = commands.evaluate(**{**parsed, "estimator": {**given, "name": name}}, progress=not quiet)
    print(wrapped(found.table(in_flags), LABELS))
    folder = Path(parsed["run"])
    _print_written(unwritten, *(place(folder, each.estimator, each) for each in found.kept()), json=parsed["json"])
    return 0


def _other(command: str, tokens: list[str]) -> int:
    from pyrovae import commands
    from pyrovae.runs.records import calibration_picture, place

    function = getattr(commands, command)
    parser = Parser(command, function, {"run", "data", "evidence"})
    parser.add_argument("run", help=parser.doc("run"))
    if "evidence" in inspect.signature(function).parameters:
        parser.add_argument("--evidence", action="store_true", help=parser.doc("evidence"))
    parsed = _with_data(parser, tokens) if "data" in inspect.signature(function).parameters else parser.parse(tokens)
    with _noting_unwritten() as unwritten:
        found = function(**parsed)
    if command == "classify":
        print(wrapped(found.table(in_flags), LABELS))
        numbers = place(Path(parsed["run"]), "classes", found)
        shown = [] if parsed["out"] or _is_below(numbers, unwritten) else [calibration_picture(numbers)]
        _print_written(unwritten, numbers, *shown, out=parsed["out"])
    elif command == "figures":
        print("\n".join(str(path) for path in found))
    else:
        count = len(found.mean)
        print(f"{count} data: {parsed['out']}" if parsed["out"] else f"{count} data; keep them with --out FILE")
    return 0


@contextmanager
def _noting_unwritten() -> Iterator[list[Path]]:
    """The files and folders of which a warning says, within this, that they could not be written."""
    from pyrovae.system.files import Unwritten

    found: list[Path] = []
    show = warnings.showwarning

    def note(message: Warning | str, *where: Any, **more: Any) -> None:
        if isinstance(message, Unwritten):
            found.append(message.path)
        show(message, *where, **more)

    warnings.showwarning = note
    try:
        yield found
    finally:
        warnings.showwarning = show


def _print_written(unwritten: Sequence[Path], *ours: Path, **asked: str | None) -> None:
    """Say which files were written: ours, and those that were asked for, by option.

    Raises:
        UserError: If one that was asked for could not be written.
    """
    named = [Path(path) for path in asked.values() if path]
    written = [path for path in (*ours, *named) if not _is_below(path, unwritten)]
    for number, path in enumerate(written):
        print(f"{'' if number else 'written':<18} {path}")
    for name, place in asked.items():
        if place:
            _check_written(unwritten, name, Path(place))


def _check_written(unwritten: Sequence[Path], option: str, path: Path) -> None:
    if any(_is_below(place, [path]) for place in unwritten):
        raise UserError(None, f"--{option} {path}", "could not be written, the numbers are above", "choose another place")


def _is_below(path: Path, places: Sequence[Path]) -> bool:
    return any(place in (path, *path.parents) for place in places)


def _with_data(parser: Parser, tokens: list[str]) -> dict[str, Any]:
    """The options of a command that may be given other data than the run's."""
    tokens, data = add_data(parser, tokens)
    parsed = parser.parse(tokens)
    return parsed if data is None else {**parsed, "data": {**parsed["data"], **data}}


def _compare(command: str, tokens: list[str]) -> int:
    from pyrovae import commands

    tokens, quiet = take_flag("quiet", tokens)
    parser = Parser(command, commands.compare, {"run", "data", "progress"})
    parser.add_argument("run", nargs="+", help=parser.doc("run"))
    parser.add_quiet()
    parser.add_argument("--wide", action="store_true", help=WIDE)
    parsed = _with_data(parser, tokens)
    wide = parsed.pop("wide")
    with _noting_unwritten() as unwritten:
        print(commands.compare(**parsed, progress=not quiet).table(wide=wide, spell=in_flags))
    if parsed["out"]:
        _check_written(unwritten, "out", Path(parsed["out"]))
        print(f"written: {parsed['out']}: league.csv, league.json, league.png")
    return 0


def _sweep(command: str, tokens: list[str]) -> int:
    from pyrovae import commands

    parser = Parser(command, commands.sweep, {*TRAIN_ROLES, "progress"})
    parser.add_training(skip=("seed",))
    parser.add_quiet()
    parser.add_argument("--wide", action="store_true", help=WIDE)
    chosen: dict[str, Any] = {}
    default = commands.arguments_of(commands.sweep)
    tokens, quiet = take_flag("quiet", spelt_out(with_value("tensorboard", tokens)))
    for role in TRAIN_ROLES:
        several_of = "One of" if role in ALONE else "Of"
        text = f"{parser.doc(role)} {several_of}: {', '.join(names_of(role))}; their options are those of pyrovae train."
        parser.add_argument(f"--{role}", default=default[role], help=text)
        tokens, values = several(role, tokens)
        chosen |= {} if values is None else {role: values[0] if role in ALONE else values}
    for axis in ("latent_dim", "seed"):
        tokens, value = take(axis, tokens)
        if value is not None:
            tokens.append(f"--{axis}=[{value}]" if "," in value and not value.startswith("[") else f"--{axis}={value}")
    parsed = {k: v for k, v in parser.parse(tokens).items() if k not in TRAIN_ROLES}
    wide = parsed.pop("wide")
    found = commands.sweep(**parsed, **chosen, progress=not quiet)
    if found.signal is not None:
        return stopped(found.signal, found.report(spell=in_flags))
    print(found.report(wide=wide, spell=in_flags))
    return 0


def _list(command: str, tokens: list[str]) -> int:
    from pyrovae.cli.tables import listing
    from pyrovae.parts import ROLES

    if {"--help", "-h"} & set(tokens):
        roles = f"ROLE is one of: {', '.join(ROLES)}; all of them without it."
        print(wrapped(f"usage: pyrovae list [ROLE]\n\n{COMMANDS['list']}\n\n{roles}"))
        return 0
    if len(tokens) > 1:
        raise UserError(None, f"list {' '.join(map(shown, tokens))}", "lists one role or all", "give one")
    role = tokens[0].removeprefix("--") if tokens else None
    if role is not None and role not in ROLES:
        raise UserError(None, f"list {shown(tokens[0])}", "no such role", suggest(role, ROLES))
    print(listing(role))
    return 0


def _configuration(tokens: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Tokens without ``--config FILE``, and the options that it, or the run to resume, sets."""
    from pyrovae import commands
    from pyrovae.commands.recipe import check_parts
    from pyrovae.system.bounds import BAD_YAML, read_yaml, why

    tokens, path = take("config", tokens)
    if "--resume" in tokens:
        if path is not None:
            raise UserError("config", path, "a resumed run has its own", "leave --config or --resume out")
        out = take("out", tokens)[1]
        if out is None:
            raise UserError("resume", NOT_GIVEN, "needs the run to go on with, --out RUN")
        folder = check_path("out", out, "a run folder")
        options = commands.recorded_options(folder)
        check_parts(folder, options, {role for role in TRAIN_ROLES if take(role, tokens)[1] is None})
        return tokens, options
    if path is None:
        return tokens, {}
    file = check_path("config", path, "a file of options")
    try:
        config = read_yaml(file)
    except BAD_YAML as error:
        raise UserError("config", path, f"cannot be read ({why(error)})", "give a file of options, name: value") from error
    if not isinstance(config, Mapping):
        raise UserError("config", path, "needs options, name: value", "pyrovae train --print_config shows them all")
    options = {str(key).replace("-", "_"): value for key, value in config.items() if key != "run"}
    if "plugin" in options:
        remedy = f"leave it out, and give {option('plugin', metavar='FILE')} yourself"
        raise UserError("config", path, "names a plugin, and no file that is read may run code", remedy)
    if options.pop("resume", None):
        raise UserError("config", path, "resume: true is no option of a file", "give --resume --out RUN, without --config")
    known = commands.arguments_of(commands.train).keys() - {"resume", "progress"}
    for key in options:
        if key.partition(".")[0] not in known:
            raise UserError("config", path, f"{shown(key)}: no such option", suggest(key, known))
    return tokens, {key: value for key, value in options.items() if value is not None}


def _without_options_of_others(config: Mapping[str, Any], tokens: list[str]) -> dict[str, Any]:
    """A configuration without the options of parts for which the command line chooses another."""
    from pyrovae import parts

    kept = dict(config)
    for role in TRAIN_ROLES:
        chosen = take(role, tokens)[1]
        given = kept.get(role)
        if not isinstance(given, Mapping) or given.get("name") not in parts.ROLES[role]:
            continue
        if chosen is not None and parts.lookup(role, chosen) is not parts.lookup(role, given["name"]):
            del kept[role]
    return kept


if __name__ == "__main__":
    main()
