"""Trains a run for each possible point of a grid of options and ranks them; finished runs are not trained again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack, final

from pyrovae import runs
from pyrovae.commands.grid import LISTED, Point, Refusal, grid_of
from pyrovae.commands.recipe import arguments_of, new_vae, resolved_objective, train
from pyrovae.commands.refusals import IMPOSSIBLE, earlier_refusals, write_refusals
from pyrovae.comparison import Entry, League, Settings, rank, read_entry, write_league
from pyrovae.data import Dataset
from pyrovae.errors import UserError, check_flag, check_path, command, in_python, one_line, option
from pyrovae.parts import Choice, describe
from pyrovae.runs.binding import MAY_DIFFER, with_newer
from pyrovae.runs.opening import DataLike, check_data, data_source, load_source
from pyrovae.system import files
from pyrovae.system.claims import Claim
from pyrovae.system.devices import device_name
from pyrovae.system.terminal import wrapped
from pyrovae.training.checks import check_objective, check_one_process, check_sizes
from pyrovae.training.settings import SharedOptions, Training, chosen_training
from pyrovae.training.state import check_goes_on
from pyrovae.vae import VAE


@final
@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The result of ``sweep``.

    Args:
        out: The folder of the sweep.
        runs: The finished runs, in the order of the grid.
        trained: How many of them this call trained, from the start or by resuming.
        refusals: The points of the grid that are impossible or failed.
        league: The ranked runs; None if the sweep was interrupted or nothing could be trained.
        interrupted: Whether a signal (Ctrl-C, SIGTERM, SIGHUP) stopped a training.
        signal: Number of that signal; None if there was none.
    """

    out: Path
    runs: tuple[Path, ...]
    trained: int
    refusals: tuple[Refusal, ...]
    league: League | None
    interrupted: bool
    signal: int | None = None

    def report(self, *, wide: bool = False, spell: Callable[[str], str] = in_python) -> str:
        """The league, the impossible combinations, and the files they were written to, for a terminal.

        Args:
            wide: Show all columns of the league, however long the lines are.
            spell: Spells the options in the reasons, as in Python or as flags.
        """
        if self.interrupted:
            return f"interrupted after {len(self.runs)} runs; the same command goes on"
        lines = [] if self.league is None else [self.league.table(wide=wide, spell=spell)]
        if self.refusals:
            lines += ["", f"not in the league ({self.out / IMPOSSIBLE}):"]
            lines += [wrapped(spell(f"  {', '.join(names)}: {reason}"), 4) for reason, names in self._reasons(spell).items()]
        written = ", ".join(f"league.{ending}" for ending in ("csv", "json", "png"))
        return "\n".join([*lines, "", f"{len(self.runs)} runs, {self.trained} trained now; {self.out}: {written}"])

    def _reasons(self, spell: Callable[[str], str]) -> dict[str, list[str]]:
        """Each reason once, with the grid points to which it applies."""
        names: dict[str, list[str]] = {}
        for refusal in self.refusals:
            names.setdefault(one_line(spell(refusal.said)), []).append(refusal.name)
        return names


