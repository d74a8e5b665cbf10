"""Runs an estimator on a run and writes the result into it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrovae import runs
from pyrovae.contracts import Estimator
from pyrovae.errors import UserError, check_flag, check_path, check_seed, option, plain
from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.evidence.task import Task
from pyrovae.parts import Choice, is_auto, make
from pyrovae.runs.opening import A_RUN, open_run
from pyrovae.runs.records import Keeper
from pyrovae.system.devices import choose_device
from pyrovae.vae import VAE


def run_estimator(
    run: str | Path | VAE,
    estimator: Choice,
    *,
    data: Any,
    split: str | None,
    limit: int | None,
    seed: int,
    matmul: str | None,
    device: str,
    data_root: str | Path | None,
    progress: bool,
) -> Evaluation:
    """Run an estimator on a run and write the result into it; arguments and errors as for ``commands.evaluate``."""
    chosen = None if _is_auto(estimator) else make("estimator", estimator)
    if chosen is None or chosen.takes_data:
        opened = open_run(run, data, data_root, device)
        vae, dataset, folder = opened.vae, opened.dataset, opened.folder
    else:
        _check_no_data({"data": data, "split": split, "limit": limit})
        vae, folder = _without_data(run, device)
        dataset = None
    keeper = Keeper(folder)
    task = Task(
        vae=vae,
        dataset=dataset,
        split="test" if split is None else split,
        limit=limit,
        seed=check_seed("seed", seed),
        matmul=matmul,
        run=None if folder is None else str(folder),
        records=keeper,
        progress=check_flag("progress", progress),
    )
    found: Evaluation = (fitting(estimator, vae) if chosen is None else chosen).evaluate(task)
    keeper.finish(found)
    return found


def _is_auto(estimator: Choice) -> bool:
    value = plain(estimator)
    return is_auto(value.get("name") if isinstance(value, Mapping) else value)


def fitting(estimator: Choice, vae: VAE) -> Estimator:
    """The estimator that ``auto`` stands for: importance, or reconstruction if the posterior is a point.

    Args:
        estimator: ``auto``, or a mapping of that name with options.
        vae: The model.

    Raises:
        UserError: If an option does not belong to the estimator.
    """
    value = plain(estimator)
    options = {} if isinstance(value, str) else value
    name = "importance" if vae.parts["posterior"].has_density else "reconstruction"
    return make("estimator", {**options, "name": name})


def _check_no_data(given: Mapping[str, object]) -> None:
    """Refuse options that choose data, for an estimator that simulates its own data."""
    for name, value in given.items():
        if value is not None:
            remedy = f"leave it out, {option('simulated')} says how many"
            raise UserError(name, value, "this estimator simulates its data", remedy)


def _without_data(run: str | Path | VAE, device: str) -> tuple[VAE, Path | None]:
    """The model, and its folder if it is a run."""
    chosen = choose_device(device)
    if isinstance(run, VAE):
        return run if device == "auto" else run.to(chosen), None
    folder = check_path("run", run, A_RUN)
    return runs.load(folder, chosen), folder
