"""A run, an estimator's name and its options -> what is reported, written into the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from pyrovae import runs
from pyrovae.errors import UserError, check_integer, check_path, option_name, shown, suggest
from pyrovae.evidence.annealing.bdmc import bdmc
from pyrovae.evidence.annealing.route import Annealing
from pyrovae.evidence.evaluating import evaluate_split
from pyrovae.evidence.exact.estimator import QUADRATURE, exact_method
from pyrovae.evidence.importance.proposals import check_proposal
from pyrovae.evidence.options import options_of
from pyrovae.evidence.reports.agreement import Agreement
from pyrovae.evidence.reports.certificate import SIMULATED, Certificate, certify
from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.evidence.scoring import check_density
from pyrovae.evidence.table import ESTIMATORS
from pyrovae.runs.opening import A_RUN, Opened, open_run
from pyrovae.runs.records import Keeper, Partial
from pyrovae.system.devices import choose_device
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
    data_root: str | Path | None = None,
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
    if not isinstance(estimator, str) or estimator not in names:
        raise UserError(f"--estimator {shown(estimator)}: unknown; {suggest(str(estimator), names)}")
    if estimator == "bdmc":
        return _certificate(run, given, how, device)
    opened = open_run(run, given.get("data"), data_root, device)
    if estimator == "auto":
        estimator = "importance" if opened.vae.parts["posterior"].has_density else "reconstruction"
    options = {name: value for name, value in given.items() if name != "data"}
    if estimator == "all":
        return _all(opened, options, how)
    home = _Home(opened.folder)
    return home.finish(evaluate_split(opened.vae, opened.dataset, estimator=estimator, **options, **how, **home.options()))


@final
class _Home:
    """Where what is found is written, and kept until it is.

    Args:
        folder: The run; None for a model in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._keeper = Keeper(folder)
        self._partials: list[Partial] = []

    def options(self) -> dict[str, Any]:
        """The name that is reported, and where results are kept meanwhile."""
        return {} if self._folder is None else {"run": str(self._folder), "kept": self._kept}

    def _kept(self, asked: Mapping[str, Any]) -> Partial | None:
        partial = self._keeper.partial(asked)
        self._partials += [] if partial is None else [partial]
        return partial

    def write(self, found: Reported) -> Reported:
        """Write it into the run, where that can be written."""
        self._keeper.keep(found.estimator, found)
        return found

    def finish(self, found: Reported) -> Reported:
        """Write it, and keep no parts of it any more once it is written."""
        if self._keeper.keep(found.estimator, found) is not None:
            for partial in self._partials:
                partial.remove()
        return found


def _certificate(run: str | Path | VAE, given: Mapping[str, Any], how: Mapping[str, Any], device: str) -> Certificate:
    for name in OF_DATA:
        if name in given:
            raise UserError(f"{option_name(name)}: --estimator bdmc simulates its data; leave it out, --simulated says how many")
    chosen = choose_device(device)
    folder = None if isinstance(run, VAE) else check_path("run", run, A_RUN)
    vae = run if folder is None else runs.load(folder, chosen)
    if folder is None and device != "auto":
        vae.to(chosen)
    home = _Home(folder)
    return home.finish(certify(vae, **given, **how, **home.options()))


def _all(opened: Opened, given: Mapping[str, Any], how: Mapping[str, Any]) -> Agreement:
    """Each estimator with those of the options that it has."""
    vae, home = opened.vae, _Home(opened.folder)
    check_density(vae, "all")
    try:
        method = exact_method(vae)
        names, no_exact = (*TOGETHER, "exact"), None
    except UserError as error:
        method, names, no_exact = None, TOGETHER, str(error).removeprefix("--estimator exact: ")
    has = {name: options_of(ESTIMATORS[name]) for name in names} | {
        "bdmc": options_of(bdmc, ("data",)) | {"simulated": SIMULATED}
    }
    if method != QUADRATURE:
        has.get("exact", {}).pop("tolerance", None)
    for option, value in given.items():
        if option not in OF_DATA and not any(option in own for own in has.values()):
            raise UserError(f"{option_name(option)} {value}: no estimator of this model has such an option; leave it out")
    check_options({**has["importance"], **has["bdmc"], **given})
    own = {name: {option: value for option, value in given.items() if option in known} for name, known in has.items()}
    of_data = {option: value for option, value in given.items() if option in OF_DATA}
    evaluations = {
        name: home.write(evaluate_split(vae, opened.dataset, estimator=name, **own[name], **of_data, **how, **home.options()))
        for name in names
    }
    certificate = home.write(certify(vae, **own["bdmc"], **how, **home.options()))
    return home.finish(Agreement(evaluations=evaluations, certificate=certificate, no_exact=no_exact))


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what a later one of several estimators would refuse, before the first has begun.

    Raises:
        UserError: Naming the option.
    """
    Annealing(*(options[name] for name in ("temperatures", "chains", "leapfrog", "schedule", "start")))
    for name in ("samples", "repeats", "simulated", "dequantisations"):
        check_integer(name, options.get(name, 1), 1)
    check_proposal(options.get("proposal", "auto"), options.get("widen"))
