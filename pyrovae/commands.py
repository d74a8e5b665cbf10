"""The commands as typed functions: what the command line calls and what a program may call."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pyrovae import figures as draw
from pyrovae import runs
from pyrovae.data import Dataset, Source, from_path
from pyrovae.errors import UserError, check_integer
from pyrovae.evidence import keyed
from pyrovae.evidence.evaluation import Evaluation, evaluate_split
from pyrovae.parts import describe, make
from pyrovae.training import FitResult, choose_device, fit
from pyrovae.vae import VAE

Part = str | Mapping[str, Any] | Any
MAY_DIFFER = ("epochs", "device", "data_root")


def load_dataset(data: Part = "digits", data_root: str | None = None) -> Dataset:
    """A data set by name, path or source.

    Args:
        data: Name (``digits``, ``mnist``, ``fashion-mnist``), path of a .npy or .npz file, ``{"name": ..., option: ...}``
            or a ``Source``.
        data_root: Folder of downloaded data; None for PYROVAE_DATA, or else the user's cache folder.

    Raises:
        UserError: If the data are unknown, missing, damaged or unusable.

    Example:
        >>> load_dataset("digits").spec.event_shape
        (8, 8)
    """
    return _load_source(make("data", from_path(data)), data_root)


def _load_source(source: Source, data_root: str | None) -> Dataset:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyrovae"
    root = Path(data_root or os.environ.get("PYROVAE_DATA") or cache)
    if data_root is not None and source.downloads and not root.is_dir():
        raise UserError(f"--data-root {data_root}: no such folder; make it, or name the one that has the data")
    return source.load(root)


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
        done = len(self.fit.history)
        lines = []
        if self.fit.history:
            best = self.fit.history[max(self.fit.best_epoch - 1, 0)]
            lines.append(
                f"epoch {self.fit.best_epoch} of {done} is kept: validation ELBO {best['valid_elbo']:.3f} nats per datum, "
                f"{best['valid_bits_per_dim']:.4f} bits/dim"
                if best["valid_elbo"] == best["valid_elbo"]
                else f"epoch {self.fit.best_epoch} of {done} is kept: no validation data, loss {best['loss']:.3f} nats per datum"
            )
        if self.fit.interrupted:
            lines.append(f"interrupted; go on with: pyrovae train --resume --out {self.run}")
        else:
            lines.append(f"run: {self.run}")
            lines.append(f"next: pyrovae evaluate {self.run} --estimator importance; pyrovae figures {self.run}")
        return "\n".join(lines)


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

    Args:
        data: Name, path of a .npy or .npz file, ``{"name": ..., option: ...}`` or part.
        likelihood: p(x|z): name, ``{"name": ..., option: ...}`` or part; likewise the other roles.
        prior: p(z).
        posterior: q(z|x); None takes the prior's natural one.
        network: Encoder and decoder.
        context: What the model is conditioned on.
        preprocess: ``auto`` takes what the likelihood wants for the kind of data.
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
    choices = {
        "data": describe("data", source),
        "objective": describe("objective", make("objective", objective)),
        "particles": particles,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "clip_norm": clip_norm,
        "kl_weight": kl_weight,
        "kl_warmup": kl_warmup,
        "patience": patience,
        "seed": check_integer("seed", seed, 0),
        "data_root": data_root,
        "device": device,
    }
    choose_device(device)
    folder = _run_folder(out, choices["data"]["name"], resume)
    dataset = _load_source(source, data_root)
    vae = _new_vae(dataset, seed, latent_dim, likelihood, prior, posterior, network, context, preprocess)
    options = {key: value for key, value in choices.items() if key not in ("data", "objective")}
    record = {"class_names": list(dataset.spec.class_names), **dataset.record()}
    state = None
    if resume:
        _check_same(folder, {**vae.config(), **choices}, dataset)
        state = runs.load_state(folder)
    runs.write_config(folder, vae, {k: choices[k] for k in ("data", "objective")} | options, record)
    result = fit(
        vae,
        dataset,
        objective=objective,
        progress=progress,
        resume=state,
        save=lambda state: runs.save_state(folder, state),
        **{key: value for key, value in options.items() if key != "data_root"},
    )
    return TrainResult(folder, vae, dataset, result)


def resume(run: str | Path, epochs: int | None = None, device: str = "auto", progress: bool = True) -> TrainResult:
    """Go on with a run where it stopped, to the same last bit as if it never had.

    Args:
        run: The run folder.
        epochs: Passes over the training data in all; None for those recorded.
        device: auto, cpu, cuda or cuda:N.
        progress: Show a progress bar where stderr is a terminal.

    Raises:
        UserError: If the folder is no run, or as ``train``.
    """
    config = recorded_options(Path(run))
    changed = {"device": device} | ({} if epochs is None else {"epochs": epochs})
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
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
    vae.check_support(dataset.split("all").x)
    return vae


def _check_same(folder: Path, given: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuse to resume a run with other options or other data."""
    config = runs.read_config(folder)
    for key, recorded in recorded_options(folder).items():
        now = given.get(key)
        if isinstance(recorded, dict) and isinstance(now, dict):
            recorded, now = ({k: v for k, v in value.items() if k != "path"} for value in (recorded, now))
        if key not in MAY_DIFFER and recorded != now:
            raise UserError(
                f"--resume: {key} was {recorded} and is now {now}; only --epochs, --device and the data's location may "
                "differ; start a new run with another --out"
            )
    _check_data(config, dataset, "--resume")


