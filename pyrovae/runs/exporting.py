"""Draws from the posterior of a run's latents, for ArviZ."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.errors import UserError, check_integer, check_seed, option
from pyrovae.evidence import keyed
from pyrovae.evidence.importance.pareto import khat, tail_length
from pyrovae.evidence.importance.proposals import choose_proposal, propose
from pyrovae.evidence.prepared import prepare_data
from pyrovae.evidence.purposes import Purpose
from pyrovae.evidence.rows import ROWS, rows_at_a_time
from pyrovae.evidence.scoring import check_log_weights, score
from pyrovae.runs.opening import DataLike, open_run
from pyrovae.vae import VAE
from pyrovae.version import __version__

if TYPE_CHECKING:
    from xarray import DataTree

LIMIT = 100
"""Default number of data exported; arrays have one number per draw and datum."""


def to_arviz(
    run: str | Path | VAE,
    samples: int = 1000,
    split: str = "test",
    data: DataLike | None = None,
    limit: int | None = LIMIT,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
) -> DataTree:
    """Export draws of p(z|x) for each datum, with pointwise log-likelihoods, as an ArviZ ``DataTree``.

    Draws of the guide (made of noise with heavier tails where the prior's are heavier than its own, as in ``evaluate``) are
    weighted by w = p(x, z) / q(z|x), the weights smoothed by a generalised Pareto density (PSIS), and as many are drawn again in
    proportion: p(z|x) as far as the guide reaches, not q(z|x). A mode of p(z|x) that the guide never
    visits is in none of the draws, and neither ``pareto_k`` nor ``effective_sample_size`` shows it: annealing is the check. Draws
    repeat where weights are uneven; ArviZ does not know of that, so the size of the sample is ``effective_sample_size``.

    Each datum has latents of its own: what ``arviz_stats.loo`` would estimate by leaving it out is its evidence, for which
    ``evaluate`` is the better estimator. Needs ``pip install 'pyrovae[arviz]'``.

    Args:
        run: A run folder, or a ``VAE``.
        samples: Draws per datum, of the guide and of the posterior.
        split: train, valid, test or all.
        data: Other data than the run's: name, path of a file (all its rows are test data, unless it has splits of its
            own), a ``Dataset`` or data in memory, see docs/data.md.
        limit: At most that many data, a seeded random subset; None for all.
        seed: Seed of the noise, of binarisation or dequantisation, and of the subset.
        device: auto, cpu, cuda or cuda:N.
        data_root: Folder of downloaded data.

    Returns:
        Groups, in which ``datum`` is the row in the data set: ``posterior`` with z (chain 1, draw, datum, latent);
        ``log_likelihood`` with x, log p(x|z) in nats and in the units of the data (chain, draw, datum); ``sample_stats`` with
        ``log_weight``, the smoothed log-weights of the guide's draws, normalised (proposal, datum), and ``resampled_from``, which
        of the proposals a draw is (chain, draw, datum); ``observed_data`` with x; ``constant_data`` with ``pareto_k``,
        ``effective_sample_size`` and ``index`` (datum), and the contexts c of a conditional model.

    Raises:
        UserError: If ArviZ is missing, the posterior has no density, an option is wrong, or run or data are missing, damaged
            or do not fit each other.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto Smoothed Importance Sampling; Rubin (1987), The calculation of
    posterior distributions by data augmentation: comment, on importance resampling.
    """
    from_dict = _arviz()
    seed, samples = check_seed("seed", seed), check_integer("samples", samples, 1)
    keyed.check_room(samples, 1)
    opened = open_run(run, data, data_root, device)
    vae = opened.vae
    if not vae.parts["posterior"].has_density:
        raise UserError(
            None,
            "to_arviz",
            "the posterior delta is a point without a density, so there is nothing to draw from",
            f"use encode, or train with another {option('posterior')}",
        )
    prepared = prepare_data(vae, opened.dataset, split, limit=limit, seed=seed)
    rows, c = prepared.rows, prepared.c
    with prepared.guarded() as guarded:
        drawn = guarded.measure(lambda model, chosen: _draws(model, rows, chosen, c, samples, seed))
    about = {
        "created_by": f"pyrovae {__version__}",
        "run": "" if opened.folder is None else str(opened.folder),
        "data": opened.dataset.name,
        "split": split,
        "seed": seed,
        "posterior": "p(z|x)" if c is None else "p(z|x,c)",
        "quantity": "log p(x|z)" if c is None else "log p(x|z,c)",
        "units": vae.units_of_draws,
        "precision": guarded.precision.path,
        "sampler": "Pareto-smoothed importance resampling of the guide; a mode that it never visits is missing",
    }
    return _tree(from_dict, drawn, rows, c, about)


def _arviz() -> Any:
    try:
        from arviz_base import from_dict
    except ImportError as error:
        raise UserError(None, "to_arviz", "needs ArviZ, which is not installed", "pip install 'pyrovae[arviz]'") from error
    return from_dict


def _draws(vae: VAE, rows: Split, chosen: Tensor, c: Tensor | None, samples: int, seed: int) -> dict[str, Tensor]:
    """z (N, S, D), log_likelihood, resampled_from and log_weight (N, S), pareto_k and effective_sample_size (N,) of N rows."""

    def measure(y: Tensor, c: Tensor | None, index: list[int], draw: int) -> dict[str, Tensor]:
        z, log_likelihood, log_weight = _proposals(vae, y, c, index, seed, samples)
        pareto_k = khat(log_weight.topk(min(samples, tail_length(samples) + 1), 0).values, samples).cpu()
        smoothed = _smoothed(log_weight.cpu(), pareto_k)
        chosen = _resampled(smoothed, seed, index)
        log_likelihood = log_likelihood + vae.transform.log_abs_det_jacobian()
        return {
            "z": z.cpu().gather(0, chosen.unsqueeze(-1).expand(-1, -1, z.shape[-1])).transpose(0, 1),
            "log_likelihood": log_likelihood.cpu().gather(0, chosen).T,
            "resampled_from": chosen.T,
            "log_weight": smoothed.T,
            "pareto_k": pareto_k,
            "effective_sample_size": torch.exp(-torch.logsumexp(2 * smoothed, 0)),
        }

    data_rows = max(1, rows_at_a_time(vae, ROWS) // min(samples, keyed.BLOCK))
    c = None if c is None else c[chosen]
    return score(vae, rows.x[chosen], c, measure, index=rows.index[chosen], seed=seed, data_rows=data_rows)


def _proposals(vae: VAE, y: Tensor, c: Tensor | None, index: list[int], seed: int, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Samples z (S, B, D) of the guide, log p(y|z) (S, B) and log-weights (S, B) in float64."""
    params = vae.posterior_params(y, c)
    q, p = vae.posterior_density(params), vae.prior(c)
    proposal = propose(choose_proposal("auto", vae), None, vae, q, params, c, seed, index)
    found = []
    for block, first in enumerate(range(0, samples, keyed.BLOCK)):
        z, log_q = proposal.draw(block, min(keyed.BLOCK, samples - first))
        log_likelihood = vae.likelihood(z, c).log_prob(y).double()
        log_q = q.log_prob(z) if log_q is None else log_q
        found.append((z, log_likelihood, log_likelihood + (p.log_prob(z) - log_q).double()))
    z, log_likelihood, log_weight = (torch.cat(parts) for parts in zip(*found, strict=True))
    check_log_weights(log_weight, index)
    empty = (log_weight == -math.inf).all(0)
    if empty.any():
        raise UserError(
            None,
            f"{int(empty.sum())} data have weights that are all 0, the first is row {index[int(empty.nonzero()[0])]}",
            "no draw of the guide could have made it",
            "try more samples",
        )
    return z, log_likelihood, log_weight


