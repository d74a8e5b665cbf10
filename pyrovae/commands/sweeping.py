"""A grid of choices -> a run for each that is possible, and their league. What was trained before is not trained again."""

from __future__ import annotations

import csv
import io
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from pyrovae import runs
from pyrovae.commands.recipe import new_vae, resolved_objective, train
from pyrovae.comparison import Entry, League, Settings, rank, read_entry, shown, write_league
from pyrovae.data import Dataset
from pyrovae.errors import (
    UserError,
    check_each_once,
    check_flag,
    check_integer,
    check_path,
    check_seed,
    option_name,
    plain_option,
)
from pyrovae.objectives import KLSchedule
from pyrovae.parts import describe, make
from pyrovae.runs.binding import MAY_DIFFER
from pyrovae.runs.opening import Part, check_data, data_source, load_source
from pyrovae.system import files
from pyrovae.system.claims import Claim
from pyrovae.system.devices import device_name
from pyrovae.system.terminal import wrapped
from pyrovae.training.settings import check_objective, check_one_process, check_sizes, plain_settings
from pyrovae.vae import VAE

LISTED = ("likelihood", "prior", "posterior", "network", "context", "preprocess", "objective", "latent_dim", "seed")
"""What may be a list: the axes of the grid."""

SIZES = {"latent_dim": partial(check_integer, minimum=1), "seed": check_seed}
"""Those that are numbers and no parts."""

UNNAMED = {"posterior": "natural", "preprocess": "auto", "objective": "auto"}
"""What the choice that is made by itself is called."""

QUIET = {"posterior": "natural", "network": "mlp", "context": "none", "preprocess": "auto", "objective": "auto"}
QUIET_SIZES = {"latent_dim": (20, "z"), "seed": (0, "seed")}
"""Choices that the name of a run leaves out."""

IMPOSSIBLE = "impossible.csv"


@final
@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A point of the grid that has no place in the league.

    Args:
        choice: Axis -> what was chosen, as text.
        name: The same of the axes that vary.
        reason: One line.
    """

    choice: Mapping[str, str]
    name: str
    reason: str


@final
@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What ``sweep`` made.

    Args:
        out: Its folder.
        runs: The runs that are finished, in the order of the grid.
        trained: How many of them were trained by this call, from the start or on.
        refusals: The points of the grid that are impossible or failed.
        league: The runs ranked; None where it was interrupted or nothing could be trained.
        interrupted: Whether a signal (Ctrl-C, SIGTERM, SIGHUP) ended a training of it.
        signal: Number of that signal; None without one.
    """

    out: Path
    runs: tuple[Path, ...]
    trained: int
    refusals: tuple[Refusal, ...]
    league: League | None
    interrupted: bool
    signal: int | None = None

    def report(self, *, wide: bool = False) -> str:
        """The league, what was impossible, and where both were written, for a terminal.

        Args:
            wide: All columns of the league, however long its lines become.
        """
        if self.interrupted:
            return f"interrupted after {len(self.runs)} runs; the same command goes on"
        lines = [self.league.table(wide=wide)]
        if self.refusals:
            lines += ["", f"not in the league ({self.out / IMPOSSIBLE}):"]
            lines += [wrapped(f"  {', '.join(names)}: {reason}", 4) for reason, names in self._reasons().items()]
        written = ", ".join(f"league.{ending}" for ending in ("csv", "json", "png"))
        return "\n".join([*lines, "", f"{len(self.runs)} runs, {self.trained} trained now; {self.out}: {written}"])

    def _reasons(self) -> dict[str, list[str]]:
        """Each reason once, with the points of the grid that it holds for."""
        names: dict[str, list[str]] = {}
        for refusal in self.refusals:
            names.setdefault(refusal.reason, []).append(refusal.name)
        return names


@final
@dataclass(frozen=True, kw_only=True)
class _Point:
    """A point of the grid: axis -> value, the same as text, and the axes that have several values."""

    values: Mapping[str, Any]
    texts: Mapping[str, str]
    varying: tuple[str, ...]

    @property
    def name(self) -> str:
        """What is chosen on the axes that vary."""
        return " ".join(f"{axis}={self.texts[axis]}" for axis in self.varying)

    def refused(self, error: UserError) -> Refusal:
        """Why it has no place in the league."""
        return Refusal(choice=self.texts, name=self.name, reason=str(error))

    @property
    def folder(self) -> str:
        """A name that depends on what was chosen here only, so that a grid may grow."""
        words = [self.texts["likelihood"], self.texts["prior"]]
        words += [self.texts[axis] for axis, usual in QUIET.items() if self.texts[axis] != usual]
        words += [f"{mark}{self.values[axis]}" for axis, (usual, mark) in QUIET_SIZES.items() if self.values[axis] != usual]
        return "-".join(re.sub(r"[^\w.=+]+", ",", word) for word in words)