def _check_data(config: Mapping[str, Any], dataset: Dataset, flag: str) -> None:
    recorded = config["run"]["data"]
    for key in ("sha256", "split_sha256"):
        if key in recorded and recorded[key] != dataset.record()[key]:
            raise UserError(
                f"{flag}: the data {dataset.name} are not those of the run any more (another {key}); "
                "restore them, or name other data with --data"
            )


@final
@dataclass(frozen=True)
class _Opened:
    """A model with the data to use it on."""

    vae: VAE
    dataset: Dataset
    folder: Path | None
    config: Mapping[str, Any]


def _open(run: str | Path | VAE, data: Part | None, data_root: str | None, device: str) -> _Opened:
    chosen = choose_device(device)
    if isinstance(run, VAE):
        if data is None:
            raise UserError("a VAE in memory has no data of its own: give data=")
        dataset = data if isinstance(data, Dataset) else load_dataset(data, data_root)
        return _Opened(run.to(chosen), dataset, None, {})
    folder = Path(run)
    config = runs.read_config(folder)
    vae = runs.load(folder, chosen)
    if isinstance(data, Dataset):
        return _Opened(vae, data, folder, config)
    if data is None and "data" not in config:
        raise UserError(f"{folder}: has no data of its own; name them with --data")
    source = make("data", config["data"] if data is None else from_path(data))
    if data is not None and getattr(source, "kind", None) == "auto" and source.levels is None:
        source = replace(source, kind=vae.spec.kind, levels=vae.spec.levels)
    dataset = _load_source(source, data_root or (config.get("data_root") if data is None else None))
    if data is None:
        _check_data(config, dataset, f"{folder}")
    return _Opened(vae, dataset, folder, config)


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
        run: A run folder, or a VAE.
        estimator: ``elbo``, or ``importance`` (evidence and ELBO). An evidence is trusted where q(z|x) covers the
            posterior: a mode that it never visits is invisible to the error and to the effective sample size.
        samples: Samples of z a datum.
        split: train, valid, test or all.
        data: Other data than the run's: name, path or ``Dataset``.
        limit: At most that many data, a seeded random subset.
        seed: Of the noise, of binarisation or dequantisation, and of the subset.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.
        json: A file for the numbers, beside evidence/ESTIMATOR.json in the run.

    Raises:
        UserError: If an option is wrong, or run or data are missing, damaged or do not fit each other.
    """
    opened = _open(run, data, data_root, device)
    name = None if opened.folder is None else str(opened.folder)
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
        run: A run folder, or a VAE.
        data: Other data than the run's: name, path or ``Dataset``.
        out: A .npz file: ``mean`` and ``scale`` (N, D), ``index`` (row in the data set), ``y`` where there are labels.
        split: all (in the order given), train, valid or test.
        seed: Of binarisation or dequantisation.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.

    Raises:
        UserError: As ``evaluate``.
    """
    _check_suffix(out, (".npz",))
    opened = _open(run, data, data_root, device)
    rows = opened.dataset.split(split)
    opened.vae.prepare(opened.dataset.spec, opened.dataset.train.x)
    opened.vae.check_support(rows.x)
    parts = [opened.vae.posterior(y) for y in _preprocessed(opened.vae, rows.x, rows.index, seed)]
    found = Encoding(
        torch.cat([q.mean for q in parts]).cpu(), torch.cat([q.stddev for q in parts]).cpu(), rows.y, rows.index
    )
    if out is not None:
        _write_npz(Path(out), {f.name: getattr(found, f.name) for f in fields(found)})
    return found


