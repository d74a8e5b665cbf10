"""A league as text: columns chosen to fit the terminal, the notes below them, and the same for a Markdown page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

from pyrovae.comparison.rows import Group, Row, told_apart
from pyrovae.contracts import LOWER_BOUND
from pyrovae.errors import in_python, option
from pyrovae.system.terminal import shortened, terminal_width, wrapped

UNITS = "nats per datum, higher is better; +- standard error over data, [Monte Carlo error]; differences are paired"

CHOICES = {
    "likelihood": "likelihood {}",
    "prior": "prior {}",
    "posterior": "posterior {}",
    "context": "context {}",
    "network": "network {}",
    "preprocess": "preprocess {}",
    "objective": "objective {}",
    "latent_dim": "{} latents",
    "epochs": "{} epochs",
    "seed": "training seed {}",
}
"""The choices made for a run: a column where they differ between runs, stated once where they do not."""

ALWAYS = ("#", "run", "log evidence", "to the best", "ELBO")
"""Columns that every table has."""

HEADS = {"latent_dim": "latents"}
"""What the column of a choice is called, where that is not its name."""

NEXT = ("untrusted", "bits/dim", *(HEADS.get(name, name) for name in CHOICES), "cannot tell", "active", "ELBO gap")
"""The other columns, in the order in which they get the remaining room; those not named here come last."""

SHORTEST = 12
"""The fewest characters that a long name is cut to; more are kept where two runs would otherwise have the same name."""

NAMES_SHARE = 5
"""A fifth of the width is for names before other columns get room."""

GAP = "  "


@final
@dataclass(frozen=True)
class Column:
    """A column of the table: its head and its cells, one a run, all of one width at the end."""

    head: str
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        """Characters of the longest cell."""
        return max(map(len, (self.head, *self.cells)))

    @property
    def says_nothing(self) -> bool:
        """Whether the column counts problems and there are none."""
        return self.head in ("untrusted", "cannot tell") and set(self.cells) <= {"0"}


def terminal_table(
    heading: Sequence[str],
    groups: Sequence[Group],
    *,
    wide: bool,
    width: int | None = None,
    spell: Callable[[str], str] = in_python,
) -> str:
    """A league for a terminal.

    Args:
        heading: Lines above the groups.
        groups: The runs, best first.
        wide: All columns and whole names, however long the lines become.
        width: Columns of the terminal; by default those that it has.
        spell: Spells the options in a remark.
    """
    columns = terminal_width() if width is None else width
    rows = [row for group in groups for row in group.rows]
    every = _columns(rows, at_least=">= ")
    shown = every if wide else fitted([column for column in every if not column.says_nothing], columns - len(GAP))
    lines = [wrapped(line, 2, columns) for line in heading]
    done = 0
    for group in groups:
        lines += ["", wrapped(group.title, 2, columns), _line([column.head.ljust(column.width) for column in shown])]
        for place in range(done, done + len(group.rows)):
            lines.append(_line([column.cells[place].ljust(column.width) for column in shown]))
        done += len(group.rows)
        lines += [wrapped(f"  {spell(note)}", 4, columns) for note in notes(group)]
    heads = {column.head for column in shown}
    left_out = [column.head for column in every if column.head not in heads and not column.says_nothing]
    lines += ["", wrapped(UNITS, 2, columns)]
    if any(row.monte_carlo_error_is == LOWER_BOUND for row in rows):
        lines.append(wrapped("[>= ...]: some data are untrusted, and the error is larger than can be seen", 2, columns))
    if left_out:
        lines.append(wrapped(spell(f"no room for: {', '.join(left_out)} ({option('wide')} shows all)"), 2, columns))
    return "\n".join(lines)


def markdown_table(heading: Sequence[str], groups: Sequence[Group]) -> str:
    """A league for a Markdown page, with all columns."""
    everyone = [row for group in groups for row in group.rows]
    parts = [f"{'; '.join(heading)}. {UNITS[0].upper()}{UNITS[1:]}."]
    for group in groups:
        columns = _columns(group.rows, everyone, at_least="at least ")
        lines = [[column.head for column in columns], ["---"] * len(columns)]
        lines += [[column.cells[place] for column in columns] for place in range(len(group.rows))]
        parts.append(f"**{group.title}**")
        parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines))
        parts += [f"{note[0].upper()}{note[1:]}." for note in notes(group)]
    return "\n\n".join(parts).replace("+-", "±")


def same_in_all(rows: Sequence[Row]) -> list[str]:
    """The choices that are the same in all runs, in words."""
    return [text.format(values.pop()) for name, text in CHOICES.items() if len(values := _values(rows, name)) == 1]


def fitted(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns that fit on a line, in their order, with names shortened in the middle where that makes room.

    Args:
        columns: All of them.
        width: Characters of a line.
    """
    by_head = {column.head: column for column in columns}
    names = by_head["run"]
    taken = {head: by_head[head].width for head in ALWAYS if head != "run"}
    free = width - sum(taken.values()) - len(GAP) * len(taken)
    least = max(_distinct_width(names.cells), min(width // NAMES_SHARE, free))
    taken["run"] = min(names.width, least)
    optional = [head for head in NEXT if head in by_head]
    optional += [head for head in by_head if head not in (*ALWAYS, *optional)]
    for head in optional:
        needed = by_head[head].width
        if sum(taken.values()) + needed + len(GAP) * len(taken) <= width:
            taken[head] = needed
    spare = width - sum(taken.values()) - len(GAP) * (len(taken) - 1)
    room = max(least, taken["run"] + spare)
    return [
        Column("run", _shortened_apart(names.cells, room)) if column.head == "run" else column
        for column in columns
        if column.head in taken
    ]


def _shortened_apart(names: Sequence[str], width: int) -> tuple[str, ...]:
    """Names cut to a number of characters and still distinct; the cut is as near to the middle as that allows."""
    middle = (width - 2) // 2
    for kept in sorted(range(width - 2), key=lambda head: abs(head - middle)):
        short = tuple(shortened(name, width, kept) for name in names)
        if len(set(short)) == len(set(names)):
            return short
    return tuple(names)


def _distinct_width(names: Sequence[str]) -> int:
    """The smallest width, from SHORTEST up, at which shortened names are still distinct."""
    longest = max(map(len, names))
    return next((width for width in range(SHORTEST, longest) if _shortened_apart(names, width) != tuple(names)), longest)


def _columns(rows: Sequence[Row], everyone: Sequence[Row] | None = None, *, at_least: str) -> list[Column]:
    """All columns.

    Args:
        rows: The runs, a cell each.
        everyone: Those in which a choice must differ to be a column.
        at_least: What is before a Monte Carlo error that is a lower bound.
    """
    cells: dict[str, Callable[[Row], str]] = {"#": lambda row: str(row.rank), "run": lambda row: row.name}
    for name in CHOICES:
        if len(_values(rows if everyone is None else everyone, name)) > 1:
            cells[HEADS.get(name, name)] = lambda row, name=name: str(getattr(row, name))  # type: ignore[misc]  # bound now
    cells |= {
        "log evidence": lambda row: _log_evidence(row, at_least),
        "to the best": _difference,
        "ELBO": lambda row: f"{row.elbo:.3f}",
        "bits/dim": lambda row: f"{'<= ' if row.is_bound else ''}{row.bits_per_dim:.4f}",
        "ELBO gap": lambda row: f"{row.elbo_gap:.3f}",
        "active": lambda row: f"{row.active_units} of {row.latent_dim}",
        "parameters": lambda row: f"{row.parameters:,}",
        "seconds": lambda row: "" if row.seconds is None else f"{row.seconds:.0f}",
        "untrusted": lambda row: str(row.untrusted),
        "cannot tell": lambda row: str(row.cannot_tell),
    }
    return [Column(head, tuple(map(cell, rows))) for head, cell in cells.items()]


def _values(rows: Iterable[Row], name: str) -> set[object]:
    return {getattr(row, name) for row in rows}


def _log_evidence(row: Row, at_least: str) -> str:
    over_data = "" if row.standard_error is None else f" +- {row.standard_error:.3f}"
    least = at_least if row.monte_carlo_error_is == LOWER_BOUND else ""
    noise = "" if row.monte_carlo_error is None else f" [{least}{row.monte_carlo_error:.4f}]"
    return f"{row.log_evidence:.3f}{over_data}{noise}"


def _difference(row: Row) -> str:
    if row.rank == 1:
        return "best"
    error = "" if row.difference_error is None else f" +- {row.difference_error:.3f}"
    return f"{row.difference:.3f}{error}{'' if told_apart(row) else ' ~'}"


def notes(group: Group) -> list[str]:
    """The notes below a group, with options still to be spelled."""
    found = [group.why] if group.why else []
    if not all(map(told_apart, group.rows)):
        found.append("~ within two standard errors of the best: these data do not tell the two apart")
    bad = [row for row in group.rows if row.untrusted]
    if bad:
        worst = max(bad, key=lambda row: row.untrusted)
        most = f"{worst.name}, {worst.untrusted} of {worst.n}: {worst.untrusted_because}"
        found.append(
            f"untrusted (most: {most}): their log evidence is expected to be too low, by an unknown amount, and "
            f"its Monte Carlo error is larger than can be seen; try more {option('samples')}"
        )
    unclear = max(group.rows, key=lambda row: row.cannot_tell)
    if unclear.cannot_tell:
        found.append(
            f"cannot tell (most: {unclear.name}, {unclear.cannot_tell} of {unclear.n}): k-hat is too near its "
            f"limit, or the samples are too few for one; try more {option('samples')}"
        )
    return found


def _line(cells: Sequence[str]) -> str:
    return (GAP + GAP.join(cells)).rstrip()
