"""Trains a VAE from options into a run folder, and resumes runs that stopped."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack, final

import torch

from pyrovae import runs
from pyrovae.contracts import Objective
from pyrovae.data import Dataset, OwnData
from pyrovae.data.dataset import NAME
from pyrovae.errors import NOT_GIVEN, UserError, check_flag, check_path, command, enough_memory, in_python, option
from pyrovae.likelihoods import default_preprocess
from pyrovae.objectives import natural_objective
from pyrovae.parts import ROLES, Choice, describe, is_auto, lookup, make, needed_by
from pyrovae.runs.binding import MAY_DIFFER, with_newer
from pyrovae.runs.opening import A_RUN, NO_DATA, DataLike, check_data, data_source, load_source
from pyrovae.system.claims import Claim, check_new, claim_next
from pyrovae.system.devices import device_name, own_noise
from pyrovae.system.files import check_writable
from pyrovae.training.checks import check_contexts, check_objective, check_one_process, check_sizes, learn_contexts
from pyrovae.training.events import check_tensorboard, event_log
from pyrovae.training.loop import FitResult, fit, score_name
from pyrovae.training.settings import DEFAULTS, Training, TrainingOptions, chosen_training
from pyrovae.training.state import TrainingError, TrainingState, check_goes_on
from pyrovae.vae import VAE


@final
@dataclass(frozen=True)
class TrainResult:
    """The result of ``train``.

    Args:
        run: The run folder.
        vae: The model with its best weights.
        dataset: The data.
        fit: How the training ended.
        epochs_before: Epochs that the run had finished before this call; 0 for a new run.
    """

    run: Path
    vae: VAE
    dataset: Dataset
    fit: FitResult
    epochs_before: int = 0

    def __repr__(self) -> str:
        return f"TrainResult(run={str(self.run)!r}, fit={self.fit!r})"

    def report(self, spell: Callable[[str], str] = in_python) -> str:
        """A summary of the training and the next commands, for a terminal.

        Args:
            spell: Spells the options and commands in the text.
        """
        lines = [self._nothing_to_do()] if self.epochs_before == len(self.fit.history) > 0 and not self.fit.interrupted else []
        lines += [self._kept()] if self.fit.history else []
        if self.fit.out_of_patience:
            lines.append(f"stopped by {option('patience')}: no better {score_name(self.vae)} since")
        if self.fit.interrupted:
            lines.append(f"interrupted; go on with: {command('resume', self.run)}")
        else:
            lines.append(f"run: {self.run}")
            lines.append(f"next: {command('evaluate', self.run)}; {command('figures', self.run)}")
        return spell("\n".join(lines))

    def _nothing_to_do(self) -> str:
        done = self.epochs_before
        if self.fit.out_of_patience:
            ended = f"{option('patience')} ended the training after {done} epochs"
            return f"nothing to do: {ended}; train anew with more {option('patience')}"
        more = command("resume", self.run, epochs=2 * done)
        return f"nothing to do: the run has finished its {done} epochs; train longer with: {more}"

    def _kept(self) -> str:
        epoch, done = self.fit.best_epoch, len(self.fit.history)
        row = self.fit.history[epoch - 1]
        if epoch == 0:
            return f"no epoch of {done} had a finite {score_name(self.vae)}: the weights are those before training"
        if math.isnan(row["valid_reconstruction"]):
            return f"epoch {epoch} of {done} is kept: no validation data, loss {row['loss']:.3f} nats per datum"
        if math.isnan(row["valid_elbo"]):
            return f"epoch {epoch} of {done} is kept: validation reconstruction {row['valid_reconstruction']:.3f} nats per datum"
        return (
            f"epoch {epoch} of {done} is kept: validation ELBO {row['valid_elbo']:.3f} nats per datum, "
            f"{row['valid_bits_per_dim']:.4f} bits/dim ({self.vae.bits_kind}; one sample per datum)"
        )


def train(
    data: DataLike = "digits",
    likelihood: Choice = "bernoulli",
    prior: Choice = "normal",
    posterior: Choice | None = None,
    network: Choice = "mlp",
    context: Choice = "none",
    preprocess: Choice = "auto",
    objective: Choice = "auto",
    latent_dim: int = 20,
    training: Training | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    tensorboard: bool = False,
    resume: bool = False,
    progress: bool = True,
    **settings: Unpack[TrainingOptions],
) -> TrainResult:
    """Train a VAE and write a run folder.

    In Python a part is a name, ``{"name": ..., option: ...}`` or an object such as ``Normal(scale="learned")``.

    Args:
        data: The data set: a name, or the path of a .npy, .npz or .csv file or of a folder of pictures. In Python also a
            tensor, an array, a DataFrame, a torch ``Dataset`` or a ``DataLoader`` (one sixth is used for testing, one sixth of
            the rest for validation), or a ``Dataset``.
        likelihood: p(x|z,c).
        prior: p(z) or p(z|c).
        posterior: q(z|x,c); by default the prior's natural one.
        network: Encoder and decoder.
        context: c, what the model is conditioned on.
        preprocess: How data are prepared for the likelihood; ``auto`` takes what it needs for the kind of data.
        objective: The loss; ``auto`` means elbo, or tracegraph if the posterior has no pathwise gradient.
        latent_dim: Size of z.
        training: Settings of the training, such as ``Training(epochs=3)``.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data; by default PYROVAE_DATA, or else the user's cache folder.
        out: The run folder; by default a new folder under runs/.
        tensorboard: Write the columns of metrics.csv as TensorBoard events too, into tensorboard/ in the run.
        resume: Continue the run in ``out``; only epochs, device and the location of the data may differ.
        progress: Show a progress bar on stderr, or one line per epoch if stderr is not a terminal.
        settings: Fields of ``Training`` as keywords instead of ``training``: ``train(epochs=3)``.

    Raises:
        UserError: If an option is wrong, the data do not fit, the folder exists, the training diverges, or torchrun started
            several processes.
    """
    check_one_process()
    training = chosen_training(training, settings, arguments_of(train))
    source = data_source(data)
    chosen_objective = resolved_objective(objective, prior, posterior)
    # An absolute path, because the run may be used from another working directory.
    recorded = replace(source, path=str(Path(source.path).absolute())) if isinstance(source, OwnData) else source
    choices = {
        # Data in memory have no name by which they could be found again: later commands need them as an argument.
        **({"data": describe("data", recorded)} if source.can_be_named else {}),
        "objective": describe("objective", chosen_objective),
        **training.options(),
        "data_root": None if data_root is None else str(check_path("data_root", data_root, "a folder")),
        "device": device_name(device),
        "tensorboard": check_flag("tensorboard", tensorboard),
    }
    if choices["tensorboard"]:
        check_tensorboard()
    folder = _check_place(out, resume)
    dataset = load_source(source, data_root)
    check_sizes(training, dataset)
    vae = new_vae(
        dataset,
        training.seed,
        latent_dim,
        likelihood=likelihood,
        prior=prior,
        posterior=posterior,
        network=network,
        context=context,
        preprocess=preprocess,
    )
    check_objective(vae, chosen_objective, training)
    with _claimed(folder, choices["data"]["name"] if "data" in choices else "memory", resume) as claim:
        state = _earlier_state(claim.folder, {**vae.config(), **choices}, dataset, vae, training) if resume else None
        write_config = partial(runs.write_config, claim.folder, vae, choices, dataset.record())
        config = write_config()
        try:
            with event_log(claim.folder) if choices["tensorboard"] else nullcontext() as log:
                result = fit(
                    vae,
                    dataset,
                    training,
                    objective=chosen_objective,
                    device=choices["device"],
                    progress=progress,
                    resume=state,
                    save=_saver(claim, config, write_config),
                    log=log,
                )
        except TrainingError:
            runs.discard_if_unsaved(claim.folder)
            raise
    return TrainResult(claim.folder, vae, dataset, result, 0 if state is None else state.epoch)


def arguments_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Every option of ``train`` or ``sweep`` with its default, including each setting of the training."""
    parameters = inspect.signature(function).parameters
    own = {name: parameter.default for name, parameter in parameters.items() if name not in ("training", "settings")}
    return {**DEFAULTS, **own}


