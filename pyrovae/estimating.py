"""A run, an estimator's name and its options -> what is reported, written into the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyrovae import runs
from pyrovae.devices import choose_device
from pyrovae.errors import UserError, option_name, suggest
from pyrovae.evidence.agreement import Agreement
from pyrovae.evidence.bdmc import bdmc
from pyrovae.evidence.certificate import Certificate, certify
from pyrovae.evidence.estimators import ESTIMATORS
from pyrovae.evidence.evaluating import evaluate_split
from pyrovae.evidence.evaluation import Evaluation
from pyrovae.evidence.exact import exact_method
from pyrovae.evidence.options import options_of
from pyrovae.opening import Opened, open_run
from pyrovae.records import Partial, save_estimate
from pyrovae.vae import VAE

Reported = Evaluation | Certificate | Agreement

OF_DATA = ("split", "data", "limit")
"""Options that say which data are scored."""

TOGETHER = ("importance", "annealed")
"""What ``all`` runs on the data, beside the exact evidence where there is one."""


def estimate(
    run: str | Path | VAE,
    estimator: str,
    given: Mapping[str, Any],
    how: Mapping[str, Any],
    device: str = "auto",
    data_root: str | None = None,
) -> Reported:
    """Run an estimator on a run, and write what it found there.

    Args:
        run: A run folder, or a ``VAE``.
        estimator: A name in ``ESTIMATORS``, ``bdmc``, ``all`` or ``auto``.
        given: Options that were given: the estimator's, and ``split``, ``data`` and ``limit``.
        how: ``seed`` and ``matmul``.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.

    Raises:
        UserError: If the estimator is unknown, an option is wrong or not the estimator's, or run and data do not fit.
    """
    names = [*ESTIMATORS, "bdmc", "all", "auto"]
    if estimator not in names:
        raise UserError(f"--estimator {estimator}: unknown; {suggest(estimator, names)}")
    if estimator == "bdmc":
        return _certificate(run, given, how, device)
    opened = open_run(run, given.get("data"), data_root, device)
    if estimator == "auto":
        estimator = "importance" if opened.vae.parts["posterior"].has_density else "reconstruction"
    options = {name: value for name, value in given.items() if name != "data"}
    if estimator == "all":
        return _all(opened, options, how)
    home = _home(opened.folder)
    return _written(opened.folder, evaluate_split(opened.vae, opened.dataset, estimator=estimator, **options, **how, **home))


def _home(folder: Path | None) -> dict[str, Any]:
    """Where results are kept meanwhile, and the name that is reported."""
    kept: Callable[[Mapping[str, Any]], Partial] | None = None if folder is None else lambda asked: Partial(folder, asked)
    return {"run": None if folder is None else str(folder), "kept": kept}


def _written(folder: Path | None, found: Reported) -> Reported:
    if folder is not None:
        save_estimate(folder, found.estimator, found)
    return found


def _certificate(run: str | Path | VAE, given: Mapping[str, Any], how: Mapping[str, Any], device: str) -> Certificate:
    for name in OF_DATA:
        if name in given:
            raise UserError(f"{option_name(name)}: --estimator bdmc simulates its data; leave it out, --simulated says how many")
    chosen = choose_device(device)
    folder = None if isinstance(run, VAE) else Path(run)
    vae = run if folder is None else runs.load(folder, chosen)
    if folder is None and device != "auto":
        vae.to(chosen)
    return _written(folder, certify(vae, **given, **how, **_home(folder)))


def _all(opened: Opened, given: Mapping[str, Any], how: Mapping[str, Any]) -> Agreement:
    """Each estimator with those of the options that it has."""
    vae, home = opened.vae, _home(opened.folder)
    try:
        exact_method(vae)
        names, no_exact = (*TOGETHER, "exact"), None
    except UserError as error:
        names, no_exact = TOGETHER, str(error).removeprefix("--estimator exact: ")
    has = {name: options_of(ESTIMATORS[name]) for name in names} | {"bdmc": options_of(bdmc, ("data",)) | {"simulated": None}}
    for option, value in given.items():
        if option not in OF_DATA and not any(option in own for own in has.values()):
            raise UserError(f"{option_name(option)} {value}: no estimator of this model has such an option; leave it out")
    evaluations = {}
    for name in names:
        own = {option: value for option, value in given.items() if option in has[name] or option in OF_DATA}
        found = evaluate_split(vae, opened.dataset, estimator=name, **own, **how, **home)
        evaluations[name] = _written(opened.folder, found)
    own = {option: value for option, value in given.items() if option in has["bdmc"]}
    certificate = _written(opened.folder, certify(vae, **own, **how, **home))
    return _written(opened.folder, Agreement(evaluations, certificate, no_exact))
