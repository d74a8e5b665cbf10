"""What the parts of a VAE promise each other: abstract parts and the description of the data.

Shapes: ``*`` any batch, ``B`` data in a batch, ``D`` latent size, ``E`` event shape of x, ``P`` parameters per element,
``C`` size of the context's embedding (0 without a context). Every part is a frozen dataclass whose fields are the
options of the command line; ``build`` turns it into a module once the shapes are known.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, final

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pyrovae.errors import NOT_GIVEN, UserError, option, plain_option
from pyrovae.supports import Support, as_support

Kind = Literal["levels", "counts", "reals", "binary"]

Shape = torch.Size | list[int] | tuple[int, ...]
"""A shape as torch takes it."""


class Distribution(Protocol):
    """What p(z|c), p(x|z,c) and q(z|x,c) are: a distribution of torch with the methods that Pyro adds.

    Every distribution of ``pyro.distributions`` is one, and so is a subclass of ``TorchDistribution``; neither library has a
    class for what they share.
    """

    @property
    def batch_shape(self) -> torch.Size:
        """``*``: distributions side by side."""

    @property
    def event_shape(self) -> torch.Size:
        """Of one draw."""

    @property
    def has_rsample(self) -> bool:
        """Whether draws carry a pathwise gradient."""

    @property
    def support(self) -> Any:
        """Values that have a density, a ``Constraint``."""

    @property
    def mean(self) -> Tensor:
        """Of each element."""

    @property
    def variance(self) -> Tensor:
        """Of each element."""

    @property
    def stddev(self) -> Tensor:
        """Of each element."""

    def sample(self, sample_shape: Shape = ..., /) -> Tensor:
        """Draws (*sample_shape, *batch_shape, *event_shape) without a gradient."""

    def rsample(self, sample_shape: Shape = ..., /) -> Tensor:
        """Draws (*sample_shape, *batch_shape, *event_shape) with a pathwise gradient."""

    def log_prob(self, value: Tensor, /) -> Tensor:
        """log p(value), shape (*,) of values (*, *event_shape), in nats."""

    def expand(self, batch_shape: Shape, /) -> Distribution:
        """The distribution with another batch shape that this one's broadcasts to."""

    def to_event(self, reinterpreted_batch_ndims: int, /) -> Distribution:
        """The distribution whose last dimensions of the batch belong to the event."""

    def mask(self, mask: Any, /) -> Distribution:
        """The distribution whose log-density is 0 where the mask is False."""


@final
@dataclass(frozen=True)
class Attribute:
    """A label that every datum has.

    Args:
        name: Its name, such as ``glasses``; ``class`` where it is the only one and has none of its own.
        values: Names of its codes 0, 1, ...
    """

    name: str
    values: tuple[str, ...]


@final
@dataclass(frozen=True)
class DataSpec:
    """What a datum is, before anything is known of the model.

    Args:
        event_shape: Shape E of one datum.
        kind: ``levels`` (integers 0..levels-1, such as bytes), ``counts`` (integers from 0 up), ``binary`` (0 or 1)
            or ``reals``.
        levels: Number of levels; None for counts and reals.
        class_names: Names of the labels 0, 1, ... where a datum has one label, y (N,); else empty.
        attributes: The labels where a datum has several, y (N, A); else empty.
        columns: Names of the elements of a datum that is a row of a table, (*E,) = (number of columns,); else empty.
    """

    event_shape: tuple[int, ...]
    kind: Kind = "reals"
    levels: int | None = None
    class_names: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    # What elements are called is no part of what a model is: digests of models are made of the representation.
    columns: tuple[str, ...] = field(default=(), repr=False)

    @property
    def labels(self) -> tuple[Attribute, ...]:
        """The labels of a datum: the class, or the attributes; empty without labels."""
        return self.attributes or ((Attribute("class", self.class_names),) if self.class_names else ())

    @property
    def size(self) -> int:
        """Number of elements of one datum."""
        return math.prod(self.event_shape)