def resume(
    run: str | Path,
    epochs: int | None = None,
    device: str | None = None,
    progress: bool = True,
    data: DataLike | None = None,
) -> TrainResult:
    """Continue a run where it stopped; the result is bit for bit that of an uninterrupted run.

    Args:
        run: The run folder.
        epochs: Passes over the training data in total; None for the recorded number.
        device: auto, cpu, cuda or cuda:N; None for the recorded one.
        progress: Show a progress bar on stderr, or one line per epoch if stderr is not a terminal.
        data: The training data, if they were in memory: a run cannot find those by itself.

    Raises:
        UserError: If the folder is not a run, or as for ``train``.
    """
    config = recorded_options(check_path("run", run, A_RUN))
    given = {"device": device, "epochs": epochs, "data": data}
    changed = {key: value for key, value in given.items() if value is not None}
    if "data" not in config and data is None:
        raise UserError(None, run, NO_DATA, f"give it them again with {option('data')}")
    return train(**{**config, **changed}, out=run, resume=True, progress=progress)


def recorded_options(folder: Path) -> dict[str, Any]:
    """The options of ``train`` that a run was made with."""
    return {key: value for key, value in with_newer(runs.read_config(folder)).items() if key != "run"}


def check_parts(folder: Path, options: Mapping[str, Any], roles: Collection[str]) -> None:
    """Refuse to go on with a run some part of which is not registered here.

    Args:
        folder: The run folder, for the error.
        options: Its recorded options.
        roles: The roles whose parts come from the run.

    Raises:
        UserError: Saying which part is needed and how to give it.
    """
    for role in ROLES.keys() & roles & options.keys():
        recorded = options[role]
        name = recorded.get("name") if isinstance(recorded, Mapping) else recorded
        if isinstance(name, str) and not is_auto(name):
            with needed_by(folder / runs.CONFIG):
                lookup(role, name)