def sweep(
    data: Part = "digits",
    likelihood: Part | Sequence[Part] = "bernoulli",
    prior: Part | Sequence[Part] = "normal",
    posterior: Part | Sequence[Part] | None = None,
    network: Part | Sequence[Part] = "mlp",
    context: Part | Sequence[Part] = "none",
    preprocess: Part | Sequence[Part] = "auto",
    objective: Part | Sequence[Part] = "auto",
    latent_dim: int | Sequence[int] = 20,
    particles: int = 1,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    clip_norm: float = 10.0,
    kl_weight: float = 1.0,
    kl_warmup: float = 0.0,
    patience: int = 0,
    seed: int | Sequence[int] = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    tensorboard: bool = False,
    samples: int = 500,
    split: str = "test",
    limit: int | None = None,
    dequantisations: int = 4,
    progress: bool = True,
) -> SweepResult:
    """Train every combination of the choices that are lists, and rank the runs.

    Each combination has its own run in ``out``. Called again, runs that are finished are left as they are and an interrupted one
    goes on. Combinations that cannot go together are told with their reason, before anything is trained.

    Args:
        data: What to learn from: a name, or the path of a .npy, .npz or .csv file or of a folder of pictures.
        likelihood: p(x|z,c): one or several, as for all that follow: normal,beta on the command line, a list in Python.
        prior: p(z) or p(z|c).
        posterior: q(z|x,c); by default each prior's natural one.
        network: Encoder and decoder.
        context: What the model is conditioned on, c.
        preprocess: Data -> what the likelihood needs; ``auto`` takes what it wants for the kind of data.
        objective: What is minimised; ``auto`` is elbo, or tracegraph where the posterior has no pathwise gradient.
        latent_dim: Size of z; one or several.
        particles: Samples of z a datum in a step; this and what follows is one for all.
        epochs: Passes over the training data; more than before goes on with every run.
        batch_size: Data in a step.
        learning_rate: Of Adam.
        clip_norm: Largest global norm of the gradient of the mean loss; 0 for no clipping.
        kl_weight: Factor on the KL term while training; reported numbers have weight 1.
        kl_warmup: Epochs over which that factor rises from 0.
        patience: Stop after that many epochs without a better validation ELBO; 0 for never.
        seed: Of the initial weights, the order of the data and all noise of the training; one or several.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data; by default PYROVAE_DATA, or else the user's cache folder.
        out: The folder of the sweep: a run for each combination, league.csv, league.json, league.png and impossible.csv.
        tensorboard: Write the columns of metrics.csv as TensorBoard events too, into tensorboard/ in each run.
        samples: Samples of z a datum, for the evidence.
        split: Data that the runs are ranked on: train, valid, test or all.
        limit: At most that many of them, a seeded random subset.
        dequantisations: Draws of the uniform noise a datum, where levels are dequantised.
        progress: Say on stderr what is being trained, with a progress bar, or a line an epoch where it is no terminal.

    Raises:
        UserError: If an option is wrong, a run in ``out`` was trained with other options, no combination can be trained, another
            process is at work there, or torchrun started several.
    """
    check_one_process()
    if out is None:
        raise UserError("--out: needs a folder for the runs of the sweep, such as --out runs/sweep")
    folder = check_path("out", out, "a folder for the runs of the sweep, such as runs/sweep")
    settings = Settings(samples=samples, split=split, limit=limit, dequantisations=dequantisations)
    files.check_writable(folder, "out")
    numbers = plain_settings(
        particles=particles,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        clip_norm=clip_norm,
        kl_weight=kl_weight,
        kl_warmup=kl_warmup,
        patience=patience,
        seed=0,
    )
    fixed = {
        "data": data,
        **{key: value for key, value in numbers.items() if key != "seed"},
        "device": device_name(device),
        "data_root": None if data_root is None else str(check_path("data_root", data_root, "a folder")),
        "tensorboard": check_flag("tensorboard", tensorboard),
    }
    axes = (likelihood, prior, posterior, network, context, preprocess, objective, latent_dim, seed)
    points = _grid(dict(zip(LISTED, axes, strict=True)))
    with Claim(folder):
        return _swept(points, fixed, settings, folder, progress)


