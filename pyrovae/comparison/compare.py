"""Ranks runs in a league: refuses runs that cannot be compared, and ranks different quantities separately."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pyrovae import runs
from pyrovae.comparison.entries import Entry, Settings, check_evidence, read_entry
from pyrovae.comparison.league import League, write_league
from pyrovae.comparison.ranking import rank
from pyrovae.contexts.words import listed
from pyrovae.data.dataset import VALUES, changed
from pyrovae.errors import UserError, check_flag, check_path, command, option
from pyrovae.parts import make
from pyrovae.runs.opening import A_RUN, NO_DATA, DataLike, load_source
from pyrovae.system import files


def compare(
    run: Sequence[str | Path],
    samples: int = 500,
    split: str = "test",
    data: DataLike | None = None,
    limit: int | None = None,
    seed: int = 0,
    dequantisations: int = 4,
    out: str | Path | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    progress: bool = True,
) -> League:
    """Rank runs by log evidence on the same data, with paired standard errors.

    Runs whose numbers are different quantities (densities of reals, binarised data, log p(x|c)) are ranked in separate groups.
    An existing evaluation of the same weights with the same settings is reused.

    Args:
        run: Two run folders or more, trained on the same data with the same split; with ``data`` on any.
        samples: Samples of z per datum.
        split: train, valid, test or all.
        data: Data that none of the runs was trained on: name, path of a file (all its rows count, unless it has splits of its
            own), or (in Python) a ``Dataset`` or data in memory, see docs/data.md.
        limit: At most that many data, a seeded random subset.
        seed: Seed of the noise, of binarisation or dequantisation, and of the subset.
        dequantisations: Draws of the uniform noise per datum, where levels are dequantised.
        out: A folder for league.csv, league.json and league.png; by default the table is printed only.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.
        progress: Show a progress bar on stderr, where it is a terminal.

    Raises:
        UserError: If there are fewer than two runs, one is given twice, missing, damaged or a plain autoencoder, or two were
            trained on different data or splits, or, with ``data``, on these and others.

    Source of the groups: Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models.
    """
    if isinstance(run, str | Path) or not isinstance(run, Sequence) or len(run) < 2:
        raise UserError(
            None, "compare", f"needs at least two runs, such as: {command('compare', 'runs/digits-1', 'runs/digits-2')}"
        )
    progress = check_flag("progress", progress)
    settings = Settings(samples=samples, split=split, limit=limit, seed=seed, dequantisations=dequantisations)
    if out is not None:
        files.check_writable(check_path("out", out, "a folder"), "out")
    folders = [check_path("run", folder, A_RUN) for folder in run]
    configs = {folder: runs.read_config(folder) for folder in _each_once(folders)}
    if data is None:
        check_comparable(configs, data_root)
    else:
        check_alike(configs)
    disable = None if progress else True  # None: where stderr is no terminal
    bar = tqdm(folders, unit="run", desc="evaluating", disable=disable, leave=False)
    entries = [read_entry(folder, settings, device, data_root, data, progress=progress) for folder in bar]
    if data is not None and any(entry.on_its_own for entry in entries):
        _check_all_trained_on(entries)
        _check_split(configs)
    league = rank(entries, settings)
    if out is not None:
        with files.said_if_unwritten():
            write_league(league, Path(out))
    return league


def check_comparable(configs: Mapping[Path, Mapping[str, Any]], data_root: str | Path | None) -> None:
    """Refuse runs with different data or splits, and runs that have no evidence.

    Args:
        configs: Run -> what ``runs.read_config`` returned.
        data_root: Folder of downloaded data; None for the recorded one.

    Raises:
        UserError: Naming two runs and what differs.
    """
    first = next(iter(configs))
    check_alike(configs)
    for folder, config in configs.items():
        if "data" not in config:
            raise UserError(None, folder, NO_DATA, f"give data to compare on, {option('data')}")
        here, there = config["run"]["data"], configs[first]["run"]["data"]
        if changed(here, there, VALUES) and not _same_by_name(config, there, data_root):
            names = [_data_name(configs[run]) for run in (first, folder)]
            which = f"{names[0]} and {names[1]}" if names[0] != names[1] else f"two versions of {names[0]}"
            raise UserError(
                None,
                f"{first} and {folder}",
                f"trained on different data, {which}",
                "log evidence is comparable on the same data only",
            )
    _check_split(configs)


def _same_by_name(config: Mapping[str, Any], other: Mapping[str, Any], data_root: str | Path | None) -> bool:
    """Whether a run was trained on the same table as another, with the columns in a different order.

    Args:
        config: What ``runs.read_config`` returned of the run.
        other: What the other recorded of its data.
        data_root: As above.
    """
    here, there = (data.get("columns") or [] for data in (config["run"]["data"], other))
    if here == there or sorted(here) != sorted(there):
        return False
    dataset = load_source(make("data", config["data"]), data_root or config.get("data_root"))
    if list(dataset.spec.columns) != here:
        return False
    in_order = replace(dataset, x=dataset.x[:, [here.index(name) for name in there]])
    return not changed(in_order.record(), other, VALUES)


def _check_split(configs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Refuse runs with differently split data.

    Raises:
        UserError: Naming two of them.
    """
    first = next(iter(configs))
    for folder, config in configs.items():
        here, there = config["run"]["data"], configs[first]["run"]["data"]
        if here["split_sha256"] != there["split_sha256"]:
            raise UserError(
                None,
                f"{first} and {folder}",
                "their data are split otherwise, so test data of one may be training data of the other",
                f"train them with the same {option('data.valid')}, {option('data.test')} and {option('data.split_seed')}",
            )


