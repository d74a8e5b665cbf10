"""The base class of the reports of commands: JSON, table and settings."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from html import escape
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from pyrovae.errors import in_python
from pyrovae.evidence.reports.numbers import finite

Line = tuple[str, str]
"""A label (empty for a remark) and its text."""


@runtime_checkable
class Summarised(Protocol):
    """A value that defines its own summary."""

    def summary(self) -> dict[str, Any]:
        """As plain data for JSON."""


@dataclass(frozen=True, kw_only=True)
class Report(ABC):
    """Numbers about a model, for a terminal, a notebook and a file.

    A subclass is a frozen dataclass. Its fields are written as JSON, except ``per_datum`` and those whose metadata say
    ``{"written": False}``.

    Args:
        per_datum: Arrays (n, ...) by name, which are written to a separate file.

    Attributes:
        ASKED: The fields that hold the settings, for ``identity``.
    """

    ASKED: ClassVar[tuple[str, ...]] = ()

    per_datum: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False, metadata={"written": False})

    @abstractmethod
    def lines(self) -> list[Line]:
        """The numbers, then remarks on them, whose options are not spelled out yet."""

    def summary(self) -> dict[str, Any]:
        """The summary that is written, as plain data."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.metadata.get("written", True)}

    def identity(self) -> dict[str, Any]:
        """The settings; a report with equal settings may replace this one."""
        return {name: getattr(self, name) for name in self.ASKED}

    def to_json(self) -> str:
        """The summary as JSON; a number that is not finite becomes null."""
        return json.dumps(finite(self.summary()), indent=2) + "\n"

    def table(self, spell: Callable[[str], str] = in_python) -> str:
        """The numbers for a terminal.

        Args:
            spell: Spells the options in a remark.
        """
        return "\n".join(f"{label:<18} {spell(text)}" for label, text in self.lines())

    def _repr_html_(self) -> str:
        """The numbers for a notebook."""
        cell = '<td style="text-align: left">'
        rows = "".join(f"<tr>{cell}{escape(label)}</td>{cell}{escape(in_python(text))}</td></tr>" for label, text in self.lines())
        return f"<table>{rows}</table>"


def _plain(value: Any) -> Any:
    return value.summary() if isinstance(value, Summarised) else value
