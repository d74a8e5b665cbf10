"""The commands as typed functions: what the command line calls and what a program may call."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pyrovae import drawing, runs
from pyrovae.data import Dataset, from_path
from pyrovae.errors import UserError, check_integer, check_seed, option_name
from pyrovae.evidence.evaluation import Evaluation, bits_kind, evaluate_split
from pyrovae.likelihoods import default_preprocess
from pyrovae.opening import Part, check_data, inference, load_dataset, load_source, open_run, preprocessed
from pyrovae.parts import describe, make
from pyrovae.pictures import pictures
from pyrovae.sampling import Samples, draw_samples, value_range
from pyrovae.training import DivergedError, FitResult, check_settings, choose_device, fit
from pyrovae.vae import VAE

__all__ = ["decode", "encode", "evaluate", "figures", "load_dataset", "resume", "sample", "train"]

SETTINGS = ("epochs", "batch_size", "learning_rate", "clip_norm", "kl_weight", "kl_warmup", "patience", "particles", "seed")
MAY_DIFFER = ("epochs", "device", "data_root")


@final
@dataclass(frozen=True)
class TrainResult:
    """What ``train`` made.

    Args:
        run: The run folder.
        vae: The model with its best weights.
        dataset: The data.
        fit: How the training ended.
    """

    run: Path
    vae: VAE
    dataset: Dataset
    fit: FitResult

    def report(self) -> str:
        """What happened and what to do next, for a terminal."""
        lines = [self._kept()] if self.fit.history else []
        if self.fit.out_of_patience:
            lines.append("stopped by --patience: no better validation ELBO since")
        if self.fit.interrupted:
            lines.append(f"interrupted; go on with: pyrovae train --resume --out {self.run}")
        else:
            lines.append(f"run: {self.run}")
            lines.append(f"next: pyrovae evaluate {self.run} --estimator importance; pyrovae figures {self.run}")
        return "\n".join(lines)

    def _kept(self) -> str:
        epoch, done = self.fit.best_epoch, len(self.fit.history)
        row = self.fit.history[epoch - 1]
        if epoch == 0:
            return f"no epoch of {done} had a finite validation ELBO: the weights are those before training"
        if math.isnan(row["valid_elbo"]):
            return f"epoch {epoch} of {done} is kept: no validation data, loss {row['loss']:.3f} nats per datum"
        return (
            f"epoch {epoch} of {done} is kept: validation ELBO {row['valid_elbo']:.3f} nats per datum, "
            f"{row['valid_bits_per_dim']:.4f} bits/dim ({bits_kind(self.vae)}; one sample a datum)"
        )


def train(
    data: Part = "digits",
    likelihood: Part = "bernoulli",
    prior: Part = "normal",
    posterior: Part | None = None,
    network: Part = "mlp",
    context: Part = "none",
    preprocess: Part = "auto",
    objective: Part = "elbo",
    latent_dim: int = 20,
    particles: int = 1,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    clip_norm: float = 10.0,
    kl_weight: float = 1.0,
    kl_warmup: float = 0.0,
    patience: int = 0,
    seed: int = 0,
    device: str = "auto",
    data_root: str | None = None,
    out: str | None = None,
    resume: bool = False,
    progress: bool = True,
) -> TrainResult:
    """Train a VAE and write a run folder.

    In Python a part is a name, ``{"name": ..., option: ...}`` or an object such as ``Normal(scale="learned")``.

    Args:
        data: What to learn from: a name, or the path of a .npy or .npz file.
        likelihood: p(x|z,c).
        prior: p(z) or p(z|c).
        posterior: q(z|x,c); by default the prior's natural one.
        network: Encoder and decoder.
        context: What the model is conditioned on, c.
        preprocess: Data -> what the likelihood needs; ``auto`` takes what it wants for the kind of data.
        objective: What is minimised.
        latent_dim: Size of z.
        particles: Samples of z a datum in a step.
        epochs: Passes over the training data, those before a resumption counted.
        batch_size: Data in a step.
        learning_rate: Of Adam.
        clip_norm: Largest global norm of the gradient of the mean loss; 0 for no clipping.
        kl_weight: Factor on the KL term while training; reported numbers have weight 1.
        kl_warmup: Epochs over which that factor rises from 0.
        patience: Stop after that many epochs without a better validation ELBO; 0 for never.
        seed: Of the initial weights, the order of the data and all noise.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data; by default PYROVAE_DATA, or else the user's cache folder.
        out: The run folder; by default a new one under runs/.
        resume: Go on with the run in ``out``; only epochs, device and the data's location may differ.
        progress: Show a progress bar where stderr is a terminal.

    Raises:
        UserError: If an option is wrong, the data do not fit, the folder exists, or the training diverges.
    """
    source = make("data", from_path(data))
    # The run is used from other folders too.
    recorded = replace(source, path=str(Path(source.path).absolute())) if hasattr(source, "path") else source
    choices = {
        "data": describe("data", recorded),
        "objective": describe("objective", make("objective", objective)),
        "particles": particles,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "clip_norm": clip_norm,
        "kl_weight": kl_weight,
        "kl_warmup": kl_warmup,
        "patience": patience,
        "seed": check_seed("seed", seed),
        "data_root": data_root,
        "device": device,
    }
    choose_device(device)
    folder = _run_folder(out, choices["data"]["name"], resume)
    dataset = load_source(source, data_root)
    check_settings(dataset, objective=objective, **{key: choices[key] for key in SETTINGS})
    vae = _new_vae(dataset, seed, latent_dim, likelihood, prior, posterior, network, context, preprocess)
    options = {key: value for key, value in choices.items() if key not in ("data", "objective")}
    record = {"class_names": list(dataset.spec.class_names), **dataset.record()}
    state = None
    if resume:
        _check_same(folder, {**vae.config(), **choices}, dataset)
        state = runs.load_state(folder)
        if state is not None and epochs < state.epoch:
            raise UserError(f"--epochs {epochs}: the run has finished {state.epoch} already; ask for more")
    runs.write_config(folder, vae, {k: choices[k] for k in ("data", "objective")} | options, record)
    try:
        result = fit(
            vae,
            dataset,
            objective=objective,
            progress=progress,
            resume=state,
            save=lambda state: runs.save_state(folder, state),
            **{key: value for key, value in options.items() if key != "data_root"},
        )
    except DivergedError:
        runs.discard_if_unsaved(folder)
        raise
    return TrainResult(folder, vae, dataset, result)


def resume(run: str | Path, epochs: int | None = None, device: str | None = None, progress: bool = True) -> TrainResult:
    """Go on with a run where it stopped, to the same last bit as if it never had.

    Args:
        run: The run folder.
        epochs: Passes over the training data in all; None for those recorded.
        device: auto, cpu, cuda or cuda:N; None for the one recorded.
        progress: Show a progress bar where stderr is a terminal.

    Raises:
        UserError: If the folder is no run, or as ``train``.
    """
    config = recorded_options(Path(run))
    changed = {key: value for key, value in {"device": device, "epochs": epochs}.items() if value is not None}
    return train(**{**config, **changed}, out=str(run), resume=True, progress=progress)


def recorded_options(folder: Path) -> dict[str, Any]:
    """The options of ``train`` that made a run."""
    return {key: value for key, value in runs.read_config(folder).items() if key != "run"}


def _run_folder(out: str | None, data: str, resume: bool) -> Path:
    if resume:
        if out is None:
            raise UserError("--resume: needs the run to go on with, --out RUN")
        return Path(out)
    if out is not None:
        return runs.new_folder(Path(out))
    number = next(i for i in range(1, 10**6) if not Path(f"runs/{data}-{i}").exists())
    return Path(f"runs/{data}-{number}")


def _new_vae(dataset: Dataset, seed: int, latent_dim: int, *parts: Part) -> VAE:
    spec = dataset.spec
    likelihood, prior, posterior, network, context, preprocess = parts
    if preprocess == "auto":
        default_preprocess(make("likelihood", likelihood), spec, dataset.x)
    with torch.random.fork_rng(devices=[]), _enough_memory(latent_dim):
        torch.default_generator.manual_seed(seed)
        vae = VAE(
            spec.event_shape,
            latent_dim,
            likelihood,
            prior,
            posterior,
            network,
            context,
            preprocess,
            kind=spec.kind,
            levels=spec.levels,
        )
    vae.prepare(spec, dataset.train.x)
    vae.check_support(dataset.x)
    return vae


@contextmanager
def _enough_memory(latent_dim: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch has no class of its own for this on the CPU
        if "allocate" not in str(error):
            raise
        raise UserError(f"--latent-dim {latent_dim}: this model needs more memory than there is; try smaller networks") from error


def _check_same(folder: Path, given: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuse to resume a run with other options or other data."""
    config = runs.read_config(folder)
    for key, recorded in recorded_options(folder).items():
        now = given.get(key)
        if isinstance(recorded, dict) and isinstance(now, dict):
            recorded, now = ({k: v for k, v in value.items() if k != "path"} for value in (recorded, now))
        if key not in MAY_DIFFER and recorded != now:
            raise UserError(
                f"--resume: {option_name(key)} was {recorded} and is now {now}; only --epochs, --device and the data's "
                "location may differ; start a new run with another --out"
            )
    check_data(config, dataset, "--resume", "start a new run with another --out")