def check_alike(configs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Refuse runs with data that are not rows of one table or pictures of one size, and runs that have no evidence.

    Args:
        configs: As above.

    Raises:
        UserError: Naming two runs and what differs.
    """
    first = next(iter(configs))
    for folder, config in configs.items():
        if "sha256" not in (config["run"].get("data") or {}):
            raise UserError(None, folder, "has no data of its own to be compared on", "compare runs that pyrovae train made")
        here, there = config["run"]["data"], configs[first]["run"]["data"]
        if here["event_shape"] != there["event_shape"]:
            shapes = [f"{'x'.join(map(str, data['event_shape']))}" for data in (there, here)]
            raise UserError(
                None,
                f"{first} and {folder}",
                f"their data have different shapes, {shapes[0]} and {shapes[1]}",
                "log evidence is comparable on the same data only",
            )
        columns = [data.get("columns") or [] for data in (there, here)]
        if all(columns) and set(columns[0]) != set(columns[1]):
            raise UserError(
                None,
                f"{first} and {folder}",
                f"trained on other columns, {listed(columns[0])} and {listed(columns[1])}",
                "log evidence is comparable on the same data only",
            )
        check_evidence(folder, config)


def _check_all_trained_on(entries: Sequence[Entry]) -> None:
    """Refuse data that only some of the runs were trained on."""
    trained, other = ([entry.folder for entry in entries if entry.on_its_own is own] for own in (True, False))
    if other:
        raise UserError(
            None,
            f"{trained[0]} and {other[0]}",
            f"the first was trained on these {option('data')}, the second was not",
            "give data that none of the runs was trained on",
        )


def _data_name(config: Mapping[str, Any]) -> str:
    return str(config["data"].get("path") or config["data"]["name"])


def _each_once(folders: Sequence[Path]) -> Sequence[Path]:
    met: dict[Path, Path] = {}
    for folder in folders:
        before = met.setdefault(folder.resolve(), folder)
        if before is not folder:
            named = f"{before} and {folder}" if str(before) != str(folder) else f"{folder}"
            raise UserError(None, named, "the same run, given twice", "give each once")
    return folders