def _swept(points: Sequence[_Point], fixed: Mapping[str, Any], settings: Settings, folder: Path, progress: bool) -> SweepResult:
    earlier = _earlier(folder, points)
    source = data_source(fixed["data"])
    if not source.can_be_named:
        remedy = "give a name, or a path such as that of what np.save(path, array) writes"
        raise UserError("data", fixed["data"], "the runs of a sweep cannot find data in memory again", remedy)
    dataset = load_source(source, fixed["data_root"])
    dataset.split(settings.split)
    check_sizes(fixed["patience"], dataset)
    possible, refusals = _checked(points, fixed, dataset, folder)
    finished, trained, signal = _trained(possible, refusals, fixed, folder, progress)
    made = {"out": folder, "runs": tuple(finished), "trained": trained}
    if signal is not None:
        return SweepResult(**made, refusals=tuple(refusals), league=None, interrupted=True, signal=signal)
    entries = _entries(finished, refusals, settings, fixed["device"], fixed["data_root"], progress)
    with files.said_if_unwritten():
        _write_refusals(folder, [*earlier, *refusals])
    if not entries:
        reasons = "; ".join(dict.fromkeys(refusal.reason for refusal in refusals))
        raise UserError(f"sweep: none of {len(points)} combinations can be trained and ranked: {reasons}")
    league = rank(entries, settings)
    with files.said_if_unwritten():
        write_league(league, folder)
    return SweepResult(**made, refusals=tuple(refusals), league=league, interrupted=False)


def _grid(axes: Mapping[str, Any]) -> list[_Point]:
    """Every combination, each value made or refused first, so that a typing error is no impossible combination."""
    values, texts = {}, {}
    for axis, given in axes.items():
        given = plain_option(axis, given)
        values[axis] = [_value(axis, one) for one in (given if isinstance(given, list | tuple) else [given])]
        texts[axis] = [_text(axis, value) for value in values[axis]]
        if not values[axis]:
            raise UserError(f"{option_name(axis)}: needs at least one value")
        check_each_once(axis, texts[axis])
    varying = tuple(axis for axis in axes if len(values[axis]) > 1) or ("likelihood", "prior")
    combinations = itertools.product(*(zip(values[axis], texts[axis], strict=True) for axis in axes))
    return [
        _Point(
            values={axis: value for axis, (value, _) in zip(axes, point, strict=True)},
            texts={axis: text for axis, (_, text) in zip(axes, point, strict=True)},
            varying=varying,
        )
        for point in combinations
    ]


def _value(axis: str, value: Any) -> Any:
    return SIZES[axis](axis, value) if axis in SIZES else value


def _text(axis: str, value: Any) -> str:
    if axis in SIZES:
        return str(value)
    if value in (None, "auto") and axis in UNNAMED:
        return UNNAMED[axis]
    return shown(axis, describe(axis, make(axis, value)))


def _checked(
    points: Sequence[_Point], fixed: Mapping[str, Any], dataset: Dataset, out: Path
) -> tuple[list[_Point], list[Refusal]]:
    """The points that can be trained, and the others with their reason.

    Raises:
        UserError: If a run was trained otherwise before, or an option is out of range.
    """
    possible, refusals = [], []
    for point in points:
        objective = resolved_objective(*(point.values[axis] for axis in ("objective", "prior", "posterior")))
        seed = point.values["seed"]
        try:
            vae = _model(point, dataset)
            check_objective(vae, objective, KLSchedule(weight=fixed["kl_weight"], warmup=fixed["kl_warmup"]), fixed["particles"])
        except UserError as error:
            refusals.append(point.refused(error))
            continue
        if (out / point.folder / runs.CONFIG).is_file():
            chosen = {**vae.config(), "objective": describe("objective", objective), "seed": seed}
            _check_same(out / point.folder, {**{k: v for k, v in fixed.items() if k != "data"}, **chosen}, dataset)
        possible.append(point)
    return possible, refusals