def evaluate(
    run: str | Path | VAE,
    estimator: str = "importance",
    samples: int = 500,
    split: str = "test",
    data: Part | Dataset | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | None = None,
    json: str | None = None,
) -> Evaluation:
    """Estimate ELBO and evidence of a run, in nats per datum, higher is better.

    Args:
        run: A run folder (in Python, also a ``VAE``).
        estimator: ``elbo``, or ``importance`` (evidence and ELBO). An evidence is trusted where q(z|x) covers the
            posterior: a mode that it never visits is invisible to the error and to the effective sample size.
        samples: Samples of z a datum.
        split: train, valid, test or all.
        data: Other data than the run's: name, path of a file, or (in Python) a ``Dataset``.
        limit: At most that many data, a seeded random subset.
        seed: Of the noise, of binarisation or dequantisation, and of the subset.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.
        json: A file for the numbers, beside evidence/ESTIMATOR.json in the run.

    Raises:
        UserError: If an option is wrong, or run or data are missing, damaged or do not fit each other.
    """
    opened = open_run(run, data, data_root, device)
    name = None if opened.folder is None else str(opened.folder)
    if json is not None:
        runs.check_writable(Path(json), "--json")
    found = evaluate_split(
        opened.vae,
        opened.dataset,
        estimator=estimator,
        samples=samples,
        split=split,
        limit=limit,
        seed=seed,
        run=name,
    )
    if opened.folder is not None:
        runs.write_whole(opened.folder / "evidence" / f"{estimator}.json", found.to_json().encode())
    if json is not None:
        runs.write_whole(Path(json), found.to_json().encode())
    return found


