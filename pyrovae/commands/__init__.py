"""The commands as typed functions, for the command line and for Python programs."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from pyrovae import runs
from pyrovae.commands.evaluating import run_estimator
from pyrovae.commands.recipe import TrainResult, arguments_of, recorded_options, resume, train
from pyrovae.commands.sweeping import SweepResult, sweep
from pyrovae.comparison import compare
from pyrovae.drawing import charts, style
from pyrovae.drawing.evidence_pictures import evidence_pictures
from pyrovae.drawing.pictures import pictures, sample_picture
from pyrovae.drawing.portraits import MOST_SAMPLES
from pyrovae.errors import (
    UserError,
    check_each_once,
    check_flag,
    check_integer,
    check_path,
    check_seed,
    option,
    plain,
)
from pyrovae.evidence.classification import Classification, classify_split
from pyrovae.evidence.prepared import prepare_data
from pyrovae.evidence.reports.evaluation import Evaluation
from pyrovae.parts import Choice, register
from pyrovae.runs.opening import A_RUN, DataLike, Opened, context_of, inference, load_dataset, open_run
from pyrovae.runs.records import Keeper, calibration_picture
from pyrovae.runs.sampling import Samples, draw_samples
from pyrovae.system import files
from pyrovae.system.bounds import check_memory
from pyrovae.system.devices import choose_device
from pyrovae.vae import VAE

__all__ = [
    "SweepResult",
    "TrainResult",
    "arguments_of",
    "classify",
    "compare",
    "decode",
    "encode",
    "evaluate",
    "figures",
    "load_dataset",
    "recorded_options",
    "register",
    "resume",
    "sample",
    "sweep",
    "train",
]


def evaluate(
    run: str | Path | VAE,
    estimator: Choice = "auto",
    split: str | None = None,
    data: DataLike | None = None,
    limit: int | None = None,
    seed: int = 0,
    matmul: str | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    json: str | Path | None = None,
    progress: bool = True,
) -> Evaluation:
    """Estimate the ELBO and the evidence of a run, in nats per datum; higher is better.

    For a conditional model the quantity is log p(x|c). The numbers are written to evidence/ESTIMATOR.json in the run, the
    per-datum arrays to evidence/ESTIMATOR.npz; an evaluation with other settings is not replaced. After Ctrl-C, SIGTERM or
    SIGHUP the finished data are kept: the same command continues with the rest.

    Args:
        run: A run folder (in Python, also a ``VAE``).
        estimator: How log p(x) is estimated. auto means importance (evidence and ELBO; a mode that the proposal never visits
            is invisible to its error, its effective sample size and its k-hat: check with annealing), or reconstruction if the
            posterior is a point. Its options are listed with it. In Python a name, ``{"name": ..., option: ...}``, or an
            object such as ``Importance(samples=5000)``.
        split: train, valid, test or all; the default is test.
        data: Other data than the run's: name, path of a file (all its rows are test data, unless it has splits of its own), or
            (in Python) a ``Dataset`` or data in memory, see docs/data.md.
        limit: At most that many data, a seeded random subset.
        seed: Seed of the noise, of binarisation or dequantisation, and of the subset.
        matmul: How float32 products may be rounded: highest, high or medium (see torch.set_float32_matmul_precision); the
            setting is used only if a comparison with float64 shows that the printed digits do not change.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.
        json: A .json file for the numbers, in addition to the one in the run.
        progress: Show a progress bar on stderr, where it is a terminal.

    Raises:
        UserError: If an option is wrong or does not belong to the estimator, or if the run or the data are missing, are damaged
            or do not match each other.
    """
    json = _file(json, (".json",), "json")
    found = run_estimator(
        run,
        estimator,
        data=data,
        split=split,
        limit=limit,
        seed=seed,
        matmul=matmul,
        device=device,
        data_root=data_root,
        progress=progress,
    )
    if json is not None:
        with files.said_if_unwritten():
            files.write_whole(json, found.to_json().encode())
    return found


def classify(
    run: str | Path | VAE,
    samples: int = 100,
    split: str = "test",
    data: DataLike | None = None,
    limit: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
) -> Classification:
    """Classify data by Bayes' rule with a conditional model: accuracy, log score and calibration of p(c|x).

    p(c|x) = p(x|c) p(c) / sum_c' p(x|c') p(c'), with log p(x|c) by importance sampling and p(c) the class frequencies in
    the training data of the run (for a model in memory, in the training split of the data given). Per-datum arrays are
    written to evidence/classes.npz in the run.

    Args:
        run: A run folder (in Python, also a ``VAE``).
        samples: Samples of z per datum and class.
        split: train, valid, test or all.
        data: Other data than the run's: name, path of a file (all its rows are test data, unless it has splits of its own), or
            (in Python) a ``Dataset`` or data in memory, see docs/data.md.
        limit: At most that many data, a seeded random subset.
        seed: Seed of the noise, of binarisation or dequantisation, and of the subset.
        out: A .png file for the reliability diagram; by default figures/calibration.png in the run.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.

    Raises:
        UserError: If an option is wrong, the model has no context, the data have no labels, or the run or the data are
            missing, are damaged or do not match each other.
    """
    out = _file(out, (".png",))
    opened = open_run(run, data, data_root, device)
    keeper = Keeper(opened.folder)
    found = classify_split(
        opened.vae,
        opened.dataset,
        _trained_contexts(opened, data, data_root),
        samples=samples,
        split=split,
        limit=limit,
        seed=seed,
        run=None if opened.folder is None else str(opened.folder),
    )
    written = keeper.keep("classes", found)
    picture = calibration_picture(written) if out is None and written is not None else out
    if picture is not None:
        with files.said_if_unwritten():
            figure = charts.calibration(found.bins, found.calibration_error)
            _write_figure(picture, figure, opened.folder if out is None else None)
    return found


def _trained_contexts(opened: Opened, data: DataLike | None, data_root: str | Path | None) -> Tensor | None:
    """Contexts of the training data that the run recorded or, if it recorded none, of the training split given."""
    if data is None or "data" not in opened.config:
        return context_of(opened.vae, opened.dataset.train)
    try:
        own = open_run(opened.home, None, data_root, "cpu")
    except UserError as error:
        cause = f"p(c) is taken from the training data: {error.said(remedy=False)}"
        raise UserError("data", opened.dataset.name, cause, "restore them") from error
    return context_of(opened.vae, own.dataset.train)


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
    data: DataLike | None = None,
    out: str | Path | None = None,
    split: str = "all",
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
) -> Encoding:
    """Encode data: posterior means and scales, and the labels if there are any.

    Args:
        run: A run folder (in Python, also a ``VAE``).
        data: Other data than the run's: name, path of a file (all its rows are test data, unless it has splits of its own), or
            (in Python) a ``Dataset`` or data in memory, see docs/data.md.
        out: A .npz file: ``mean`` and ``scale`` (N, D), ``index`` (row in the data set), ``y`` where there are labels.
        split: all (in the order given), train, valid or test.
        seed: Seed of binarisation or dequantisation.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.

    Raises:
        UserError: As ``evaluate``.
    """
    out, seed = _file(out, (".npz",)), check_seed("seed", seed)
    opened = open_run(run, data, data_root, device)
    prepared = prepare_data(opened.vae, opened.dataset, split, seed=seed)
    rows, family = prepared.rows, opened.vae.parts["posterior"]
    with inference(opened.vae):
        parts = list(prepared.posteriors())
        mean, scale = (torch.cat([measure(q) for q in parts]).cpu() for measure in (family.mean, family.stddev))
    found = Encoding(mean, scale, rows.y, rows.index)
    if out is not None:
        files.write_arrays(out, {f.name: getattr(found, f.name) for f in fields(found)})
    return found


def decode(run: str | Path | VAE, z: Tensor, given: str | int | None = None) -> Tensor:
    """Decode latents z (*, D) to E[x|z,c] (*, *E), in the units of the data (for binarised data, the probability of a 1).

    Args:
        run: A run folder, or a ``VAE``.
        z: Latents (*, D): a tensor, an array or a list of numbers of any type.
        given: The context of a conditional model, as in ``sample``.

    Raises:
        UserError: If the run is missing or damaged, z has the wrong size, or the context is missing or unknown.
    """
    vae = run if isinstance(run, VAE) else runs.load(check_path("run", run, A_RUN))
    z = vae.latents(z)
    with inference(vae):
        c = None if given is None else vae.context_module.given(_named(given)).to(z.device)
        return vae.decode(z, None if c is None else c.expand(*z.shape[:-1], *c.shape)).cpu()


def sample(
    run: str | Path | VAE,
    count: int = 64,
    given: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Samples:
    """Draw from the model: z ~ p(z|c), x ~ p(x|z,c).

    Args:
        run: A run folder (in Python, also a ``VAE``).
        count: Number of draws.
        given: The context of a conditional model: a class such as 7, or glasses=yes,smile=no. With uniform, the labels of each
            draw come uniformly from the combinations in the training data; by default they are as frequent as in those data.
        out: A .png (a picture of the means E[x|z] and of the draws, at most 512) or a .npz file (``z``, ``mean``, ``x``, ``c``).
        seed: Seed of the draws.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        UserError: If an option is wrong, or the run is missing or damaged.
    """
    count, seed = check_integer("count", count, 1), check_seed("seed", seed)
    out = _file(out, (".png", ".npz"))
    if out is not None and out.suffix == ".png" and count > MOST_SAMPLES:
        raise UserError(
            "count",
            count,
            f"a picture has room for {MOST_SAMPLES} draws",
            f"take fewer, or {option('out', metavar='FILE.npz')} for any number",
        )
    chosen = choose_device(device)
    if isinstance(run, VAE) and device != "auto":
        run.to(chosen)
    vae = run if isinstance(run, VAE) else runs.load(check_path("run", run, A_RUN), chosen)
    # Memory for the latents, the means, the draws, and the parameters that the draws are made from.
    needed = 4 * count * (vae.latent_dim + 3 * vae.spec.size)
    check_memory(needed, option("count", count), f"draw fewer, several times with another {option('seed')}")
    found = draw_samples(vae, count, seed, None if given is None else _named(given))
    if out is not None and out.suffix == ".npz":
        files.write_arrays(out, {f.name: getattr(found, f.name) for f in fields(found)})
    elif out is not None:
        _write_figure(out, sample_picture(vae, found, None if given is None else _named(given)))
    return found


def figures(
    run: str | Path,
    data: DataLike | None = None,
    only: str | None = None,
    evidence: bool = False,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
) -> list[Path]:
    """Draw figures of what a run has learned.

    Reconstructions before and after training, samples, the latent means by class, an interpolation and learning curves; for a
    2-D latent also the decoded grid; for a conditional model also a grid of draws with one row per context, and data decoded
    under other labels. With --evidence, figures of the evaluations instead: the bound against the number of samples, k-hats,
    bounds against the number of temperatures, and the data with the lowest evidence.

    Args:
        run: A run folder.
        data: Other data than the run's: name, path of a file (all its rows are test data, unless it has splits of its own), or
            (in Python) a ``Dataset`` or data in memory, see docs/data.md.
        only: Names of the figures to draw, such as grid,samples; by default all that the run has.
        evidence: Draw the evaluations of the run (see pyrovae evaluate) instead.
        out: A folder; by default figures/ in the run or, for other data, a folder in it that is named after them.
        seed: Seed of the choice of data and of the noise.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.

    Raises:
        UserError: If the run is missing or damaged, or the pictures cannot be written.
    """
    seed, evidence = check_seed("seed", seed), check_flag("evidence", evidence)
    given = None if out is None else check_path("out", out, "a folder")
    wanted = None if only is None else _names(only)
    if isinstance(run, VAE):
        raise UserError(None, "figures", "draws figures of a run, and a VAE in memory has no run", "save it first")
    opened = open_run(run, data, data_root, device)
    folder, home = (_figures_of(opened, data), opened.folder) if given is None else (given, None)
    files.check_writable(folder, "out", home)
    drawn = evidence_pictures(opened, wanted) if evidence else pictures(opened, seed, wanted)
    return [_write_figure(folder / f"{name}.png", figure, home) for name, figure in drawn.items()]


def _figures_of(opened: Opened, data: DataLike | None) -> Path:
    """The folder for figures; figures of other data do not replace those of the run's own."""
    home = opened.home / "figures"
    if data is None or "data" not in opened.config:
        return home
    return home / re.sub(r"[^A-Za-z0-9._-]+", "_", Path(opened.dataset.name).stem)


def _file(out: str | Path | None, allowed: tuple[str, ...], option: str = "out") -> Path | None:
    """The path of a file to write, checked to be writable and to end in one of these suffixes; None if no file is wanted."""
    if out is None:
        return None
    path = check_path(option, out, f"a file whose name ends in {' or '.join(allowed)}")
    if path.suffix not in allowed:
        raise UserError(option, path, f"needs a name that ends in {' or '.join(allowed)}")
    files.check_writable(path, option)
    return path


def _named(given: object) -> str:
    """The name of a context; a class whose name is a whole number may be given as that number."""
    value = plain(given)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UserError("given", given, "needs the name of a class, such as 7, or glasses=yes,smile=no")
    return str(value)


def _names(only: object) -> list[str]:
    if not isinstance(only, str):
        raise UserError("only", only, "needs names of figures separated by commas, such as grid,samples")
    names = [name.strip() for name in only.split(",")]
    check_each_once("only", names)
    return names


def _write_figure(path: Path, figure: Any, home: Path | None = None) -> Path:
    files.write_whole(path, style.png(figure), home)
    return path