def decode(run: str | Path | VAE, z: Tensor) -> Tensor:
    """E[x|z] (*, *E) of latents z (*, D), in the units of the data (the probability of a 1 where they were binarised).

    Raises:
        UserError: If the run is missing or damaged, or z has another size.
    """
    vae = run if isinstance(run, VAE) else runs.load(run)
    if z.shape[-1:] != (vae.latent_dim,):
        raise UserError(f"z has shape {tuple(z.shape)}; needs (..., {vae.latent_dim})")
    with _inference(vae):
        return vae.decode(z.to(next(vae.parameters()).device)).cpu()


@final
@dataclass(frozen=True)
class Samples:
    """Draws from the model.

    Args:
        z: Draws of p(z), shape (N, D).
        mean: E[x|z], shape (N, *E), in the units of the data.
        x: Draws of p(x|z), shape (N, *E), in the units of the data.
    """

    z: Tensor
    mean: Tensor
    x: Tensor


def sample(
    run: str | Path | VAE, count: int = 64, out: str | None = None, seed: int = 0, device: str = "auto"
) -> Samples:
    """Draw from the model: z ~ p(z), x ~ p(x|z).

    Args:
        run: A run folder, or a VAE.
        count: Number of draws.
        out: A .png (a picture of the means E[x|z] and of the draws) or a .npz file (``z``, ``mean``, ``x``).
        seed: Of the draws.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        UserError: If an option is wrong, or the run is missing or damaged.
    """
    check_integer("count", count, 1)
    _check_suffix(out, (".png", ".npz"))
    vae = run.to(choose_device(device)) if isinstance(run, VAE) else runs.load(run, choose_device(device))
    with _inference(vae), torch.random.fork_rng():
        torch.manual_seed(check_integer("seed", seed, 0))
        z = vae.prior().expand((count,)).sample()
        given = vae.likelihood(z)
        found = Samples(z.cpu(), vae.decode(z).cpu(), _in_units(vae, given.sample()).cpu())
    if out is not None and out.endswith(".npz"):
        _write_npz(Path(out), {f.name: getattr(found, f.name) for f in fields(found)})
    elif out is not None:
        _write_figure(Path(out), draw.samples(found.mean, found.x, value_range(vae)))
    return found


def figures(
    run: str | Path, out: str | None = None, seed: int = 0, device: str = "auto", data_root: str | None = None
) -> list[Path]:
    """Draw what a run has learned.

    Reconstructions before and after training, samples, the latent means by class, interpolations, learning curves, and
    for a 2-D latent the decoded grid.

    Args:
        run: A run folder.
        out: A folder; by default figures/ in the run.
        seed: Of the data shown and of the noise.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.

    Raises:
        UserError: If the run is missing or damaged, or the pictures cannot be written.
    """
    opened = _open(run, None, data_root, device)
    folder = Path(out) if out is not None else opened.folder / "figures"
    pictures = _pictures(opened, seed)
    return [_write_figure(folder / f"{name}.png", make_figure()) for name, make_figure in pictures.items()]