@final
@dataclass(frozen=True)
class Encoding:
    """Posterior means and scales.

    Args:
        mean: E_q[z|x], shape (N, D).
        scale: Standard deviations of q(z|x), shape (N, D).
        y: Labels (N,), or None.
        index: Row of each datum in its data set, (N,).
    """

    mean: Tensor
    scale: Tensor
    y: Tensor | None
    index: Tensor


def encode(
    run: str | Path | VAE,
    data: Part | Dataset | None = None,
    out: str | None = None,
    split: str = "all",
    seed: int = 0,
    device: str = "auto",
    data_root: str | None = None,
) -> Encoding:
    """Posterior means and scales of data, and their labels if there are any.

    Args:
        run: A run folder (in Python, also a ``VAE``).
        data: Other data than the run's: name, path of a file, or (in Python) a ``Dataset``.
        out: A .npz file: ``mean`` and ``scale`` (N, D), ``index`` (row in the data set), ``y`` where there are labels.
        split: all (in the order given), train, valid or test.
        seed: Of binarisation or dequantisation.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.

    Raises:
        UserError: As ``evaluate``.
    """
    _check_file(out, (".npz",))
    check_seed("seed", seed)
    opened = open_run(run, data, data_root, device)
    rows = opened.dataset.split(split)
    opened.vae.prepare(opened.dataset.spec, rows.x if opened.vae.prepared else opened.dataset.train.x)
    opened.vae.check_support(rows.x)
    parts = [opened.vae.posterior(y) for y in preprocessed(opened.vae, rows.x, rows.index, seed)]
    found = Encoding(torch.cat([q.mean for q in parts]).cpu(), torch.cat([q.stddev for q in parts]).cpu(), rows.y, rows.index)
    if out is not None:
        _write_npz(Path(out), {f.name: getattr(found, f.name) for f in fields(found)})
    return found


