"""The tables of all roles, and the way between a part and its name and options."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, final, get_args, overload

from pyrovae.contexts import CONTEXTS
from pyrovae.contracts import Context, Estimator, Family, Kind, Network, Objective, Part, Preprocess, Prior, options_of
from pyrovae.contracts.tables import Line, Table, spellings
from pyrovae.data import SOURCES, Source
from pyrovae.errors import NOT_GIVEN, UserError, option, plain, shown, suggest
from pyrovae.likelihoods import LIKELIHOODS
from pyrovae.networks import NETWORKS
from pyrovae.objectives import OBJECTIVES
from pyrovae.optimizers import OPTIMIZERS
from pyrovae.posteriors import POSTERIORS
from pyrovae.preprocess import PREPROCESSES
from pyrovae.priors import PRIORS
from pyrovae.schedules import SCHEDULES

Choice = str | Mapping[str, Any] | Part
"""What is accepted as a part: its name, ``{"name": ..., option: ...}``, or the part itself, whether ours or a user's."""

_TABLES: tuple[Table[Any], ...] = (
    LIKELIHOODS,
    PRIORS,
    POSTERIORS,
    CONTEXTS,
    NETWORKS,
    PREPROCESSES,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
    SOURCES,
)

ROLES: dict[str, Table[Any]] = {table.role: table for table in _TABLES}
"""The table of every role. A room above adds its own with ``open_role``."""

MODEL_ROLES = tuple(ROLES)
"""The roles of the parts that make up a model, its data and its training."""


def open_role(table: Table[Any]) -> None:
    """Take in the table of a role that lives in a room above, such as the estimators.

    That room makes its ``Table`` and calls this once, where it is imported: ``lookup``, ``make``, ``describe`` and ``register``
    then know the role, and nothing here imports upwards.
    """
    ROLES[table.role] = table


