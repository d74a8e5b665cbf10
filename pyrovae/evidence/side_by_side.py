"""Every estimator of log p(x) on the same data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar, final

from torch import Tensor

from pyrovae.contracts import Estimator, Evidence, options_of
from pyrovae.errors import UserError
from pyrovae.evidence.annealing.annealed import Annealed
from pyrovae.evidence.annealing.bdmc import Bdmc
from pyrovae.evidence.exact.exact import Exact
from pyrovae.evidence.exact.method import QUADRATURE, exact_method
from pyrovae.evidence.importance.importance import Importance
from pyrovae.evidence.reports.agreement import Agreement
from pyrovae.evidence.scoring import check_density
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.evidence.task import Task


E = TypeVar("E", bound=Estimator)


@final
@dataclass(frozen=True, kw_only=True)
class All(Estimator):
    """Compares importance, annealed, bdmc and, if the model allows it, exact on the same data.

    Args:
        samples: Of importance: samples of z per datum.
        dequantisations: Draws of the uniform noise per datum, where levels are dequantised.
        repeats: Of importance: independent runs; their mean is reported, and their spread gives the Monte Carlo error.
        proposal: Of importance: what z is drawn from, auto, guide, heavy, prior or widened.
        widen: Of importance: factor by which the guide is stretched for --proposal widened; 1.5 unless given.
        temperatures: Of annealed and bdmc: number of inverse temperatures from the start to the posterior.
        chains: Of annealed and bdmc: annealed chains per datum.
        leapfrog: Of annealed and bdmc: leapfrog steps of a move (of Bernoulli latents: bits visited at a temperature).
        schedule: Of annealed and bdmc: spacing of the inverse temperatures, sigmoid or linear.
        start: Of annealed and bdmc: where annealing starts, prior or guide.
        simulated: Of bdmc: number of data to simulate.
        tolerance: Of exact: tolerance of the quadrature for 1 or 2 latents, in nats; the default is 1e-4.

    Raises:
        UserError: If an option is out of range.
    """

    samples: int = 500
    dequantisations: int = 4
    repeats: int = 1
    proposal: str = "auto"
    widen: float | None = None
    temperatures: int = 1000
    chains: int = 16
    leapfrog: int = 3
    schedule: str = "sigmoid"
    start: str = "prior"
    simulated: int = 100
    tolerance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for estimator in (Importance, Annealed, Bdmc, Exact):
            self._own(estimator)  # refuse early, before the first estimator runs

    def _own(self, estimator: type[E]) -> E:
        """Create an estimator with those of these options that it has."""
        given = asdict(self)
        return estimator(**{option.name: given[option.name] for option in options_of(estimator)})

    def check(self, vae: VAE) -> None:
        """Refuse a plain autoencoder, and a tolerance if no quadrature is used."""
        check_density(vae, "all")
        if self.tolerance is not None and (self._no_exact(vae) is not None or exact_method(vae) != QUADRATURE):
            raise UserError("tolerance", self.tolerance, "no estimator of this model has such an option", "leave it out")

    def _no_exact(self, vae: VAE) -> str | None:
        """Why the exact evidence of a model cannot be computed; None if it can."""
        try:
            exact_method(vae)
        except UserError as error:
            return f"{error.reason}; {error.remedy}"
        return None

    def measure(self, vae: VAE, x: Tensor, c: Tensor | None = None, *, seed: int = 0, index: Tensor | None = None) -> Evidence:
        """Refuse: the result is not one number per datum but one per estimator.

        Raises:
            UserError: Always.
        """
        raise UserError("estimator", "all", "compares estimators", "measure with one of them, such as importance")

    def evaluate(self, task: Task) -> Agreement:
        """Run each estimator, write its evaluation as soon as it is available, and compare them."""
        self.check(task.vae)
        no_exact = self._no_exact(task.vae)
        of_data = {"importance": self._own(Importance), "annealed": self._own(Annealed)}
        if no_exact is None:
            of_data["exact"] = self._own(Exact)
        evaluations = {}
        for name, estimator in of_data.items():
            evaluations[name] = task.measured(estimator)
            task.write(evaluations[name])
        certificate = self._own(Bdmc).evaluate(task)
        task.write(certificate)
        return Agreement(evaluations=evaluations, certificate=certificate, no_exact=no_exact)