def _smoothed(log_weight: Tensor, pareto_k: Tensor) -> Tensor:
    """Log-weights (S, B), normalised, the largest replaced by quantiles of the Pareto density where one has been fitted."""
    smooth: Any = import_module("arviz_stats.base").array_stats.psislw
    found = log_weight - log_weight.logsumexp(0)
    for row in pareto_k.isfinite().nonzero().flatten().tolist():
        # ArviZ expects leave-one-out log-likelihoods, whose weights are their inverses.
        smoothed = smooth(-found[:, row].clamp(min=np.log(np.finfo(float).tiny)).numpy())[0]
        found[:, row] = torch.where(found[:, row].isinf(), -math.inf, torch.from_numpy(smoothed))
    return found - found.logsumexp(0)


def _resampled(log_weight: Tensor, seed: int, index: list[int]) -> Tensor:
    """Which samples to take, (S, B), in random order: each as often as S times its weight, rounded up or down at random."""
    samples = len(log_weight)
    noise = keyed.Generators(seed, index, Purpose.RESAMPLING)
    start, order = noise.uniform(1).double(), noise.uniform(samples)
    steps = (torch.arange(samples, dtype=torch.float64) + start) / samples  # (B, S)
    weight = log_weight.T.exp()
    reached = weight.cumsum(1)
    chosen = torch.searchsorted(reached / reached[:, -1:], steps, right=True)
    # A step that rounding has pushed beyond the last positive weight belongs to that weight.
    last = samples - 1 - (weight.flip(1) > 0).int().argmax(1, keepdim=True)
    return torch.minimum(chosen, last).gather(1, order.argsort(1)).T


def _tree(from_dict: Any, drawn: dict[str, Tensor], rows: Split, c: Tensor | None, about: dict[str, Any]) -> DataTree:
    from xarray import DataArray

    def chain(name: str) -> np.ndarray:
        return drawn[name].transpose(0, 1)[None].numpy()

    index, of_datum = rows.index.numpy(), {name: drawn[name].numpy() for name in ("pareto_k", "effective_sample_size")}
    contexts = {} if c is None else {"c": c.numpy()}
    groups = {
        "posterior": {"z": chain("z")},
        "log_likelihood": {"x": chain("log_likelihood")},
        "sample_stats": {"resampled_from": chain("resampled_from")},
        "observed_data": {"x": rows.x.numpy()},
        "constant_data": {**of_datum, "index": index, **contexts},
    }
    dims = {name: ["datum"] for name in (*of_datum, "index", "resampled_from")}
    dims |= {"z": ["datum", "latent"], "x": ["datum", *(f"x_dim_{d}" for d in range(rows.x.dim() - 1))]}
    dims |= {name: ["datum", "attribute"][: values.ndim] for name, values in contexts.items()}
    tree: DataTree = from_dict(groups, coords={"datum": index}, dims=dims, attrs={"/": about})
    # Its draws are the guide's and not those of the chain, which every variable that from_dict takes would have.
    tree["sample_stats/log_weight"] = DataArray(drawn["log_weight"].T.numpy(), {"datum": index}, ["proposal", "datum"])
    return tree
