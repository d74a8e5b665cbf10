"""Estimators in one call, as tests want them: options, data and noise together, and one draw of the dequantisation noise."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyrovae import VAE, Annealed, Bdmc, Dataset, Elbo, Evidence, Exact, Importance, Reconstruction
from pyrovae.contracts import Estimator, Trust
from pyrovae.evidence.annealing.sandwich import Sandwich, sandwich
from pyrovae.evidence.reports.certificate import Certificate
from pyrovae.evidence.reports.data_evaluation import DataEvaluation
from pyrovae.evidence.task import Task
from pyrovae.parts import make

OF_NOISE = ("seed", "index", "rows")
OF_TASK = ("split", "limit", "seed", "matmul")


def _measured(kind: type[Estimator], vae: VAE, x: Tensor, c: Tensor | None, given: dict[str, Any]) -> Evidence:
    noise = {name: given.pop(name) for name in OF_NOISE if name in given}
    return kind(**{"dequantisations": 1, **given}).measure(vae, x, c, **noise)


def importance(vae: VAE, x: Tensor, c: Tensor | None = None, **given: Any) -> Evidence:
    return _measured(Importance, vae, x, c, given)


def elbo(vae: VAE, x: Tensor, c: Tensor | None = None, **given: Any) -> Evidence:
    return _measured(Elbo, vae, x, c, given)


def annealed(vae: VAE, x: Tensor, c: Tensor | None = None, **given: Any) -> Evidence:
    return _measured(Annealed, vae, x, c, given)


def exact(vae: VAE, x: Tensor, c: Tensor | None = None, **given: Any) -> Evidence:
    return _measured(Exact, vae, x, c, given)


def reconstruction(vae: VAE, x: Tensor, c: Tensor | None = None, **given: Any) -> Evidence:
    return _measured(Reconstruction, vae, x, c, given)


def bdmc(vae: VAE, *, data: int = 100, **given: Any) -> Sandwich:
    noise = {name: given.pop(name) for name in OF_NOISE if name in given}
    return sandwich(vae, Bdmc(**given), data, **noise)


def evaluate_split(vae: VAE, dataset: Dataset, *, estimator: str = "importance", **given: Any) -> DataEvaluation:
    task = {name: given.pop(name) for name in OF_TASK if name in given}
    return make("estimator", {"name": estimator, **given}).evaluate(Task(vae=vae, dataset=dataset, **task))


def certify(vae: VAE, **given: Any) -> Certificate:
    task = {name: given.pop(name) for name in OF_TASK if name in given}
    return Bdmc(**given).evaluate(Task(vae=vae, **task))


def judge(estimator: str, arrays: dict[str, Tensor], options: dict[str, Any], looks: int = 1) -> Trust:
    """What an estimator says of its diagnostics, whose numbers are means of ``looks`` independent ones."""
    return make("estimator", {"name": estimator, **options, **({"repeats": looks} if looks > 1 else {})}).untrusted(arrays)