def resolved_objective(objective: Choice, prior: Choice, posterior: Choice | None) -> Objective:
    """The objective that these options choose; the meaning of ``auto`` depends on the posterior.

    Raises:
        UserError: If a name is unknown.
    """
    if is_auto(objective):
        objective = natural_objective(
            make("posterior", make("prior", prior).natural_posterior if posterior is None else posterior)
        )
    return make("objective", objective)


def _check_place(out: str | Path | None, resume: bool) -> Path | None:
    """The run folder named, checked before the data are read; it is claimed when training begins."""
    if resume and out is None:
        raise UserError("resume", NOT_GIVEN, f"needs the run to go on with, {option('out', metavar='RUN')}")
    if out is None:
        return None
    folder = check_path("out", out, "a folder")
    if resume:
        runs.read_config(folder)
    else:
        check_new(folder)
        check_writable(folder, "out")
    return folder


def _claimed(folder: Path | None, data: str, resume: bool) -> Claim:
    """The run folder, claimed by this process; without a name, the next number."""
    return claim_next(f"runs/{data}-") if folder is None else Claim(folder, new=not resume)


def _saver(claim: Claim, config: Mapping[str, Any], write_config: Callable[[], Any]) -> Callable[[TrainingState], None]:
    """A function that saves the state; it writes the whole folder again if the folder has gone."""

    def save(state: TrainingState) -> None:
        if not claim.keep():
            warnings.warn(
                f"{claim.folder}: was deleted or renamed while it trained; it is written again, whole", UserWarning, stacklevel=2
            )
            write_config()
        runs.save_state(claim.folder, state, config)

    return save


def new_vae(
    dataset: Dataset,
    seed: int,
    latent_dim: int,
    *,
    likelihood: Choice,
    prior: Choice,
    posterior: Choice | None,
    network: Choice,
    context: Choice,
    preprocess: Choice,
) -> VAE:
    """Build and prepare a model for the data, with weights drawn from the seed; the caller's random state is not changed.

    Args:
        dataset: The data.
        seed: Seed of the weights.
        latent_dim: Size of z.
        likelihood: As for ``train``, and so are the others.
        prior: Likewise.
        posterior: Likewise.
        network: Likewise.
        context: Likewise.
        preprocess: Likewise.

    Raises:
        UserError: If the parts do not fit each other or the data.
    """
    spec = dataset.spec
    if is_auto(preprocess):
        default_preprocess(make("likelihood", likelihood), spec, dataset.x)
    with (
        own_noise(),
        enough_memory("latent_dim", latent_dim, "try a smaller one, or smaller networks"),
    ):
        torch.default_generator.manual_seed(seed)
        vae = VAE(
            spec.event_shape,
            latent_dim,
            likelihood,
            prior=prior,
            posterior=posterior,
            network=network,
            context=context,
            preprocess=preprocess,
            kind=spec.kind,
            levels=spec.levels,
            labels=spec.labels,
            columns=spec.columns,
        )
    vae.prepare(spec, dataset.train.x)
    vae.check_support(dataset.x)
    learn_contexts(vae, dataset)
    check_contexts(vae, dataset)
    return vae


def _earlier_state(
    folder: Path, given: Mapping[str, Any], dataset: Dataset, vae: VAE, training: Training
) -> TrainingState | None:
    """The saved training state of the run to resume.

    Raises:
        UserError: If the run was trained with other options or other data, its state is damaged, it has already finished more
            epochs than requested, or its learning-rate schedule was made for another number of epochs.
    """
    _check_same(folder, given, dataset)
    state = runs.load_state(folder, vae)
    if state is None:
        return None
    check_goes_on(state, training)
    if training.epochs < state.epoch:
        raise UserError("epochs", training.epochs, f"the run has finished {state.epoch} already", "ask for more")
    return state


def _check_same(folder: Path, given: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuse to resume a run with other options or other data."""
    config = runs.read_config(folder)
    if "data" in given and "data" not in config:
        raise UserError(None, folder, NO_DATA, "give it them again, in Python")
    for key, recorded in recorded_options(folder).items():
        now = given.get(key, NAME if key == "data" else None)
        if key in ROLES and isinstance(recorded, dict):
            recorded = describe(key, make(key, recorded))  # adds options that are newer than the run
        if isinstance(recorded, dict) and isinstance(now, dict):
            recorded, now = ({k: v for k, v in value.items() if k != "path"} for value in (recorded, now))
        if key not in MAY_DIFFER and recorded != now:
            raise UserError(
                "resume",
                NOT_GIVEN,
                f"{option(key)} was {recorded} and is now {now}; only {option('epochs')}, {option('device')} and the "
                "data's location may differ",
                f"start a new run with another {option('out')}",
            )
    check_data(config, dataset, ("resume", NOT_GIVEN), f"start a new run with another {option('out')}")
