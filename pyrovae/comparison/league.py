"""A league: groups of runs whose numbers are the same quantity, each ranked by log evidence."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, final

from torch import Tensor

from pyrovae.comparison.entries import Entry, Measure, Settings
from pyrovae.contracts import Evidence
from pyrovae.drawing import plots
from pyrovae.evidence.reports.evaluation import why_untrusted
from pyrovae.evidence.reports.trust import LOWER_BOUND
from pyrovae.system import files

OF = ("probability", "density", "bits")
"""What numbers can be of, in the order of the groups."""

WHAT = {
    "probability": "probability of the data as they were given",
    "density": "density of real data, in their units",
    "bits": "probability of bits that were made of the data",
}
WHY = {
    "probability": (
        "exact probabilities and bounds by dequantisation are of the same data: a bound that is ahead is really ahead, "
        "one that is behind (<=) may not be"
    ),
    "density": "densities of reals are no probabilities, and change with the units: compared among themselves only",
    "bits": (
        "binarised data are another data set than the levels: compared among themselves only, every run on the same bits, "
        "drawn by seed and datum"
    ),
}
UNITS = "nats per datum, higher is better; +- standard error over data, [Monte Carlo error]; differences are paired"
WHY_GIVEN = "log p(x|c) is told what c is: another quantity than log p(x), compared among models that are told the same"


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """A run in a league: nats per datum, in the units of the data that was given.

    Args:
        group: Title of the group that it is ranked in.
        rank: From 1, by log evidence.
        name: The run's folder, as short as it is told from the others.
        run: The run's folder.
        likelihood: Name and options that are not the defaults; likewise the other parts.
        prior: As above.
        posterior: As above.
        context: As above.
        network: As above.
        preprocess: As above.
        objective: As above.
        latent_dim: Number of latents.
        seed: Of the training.
        n: Number of data that were scored.
        log_evidence: Mean over data, higher is better.
        standard_error: Of that mean over data; None for one datum.
        monte_carlo_error: Of the estimator, the data held fixed; None where it is undefined.
        difference: log_evidence - that of the group's best, 0 for the best.
        difference_error: Standard error of that mean of paired differences, s / sqrt(n); None for one datum and for the best.
        bits_per_dim: -log_evidence / (elements log 2), lower is better.
        bits_per_dim_kind: ``exact``, ``density``, ``dequantisation bound`` or ``binarised``.
        is_bound: Whether log_evidence is a lower bound by dequantisation.
        elbo: Mean over data.
        elbo_gap: log_evidence - elbo.
        active_units: Latents whose posterior mean has a variance over data above 0.01.
        parameters: Number of trained parameters.
        epochs: Of training.
        seconds: Of training; None where no epoch is recorded.
        monte_carlo_error_is: ``estimate``, or ``lower bound`` where data are not to be trusted, whose error is larger.
        untrusted: Data whose log evidence is not to be trusted.
        untrusted_because: Why, in words; empty where there are none.
        cannot_tell: Data of which their diagnostics cannot tell.
    """

    group: str
    rank: int
    name: str
    run: str
    likelihood: str
    prior: str
    posterior: str
    context: str
    network: str
    preprocess: str
    objective: str
    latent_dim: int
    seed: int
    n: int
    log_evidence: float
    standard_error: float | None
    monte_carlo_error: float | None
    difference: float
    difference_error: float | None
    bits_per_dim: float
    bits_per_dim_kind: str
    is_bound: bool
    elbo: float
    elbo_gap: float
    active_units: int
    parameters: int
    epochs: int
    seconds: float | None
    monte_carlo_error_is: str
    untrusted: int
    untrusted_because: str
    cannot_tell: int


@final
@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs whose numbers are the same quantity of the same data.

    Args:
        title: The quantity.
        why: Why these are ranked together and others are not.
        rows: The runs, best first.
    """

    title: str
    why: str
    rows: tuple[Row, ...]