class Part(ABC):  # noqa: B024  (what its roles promise is abstract)
    """A frozen dataclass whose fields are options: as plain data, whatever number type they were given in.

    A part that checks its options in ``__post_init__`` calls this one first.

    Raises:
        UserError: If an option is an array, or one that has no default is not given.
    """

    def __post_init__(self) -> None:
        for one in options_of(self):
            if getattr(self, one.name) is MISSING:
                raise UserError(one.name, NOT_GIVEN, f"needs a value, for {type(self).__name__} has no default for it")
            object.__setattr__(self, one.name, plain_option(one.name, getattr(self, one.name)))


def options_of(part: Part | type[Part]) -> tuple[Field[Any], ...]:
    """The options of a part: the fields of its dataclass."""
    assert is_dataclass(part)
    return fields(part)


class Family(Part):
    """A density written once: raw network outputs -> a distribution with event shape E.

    A family serves as a likelihood p(x|z,c), a posterior q(z|x,c) or a prior p(z), wherever its support fits.

    Attributes:
        reparametrised: Whether ``distribution(...).rsample`` carries a pathwise gradient.
        has_density: Whether it has a density at all; a point mass has none, so neither ELBO nor evidence.
    """

    reparametrised: ClassVar[bool] = False
    has_density: ClassVar[bool] = True

    @abstractmethod
    def support(self, spec: DataSpec) -> Support | Constraint:
        """The values of one element (not of the event) that have a density."""

    @abstractmethod
    def n_params(self, spec: DataSpec) -> int:
        """P: how many raw parameters an element takes from the network."""

    @abstractmethod
    def distribution(self, params: Tensor, spec: DataSpec, learned: nn.Module) -> Distribution:
        """The distribution of raw parameters (*, P, *E): batch shape ``*``, event shape E.

        Args:
            params: Raw, unconstrained network outputs, shape (*, P, *E).
            spec: The data that it is a density of.
            learned: The module that ``self.learned(spec)`` built.
        """

    def learned(self, spec: DataSpec) -> nn.Module:
        """Parameters that belong to the family and not to the network; none unless overridden."""
        return nn.Module()

    def mean(self, distribution: Distribution) -> Tensor:
        """E[x], shape (*, *E), in the units of the density: what a picture of the distribution shows."""
        return distribution.mean

    def stddev(self, distribution: Distribution) -> Tensor:
        """Standard deviation of each element, shape (*, *E)."""
        return distribution.stddev

    def features(self, x: Tensor, spec: DataSpec) -> Tensor:
        """What an encoder sees of x: the same information on a scale near 1; x itself unless overridden."""
        return x

    def from_noise(self, distribution: Distribution, noise: Tensor) -> Tensor | None:
        """The sample that standard normal ``noise`` (*, *E) stands for, or None where there is no such map.

        A family that has one is sampled for many data in one call with noise keyed by datum; the others are sampled
        datum by datum.

        Args:
            distribution: What ``self.distribution`` returned.
            noise: Shape (*, *E) with any further leading dimensions.
        """
        return None

    def log_stretch(self, distribution: Distribution, noise: Tensor) -> Tensor | None:
        """log|det dx/dnoise| of ``from_noise``, shape (*,), where it stretches noise of any size alike; None where it does not.

        Such a density has the tails of the normal; with noise that has heavier tails, so has what is made of it.

        Args:
            distribution: What ``self.distribution`` returned.
            noise: As for ``from_noise``.
        """
        return None

    def tail_df(self, learned: nn.Module) -> float | None:
        """Degrees of freedom of a Student t whose tails are as heavy as this density's or heavier.

        None where they are no heavier than those of a normal density.

        Args:
            learned: The module that ``self.learned(spec)`` built.
        """
        return None

    def build(self, spec: DataSpec) -> Density:
        """The module of this family for data of that shape."""
        return Density(self, spec)