def _pictures(opened: _Opened, seed: int) -> dict[str, Callable[[], Any]]:
    vae, dataset, limits = opened.vae, opened.dataset, value_range(opened.vae)
    shown = (dataset.test if len(dataset.rows["test"]) else dataset.train).subset(10, seed)
    scattered = (dataset.test if len(dataset.rows["test"]) else dataset.train).subset(5000, seed)
    untrained = VAE.from_config(runs.model_config(opened.config)) if "seed" not in opened.config else _untrained(opened)
    with _inference(vae):
        (y,) = _preprocessed(vae, shown.x, shown.index, seed)
        z = vae.posterior(y).mean
        after = vae.decode(z).cpu()
        before = untrained.decode(untrained.posterior(y.cpu()).mean)
        ends = z[:2] if shown.y is None else z[_two_classes(shown.y)]
        steps = torch.linspace(0, 1, 10, device=z.device).unsqueeze(-1)
        path = vae.decode(ends[0] + steps * (ends[1] - ends[0])).cpu()
        latents = torch.cat(
            [vae.posterior(b).mean.cpu() for b in _preprocessed(vae, scattered.x, scattered.index, seed)]
        )
        drawn = sample(vae, 64, seed=seed, device=str(z.device))
        grid = vae.decode(_quantile_grid(vae, 15).to(z.device)).cpu() if vae.latent_dim == 2 else None
    inputs = vae.transform.inverse(y).cpu()
    history = runs.read_metrics(opened.folder)
    pictures: dict[str, Callable[[], Any]] = {
        "reconstructions": lambda: draw.reconstructions(inputs, before, after, limits),
        "samples": lambda: draw.samples(drawn.mean, drawn.x, limits),
        "latent": lambda: draw.latent_scatter(latents, scattered.y, dataset.spec.class_names),
        "interpolation": lambda: draw.interpolation(path, limits),
    }
    if grid is not None:
        pictures["grid"] = lambda: draw.latent_grid(grid, limits)
    if history:
        pictures["learning_curves"] = lambda: draw.learning_curves(history)
    return pictures


def _untrained(opened: _Opened) -> VAE:
    """The model as it was before training: the same seed, the same draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(opened.config["seed"])
        vae = VAE.from_config(runs.model_config(opened.config))
    vae.transform.load_state_dict(opened.vae.transform.state_dict())
    return vae.eval()


def _two_classes(y: Tensor) -> list[int]:
    """Rows of two data, of different classes where there are."""
    other = (y != y[0]).nonzero()
    return [0, int(other[0])] if len(other) else [0, 1]


def _quantile_grid(vae: VAE, side: int) -> Tensor:
    """Latents (side, side, 2) at the prior's quantiles, the second coordinate rising upwards."""
    u = (torch.arange(side) + 0.5) / side
    marginal = vae.prior().base_dist
    points = torch.stack(
        [marginal.icdf(u.unsqueeze(-1).expand(side, 2).to(marginal.mean))[:, i] for i in range(2)]
    ).cpu()
    return torch.stack([points[0].expand(side, side), points[1].flip(0).unsqueeze(-1).expand(side, side)], -1)


@contextlib.contextmanager
def _inference(vae: VAE) -> Any:
    was_training = vae.training
    vae.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        vae.train(was_training)


def _preprocessed(vae: VAE, x: Tensor, index: Tensor, seed: int, rows: int = 4096) -> Any:
    """Batches of preprocessed data on the model's device, with the noise that evaluation uses."""
    device = next(vae.parameters()).device
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        u = None
        if vae.transform.needs_noise:
            u = keyed.uniform(seed, index[start : start + rows].tolist(), tuple(x.shape[1:])).to(device)
        with _inference(vae):
            yield vae.transform(part.to(device), u)


def _in_units(vae: VAE, y: Tensor) -> Tensor:
    """Draws of the likelihood in the units of the data: whole numbers where the data are."""
    x = vae.transform.inverse(y)
    if vae.spec.kind == "reals" or vae.transform.made.kind == "binary":
        return x
    return x.round().clamp(min=0, max=None if vae.spec.levels is None else vae.spec.levels - 1)


def value_range(vae: VAE) -> tuple[float, float] | None:
    """Black and white of a picture in the units of the data; None where the data set no bounds."""
    if vae.transform.made.kind == "binary":
        return 0.0, 1.0
    return None if vae.spec.levels is None else (0.0, vae.spec.levels - 1.0)


def _check_suffix(out: str | None, allowed: tuple[str, ...]) -> None:
    if out is not None and not out.endswith(allowed):
        raise UserError(f"--out {out}: needs a name that ends in {' or '.join(allowed)}")


def _write_npz(path: Path, arrays: Mapping[str, Tensor | None]) -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.numpy() for name, tensor in arrays.items() if tensor is not None})
    runs.write_whole(path, buffer.getvalue())


def _write_figure(path: Path, figure: Any) -> Path:
    runs.write_whole(path, draw.png(figure))
    return path
