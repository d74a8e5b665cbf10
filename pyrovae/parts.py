"""The tables of all roles, and the way between a part and its name and options."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from pyrovae.contexts import CONTEXTS
from pyrovae.data import SOURCES
from pyrovae.errors import UserError, option_name, plain, shown, suggest
from pyrovae.likelihoods import LIKELIHOODS
from pyrovae.networks import NETWORKS
from pyrovae.objectives import OBJECTIVES
from pyrovae.posteriors import POSTERIORS
from pyrovae.preprocess import PREPROCESSES
from pyrovae.priors import PRIORS

ROLES: dict[str, Mapping[str, type]] = {
    "likelihood": {name: line.family for name, line in LIKELIHOODS.items()},
    "prior": PRIORS,
    "posterior": POSTERIORS,
    "context": CONTEXTS,
    "network": NETWORKS,
    "preprocess": PREPROCESSES,
    "objective": OBJECTIVES,
    "data": SOURCES,
}


def lookup(role: str, name: str) -> type:
    """The class behind a name of a role's table; dashes and underscores are the same.

    Raises:
        UserError: If the table has no such name, with the nearest ones.

    Example:
        >>> lookup("network", "mpl")
        Traceback (most recent call last):
        ...
        pyrovae.errors.UserError: --network mpl: unknown; did you mean mlp? All: conv, linear, mlp, residual, tied
    """
    table = ROLES[role]
    for spelling in (name, str(name).replace("-", "_"), str(name).replace("_", "-")):
        if spelling in table:
            return table[spelling]
    raise UserError(f"--{role} {shown(name)}: unknown; {suggest(str(name), table)}")


def is_auto(value: object) -> bool:
    """Whether a part is left to be chosen by what fits the others."""
    return isinstance(value, str) and value == "auto"


def defaults(role: str, name: str) -> dict[str, Any]:
    """Every option of a part with its default in that role."""
    part = lookup(role, name)
    options = {f.name: f.default for f in dataclasses.fields(part)}
    return options | dict(LIKELIHOODS[name].defaults if role == "likelihood" else {})


def check_options(role: str, name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the part does not have.

    Raises:
        UserError: With the list of those that it has.
    """
    known = defaults(role, name)
    for option in options:
        if option not in known:
            flags = [option_name(f"{role}.{o}") for o in known]
            has = "has " + ", ".join(flags) if flags else "has no options"
            raise UserError(f"{option_name(f'{role}.{option}')}: {name} has no such option; --{role} {name} {has}")


def make(role: str, value: Any) -> Any:
    """A part from its name, from ``{"name": ..., option: ...}``, or itself.

    Raises:
        UserError: If the name or an option is unknown, its value wrong, or the value cannot be a part of that role.

    Example:
        >>> make("likelihood", {"name": "normal", "scale": 0.1})
        Normal(scale=0.1)
    """
    value = plain(value)
    if isinstance(value, tuple(ROLES[role].values())):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        also = "; the path of a file that np.save(path, array) writes is a name too" if role == "data" else ""
        raise UserError(f"--{role} {shown(value)}: needs a name, a part, or a mapping with a name and options{also}")
    name, options = value["name"], {k: v for k, v in value.items() if k != "name"}
    part = lookup(role, name)
    name = name_of(role, part)
    check_options(role, name, options)
    known = defaults(role, name)
    try:
        return part(**(known | options))
    except UserError as error:
        if error.option in known:  # a family does not know the role that it is made for
            raise error.but(option=f"{role}.{error.option}") from error
        raise (error if error.reason else UserError(_with_role(role, known, str(error)))) from error


def _with_role(role: str, options: Collection[str], message: str) -> str:
    """A part's message with the flag of the option that it begins with: a family does not know the role that it is made for."""
    option = re.match(r"(?:--)?([a-z][a-z0-9_-]*) ", message)
    if option is None or option[1].replace("-", "_") not in options:
        return message
    return f"{option_name(f'{role}.{option[1]}')} {message[option.end() :]}"


def name_of(role: str, part: Any) -> str:
    """The name of a part, or of its class, in the role's table."""
    wanted = part if isinstance(part, type) else type(part)
    return next(name for name, known in ROLES[role].items() if known is wanted)


def describe(role: str, part: Any) -> dict[str, Any]:
    """The inverse of ``make``: name and options as plain data.

    Example:
        >>> describe("network", make("network", "mlp"))
        {'name': 'mlp', 'hidden': [400], 'activation': 'relu'}
    """
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(part).items()}
    return {"name": name_of(role, part), **options}