@final
class Density(nn.Module):
    """A family that knows its event shape: ``forward(params (*, P, *E)) -> Distribution``.

    Args:
        family: The density.
        spec: The data that it is a density of.
    """

    def __init__(self, family: Family, spec: DataSpec) -> None:
        super().__init__()
        self.family = family
        self.spec = spec
        self.support = as_support(family.support(spec))
        self.params_shape = (family.n_params(spec), *spec.event_shape)
        self.learned = family.learned(spec)

    if TYPE_CHECKING:

        def __call__(self, params: Tensor) -> Distribution: ...

    def forward(self, params: Tensor) -> Distribution:
        """Batch shape ``*``, event shape E."""
        return self.family.distribution(params, self.spec, self.learned)


Encode = Callable[[Tensor, Tensor | None], Distribution]
"""(features (*, *E), embedding (*, C) or None) -> q(z|x,c): the amortised posterior, for priors that are made of it."""


class Prior(Part):
    """p(z) or p(z|c).

    Attributes:
        natural_posterior: Name of the posterior with the same support that is chosen unless another is named.
    """

    natural_posterior: ClassVar[str]

    @abstractmethod
    def build(self, latent: DataSpec, data: DataSpec, embedding_dim: int) -> PriorModule:
        """The prior over latents of event shape (D,), given an embedding of size C.

        Args:
            latent: Event shape (D,).
            data: What the encoder sees: the data after preprocessing.
            embedding_dim: C, 0 without a context.

        Raises:
            UserError: Where the options need a context and there is none.
        """


class PriorModule(nn.Module, ABC):
    """A built prior.

    Attributes:
        support: The values of one latent element that have a density.
    """

    support: Support | Constraint

    if TYPE_CHECKING:

        def __call__(self, embedding: Tensor | None, encode: Encode) -> Distribution: ...

    @property
    def tail_df(self) -> float | None:
        """As ``Family.tail_df``: None where its tails are no heavier than those of a normal density."""
        return None

    @abstractmethod
    def forward(self, embedding: Tensor | None, encode: Encode) -> Distribution:
        """Batch shape () or that of the embedding (*, C), event shape (D,).

        Args:
            embedding: Shape (*, C), or None without a context.
            encode: The posterior, for priors that are made of it.
        """

    def initialise(self, features: Tensor) -> None:
        """Start from training data, once, before training; nothing unless overridden.

        Args:
            features: What the encoder sees of the training data, (N, *E).
        """


class Context(Part):
    """What a model is conditioned on.

    Attributes:
        reads: The field of a data split that the context is made from; None where nothing is read.
    """

    reads: ClassVar[str | None] = None

    @abstractmethod
    def build(self, spec: DataSpec) -> ContextModule:
        """The module that embeds c."""


class ContextModule(nn.Module, ABC):
    """A built context.

    Attributes:
        embedding_dim: C, 0 where nothing is conditioned on.
    """

    embedding_dim: int

    if TYPE_CHECKING:

        def __call__(self, c: Tensor | None) -> Tensor | None: ...

    @abstractmethod
    def forward(self, c: Tensor | None) -> Tensor | None:
        """One embedding (*, C) shared by p(z|c), p(x|z,c) and q(z|x,c); None where C is 0."""

    def initialise(self, c: Tensor | None) -> None:
        """Remember what the contexts of the training data are, before training; nothing unless overridden."""

    def check(self, c: Tensor | None) -> None:
        """Refuse contexts that the model has not been trained on; nothing unless overridden.

        Raises:
            UserError: Naming them.
        """

    @abstractmethod
    def given(self, text: str) -> Tensor:
        """The context that a command line names, such as ``7`` or ``glasses=yes,smile=no``: one c, without a batch.

        Raises:
            UserError: If it names none, with those that there are.
        """

    @abstractmethod
    def draw(self, count: int, seed: int, given: str | None = None) -> Tensor | None:
        """Contexts for ``count`` draws from the model; None without a context.

        Args:
            count: Their number.
            seed: Of the draws.
            given: None draws them from p(c), as often as in the training data, ``uniform`` equally often; another text is the one
                context of all, as in ``given``.

        Raises:
            UserError: If the text names no context.
        """

    def remark(self) -> str:
        """What must be said of contexts that are drawn where none is given; empty, where there is nothing, unless overridden."""
        return ""

    def named(self, c: Tensor) -> list[str]:
        """Names of contexts (N,) or (N, A), as ``each`` and the command line give them; their numbers unless overridden."""
        return [str(value) for value in c.tolist()]

    @abstractmethod
    def each(self) -> dict[str, Tensor]:
        """Every context of the training data by name, where they can be enumerated; empty without a context.

        Raises:
            UserError: If there are too many.
        """


