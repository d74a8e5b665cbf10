"""The commands as typed functions: what the command line calls and what a program may call."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pyrovae import drawing, runs
from pyrovae.data import Dataset
from pyrovae.errors import UserError, check_integer, check_seed
from pyrovae.evidence.evaluation import Evaluation, evaluate_split
from pyrovae.opening import Part, inference, load_dataset, open_run, preprocessed
from pyrovae.pictures import pictures
from pyrovae.recipe import TrainResult, recorded_options, resume, train
from pyrovae.sampling import Samples, draw_samples, value_range
from pyrovae.training import choose_device
from pyrovae.vae import VAE

__all__ = [
    "TrainResult",
    "decode",
    "encode",
    "evaluate",
    "figures",
    "load_dataset",
    "recorded_options",
    "resume",
    "sample",
    "train",
]


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
    with inference(opened.vae):
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
