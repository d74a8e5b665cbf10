"""The command line: parses and prints, nothing else. Options come from the signatures of ``pyrovae.commands``."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pyrovae.errors import UserError, option_name, suggest

COMMANDS = {
    "train": "Train a VAE and write a run folder.",
    "evaluate": "Estimate ELBO and evidence of a run, in nats per datum, higher is better.",
    "encode": "Posterior means and scales of data, and their labels if there are any.",
    "sample": "Draw from the model: z ~ p(z), x ~ p(x|z).",
    "figures": "Draw what a run has learned.",
    "list": "The families by role, each with its options, support and one line of meaning.",
}

USAGE = """usage: pyrovae COMMAND [OPTIONS]

A probabilistic-programming VAE: choose p(z), p(x|z) and q(z|x), train, and ask how good it is, in nats.

commands:
{commands}

pyrovae COMMAND --help tells a command's options; those of a chosen part are shown with it:
  pyrovae train --likelihood normal --help
"""

TRAIN_ROLES = ("data", "likelihood", "prior", "posterior", "network", "context", "preprocess", "objective")
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, 2 after a user's error (one line on stderr), 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = arguments[0] if arguments else "--help"
    try:
        sys.exit(_run(command, arguments[1:]))
    except UserError as error:
        where = f"pyrovae {command}" if command in COMMANDS else "pyrovae"
        print(f"{where}: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run(command: str, tokens: list[str]) -> int:
    if command in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(USAGE.format(commands="\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())))
        return 0
    if command in ("-V", "--version", "version"):
        from pyrovae.version import __version__

        print(f"pyrovae {__version__}")
        return 0
    if command not in COMMANDS:
        raise UserError(f"{command}: no such command; {suggest(command, COMMANDS)}")
    return {"train": _train, "list": _list}.get(command, _other)(command, [_underscored(token) for token in tokens])


def _train(command: str, tokens: list[str]) -> int:
    from pyrovae import commands, parts

    tokens, config = _configuration(_spelt_out(tokens))
    tokens = _spelt_out(_flat(_without_options_of_others(config, tokens))) + tokens
    names = {}
    for role in TRAIN_ROLES:
        tokens, long = _take(f"{role}.name", tokens)
        tokens, short = _take(role, tokens)
        names[role] = long if short is None else short
    default = {name: p.default for name, p in inspect.signature(commands.train).parameters.items()}
    parser = _Parser("train", commands.train, {*TRAIN_ROLES, "resume", "progress"})
    parser.add_argument("--config", action="config", help="Read options from a YAML file, such as a run's config.yaml.")
    parser.add_argument("--resume", action="store_true", help=parser.doc("resume"))
    chosen = {}
    for role in TRAIN_ROLES:
        given = default[role] if names[role] is None else names[role]
        if role == "posterior" and given is None:
            given = parts.lookup("prior", chosen["prior"]["name"]).natural_posterior
        chosen[role] = _add_part(parser, role, given, tokens)
    parsed = parser.parse(tokens)
    for role, part in chosen.items():
        options = {k: v for k, v in parsed.pop(role, {}).items() if k != "name"}
        parsed[role] = part["name"] if part["name"] == "auto" else {**options, **part}
    result = commands.train(**parsed)
    print(result.report())
    return INTERRUPTED if result.fit.interrupted else 0


def _other(command: str, tokens: list[str]) -> int:
    from pyrovae import commands

    function = getattr(commands, command)
    parser = _Parser(command, function, {"run", "data"})
    parser.add_argument("run", help=parser.doc("run"))
    if "data" in inspect.signature(function).parameters:
        parser.add_argument("--data", default=None, help=parser.doc("data"))
    parsed = parser.parse(tokens)
    found = function(**parsed)
    if command == "evaluate":
        print(found.table())
        print(f"{'written':<18} {Path(parsed['run']) / 'evidence' / (found.estimator + '.json')}")
    elif command == "figures":
        print("\n".join(str(path) for path in found))
    else:
        count = len(found.mean)
        print(f"{count} data: {parsed['out']}" if parsed["out"] else f"{count} data; keep them with --out FILE")
    return 0


def _list(command: str, tokens: list[str]) -> int:
    from pyrovae.tables import listing

    if tokens and tokens[0] not in ("--help", "-h"):
        raise UserError(f"{tokens[0]}: list takes no options")
    print(listing() if not tokens else f"usage: pyrovae list\n\n{COMMANDS['list']}")
    return 0


def _underscored(token: str) -> str:
    """``--latent-dim=2`` -> ``--latent_dim=2``: both spellings of an option are taken."""
    if not token.startswith("--"):
        return token
    name, equals, value = token[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def _configuration(tokens: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Tokens without ``--config FILE``, and the options that it, or the run to resume, sets."""
    import yaml

    from pyrovae import commands

    tokens, path = _take("config", tokens)
    if "--resume" in tokens:
        if path is not None:
            raise UserError(f"--config {path}: a resumed run has its own; leave --config or --resume out")
        out = _take("out", tokens)[1]
        if out is None:
            raise UserError("--resume: needs the run to go on with, --out RUN")
        return tokens, commands.recorded_options(Path(out))
    if path is None:
        return tokens, {}
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"--config {path}: cannot be read ({reason})") from error
    if not isinstance(config, Mapping):
        raise UserError(f"--config {path}: needs options, name: value; pyrovae train --print_config shows them all")
    return tokens, {
        str(k).replace("-", "_"): v for k, v in config.items() if v is not None and k not in ("run", "resume", "config")
    }


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A configuration as tokens, so that it meets the same checks as the command line."""
    tokens = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            tokens += _flat({("" if k == "name" else f".{k}".replace("-", "_")): v for k, v in value.items()}, f"{prefix}{key}")
        else:
            tokens.append(f"--{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}")
    return tokens


def _take(option: str, tokens: list[str]) -> tuple[list[str], str | None]:
    """Tokens without an option and its value, and the last value given; ``--option V``, ``--option=V``."""
    rest, value, i = [], None, 0
    while i < len(tokens):
        if tokens[i] == f"--{option}":
            if i + 1 == len(tokens) or tokens[i + 1].startswith("--"):
                raise UserError(f"{option_name(option)}: needs a value")
            value, i = tokens[i + 1], i + 2
        elif tokens[i].startswith(f"--{option}="):
            value, i = tokens[i].partition("=")[2], i + 1
        else:
            rest.append(tokens[i])
            i += 1
    return rest, value


def _spelt_out(tokens: list[str]) -> list[str]:
    """``--data PATH`` as ``--data=file --data.path=PATH``."""
    from pyrovae.data import from_path

    rest, value = _take("data", tokens)
    named = from_path(value)
    return tokens if value is None or isinstance(named, str) else [*rest, "--data=file", f"--data.path={named['path']}"]


def _without_options_of_others(config: Mapping[str, Any], tokens: list[str]) -> dict[str, Any]:
    """A configuration without the options of parts for which the command line chooses another."""
    from pyrovae import parts

    kept = dict(config)
    for role in TRAIN_ROLES:
        chosen = _take(role, tokens)[1]
        given = kept.get(role)
        known = isinstance(given, Mapping) and given.get("name") in parts.ROLES[role]
        if chosen is not None and known and parts.lookup(role, chosen) is not parts.lookup(role, given["name"]):
            del kept[role]
    return kept


def _add_part(parser: _Parser, role: str, given: str, tokens: list[str]) -> dict[str, str]:
    """Add the options of the chosen part to the parser; its name as the table spells it."""
    from pyrovae import parts

    names = sorted(parts.ROLES[role]) + (["auto"] if role == "preprocess" else [])
    fixed = {"name": given}
    text = f"{parser.doc(role)} One of: {', '.join(names)}" + (", or a path." if role == "data" else ".")
    if given == "auto" and role == "preprocess":
        options = [t for t in tokens if t.startswith("--preprocess.")]
        if options:
            raise UserError(f"{options[0]}: --preprocess auto has no options; name the preprocessing with --preprocess")
        parser.add_argument(f"--{role}.name", default="auto", help=text)
        return fixed
    part = parts.lookup(role, fixed["name"])
    fixed["name"] = parts.name_of(role, part)
    flags = [t[2:].partition("=")[0] for t in tokens if t.startswith(f"--{role}.")]
    parts.check_options(role, fixed["name"], {flag.partition(".")[2]: None for flag in flags})
    parser.add_argument(f"--{role}.name", default=fixed["name"], help=text)
    options = parts.defaults(role, fixed["name"])
    if role == "data" and fixed["name"] == "file":
        options["path"] = _take("data.path", tokens)[1]
        if options["path"] is None:
            raise UserError("--data file: name the file itself, --data FILE.npy")
    if options:
        parser.add_class_arguments(part, role, default=options)
        parser.title(role, f"options of --{role} {fixed['name']}")
    return fixed


class _Parser:
    """A jsonargparse parser of one function: one-line errors, dashes in help.

    Args:
        command: Its name.
        function: Whose signature and docstring give the options.
        skip: Parameters that are added otherwise or not at all.
    """

    def __init__(self, command: str, function: Callable[..., Any], skip: set[str]) -> None:
        from docstring_parser import parse
        from jsonargparse import ArgumentParser

        documented = parse(function.__doc__)
        self._docs = {p.arg_name: " ".join(p.description.split()) for p in documented.params}
        summary = "\n\n".join(filter(None, (documented.short_description, documented.long_description)))
        self._parser = ArgumentParser(prog=f"pyrovae {command}", description=summary, exit_on_error=False)
        parameters = inspect.signature(function).parameters
        self._parser.add_function_arguments(function, skip=skip & set(parameters), as_group=False)
        self.add_argument = self._parser.add_argument
        self.add_class_arguments = self._parser.add_class_arguments

    def doc(self, parameter: str) -> str:
        """A parameter's line of the docstring."""
        return self._docs[parameter]

    def title(self, role: str, text: str) -> None:
        """Head the options of a part in the help."""
        self._parser.groups[role].title = text

    def parse(self, tokens: list[str]) -> dict[str, Any]:
        """The options as keyword arguments; prints the help and exits where it is asked for.

        Raises:
            UserError: If an option is unknown or its value of the wrong type.
        """
        from jsonargparse import ArgumentError

        if "--help" in tokens or "-h" in tokens:
            print(_readable(self._parser.format_help()))
            sys.exit(0)
        known = sorted(s for action in self._parser._actions for s in action.option_strings if s.startswith("--"))
        for token in tokens:
            name = token.partition("=")[0]
            if name.startswith("--") and name not in known:
                flags = {option.removesuffix(".name").replace("_", "-") for option in known}
                raise UserError(f"{name.replace('_', '-')}: no such option; {suggest(name.replace('_', '-'), flags)}")
        try:
            parsed = self._parser.parse_args(tokens)
        except ArgumentError as error:
            raise UserError(_one_line(str(error), tokens)) from error
        found = parsed.as_dict()
        return {name: value for name, value in found.items() if name not in ("config", "print_config")}