class Network(Part):
    """Builds the encoder and the decoder; both accept any leading batch shape.

    What a network returns for a datum must not depend on the other data in the batch.
    """

    @property
    def affine(self) -> bool:
        """Whether the decoder is affine in z, whatever the embedding; not unless overridden."""
        return False

    @abstractmethod
    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int = 0) -> nn.Module:
        """A module (x (*, *event_shape), embedding (*, C) or None) -> (*, *out_shape)."""

    @abstractmethod
    def decoder(self, latent_dim: int, out_shape: tuple[int, ...], embedding_dim: int = 0) -> nn.Module:
        """A module (z (*, D), embedding (*, C) or None) -> (*, *out_shape)."""

    def pair(
        self,
        event_shape: tuple[int, ...],
        posterior_shape: tuple[int, ...],
        likelihood_shape: tuple[int, ...],
        embedding_dim: int = 0,
    ) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder of one VAE; overridden where they share weights.

        Args:
            event_shape: E, what the encoder sees.
            posterior_shape: (P, D), what the encoder returns.
            likelihood_shape: (P, *E), what the decoder returns.
            embedding_dim: C.

        Raises:
            UserError: Where the network cannot take data of that shape.
        """
        return (
            self.encoder(event_shape, posterior_shape, embedding_dim),
            self.decoder(posterior_shape[-1], likelihood_shape, embedding_dim),
        )


class Preprocess(Part):
    """Data -> the support that a likelihood needs: invertible, or a declared quantiser.

    Attributes:
        finer: What to do about data that float32 does not tell apart after it, for an error.
    """

    finer: str = f"train with {option('preprocess', 'standardise')}"

    @abstractmethod
    def build(self, spec: DataSpec, x: Tensor | None) -> Transform:
        """The transform of data of that kind.

        Args:
            spec: The data as they were given.
            x: Training data (N, *E) for what is estimated from them; None where it will be loaded.

        Raises:
            UserError: Where that kind of data has no such transform.
        """


class Transform(nn.Module, ABC):
    """A built preprocessing, y = f(x) or y = f(x, u) with uniform noise u.

    Args:
        given: The data as they were given.
        made: The data that the likelihood sees.

    Attributes:
        needs_noise: Whether ``forward`` uses u.
        number_kind: What a log-probability of x is that was computed through y; None where it is that of x itself.
    """

    needs_noise: bool = False
    number_kind: ClassVar[str | None] = None

    if TYPE_CHECKING:

        def __call__(self, x: Tensor, u: Tensor | None = None) -> Tensor: ...

    def __init__(self, given: DataSpec, made: DataSpec) -> None:
        super().__init__()
        self.given = given
        self.made = made

    def forward(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """y (*, *E) in torch's default type, from x (*, *E) and uniform noise u (*, *E) in [0, 1)."""
        return self.exactly(x, u).to(torch.get_default_dtype())

    @abstractmethod
    def exactly(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """y before it is rounded for the networks: in float64, but where a narrower type holds all there is to know of x."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """y on the scale of x; on the scale of y where the transform is a quantiser."""

    def log_abs_det_jacobian(self) -> float | Tensor:
        """log|det dy/dx| per datum, in nats: log p(x) = log p(y) + this."""
        return 0.0


class Model(Protocol):
    """What an objective asks of a model before it trains it."""

    posterior_density: Density

    @property
    def parts(self) -> Mapping[str, Any]:
        """By role."""

    def example(self) -> tuple[Distribution, Distribution]:
        """A posterior and a prior of the model, for one datum."""


class Objective(Part):
    """A Pyro ELBO and what it requires of the model.

    Attributes:
        takes_kl_weight: Whether the KL term has a weight of its own in it.
    """

    takes_kl_weight: ClassVar[bool] = True

    @abstractmethod
    def build(self, particles: int) -> Any:
        """An object with ``differentiable_loss(model, guide, *args)``: the sum over data, in nats, and its gradient."""

    def check(self, model: Model, particles: int) -> None:
        """Refuse a model that the objective's value or gradient would be wrong for; every one fits unless overridden.

        Raises:
            UserError: Naming the objectives that fit.
        """


class Engine(ABC):
    """How a training step is run; all engines train the same model and guide with the same objective."""

    @abstractmethod
    def step(self, y: Tensor, c: Tensor | None, kl_weight: float) -> Tensor:
        """One optimizer step on a batch; the mean loss per datum before it, in nats, on the device, detached."""


@final
@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What an estimator returns, per datum, in nats and in the units of the data that was given.

    Args:
        estimate: Shape (N,), float64.
        monte_carlo_error: Standard error of the estimator for each datum, shape (N,).
        degrees_of_freedom: Of that error, shape (N,): intervals have the quantiles of Student's t; None for those of the normal.
        diagnostics: Further per-datum tensors by name, shape (N,) or (N, D).
    """

    estimate: Tensor
    monte_carlo_error: Tensor
    degrees_of_freedom: Tensor | None = None
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean over data."""
        return self.estimate.mean().item()

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean over data; None for one datum."""
        n = len(self.estimate)
        return (self.estimate.std() / math.sqrt(n)).item() if n > 1 else None

    @property
    def mean_monte_carlo_error(self) -> float | None:
        """Standard error of the mean over the estimator's noise, the data held fixed; None where it is undefined."""
        error = torch.linalg.vector_norm(self.monte_carlo_error) / len(self.monte_carlo_error)
        return error.item() if torch.isfinite(error) else None

    @property
    def mean_degrees_of_freedom(self) -> float | None:
        """Degrees of freedom of ``mean_monte_carlo_error``, (sum_n v_n)^2 / sum_n v_n^2 / (f_n + 2) - 2 of variances v_n with f_n
        degrees each; None where they are without limit, or there is no error.

        Source: Welch (1947), The Generalization of Student's Problem when Several Different Population Variances are Involved.
        """
        if self.degrees_of_freedom is None:
            return None
        variance = self.monte_carlo_error**2
        found = variance.sum() ** 2 / (variance**2 / (self.degrees_of_freedom + 2)).sum() - 2
        return found.item() if torch.isfinite(found) else None


ESTIMATED, LOWER_BOUND = "estimate", "lower bound"
"""What a Monte Carlo error is: with untrusted data among the others it is larger than can be seen."""


@final
@dataclass(frozen=True, kw_only=True)
class Trust:
    """Which numbers of an estimator are to be relied on, by its diagnostics: a datum is trusted, untrusted, or it cannot be told.

    Args:
        reasons: Name of a diagnostic -> the data that are untrusted because of it, (N,), bool; a datum may have two reasons.
        unclear: Data of which it cannot be told, (N,), bool, none of them untrusted.
        error_is_known: Whether the error of untrusted data can be relied on all the same, as that of quadrature.
    """

    reasons: Mapping[str, Tensor]
    unclear: Tensor
    error_is_known: bool = False

    @property
    def untrusted(self) -> Tensor:
        """Numbers that are not to be relied on, (N,), bool."""
        return torch.stack([torch.zeros_like(self.unclear), *self.reasons.values()]).any(0)

    @property
    def state(self) -> Tensor:
        """0 for trusted, 1 where it cannot be told, 2 for untrusted, (N,)."""
        return 2 * self.untrusted.long() + self.unclear.long()

    @property
    def error_is(self) -> str:
        """What the Monte Carlo error of the mean over data is: an estimate, or a lower bound."""
        return ESTIMATED if self.error_is_known or not self.untrusted.any() else LOWER_BOUND

    def summary(self) -> dict[str, Any]:
        """How many: ``untrusted``, ``untrusted_by`` reason, and ``cannot_tell``."""
        by = {name: int(which.sum()) for name, which in self.reasons.items() if which.any()}
        return {"untrusted": int(self.untrusted.sum()), "untrusted_by": by, "cannot_tell": int(self.unclear.sum())}


class Estimator(Part):
    """An estimator of log p(x) of data, or of what there is instead; its fields are its options, each with a default.

    ``samples`` and ``dequantisations`` are reported in columns of their own where an estimator has them. ``vae`` is a
    ``pyrovae.VAE`` throughout.

    Attributes:
        estimates: Which number the ``Evidence`` holds: ``log_evidence``, ``elbo`` or ``reconstruction``.
        takes_data: Whether it measures data that are given; False for one that simulates its own.
        in_float64: Whether it computes in float64 by itself, whatever the model is.
        effective: What ``effective_sample_size`` counts, ``samples`` or ``chains``.
        bound: What is said of the log evidence beside its quantity, such as ``lower bound in expectation``.
        unwritten: Diagnostics that are not kept for each datum, for ``summary`` has what is reported of them.
    """

    estimates: ClassVar[Literal["log_evidence", "elbo", "reconstruction"]] = "log_evidence"
    takes_data: ClassVar[bool] = True
    in_float64: ClassVar[bool] = False
    effective: ClassVar[str] = "samples"
    bound: ClassVar[str] = ""
    unwritten: ClassVar[tuple[str, ...]] = ()

    def check(self, vae: Any) -> None:
        """Refuse a model that it cannot measure; every model with a density fits unless overridden.

        Raises:
            UserError: Saying why, and naming an estimator that can.
        """

    def settled(self, vae: Any) -> Self:
        """The same with every option that is left to the model chosen for it; unchanged unless overridden.

        Raises:
            UserError: If an option does not fit the model.
        """
        return self

    @abstractmethod
    def measure(self, vae: Any, x: Tensor, c: Tensor | None = None, *, seed: int = 0, index: Tensor | None = None) -> Evidence:
        """The numbers of each datum, in nats, in the units of the data that was given, every constant kept.

        A datum's number must not depend on its company: noise is keyed by seed and row, see ``pyrovae.evidence.keyed``.

        Args:
            vae: The model, prepared for such data.
            x: Data as they were given, (N, *E).
            c: Their contexts, or None.
            seed: Of the noise.
            index: Row of each datum in its data set, (N,); 0..N-1 unless given.

        Raises:
            UserError: If the model cannot be measured, or a number is NaN.
        """

    def evaluate(self, task: Any) -> Any:
        """What is reported: the data of the task, measured, unless overridden.

        Args:
            task: A model, its data and settings, a ``pyrovae.evidence.task.Task``.
        """
        return task.measured(self)

    def untrusted(self, arrays: Mapping[str, Tensor]) -> Trust | None:
        """Which data are not to be relied on; None for an estimator that does not judge its numbers.

        Args:
            arrays: The diagnostics of the data, (N, ...).
        """
        return None

    def warning(self, trust: Trust, arrays: Mapping[str, Tensor]) -> str:
        """What is printed of untrusted data: how many, why, and what to try."""
        return f"{int(trust.untrusted.sum())} of {len(trust.unclear)} data: {', '.join(trust.summary()['untrusted_by'])}"

    def doubt(self, trust: Trust, arrays: Mapping[str, Tensor]) -> str:
        """What is printed of data of which it cannot be told: how many, why, and what to try."""
        return f"{int(trust.unclear.sum())} of {len(trust.unclear)} data"

    def remarks(self, vae: Any) -> list[str]:
        """What a reader of its numbers should know besides; nothing unless overridden."""
        return []

    def method(self, vae: Any) -> str | None:
        """How it computes, where that depends on the model; None unless overridden."""
        return None

    def reported(self, vae: Any) -> dict[str, Any]:
        """The options that a report names: those that are not the defaults, unless overridden."""
        own = [f for f in options_of(self) if f.name not in ("samples", "dequantisations")]
        return {f.name: getattr(self, f.name) for f in own if getattr(self, f.name) != f.default}

    def summary(self, arrays: Mapping[str, Tensor]) -> dict[str, Any]:
        """Further fields of the report, made of its diagnostics; none unless overridden."""
        return {}
