"""Parses the command line into parts and options, with one-line errors."""

from __future__ import annotations

import inspect
import itertools
import json
import re
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Collection, Mapping
from typing import Any, final, get_args, get_origin, get_type_hints

from pyrovae.cli.spelling import option_name
from pyrovae.errors import NOT_GIVEN, UserError, check_each_once, suggest

TRAINING_ROLES = ("optimizer", "schedule")
"""Roles of the settings of a training."""

TRAIN_ROLES = ("data", "likelihood", "prior", "posterior", "network", "context", "preprocess", "objective", *TRAINING_ROLES)
WHOLE = ("training", "settings")
"""Parameters of ``train`` and ``sweep`` that stand for the settings of a training, which are options one by one here."""

ALONE = ("data", *TRAINING_ROLES)
"""Roles for which a sweep takes a single part for all its runs."""

AUTOMATIC = ("preprocess", "objective")
"""Roles in which ``auto`` means the part that fits the others."""

PLUGIN = (
    "Run a Python file of yours first, which calls pyrovae.register: its parts can then be chosen here, and runs that have them "
    "can be opened. It is never taken from a configuration."
)


def underscored(token: str) -> str:
    """``--latent-dim=2`` -> ``--latent_dim=2``: both spellings of an option are taken."""
    if not token.startswith("--"):
        return token
    name, equals, value = token[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def flat(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A configuration as tokens, so that it meets the same checks as the command line."""
    tokens = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            tokens += flat({("" if k == "name" else f".{k}".replace("-", "_")): v for k, v in value.items()}, f"{prefix}{key}")
        else:
            tokens.append(f"--{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}")
    return tokens


def take(option: str, tokens: list[str]) -> tuple[list[str], str | None]:
    """Tokens without an option and its value, and the last value given; ``--option V``, ``--option=V``."""
    rest, value, i = [], None, 0
    while i < len(tokens):
        if tokens[i] == f"--{option}":
            if i + 1 == len(tokens) or tokens[i + 1].startswith("--"):
                raise UserError(option, NOT_GIVEN, "needs a value")
            value, i = tokens[i + 1], i + 2
        elif tokens[i].startswith(f"--{option}="):
            value, i = tokens[i].partition("=")[2], i + 1
        else:
            rest.append(tokens[i])
            i += 1
    return rest, value


def take_flag(option: str, tokens: list[str]) -> tuple[list[str], bool]:
    """The tokens without a flag that takes no value, and whether the flag was present.

    Raises:
        UserError: If it was given a value.
    """
    given = next((token for token in tokens if token.startswith(f"--{option}=")), None)
    if given is not None:
        raise UserError(None, given, "takes no value", f"give {option_name(option)} alone, or leave it out")
    return [token for token in tokens if token != f"--{option}"], f"--{option}" in tokens


def with_value(option: str, tokens: list[str]) -> list[str]:
    """Tokens in which ``--option`` alone is ``--option=true``.

    Example:
        >>> with_value("tensorboard", ["--tensorboard", "--seed", "1"]), with_value("tensorboard", ["--tensorboard", "false"])
        (['--tensorboard=true', '--seed', '1'], ['--tensorboard', 'false'])
    """
    alone = f"--{option}"
    following = itertools.chain(tokens[1:], ["--"])
    return [
        f"{alone}=true" if token == alone and after.startswith("--") else token
        for token, after in zip(tokens, following, strict=False)
    ]


def spelt_out(tokens: list[str]) -> list[str]:
    """``--data PATH`` as ``--data=SOURCE --data.path=PATH``."""
    from pyrovae.data import from_path

    rest, value = take("data", tokens)
    named = from_path(value)
    if value is None or isinstance(named, str):
        return tokens
    return [*rest, f"--data={named['name']}", f"--data.path={named['path']}"]


def names_of(role: str) -> list[str]:
    """The names that an option of that role takes."""
    from pyrovae import parts

    return sorted(parts.ROLES[role]) + (["auto"] if role in AUTOMATIC else [])


def add_part(parser: Parser, role: str, given: str, tokens: list[str]) -> dict[str, str]:
    """Add the options of the chosen part to the parser; its name as the table spells it."""
    from pyrovae import parts

    fixed = {"name": given}
    text = f"{parser.doc(role)} One of: {', '.join(names_of(role))}" + (", or a path." if role == "data" else ".")
    if given == "auto" and role in AUTOMATIC:
        options = [t for t in tokens if t.startswith(f"--{role}.")]
        if options:
            raise UserError(None, options[0], f"--{role} auto has no options", f"name the {role} with --{role}")
        parser.add_argument(f"--{role}.name", default="auto", help=text)
        return fixed
    part = parts.lookup(role, fixed["name"])
    fixed["name"] = parts.name_of(role, part)
    flags = [t[2:].partition("=")[0] for t in tokens if t.startswith(f"--{role}.")]
    parts.check_options(role, fixed["name"], {flag.partition(".")[2]: None for flag in flags})
    parser.add_argument(f"--{role}.name", default=fixed["name"], help=text)
    defaults = parts.defaults(role, fixed["name"])
    if role == "data" and "path" in defaults:
        defaults["path"] = take("data.path", tokens)[1]
        if defaults["path"] is None:
            raise UserError("data", fixed["name"], "name the path itself, such as --data FILE.npy, TABLE.csv or FOLDER")
    if defaults:
        parser.lists |= {f"{role}.{name}" for name, hint in get_type_hints(part).items() if _is_tuple(hint)}
        parser.add_class_arguments(part, role, default=defaults)
        parser.title(role, f"options of --{role} {fixed['name']}")
    return fixed


def add_data(parser: Parser, tokens: list[str]) -> tuple[list[str], dict[str, str] | None]:
    """Add ``--data``, and the options of the data that it names, as ``train`` has them.

    Returns:
        The other tokens, and the name of the data as the table spells it; None where none were named.

    Raises:
        UserError: If there are no such data, or they have no such option.
    """
    tokens, named = take("data", spelt_out(tokens))
    if named is not None:
        return tokens, add_part(parser, "data", named, tokens)
    alone = next((token for token in tokens if token.startswith("--data.")), None)
    if alone is not None:
        raise UserError(alone[2:].partition("=")[0], NOT_GIVEN, "of which data? name them with --data")
    parser.add_argument("--data", default=None, help=f"{parser.doc('data')} With it, the options of pyrovae train for such data.")
    return tokens, None


def add_estimator(parser: Parser, tokens: list[str]) -> tuple[list[str], str, list[str]]:
    """Add ``--estimator``, and the options of the estimator that it names.

    Returns:
        The other tokens, the name as it was given, and the options that were added.

    Raises:
        UserError: If there is no such estimator, or an option is another one's.
    """
    from pyrovae import parts

    tokens, given = take("estimator", tokens)
    name = given or "auto"
    own = "importance" if name == "auto" else name
    options = list(parts.defaults("estimator", own))
    of_any = {option for each in parts.ROLES["estimator"] for option in parts.defaults("estimator", each)}
    parts.check_options("estimator", own, dict.fromkeys(option for option in sorted(of_any) if is_given(option, tokens)))
    text = f"{parser.doc('estimator')} One of: {', '.join(sorted(parts.ROLES['estimator']))}, auto."
    parser.add_argument("--estimator", default="auto", help=text)
    parser.add_class_arguments(parts.lookup("estimator", own))
    return tokens, name, options


def is_given(option: str, tokens: Collection[str]) -> bool:
    """Whether an option is among the tokens, ``--option V`` or ``--option=V``."""
    return any(token.partition("=")[0] == f"--{option}" for token in tokens)


def _is_tuple(hint: Any) -> bool:
    return any(get_origin(kind) is tuple for kind in (hint, *get_args(hint)))


def bracketed(tokens: list[str], lists: Collection[str]) -> list[str]:
    """Tokens with ``[400,400]`` for a list that is given as ``400,400``: brackets mean something to some shells.

    Example:
        >>> bracketed(["--network.hidden", "400,400", "--epochs=5"], {"network.hidden"})
        ['--epochs=5', '--network.hidden=[400,400]']
    """
    for option in lists:
        tokens, value = take(option, tokens)
        if value is not None:
            whole = not value.strip() or value.startswith("[") or value in ("null", "None")
            tokens = [*tokens, f"--{option}={value if whole else f'[{value}]'}"]
    return tokens


@final
class Parser:
    """A jsonargparse parser of one function: one-line errors, dashes in help.

    Args:
        command: Its name.
        function: Whose signature and docstring give the options.
        skip: Parameters that are added otherwise or not at all.
    """

    def __init__(self, command: str, function: Callable[..., Any], skip: Collection[str]) -> None:
        from docstring_parser import parse
        from jsonargparse import ArgumentParser

        documented = parse(function.__doc__)
        self._docs = {p.arg_name: " ".join((p.description or "").split()) for p in documented.params}
        summary = "\n\n".join(filter(None, (documented.short_description, documented.long_description)))
        self._parser = ArgumentParser(prog=f"pyrovae {command}", description=summary, exit_on_error=False)
        parameters = inspect.signature(function).parameters
        unwanted: set[str | int] = {*skip}
        if "settings" in parameters:  # jsonargparse would take the settings from its type; see add_training
            from pyrovae.training.settings import DEFAULTS

            unwanted |= {*WHOLE, *(DEFAULTS.keys() - parameters.keys())}
        self._parser.add_function_arguments(function, skip=unwanted, as_group=False)
        self.add_argument = self._parser.add_argument
        self.add_class_arguments = self._parser.add_class_arguments
        self.lists: set[str] = set()
        self.add_argument("--plugin", metavar="FILE", default=SUPPRESS, help=PLUGIN)

    def add_training(self, skip: Collection[str] = ()) -> None:
        """Add the settings of a training, each by its own name.

        Args:
            skip: Those that are added otherwise.
        """
        from docstring_parser import parse

        from pyrovae.training.settings import Training

        self._docs |= {p.arg_name: " ".join((p.description or "").split()) for p in parse(Training.__doc__).params}
        self._parser.add_class_arguments(Training, as_group=False, skip={*TRAINING_ROLES, *skip})

    def add_quiet(self) -> None:
        """Add ``--quiet`` to the help; it is taken from the tokens before they are parsed, and is no part of a configuration."""
        text = "Show no progress, neither a bar nor lines; what was found is printed all the same."
        self.add_argument("--quiet", action="store_true", default=SUPPRESS, help=text)

    def doc(self, parameter: str) -> str:
        """A parameter's line of the docstring."""
        return self._docs[parameter]

    def title(self, role: str, text: str) -> None:
        """Head the options of a part in the help."""
        (self._parser.groups or {})[role].title = text

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
                raise UserError(None, name.replace("_", "-"), "no such option", suggest(name.replace("_", "-"), flags))
        try:
            parsed = self._parser.parse_args(bracketed(tokens, self.lists))
        except ArgumentError as error:
            raise UserError(None, NOT_GIVEN, _one_line(str(error), tokens)) from error
        found = parsed.as_dict()
        return {name: value for name, value in found.items() if name not in ("config", "print_config")}


def _readable(text: str) -> str:
    """jsonargparse's help in the documented spelling: dashes, and ``--role NAME`` for the name of a part."""
    text = re.sub(r"\n  --[a-z_]+ CONFIG +Path to a configuration file\.", "", text)
    text = re.sub(r"\s*\[--(?!config)[a-z_]+ CONFIG\]", "", text)
    text = re.sub(r"--([a-z_]+)\.name NAME", r"--\1 NAME", text)
    text = re.sub(r"Unvalidated<([^<>]*)>", r"\1", text)
    return re.sub(r"--[a-z][a-z_.]*", lambda match: match[0].replace("_", "-"), text)


WANTED = {
    "<class 'int'>": "an integer",
    "<class 'float'>": "a number",
    "<class 'tuple'>": "a list such as 400,400",
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
    value = take(key[1], tokens)[1]
    shown = "" if value is None else f" {value}"
    kind = next((text for name, text in WANTED.items() if name in message), None)
    needs = f"needs {kind}" if kind else next((line for line in lines if "xpected" in line), lines[-1])
    return f"{option_name(key[1])}{shown}: {needs}"


def several(role: str, tokens: list[str]) -> tuple[list[str], list[Any] | None]:
    """Tokens without those of a role, and its parts, ``--role A,B --role.option V``; None where none is chosen.

    An option is for those of the parts that have it.
    """
    from pyrovae import commands, parts

    flags = dict.fromkeys(t[2:].partition("=")[0] for t in tokens if t.startswith(f"--{role}."))
    options = {}
    for flag in flags:
        tokens, options[flag] = take(flag, tokens)
    tokens, text = take(role, tokens)
    default = commands.arguments_of(commands.sweep)[role]
    names = [default] if text is None else [text] if role in ALONE else [name.strip() for name in text.split(",")]
    check_each_once(role, names)
    if not options and text is None:
        return tokens, None
    if names == [None]:
        raise UserError(next(iter(flags)), NOT_GIVEN, f"of which {role}? name it with --{role}")
    has = {n: [] if n == "auto" and role in AUTOMATIC else [f"{role}.{o}" for o in parts.defaults(role, n)] for n in names}
    for flag in options:
        if not any(flag in own for own in has.values()):
            known = "; ".join(f"{n} has {', '.join(map(option_name, own)) or 'no options'}" for n, own in has.items())
            raise UserError(flag, NOT_GIVEN, f"no {role} of the list has such an option", known)
    values = []
    for name, own in has.items():
        parser = Parser("sweep", commands.sweep, set(inspect.signature(commands.sweep).parameters))
        parser.add_training(skip=commands.arguments_of(commands.sweep))
        mine = [f"--{flag}={value}" for flag, value in options.items() if flag in own]
        part = add_part(parser, role, name, mine)
        given = {k: v for k, v in parser.parse(mine).get(role, {}).items() if k != "name"}
        values.append(part["name"] if part["name"] == "auto" else {**given, **part})
    return tokens, values