def _readable(text: str) -> str:
    """jsonargparse's help in the spelling that is documented: dashes, and ``--role NAME`` for the part's name."""
    text = re.sub(r"\n  --[a-z_]+ CONFIG +Path to a configuration file\.", "", text)
    text = re.sub(r"\s*\[--(?!config)[a-z_]+ CONFIG\]", "", text)
    text = re.sub(r"--([a-z_]+)\.name NAME", r"--\1 NAME", text)
    text = re.sub(r"Unvalidated<(.*?)>,", r"\1,", text, flags=re.DOTALL)
    return re.sub(r"--[a-z][a-z_.]*", lambda match: match[0].replace("_", "-"), text)


WANTED = {
    "<class 'int'>": "an integer",
    "<class 'float'>": "a number",
    "<class 'tuple'>": "a list such as [400,400]",
    "<class 'bool'>": "true or false",
}


def _one_line(message: str, tokens: list[str]) -> str:
    """jsonargparse's message, without its tree of attempts."""
    lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
    no_value = re.match(r"argument (--\S+): expected one argument", lines[0])
    if no_value:
        return f"{no_value[1].replace('_', '-')}: needs a value"
    if "arguments are required: run" in message:
        return "needs a run folder, such as runs/digits-1 (pyrovae train makes one)"
    key = re.search(r'[Kk]ey "([^"]+)"', message)
    if key is None:
        return lines[0]
    value = _take(key[1], tokens)[1]
    shown = "" if value is None else f" {value}"
    kind = next((text for name, text in WANTED.items() if name in message), None)
    needs = f"needs {kind}" if kind else next((line for line in lines if "xpected" in line), lines[-1])
    return f"{option_name(key[1])}{shown}: {needs}"


if __name__ == "__main__":
    main()