def _model(point: _Point, dataset: Dataset) -> VAE:
    """The model of a point, built on the data; it is not the one that is trained.

    Raises:
        UserError: If its parts, or they and the data, do not fit each other, or it has no evidence to be ranked by.
    """
    parts = ("likelihood", "prior", "posterior", "network", "context", "preprocess")
    vae = new_vae(dataset, point.values["seed"], point.values["latent_dim"], *(point.values[axis] for axis in parts))
    if not vae.parts["posterior"].has_density:
        raise UserError(
            f"--posterior {point.texts['posterior']}: a plain autoencoder has no evidence to be ranked by; use pyrovae train"
        )
    return vae


def _check_same(folder: Path, given: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuse a run that was trained with other options or other data.

    Raises:
        UserError: Naming the option.
    """
    config = runs.read_config(folder)
    for key, now in given.items():
        if key in config and key not in MAY_DIFFER and config[key] != now:
            raise UserError(
                f"{folder}: was trained with {option_name(key)} {config[key]}, now {now}; give what it was trained with, "
                "or another --out"
            )
    check_data(config, dataset, f"--out {folder}", "give another --out")
    state = runs.load_state(folder)
    if state is not None and given["epochs"] < state.epoch:
        raise UserError(
            f"--epochs {given['epochs']}: {folder} has finished {state.epoch} already; ask for more, or another --out"
        )


def _is_finished(folder: Path, epochs: int, patience: int) -> bool:
    state = runs.load_state(folder)
    if state is None or state.worse:  # training goes on to say so
        return False
    return state.epoch >= epochs or bool(patience and state.epoch - state.best_epoch >= patience)


def _trained(
    points: Sequence[_Point],
    refusals: list[Refusal],
    fixed: Mapping[str, Any],
    out: Path,
    progress: bool,
) -> tuple[dict[Path, _Point], int, int | None]:
    """The finished runs, how many were trained now, and the signal that ended it; a run that fails becomes a refusal."""
    finished, trained = {}, 0
    for number, point in enumerate(points, 1):
        folder = out / point.folder
        line = f"{number} of {len(points)}: {point.name}"
        exists = (folder / runs.CONFIG).is_file()
        if exists and _is_finished(folder, fixed["epochs"], fixed["patience"]):
            finished[folder] = point
            _say(f"{line}: finished before", progress)
            continue
        _say(f"{line}{': going on' if exists else ''}", progress)
        try:
            result = train(**fixed, **point.values, out=str(folder), resume=exists, progress=progress)
        except UserError as error:
            refusals.append(point.refused(error))
            _say(f"  {error}", progress)
            continue
        trained += 1
        if result.fit.interrupted:
            return finished, trained, result.fit.signal
        finished[folder] = point
        _say("\n".join(f"  {text}" for text in result.report().splitlines()[:1]), progress)
    return finished, trained, None


def _say(text: str, progress: bool) -> None:
    if progress:
        with suppress(OSError):  # a log that is full does not end what it is the log of
            print(text, file=sys.stderr, flush=True)


def _entries(
    finished: Mapping[Path, _Point],
    refusals: list[Refusal],
    settings: Settings,
    device: str,
    data_root: str | None,
    progress: bool,
) -> list[Entry]:
    """The numbers of the finished runs; one that cannot be evaluated becomes a refusal."""
    entries = []
    for number, (folder, point) in enumerate(finished.items(), 1):
        _say(f"evaluating {number} of {len(finished)}: {point.name}", progress)
        try:
            entries.append(read_entry(folder, settings, device, data_root))
        except UserError as error:
            refusals.append(point.refused(error))
    return entries


def _earlier(out: Path, points: Sequence[_Point]) -> list[Refusal]:
    """What earlier sweeps in the folder refused and this one does not try.

    Raises:
        UserError: If the file of them is not what a sweep writes.
    """
    path = out / IMPOSSIBLE
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        if any(None in (*row, *row.values()) for row in rows):
            raise csv.Error("a line has other cells than the first")
        found = [Refusal(choice={axis: row[axis] for axis in LISTED}, name="", reason=row["reason"]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise UserError(f"{path}: is not what a sweep writes; remove it, or give another --out") from error
    tried = [point.texts for point in points]
    return [refusal for refusal in found if refusal.choice not in tried]


def _write_refusals(out: Path, refusals: Sequence[Refusal]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*LISTED, "reason"])
    writer.writerows([*(refusal.choice[axis] for axis in LISTED), refusal.reason] for refusal in refusals)
    files.write_whole(out / IMPOSSIBLE, text.getvalue().encode())
