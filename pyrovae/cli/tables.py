"""The tables of parts as text: for ``pyrovae list`` and for the documents."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_args

from pyrovae.cli.spelling import option_name
from pyrovae.contracts import DataSpec, Family, Kind
from pyrovae.contracts.supports import as_support
from pyrovae.evidence import ESTIMATORS as ESTIMATORS  # which puts them among the roles
from pyrovae.likelihoods import LIKELIHOODS, preprocess_by_default
from pyrovae.parts import ROLES, defaults, option_of
from pyrovae.system.terminal import wrapped

LEVELS = 256
SHOWN = DataSpec((2,), "levels", LEVELS)


def listing(role: str | None = None) -> str:
    """The families by role, each with its meaning, support and options, wrapped to fit the terminal.

    Args:
        role: One role; None for all.
    """
    roles = list(ROLES) if role is None else [role]
    indent = max(len(name) for each in roles for name in ROLES[each]) + 4
    sections = []
    for each in roles:
        lines = [f"--{each}"]
        for name, part in ROLES[each].items():
            where = _support(part)
            meaning = _meaning(part) + (f" Support: {where}." if where else "")
            lines.append(wrapped(f"  {name:<{indent - 4}}  {meaning}", indent))
            lines += [f"{'':<{indent}}  {option}" for option in _options(each, name)]
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


def markdown(role: str) -> str:
    """The parts of a role as a Markdown table."""
    table = ROLES[role]
    supports = {name: _support(part) for name, part in table.items()}
    heads = ["name", "options (default)", *(["support"] if any(supports.values()) else []), "what it is"]
    rows = [heads, ["---"] * len(heads)]
    for name, part in table.items():
        options = "<br>".join(f"`{option}`" for option in _options(role, name)) or "none"
        support = [supports[name]] if any(supports.values()) else []
        rows.append([f"`{name}`", options, *support, _meaning(part).replace("|", "\\|")])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _meaning(part: type) -> str:
    return " ".join((part.__doc__ or "").split("\n\n")[0].split())


def _support(part: type) -> str:
    if not issubclass(part, Family):
        return ""
    try:
        support = part().support(SHOWN)
    except TypeError:  # an option without a default
        return ""
    return as_support(support).name.replace(f"0..{LEVELS - 1}", "0..levels-1")


def _options(role: str, name: str) -> list[str]:
    return [f"{option_name(option_of(role, key))} ({_shown(value)})" for key, value in defaults(role, name).items()]


def _shown(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(list(value)) if isinstance(value, tuple) else str(value)


def preprocessing() -> str:
    """Kind of data x likelihood -> preprocessing, as a Markdown table."""
    kinds = get_args(Kind)
    rows = ["| likelihood | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for name in LIKELIHOODS:
        wanted = preprocess_by_default(name)
        rows.append(f"| `{name}` | " + " | ".join(wanted.get(kind, "refused") for kind in kinds) + " |")
    return "\n".join(rows)


def filled(text: str) -> str:
    """A Markdown text with what stands between ``<!-- generated: NAME -->`` and ``<!-- end -->`` made anew:
    ``preprocessing``, or the parts of a role.

    Example:
        >>> print(filled("<!-- generated: preprocessing --><!-- end -->").splitlines()[1])
        | likelihood | levels | counts | reals | binary |
    """

    def made(match: re.Match[str]) -> str:
        table = preprocessing() if match[2] == "preprocessing" else markdown(match[2])
        return f"{match[1]}\n{table}\n{match[3]}"

    return re.sub(r"(<!-- generated: (\w+) -->).*?(<!-- end -->)", made, text, flags=re.DOTALL)