def sweep(
    data: DataLike = "digits",
    likelihood: Choice | Sequence[Choice] = "bernoulli",
    prior: Choice | Sequence[Choice] = "normal",
    posterior: Choice | Sequence[Choice] | None = None,
    network: Choice | Sequence[Choice] = "mlp",
    context: Choice | Sequence[Choice] = "none",
    preprocess: Choice | Sequence[Choice] = "auto",
    objective: Choice | Sequence[Choice] = "auto",
    latent_dim: int | Sequence[int] = 20,
    seed: int | Sequence[int] | None = None,
    training: Training | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    tensorboard: bool = False,
    samples: int = 500,
    split: str = "test",
    limit: int | None = None,
    dequantisations: int = 4,
    progress: bool = True,
    **settings: Unpack[SharedOptions],
) -> SweepResult:
    """Train every combination of the options that are given as lists, and rank the runs.

    Each combination has its own run in ``out``. When called again, it keeps the finished runs and resumes an interrupted one.
    Impossible combinations are refused, with the reason, before anything is trained.

    Args:
        data: The data set: a name, or the path of a .npy, .npz or .csv file or of a folder of pictures.
        likelihood: p(x|z,c); like the options below, one or several: normal,beta on the command line, a list in Python.
        prior: p(z) or p(z|c).
        posterior: q(z|x,c); by default each prior's natural one.
        network: Encoder and decoder.
        context: c, what the model is conditioned on.
        preprocess: How data are prepared for the likelihood; ``auto`` takes what it needs for the kind of data.
        objective: The loss; ``auto`` means elbo, or tracegraph if the posterior has no pathwise gradient.
        latent_dim: Size of z; one or several.
        seed: Seed of the initial weights, the order of the data and all noise of the training; one or several; by default that
            of ``training``.
        training: Settings of every training, such as ``Training(epochs=3)``; more epochs than before resume every run.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data; by default PYROVAE_DATA, or else the user's cache folder.
        out: The folder of the sweep: a run for each combination, league.csv, league.json, league.png and impossible.csv.
        tensorboard: Write the columns of metrics.csv as TensorBoard events too, into tensorboard/ in each run.
        samples: Samples of z per datum, for the evidence.
        split: The data on which the runs are ranked: train, valid, test or all.
        limit: At most that many data, a seeded random subset.
        dequantisations: Draws of the uniform noise per datum, where levels are dequantised.
        progress: Show on stderr what is being trained, with a progress bar, or one line per epoch if stderr is not a terminal.
        settings: Fields of ``Training`` as keywords instead of ``training``: ``sweep(epochs=3)``.

    Raises:
        UserError: If an option is wrong, a run in ``out`` was trained with other options, no combination can be trained, another
            process is using the folder, or torchrun started several processes.
    """
    check_one_process()
    if out is None:
        raise UserError(None, option("out"), f"needs a folder for the runs of the sweep, such as {option('out', 'runs/sweep')}")
    folder = check_path("out", out, "a folder for the runs of the sweep, such as runs/sweep")
    ranking = Settings(samples=samples, split=split, limit=limit, dequantisations=dequantisations)
    files.check_writable(folder, "out")
    plan = _Plan(
        data=data,
        training=chosen_training(training, settings, arguments_of(sweep)),
        device=device_name(device),
        data_root=None if data_root is None else str(check_path("data_root", data_root, "a folder")),
        tensorboard=check_flag("tensorboard", tensorboard),
        out=folder,
        progress=check_flag("progress", progress),
    )
    seeds = plan.training.seed if seed is None else seed
    axes = (likelihood, prior, posterior, network, context, preprocess, objective, latent_dim, seeds)
    points = grid_of(dict(zip(LISTED, axes, strict=True)))
    with Claim(folder):
        return _swept(points, plan, ranking)


@final
@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is the same for all points."""

    data: DataLike
    training: Training
    device: str
    data_root: str | None
    tensorboard: bool
    out: Path
    progress: bool

    def training_of(self, point: Point) -> Training:
        """The training settings of a point, with the point's own seed."""
        return replace(self.training, seed=point.values["seed"])

    def say(self, text: str) -> None:
        """Print a line on stderr, unless progress is off."""
        if self.progress:
            with suppress(OSError):  # a failure to write the log must not end the sweep
                print(text, file=sys.stderr, flush=True)


def _swept(points: Sequence[Point], plan: _Plan, ranking: Settings) -> SweepResult:
    earlier = earlier_refusals(plan.out, points)
    source = data_source(plan.data)
    if not source.can_be_named:
        remedy = "give a name, or a path such as that of what np.save(path, array) writes"
        raise UserError("data", plan.data, "the runs of a sweep cannot find data in memory again", remedy)
    dataset = load_source(source, plan.data_root)
    dataset.split(ranking.split)
    check_sizes(plan.training, dataset)
    possible, refusals = _checked(points, plan, dataset)
    finished, trained, signal = _trained(possible, refusals, plan)
    made: dict[str, Any] = {"out": plan.out, "runs": tuple(finished), "trained": trained}
    if signal is not None:
        return SweepResult(**made, refusals=tuple(refusals), league=None, interrupted=True, signal=signal)
    entries = _entries(finished, refusals, plan, ranking)
    with files.said_if_unwritten():
        write_refusals(plan.out, [*earlier, *refusals])
    if not entries:
        reasons = "; ".join(dict.fromkeys(refusal.said for refusal in refusals))
        raise UserError(None, "sweep", f"none of {len(points)} combinations can be trained and ranked: {reasons}")
    league = rank(entries, ranking)
    with files.said_if_unwritten():
        write_league(league, plan.out)
    return SweepResult(**made, refusals=tuple(refusals), league=league, interrupted=False)