@final
@dataclass(frozen=True, kw_only=True)
class League:
    """Runs on the same data, ranked in groups.

    Args:
        data: Name or path of the data.
        split: Which of them were scored.
        n: How many.
        samples: Samples of z a datum.
        seed: Of the evaluation.
        groups: Each with its own ranking.
    """

    data: str
    split: str
    n: int
    samples: int
    seed: int
    groups: tuple[Group, ...]

    @property
    def rows(self) -> list[Row]:
        """All runs, group by group, best first."""
        return [row for group in self.groups for row in group.rows]

    def to_json(self) -> str:
        """The fields as JSON; a number that is not finite becomes null."""
        return json.dumps(_finite(asdict(self)), indent=2) + "\n"

    def to_csv(self) -> str:
        """A line a run, every number to its last digit; what is not known is empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        return text.getvalue()

    def table(self) -> str:
        """The league for a terminal."""
        lines = [self._heading()]
        for group in self.groups:
            lines += ["", group.title, *_aligned(_cells(group, self.rows)), *(f"  {note}" for note in _notes(group))]
        return "\n".join([*lines, "", UNITS])

    def markdown(self) -> str:
        """The league for a Markdown page."""
        parts = [self._heading().replace("\n", "; ") + f". {UNITS[0].upper()}{UNITS[1:]}."]
        for group in self.groups:
            head, *rows = _cells(group, self.rows)
            lines = [head, ["---"] * len(head), *rows]
            parts.append(f"**{group.title}**")
            parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines))
            parts += [f"{note[0].upper()}{note[1:]}." for note in _notes(group)]
        return "\n\n".join(parts).replace("+-", "±")

    def _heading(self) -> str:
        shared = [text.format(values.pop()) for name, text in CHOICES.items() if len(values := _values(self.rows, name)) == 1]
        about = f"{self.data}, {self.split}, {self.n} data; {self.samples} samples a datum, seed {self.seed}"
        return f"{about}\nthe same in all: {', '.join(shared)}" if shared else about


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
"""What was chosen for a run: a column where it differs, said once where it does not."""


def rank(entries: Sequence[Entry], settings: Settings) -> League:
    """The league of runs on the same data.

    Args:
        entries: The runs.
        settings: How they were evaluated.
    """
    names = _names([entry.folder for entry in entries])
    measures = sorted({entry.measure for entry in entries}, key=lambda m: (OF.index(m.of), m.quantity, m.detail))
    groups = []
    for measure in measures:
        members = [(name, entry) for name, entry in zip(names, entries, strict=True) if entry.measure == measure]
        members.sort(key=lambda member: -_evidence(member[1]).mean)
        best, title = members[0][1], _title(measure)
        rows = tuple(_row(title, place, name, entry, best) for place, (name, entry) in enumerate(members, 1))
        groups.append(Group(title=title, why=_why(measure, rows), rows=rows))
    first = entries[0].evaluation
    return League(
        data=first.data, split=first.split, n=first.n, samples=settings.samples, seed=settings.seed, groups=tuple(groups)
    )


def write_league(league: League, folder: Path) -> list[Path]:
    """Write league.csv, league.json and league.png into a folder.

    Raises:
        UserError: If they cannot be written.
    """
    panels = {group.title: [_drawn(row) for row in group.rows] for group in league.groups}
    contents = {
        "league.csv": league.to_csv().encode(),
        "league.json": league.to_json().encode(),
        "league.png": plots.png(plots.league(panels)),
    }
    for name, content in contents.items():
        files.write_whole(folder / name, content)
    return [folder / name for name in contents]


def _evidence(entry: Entry) -> Evidence:
    arrays = entry.evaluation.per_datum
    return Evidence(estimate=arrays["estimate"], monte_carlo_error=arrays["monte_carlo_error"])


def paired_error(first: Tensor, second: Tensor) -> float | None:
    """Standard error of the mean of first - second over the same data, s / sqrt(n); None for one datum.

    Args:
        first: A number a datum, (n,).
        second: Of the same data in the same order, (n,).
    """
    differences = first - second
    return (differences.std() / math.sqrt(len(differences))).item() if len(differences) > 1 else None


def _row(title: str, place: int, name: str, entry: Entry, best: Entry) -> Row:
    found, top, evaluation = _evidence(entry), _evidence(best), entry.evaluation
    elbo = evaluation.per_datum["elbo"].mean().item()
    return Row(
        group=title,
        rank=place,
        name=name,
        run=str(entry.folder),
        **entry.parts,
        latent_dim=entry.latent_dim,
        seed=entry.seed,
        n=evaluation.n,
        log_evidence=found.mean,
        standard_error=found.standard_error,
        monte_carlo_error=found.mean_monte_carlo_error,
        difference=0.0 if entry is best else found.mean - top.mean,
        difference_error=None if entry is best else paired_error(found.estimate, top.estimate),
        bits_per_dim=-found.mean / entry.size / math.log(2),
        bits_per_dim_kind=evaluation.bits_per_dim_kind,
        is_bound=entry.is_bound,
        elbo=elbo,
        elbo_gap=found.mean - elbo,
        active_units=evaluation.active_units,
        parameters=entry.parameters,
        epochs=entry.epochs,
        seconds=entry.seconds,
        monte_carlo_error_is=evaluation.log_evidence["monte_carlo_error_is"],
        untrusted=evaluation.untrusted,
        untrusted_because=why_untrusted(evaluation) if evaluation.untrusted else "",
        cannot_tell=evaluation.cannot_tell,
    )


def _title(measure: Measure) -> str:
    return f"{measure.quantity}: {WHAT[measure.of]}" + (f" ({measure.detail})" if measure.detail else "")


def _why(measure: Measure, rows: Sequence[Row]) -> str:
    reasons = [WHY_GIVEN] if measure.quantity != "log p(x)" else []
    if measure.of != "probability" or any(row.is_bound for row in rows):
        reasons.append(WHY[measure.of])
    return "; ".join(reasons)


def _names(folders: Sequence[Path]) -> list[str]:
    """As many of the last parts of each path as tell all of them apart."""
    paths = [folder.resolve().parts for folder in folders]
    depth = next(k for k in range(1, max(map(len, paths)) + 1) if len({path[-k:] for path in paths}) == len(paths))
    return ["/".join(path[-depth:]) for path in paths]


def _values(rows: Iterable[Row], name: str) -> set[Any]:
    return {getattr(row, name) for row in rows}


def told_apart(row: Row) -> bool:
    """Whether a run is more than two standard errors behind the best of its group."""
    return row.difference_error is None or abs(row.difference) > 2 * row.difference_error


def _cells(group: Group, everyone: Sequence[Row]) -> list[list[str]]:
    """The group as a table of texts, the heads first."""
    columns: dict[str, Callable[[Row], str]] = {"#": lambda row: str(row.rank), "run": lambda row: row.name}
    for name in CHOICES:
        if len(_values(everyone, name)) > 1:
            columns[{"latent_dim": "latents"}.get(name, name)] = lambda row, name=name: str(getattr(row, name))
    columns |= {
        "log evidence": _log_evidence,
        "to the best": _difference,
        "bits/dim": lambda row: f"{'<= ' if row.is_bound else ''}{row.bits_per_dim:.4f}",
        "ELBO gap": lambda row: f"{row.elbo_gap:.3f}",
        "active": lambda row: f"{row.active_units} of {row.latent_dim}",
        "parameters": lambda row: f"{row.parameters:,}",
        "seconds": lambda row: "" if row.seconds is None else f"{row.seconds:.0f}",
        "untrusted": lambda row: str(row.untrusted),
        "cannot tell": lambda row: str(row.cannot_tell),
    }
    return [list(columns), *([cell(row) for cell in columns.values()] for row in group.rows)]


def _log_evidence(row: Row) -> str:
    over_data = "" if row.standard_error is None else f" +- {row.standard_error:.3f}"
    least = "at least " if row.monte_carlo_error_is == LOWER_BOUND else ""
    noise = "" if row.monte_carlo_error is None else f" [{least}{row.monte_carlo_error:.4f}]"
    return f"{row.log_evidence:.3f}{over_data}{noise}"


def _difference(row: Row) -> str:
    if row.rank == 1:
        return "best"
    error = "" if row.difference_error is None else f" +- {row.difference_error:.3f}"
    return f"{row.difference:.3f}{error}{'' if told_apart(row) else ' ~'}"


def _notes(group: Group) -> list[str]:
    notes = [group.why] if group.why else []
    if not all(map(told_apart, group.rows)):
        notes.append("~ within two standard errors of the best: these data do not tell the two apart")
    bad = [row for row in group.rows if row.untrusted]
    if bad:
        worst = max(bad, key=lambda row: row.untrusted)
        most = f"{worst.name}, {worst.untrusted} of {worst.n}: {worst.untrusted_because}"
        notes.append(
            f"untrusted (most: {most}): their log evidence is expected to be too low, by an unknown amount, and its Monte Carlo "
            "error is larger than can be seen; try more --samples"
        )
    unclear = max(group.rows, key=lambda row: row.cannot_tell)
    if unclear.cannot_tell:
        notes.append(
            f"cannot tell (most: {unclear.name}, {unclear.cannot_tell} of {unclear.n}): k-hat is too near its limit, or the "
            "samples are too few for one; try more --samples"
        )
    return notes


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _drawn(row: Row) -> dict[str, Any]:
    return {"name": f"{row.rank}  {row.name}", "difference": row.difference, "error": row.difference_error, "bound": row.is_bound}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