def register(
    role: str,
    name: str,
    cls: type[Part],
    *,
    preprocess: Mapping[Kind, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Give a class of your own a name, by which it can be chosen, listed, written into runs and found again.

    Args:
        role: likelihood, prior, posterior, context, network, preprocess, objective, optimizer, schedule, data or estimator.
        name: Small letters, digits, ``-`` and ``_``.
        cls: A frozen dataclass derived from the role's abstract class in ``pyrovae.contracts``; its fields are its options.
        preprocess: Of a likelihood: kind of data (``levels``, ``counts``, ``reals``, ``binary``) -> name of the preprocessing
            that it wants, ``none`` for data that it models as they are; by default what follows from its support.
        defaults: Options whose default in this role differs from the class's own.

    Raises:
        UserError: If there is no such role, the name is taken or cannot be one, or the class is no part of that role.

    Example:
        >>> from pyrovae.networks.mlp import Mlp
        >>> register("network", "mlp", Mlp)  # the class that has the name already: nothing changes
        >>> register("network", "conv", Mlp)
        Traceback (most recent call last):
        ...
        pyrovae.errors.user_error.UserError: register network conv: the name is taken by ...
    """
    if role not in ROLES:
        raise UserError("role", role, "there is no such role", suggest(str(role), ROLES))
    if preprocess is not None:
        _check_preprocess(role, name, preprocess)
    ROLES[role].add(name, Line(cls, preprocess, dict(defaults or {})))


def _check_preprocess(role: str, name: str, preprocess: Mapping[Kind, str]) -> None:
    if role != "likelihood":
        raise UserError("preprocess", preprocess, f"is for likelihoods, {role} {shown(name)} is none", "leave it out")
    for kind, wanted in preprocess.items():
        if kind not in get_args(Kind):
            raise UserError(
                "preprocess", preprocess, f"has the kind {shown(kind)}", f"the kinds of data are {', '.join(get_args(Kind))}"
            )
        lookup("preprocess", wanted)


@final
class UnknownPartError(UserError):
    """A name that no table has.

    Attributes:
        role: The role.
        name: The name.
        nearest: A question that suggests similar names, for the beginning of a remedy; empty if no name is similar.
    """

    def __init__(self, role: str, name: object) -> None:
        names = suggest(str(name), ROLES[role])
        near = names.startswith("did you mean")
        own = "" if near else f"; one of your own is given by {_registering(role, 'NAME')}"
        super().__init__(role, name, "unknown", names + own)
        self.role = role
        self.name = str(name)
        self.nearest = f"{names.partition('?')[0]}? Else " if near else ""

    def needed_by(self, path: Path) -> UserError:
        """The same error for a name recorded in a run; it says how to give the class."""
        name = shown(self.name)
        return UserError(
            None,
            path,
            f"needs the {self.role} {name}, which is not registered here",
            f"{self.nearest}give the class that it was made with by {_registering(self.role, name)}",
        )


def _registering(role: str, name: str) -> str:
    """How a class is given, for a remedy."""
    return option("plugin", metavar="FILE", python=f'pyrovae.register("{role}", "{name}", CLASS)')


@contextmanager
def needed_by(path: Path) -> Iterator[None]:
    """Within this context manager, a name missing from the tables is reported as one that a run needs.

    Args:
        path: The run, or its file, for the error.

    Raises:
        UserError: Saying which part is needed and how to give it.
    """
    try:
        yield
    except UnknownPartError as error:
        raise error.needed_by(path) from error


def lookup(role: str, name: str) -> type[Any]:
    """The class behind a name of a role's table; dashes and underscores are the same.

    Raises:
        UnknownPartError: If the table has no such name, with the nearest ones.

    Example:
        >>> lookup("network", "mpl")
        Traceback (most recent call last):
        ...
        pyrovae.parts.UnknownPartError: network='mpl': unknown; did you mean mlp? All: conv, linear, mlp, residual, tied
    """
    return ROLES[role][_spelt(role, name)]


def _spelt(role: str, name: str) -> str:
    """A name as the role's table spells it."""
    table = ROLES[role]
    for spelling in spellings(name):
        if spelling in table:
            return spelling
    raise UnknownPartError(role, name)


def is_auto(value: object) -> bool:
    """Whether a part is left to be chosen to fit the others."""
    return isinstance(value, str) and value == "auto"


def defaults(role: str, name: str) -> dict[str, Any]:
    """Every option of a part with its default in that role."""
    line = ROLES[role].line(_spelt(role, name))
    return {field.name: _default(field) for field in options_of(line.part)} | dict(line.defaults)


def _default(field: dataclasses.Field[Any]) -> Any:
    """Of an option; ``dataclasses.MISSING`` where it must be given."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def option_of(role: str, option: str) -> str:
    """The name of a part's option where the part is chosen.

    Example:
        >>> option_of("likelihood", "scale")
        'likelihood.scale'
    """
    return option if ROLES[role].flat else f"{role}.{option}"


def check_options(role: str, name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the part lacks.

    Raises:
        UserError: With the list of those that it has.
    """
    known = defaults(role, name)
    for key in options:
        if key not in known:
            names = [option(option_of(role, one)) for one in known]
            has = "has " + ", ".join(names) if names else "has no options"
            raise UserError(option_of(role, key), NOT_GIVEN, f"{name} has no such option", f"{option(role, name)} {has}")


@overload
def make(role: Literal["likelihood", "posterior"], value: Any) -> Family: ...
@overload
def make(role: Literal["prior"], value: Any) -> Prior: ...
@overload
def make(role: Literal["network"], value: Any) -> Network: ...
@overload
def make(role: Literal["context"], value: Any) -> Context: ...
@overload
def make(role: Literal["preprocess"], value: Any) -> Preprocess: ...
@overload
def make(role: Literal["objective"], value: Any) -> Objective: ...
@overload
def make(role: Literal["data"], value: Any) -> Source: ...
@overload
def make(role: Literal["estimator"], value: Any) -> Estimator: ...
@overload
def make(role: str, value: Any) -> Any: ...


def make(role: str, value: Any) -> Any:
    """A part from its name, from ``{"name": ..., option: ...}``, or itself, whether its class has a name or not.

    Raises:
        UserError: If the name or an option is unknown, its value wrong, or the value cannot be a part of that role.

    Example:
        >>> make("likelihood", {"name": "normal", "scale": 0.1})
        Normal(scale=0.1)
    """
    value = plain(value)
    if isinstance(value, type) and issubclass(value, Part):
        cls = value.__name__
        raise UserError(role, cls, "is a class", f"give an object of it, {cls}()")
    if isinstance(value, Part):
        ROLES[role].check_role(type(value))
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        also = "; the path of a file that np.save(path, array) writes is a name too" if role == "data" else ""
        raise UserError(role, value, f"needs a name, a part, or a mapping with a name and options{also}")
    name, options = value["name"], {k: v for k, v in value.items() if k != "name"}
    part = lookup(role, name)
    name = name_of(role, part)
    check_options(role, name, options)
    known = defaults(role, name)
    try:
        return part(**(known | options))
    except UserError as error:
        if error.option in known:  # a family does not know the role that it is made for
            raise error.but(option=option_of(role, error.option)) from error
        raise


def name_of(role: str, part: Part | type[Part]) -> str:
    """The name of a part, or of its class, in the role's table; that of the class where it is not registered."""
    cls = part if isinstance(part, type) else type(part)
    return ROLES[role].name_of(cls) or cls.__name__


def describe(role: str, part: Any) -> dict[str, Any]:
    """The inverse of ``make``: name and options as plain data.

    Raises:
        UserError: If its class has no name, or an option cannot be written down.

    Example:
        >>> describe("network", make("network", "mlp"))
        {'name': 'mlp', 'hidden': [400], 'activation': 'relu'}
    """
    name = ROLES[role].name_of(type(part))
    if name is None:
        cls = type(part).__name__
        raise UserError(
            role,
            cls,
            "is not registered, so that nothing could find it again by name",
            f'call pyrovae.register("{role}", NAME, {cls}) first',
        )
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(part).items()}
    for key, value in options.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise UserError(f"{role}.{key}", value, "cannot be written down", "give numbers or text") from error
    return {"name": name, **options}