def _checked(points: Sequence[Point], plan: _Plan, dataset: Dataset) -> tuple[list[Point], list[Refusal]]:
    """The points that can be trained, and refusals of the others with the reason.

    Raises:
        UserError: If a run was trained with other options before, or an option is out of range.
    """
    possible, refusals = [], []
    for point in points:
        objective = resolved_objective(*(point.values[axis] for axis in ("objective", "prior", "posterior")))
        training = plan.training_of(point)
        try:
            vae = _model(point, dataset)
            check_objective(vae, objective, training)
        except UserError as error:
            refusals.append(point.refused(error))
            continue
        if (plan.out / point.folder / runs.CONFIG).is_file():
            given = {**vae.config(), "objective": describe("objective", objective), **training.options()}
            _check_same(plan.out / point.folder, given, training, dataset)
        possible.append(point)
    return possible, refusals


def _model(point: Point, dataset: Dataset) -> VAE:
    """Build the model of a point on the data, as a check; another instance is trained.

    Raises:
        UserError: If its parts do not fit each other or the data, or it has no evidence to be ranked by.
    """
    roles = ("likelihood", "prior", "posterior", "network", "context", "preprocess")
    vae = new_vae(dataset, point.values["seed"], point.values["latent_dim"], **{role: point.values[role] for role in roles})
    if not vae.parts["posterior"].has_density:
        raise UserError(
            "posterior",
            point.texts["posterior"],
            "a plain autoencoder has no evidence to be ranked by",
            f"use {command('train')}",
        )
    return vae


def _check_same(folder: Path, given: Mapping[str, Any], training: Training, dataset: Dataset) -> None:
    """Refuse a run that was trained with other options or other data.

    Raises:
        UserError: If it was; the message names the option.
    """
    config = with_newer(runs.read_config(folder))
    for key, now in given.items():
        if key in config and key not in MAY_DIFFER and config[key] != now:
            raise UserError(
                None,
                folder,
                f"was trained with {option(key, config[key])}, now {now}",
                f"give what it was trained with, or another {option('out')}",
            )
    check_data(config, dataset, ("out", folder), f"give another {option('out')}")
    state = runs.load_state(folder)
    if state is None:
        return
    check_goes_on(state, training)
    if training.epochs < state.epoch:
        raise UserError(
            "epochs", training.epochs, f"{folder} has finished {state.epoch} already", f"ask for more, or another {option('out')}"
        )


def _is_finished(folder: Path, training: Training) -> bool:
    state = runs.load_state(folder)
    if state is None or state.worse:  # training is run again, which reports it
        return False
    patience = training.patience
    return state.epoch >= training.epochs or bool(patience and state.epoch - state.best_epoch >= patience)


def _trained(points: Sequence[Point], refusals: list[Refusal], plan: _Plan) -> tuple[dict[Path, Point], int, int | None]:
    """The finished runs, how many were trained now, and the signal that stopped the sweep; a failed run becomes a refusal."""
    finished, trained = {}, 0
    for number, point in enumerate(points, 1):
        folder = plan.out / point.folder
        line = f"{number} of {len(points)}: {point.name}"
        exists = (folder / runs.CONFIG).is_file()
        if exists and _is_finished(folder, plan.training):
            finished[folder] = point
            plan.say(f"{line}: finished before")
            continue
        plan.say(f"{line}{': going on' if exists else ''}")
        try:
            result = train(
                plan.data,
                **{axis: value for axis, value in point.values.items() if axis != "seed"},
                training=plan.training_of(point),
                device=plan.device,
                data_root=plan.data_root,
                out=str(folder),
                tensorboard=plan.tensorboard,
                resume=exists,
                progress=plan.progress,
            )
        except UserError as error:
            refusals.append(point.refused(error))
            plan.say(f"  {error}")
            continue
        trained += 1
        if result.fit.interrupted:
            return finished, trained, result.fit.signal
        finished[folder] = point
        plan.say("\n".join(f"  {text}" for text in result.report().splitlines()[:1]))
    return finished, trained, None


def _entries(finished: Mapping[Path, Point], refusals: list[Refusal], plan: _Plan, ranking: Settings) -> list[Entry]:
    """The evaluations of the finished runs; a run that cannot be evaluated becomes a refusal."""
    entries = []
    for number, (folder, point) in enumerate(finished.items(), 1):
        plan.say(f"evaluating {number} of {len(finished)}: {point.name}")
        try:
            entries.append(read_entry(folder, ranking, plan.device, plan.data_root, progress=plan.progress))
        except UserError as error:
            refusals.append(point.refused(error))
    return entries
