"""Messages as the command line says them: options as flags, commands as lines for a shell."""

from __future__ import annotations

import shlex
from contextvars import ContextVar
from typing import Any

from pyrovae.errors import Note, UserError, one_line, spelled

POSITIONAL = ("run",)
"""What commands are given without a flag."""

PLUGIN_GIVEN: ContextVar[str | None] = ContextVar("plugin_given", default=None)
"""The plugin that the present command was given: commands that are printed need it too."""


def option_name(name: str) -> str:
    """The flag of a Python name.

    Example:
        >>> option_name("latent_dim")
        '--latent-dim'
    """
    return "--" + name.replace("_", "-")


def quoted(word: str) -> str:
    """A value or a path as a word of a command line that is printed; none is taken for a flag.

    Example:
        >>> quoted("my run"), quoted("-run")
        ("'my run'", './-run')
    """
    return shlex.quote(f"./{word}" if word.startswith("-") else word)


def with_flags(said: UserError | Warning) -> str:
    """An error or a warning in one line, with its options spelled as flags.

    Example:
        >>> from pyrovae.errors import option
        >>> with_flags(UserError("likelihood.total_count", 0, "needs at least 1", f"try {option('data.levels', metavar='L')}"))
        '--likelihood.total-count 0: needs at least 1; try --data.levels L'
    """
    return one_line(in_flags(said.said() if isinstance(said, UserError | Note) else str(said)))


def in_flags(text: str) -> str:
    """A text, of any number of lines, with its options spelled as flags."""
    return spelled(text, lambda parts: _command(parts) if "command" in parts else _flag(parts["option"], parts["value"]))


def _flag(name: str, value: str) -> str:
    flag = name if name in POSITIONAL else option_name(name)
    return f"{flag} {value}" if value else flag


def _command(parts: dict[str, Any]) -> str:
    command, runs, given = parts["command"], parts["runs"], parts["options"]
    if command == "resume":
        command, runs, given = "train", [], {"resume": "", **given, "out": runs[0]}
    options = [_flag(name, value and quoted(value)) for option in given.items() for name, value in _each(*option)]
    plugin = PLUGIN_GIVEN.get()
    if plugin is not None:
        options.append(_flag("plugin", quoted(plugin)))
    return " ".join(["pyrovae", command, *map(quoted, runs), *options])


def _each(role: str, value: str | dict[str, str]) -> list[tuple[str, str]]:
    """An option and its value; of a part its name, which may be left out where it is auto, and its options."""
    if isinstance(value, str):
        return [(role, value)]
    import pyrovae.evidence  # noqa: F401  (which opens the role of estimators)
    from pyrovae.parts import is_auto, option_of

    name = [] if is_auto(value["name"]) else [(role, value["name"])]
    return name + [(option_of(role, option), given) for option, given in value.items() if option != "name"]