def decode(run: str | Path | VAE, z: Tensor) -> Tensor:
    """E[x|z] (*, *E) of latents z (*, D), in the units of the data (the probability of a 1 where they were binarised).

    Raises:
        UserError: If the run is missing or damaged, or z has another size.
    """
    vae = run if isinstance(run, VAE) else runs.load(run)
    z = torch.as_tensor(z)
    if z.shape[-1:] != (vae.latent_dim,):
        raise UserError(f"z has shape {tuple(z.shape)}; needs (..., {vae.latent_dim})")
    with inference(vae):
        return vae.decode(z.to(next(vae.parameters()).device)).cpu()


def sample(run: str | Path | VAE, count: int = 64, out: str | None = None, seed: int = 0, device: str = "auto") -> Samples:
    """Draw from the model: z ~ p(z), x ~ p(x|z).

    Args:
        run: A run folder (in Python, also a ``VAE``).
        count: Number of draws.
        out: A .png (a picture of the means E[x|z] and of the draws) or a .npz file (``z``, ``mean``, ``x``).
        seed: Of the draws.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        UserError: If an option is wrong, or the run is missing or damaged.
    """
    check_integer("count", count, 1)
    _check_file(out, (".png", ".npz"))
    check_seed("seed", seed)
    chosen = choose_device(device)
    if isinstance(run, VAE) and device != "auto":
        run.to(chosen)
    vae = run if isinstance(run, VAE) else runs.load(run, chosen)
    found = draw_samples(vae, count, seed)
    if out is not None and out.endswith(".npz"):
        _write_npz(Path(out), {f.name: getattr(found, f.name) for f in fields(found)})
    elif out is not None:
        _write_figure(Path(out), drawing.samples(found.mean, found.x, value_range(vae)))
    return found


def figures(
    run: str | Path,
    data: Part | Dataset | None = None,
    out: str | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | None = None,
) -> list[Path]:
    """Draw what a run has learned.

    Reconstructions before and after training, samples, the latent means by class, an interpolation, learning curves, and
    for a 2-D latent the decoded grid.

    Args:
        run: A run folder.
        data: Other data than the run's: name, path of a file, or (in Python) a ``Dataset``.
        out: A folder; by default figures/ in the run.
        seed: Of the data shown and of the noise.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.

    Raises:
        UserError: If the run is missing or damaged, or the pictures cannot be written.
    """
    check_seed("seed", seed)
    opened = open_run(run, data, data_root, device)
    folder = opened.folder / "figures" if out is None else Path(out)
    runs.check_writable(folder, "--out")
    return [_write_figure(folder / f"{name}.png", figure) for name, figure in pictures(opened, seed).items()]


def _check_file(out: str | None, allowed: tuple[str, ...]) -> None:
    if out is None:
        return
    if not out.endswith(allowed):
        raise UserError(f"--out {out}: needs a name that ends in {' or '.join(allowed)}")
    runs.check_writable(Path(out), "--out")


def _write_npz(path: Path, arrays: Mapping[str, Tensor | None]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.numpy() for name, tensor in arrays.items() if tensor is not None})
    runs.write_whole(path, buffer.getvalue())


def _write_figure(path: Path, figure: Any) -> Path:
    runs.write_whole(path, drawing.png(figure))
    return path
