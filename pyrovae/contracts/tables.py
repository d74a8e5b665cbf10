"""The open table of a role: name -> class, ours, those that were registered and those of installed packages."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import types
import typing
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Generic, Literal, TypeVar, final, get_args, get_origin, get_type_hints

from pyrovae.contracts import Kind, Part, options_of
from pyrovae.errors import Note, UserError, shown

P = TypeVar("P", bound=Part)

RESERVED = ("auto", "name")
"""``auto`` stands for what fits the other parts, and ``name`` for the name in ``{"name": ..., option: ...}``."""

PLAIN = (str, int, float, bool, type(None))
"""What an option may hold, and tuples of these: a configuration has no other values."""


@final
@dataclass(frozen=True)
class Line(Generic[P]):
    """A line of a table: a class, and what is particular to it in that role.

    Args:
        part: The class.
        preprocess: Of a likelihood: kind of data -> name of the preprocessing; a kind that is missing cannot be modelled as it
            is. None leaves it to the support of the density.
        defaults: Options with a default in this role that differs from the class's own.
    """

    part: type[P]
    preprocess: Mapping[Kind, str] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@final
class Table(Mapping[str, type[P]]):
    """The classes of a role by name, open at any time: ``add`` takes another, and installed packages bring theirs.

    A package declares entry points in the group ``pyrovae.GROUP``, each a name and a class (or a ``Line``). They are looked up
    when a name is not known yet or when all names are listed; do not keep a copy of a table, because it would go stale.

    Args:
        role: The role, such as ``likelihood``.
        kind: The abstract class of the role.
        group: What the role's entry points are called after ``pyrovae.``: the role in the plural.
        lines: Our own classes, or lines, by name.
        unlisted: Classes that a recorded configuration may name but that cannot be chosen by name alone.
        flat: Whether options are arguments of a call themselves (``samples``) and not below the role (``likelihood.scale``).

    Example:
        >>> from pyrovae.networks import NETWORKS
        >>> NETWORKS["mlp"].__name__, "mpl" in NETWORKS
        ('Mlp', False)
    """

    def __init__(
        self,
        role: str,
        kind: type[P],
        group: str,
        lines: Mapping[str, type[P] | Line[P]],
        unlisted: Mapping[str, type[P]] | None = None,
        flat: bool = False,
    ) -> None:
        self.role = role
        self.kind = kind
        self.group = f"pyrovae.{group}"
        self.flat = flat
        self._lines = {name: line if isinstance(line, Line) else Line(line) for name, line in lines.items()}
        self._unlisted = {name: Line(part) for name, part in (unlisted or {}).items()}

    def __getitem__(self, name: str) -> type[P]:
        return self.line(name).part

    def __iter__(self) -> Iterator[str]:
        for entry in _entry_points(self.group, tuple(sys.path)):
            try:
                self._take(entry)
            except UserError as error:
                warnings.warn(Note(error.said()), stacklevel=1)  # from here, so that it is said once
        return iter(tuple(self._lines))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def line(self, name: str) -> Line[P]:
        """The line of a name.

        Raises:
            KeyError: If there is none.
            UserError: If an installed package offers the name but its class cannot be loaded.
        """
        if name not in self._lines and name not in self._unlisted:
            for entry in _entry_points(self.group, tuple(sys.path)).select(name=name):
                self._take(entry)
        return self._lines[name] if name in self._lines else self._unlisted[name]

    def name_of(self, part: type[Part]) -> str | None:
        """The name of a class; None where it has none in this role."""
        for name, line in (self._lines | self._unlisted).items():
            if line.part is part:
                return name
        # An object of an installed package's class can be given before anybody has asked for its name.
        package = part.__module__.partition(".")[0]
        offered = [entry for entry in _entry_points(self.group, tuple(sys.path)) if entry.module.partition(".")[0] == package]
        return next((entry.name for entry in offered if self[entry.name] is part), None)

    def add(self, name: str, line: Line[P]) -> None:
        """Give a class a name; a class that was defined anew, as in a notebook, takes its own place.

        Args:
            name: Small letters, digits, dashes and underscores, a letter first.
            line: The class, with what is particular to it.

        Raises:
            UserError: If the name is taken or cannot be one, or the class cannot be a part of this role.
        """
        what = f"register {self.role} {shown(name)}"
        if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_-]*", name) or name in RESERVED:
            raise UserError(
                None,
                what,
                f"a name is made of small letters, digits, - and _, begins with a letter, and is not {' or '.join(RESERVED)}",
                "choose another",
            )
        self.check_role(line.part)
        self._check_options(line.part)
        for spelling in spellings(name):
            known = (self._lines | self._unlisted).get(spelling)
            if known is not None and _home(known.part) != _home(line.part):
                raise UserError(None, what, f"the name is taken by {'.'.join(_home(known.part))}", "choose another")
        unknown = line.defaults.keys() - {option.name for option in options_of(line.part)}
        if unknown:
            raise UserError(
                None, what, f"defaults has {', '.join(sorted(unknown))}, no option of {line.part.__name__}", "leave it out"
            )
        self._lines[name] = line

    def check_role(self, part: type) -> None:
        """Refuse a class that cannot take this role.

        Raises:
            UserError: Saying what it lacks.
        """
        # The room that exports the class, not the file that it is written in.
        room = ".".join(self.kind.__module__.split(".")[:2])
        wanted = f"needs a frozen dataclass derived from {room}.{self.kind.__name__}"
        if not isinstance(part, type) or not issubclass(part, self.kind):
            raise UserError(self.role, part.__name__ if isinstance(part, type) else part, wanted)
        what = part.__name__
        if not (dataclasses.is_dataclass(part) and part.__dataclass_params__.frozen):
            raise UserError(self.role, what, wanted, "decorate it with @dataclass(frozen=True, kw_only=True)")
        if inspect.isabstract(part):
            lacking = ", ".join(sorted(part.__abstractmethods__))
            raise UserError(self.role, what, f"lacks {lacking}", f"define what {self.kind.__name__} asks for")

    def _check_options(self, part: type[P]) -> None:
        """Refuse a class with options that a command line or a configuration could not give.

        Raises:
            UserError: Naming the option.
        """
        what = part.__name__
        try:
            hints = get_type_hints(part)
        except Exception as error:
            raise UserError(
                self.role, what, f"the types of its options cannot be told ({error})", "import them in its file"
            ) from error
        for option in options_of(part):
            if option.name == "name" or not option.init or not _is_plain(hints[option.name]):
                raise UserError(
                    self.role,
                    what,
                    f"its option {option.name} cannot be written into a configuration",
                    "options are numbers, text, true or false, None, and tuples of them, given to the constructor and not called "
                    "name",
                )

    def _take(self, entry: EntryPoint) -> None:
        """Add what a package offers, once.

        Raises:
            UserError: In one line that names the package.
        """
        package = entry.dist.name if entry.dist is not None else entry.module
        try:
            loaded = entry.load()
        # Whatever a package does wrong while it is imported is its own fault and spoils nothing else.
        except Exception as error:
            first = next(iter(str(error).splitlines()), "")
            raise UserError(
                self.role,
                entry.name,
                f"the package {package} offers it, and it cannot be imported ({type(error).__name__}: {first})",
                "mend the package or uninstall it",
            ) from error
        line = loaded if isinstance(loaded, Line) else Line(loaded)
        known = self._lines.get(entry.name)
        if known is not None and known.part is line.part:
            return
        try:
            self.add(entry.name, line)
        except UserError as error:
            raise UserError(None, f"the package {package}", error.said()) from error


def spellings(name: str) -> tuple[str, ...]:
    """A name as it is, with underscores and with dashes: all are the same name."""
    return (name, str(name).replace("-", "_"), str(name).replace("_", "-"))


def _home(part: type) -> tuple[str, str]:
    return part.__module__, part.__qualname__


@lru_cache(maxsize=32)
def _entry_points(group: str, path: tuple[str, ...]) -> EntryPoints:
    """The entry points of a group; looked for once for every ``sys.path``, since that reads every installed package."""
    return entry_points(group=group)


def _is_plain(hint: Any) -> bool:
    """Whether a type is of plain data: text, numbers, true or false, None, choices and tuples of them."""
    kind = get_origin(hint)
    if kind is Literal:
        return True
    if kind in (typing.Union, types.UnionType):
        return all(map(_is_plain, get_args(hint)))
    if kind is tuple:
        return all(one is Ellipsis or _is_plain(one) for one in get_args(hint))
    return hint in PLAIN
