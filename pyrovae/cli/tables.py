"""The tables of families as text: for ``pyrovae list`` and for the README."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_args

from pyrovae.contracts import DataSpec, Family, Kind
from pyrovae.errors import option_name
from pyrovae.families.support import in_words
from pyrovae.likelihoods import LIKELIHOODS, preprocess_by_default
from pyrovae.parts import ROLES, defaults
from pyrovae.system.terminal import wrapped

SHOWN = DataSpec((2,), "levels", 256)


def listing(role: str | None = None) -> str:
    """Families by role, each with its meaning, its support and its options, broken to fit the terminal.

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


def markdown() -> str:
    """The same as a Markdown table."""
    rows = ["| role | name | options (default) | support | what it is |", "|---|---|---|---|---|"]
    for role, table in ROLES.items():
        for name, part in table.items():
            options = "<br>".join(f"`{option}`" for option in _options(role, name)) or "none"
            rows.append(
                f"| `--{role}` | `{name}` | {options} | {_support(part)} | {_meaning(part).replace('|', chr(92) + '|')} |"
            )
    return "\n".join(rows)


def _meaning(part: type) -> str:
    return " ".join(part.__doc__.split("\n\n")[0].split())


def _support(part: type) -> str:
    if not issubclass(part, Family):
        return ""
    try:
        support = part().support(SHOWN)
    except TypeError:  # an option without a default
        return ""
    return in_words(support).replace(f"0..{SHOWN.levels - 1}", "0..levels-1")


def _options(role: str, name: str) -> list[str]:
    return [f"{option_name(f'{role}.{key}')} ({_shown(value)})" for key, value in defaults(role, name).items()]


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


GENERATED = {"families": markdown, "preprocessing": preprocessing}


def filled(text: str) -> str:
    """A Markdown text with what stands between ``<!-- generated: NAME -->`` and ``<!-- end -->`` made anew.

    Example:
        >>> print(filled("<!-- generated: preprocessing --><!-- end -->").splitlines()[1])
        | likelihood | levels | counts | reals | binary |
    """
    pattern = r"(<!-- generated: (\w+) -->).*?(<!-- end -->)"
    return re.sub(pattern, lambda match: f"{match[1]}\n{GENERATED[match[2]]()}\n{match[3]}", text, flags=re.DOTALL)
