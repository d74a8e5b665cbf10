"""The VAE: prior, posterior and likelihood bound to a Pyro model and guide."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, final

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.contexts.words import listed
from pyrovae.contracts import (
    Attribute,
    Context,
    DataSpec,
    Family,
    Kind,
    Network,
    Preprocess,
    Prior,
    Transform,
)
from pyrovae.errors import UserError, check_integer, shown
from pyrovae.families.support import in_words
from pyrovae.inputs import fitting as data_checks
from pyrovae.inputs.given import as_data, as_noise, as_tensor, check_values, data_spec
from pyrovae.likelihoods import default_preprocess, native_kind
from pyrovae.networks.feedforward import Feedforward
from pyrovae.parts import describe, is_auto, make, name_of
from pyrovae.preprocess.dequantise import DEQUANTISED
from pyrovae.preprocess.none import Identity

BASELINE_WIDTH = 100
"""Hidden units of the baseline of the score-function gradient."""

INITIAL_ROWS = 10_000
"""At most so many training data are shown to a prior that starts from data."""

_instances = itertools.count()


class _InstanceName:
    """A name in Pyro's parameter store that no copy shares: a shared one would train only one of the two."""

    def __init__(self) -> None:
        self.text = f"vae{next(_instances)}"

    def __deepcopy__(self, memo: dict[int, Any]) -> _InstanceName:
        return _InstanceName()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _InstanceName, ()


@final
class VAE(nn.Module):
    """A variational autoencoder: p(z|c), p(x|z,c) and an amortised q(z|x,c).

    log p(x) >= E_q[log p(x|z) + log p(z) - log q(z|x)]. ``model`` and ``guide`` are ordinary Pyro functions of y, the
    data as the likelihood sees them (preprocessed; the data themselves where no preprocessing is needed).

    Args:
        event_shape: Shape E of one datum.
        latent_dim: Size D of z.
        likelihood: Name, ``{"name": ..., option: ...}`` or part; likewise the other roles.
        prior: As above.
        posterior: As above; None takes the prior's natural one.
        network: As above.
        context: As above.
        preprocess: As above; ``auto`` takes what the likelihood wants for the kind of data.
        kind: Kind of data; None until ``prepare`` meets the data.
        levels: Number of levels of the data (``binomial`` needs it).
        labels: What the data are labelled with (a context needs it): ``dataset.spec.labels``, or ``{"name", "values"}`` each.
        columns: Names of the columns of a table, ``dataset.spec.columns``: other tables are matched to them by name.

    Raises:
        UserError: If sizes are not positive, names or options unknown, or parts do not fit each other.

    Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes; Rezende, Mohamed and Wierstra (2014),
    Stochastic Backpropagation and Approximate Inference in Deep Generative Models.

    Example:
        >>> vae = VAE(event_shape=(8, 8), latent_dim=2, likelihood="normal", network="mlp")
        >>> vae.posterior(torch.zeros(5, 8, 8)).mean.shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        latent_dim: int = 20,
        likelihood: str | dict[str, Any] | Family = "bernoulli",
        prior: str | dict[str, Any] | Prior = "normal",
        posterior: str | dict[str, Any] | Family | None = None,
        network: str | dict[str, Any] | Network = "mlp",
        context: str | dict[str, Any] | Context = "none",
        preprocess: str | dict[str, Any] | Preprocess = "auto",
        *,
        kind: Kind | None = None,
        levels: int | None = None,
        labels: Sequence[Attribute | Mapping[str, Any]] = (),
        columns: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._name = _InstanceName()
        self.latent_dim = check_integer("latent_dim", latent_dim, 1)
        prior = make("prior", prior)
        parts = {
            "likelihood": make("likelihood", likelihood),
            "prior": prior,
            "posterior": make("posterior", prior.natural_posterior if posterior is None else posterior),
            "network": make("network", network),
            "context": make("context", context),
        }
        self.parts = parts
        self.preprocess_choice = preprocess if is_auto(preprocess) else make("preprocess", preprocess)
        supposed = native_kind(parts["likelihood"]) if levels is None else "levels"
        spec = data_spec(event_shape, supposed if kind is None else kind, levels, labels, columns)
        event_shape = spec.event_shape
        latent_spec = DataSpec((self.latent_dim,))
        self.transform: Transform = Identity(spec, spec)
        if kind is not None:
            self.transform = self._choose_preprocess(spec).build(spec, None)
            self._check_kind(self.transform)
        self.prepared = kind is not None and not self.transform.state_dict()

        self.context_module = parts["context"].build(spec)
        embedding_dim = self.context_module.embedding_dim
        self.prior_module = prior.build(latent_spec, self.transform.made, embedding_dim)
        self.posterior_density = parts["posterior"].build(latent_spec)
        self.likelihood_density = parts["likelihood"].build(self.transform.made)
        self._check_pair()
        self.encoder, self.decoder = parts["network"].pair(
            event_shape, self.posterior_density.params_shape, self.likelihood_density.params_shape, embedding_dim
        )
        if not parts["posterior"].reparametrised:
            self.baseline = Feedforward(event_shape, (1,), (BASELINE_WIDTH,), embedding_dim=embedding_dim)
        if self.prepared:
            self._check_made(self.transform)

    def _check_pair(self) -> None:
        prior, posterior = self.parts["prior"], self.parts["posterior"]
        names = {"prior": name_of("prior", prior), "posterior": name_of("posterior", posterior)}
        if repr(self.prior_module.support) != repr(self.posterior_density.support):
            raise UserError(
                f"--posterior {names['posterior']} lives on {in_words(self.posterior_density.support)}, "
                f"--prior {names['prior']} on {in_words(self.prior_module.support)}: they must agree; "
                f"try --posterior {prior.natural_posterior}"
            )
        if not posterior.has_density and any(True for _ in self.prior_module.parameters()):
            raise UserError(
                f"--posterior {names['posterior']}: masks the prior, so nothing would train the parameters of "
                f"--prior {names['prior']}; use --prior normal, or --posterior {prior.natural_posterior}"
            )

    # --- the data -----------------------------------------------------------------------------------------------

    @property
    def spec(self) -> DataSpec:
        """The data as they are given to the VAE, before preprocessing."""
        return self.transform.given

    def _choose_preprocess(self, spec: DataSpec) -> Preprocess:
        choice = self.preprocess_choice
        return make("preprocess", default_preprocess(self.parts["likelihood"], spec)) if choice == "auto" else choice

    def prepare(self, spec: DataSpec, x: Tensor | None) -> None:
        """Bind the preprocessing to the data; once, before training.

        Args:
            spec: The data as they were given.
            x: Training data (N, *E) for what is estimated from them; None where it will be loaded. Once prepared, any data:
                they are only checked.

        Raises:
            UserError: If the shape, the kind or the levels are not those the VAE was built or prepared for, or the
                preprocessing cannot take the data.
        """
        if spec.event_shape != self.spec.event_shape:
            raise UserError(
                f"--data: has data of shape {spec.event_shape} each, the VAE was built for {self.spec.event_shape}; "
                "give data of that shape, or train a model on these"
            )
        if self.parts["context"].reads is not None and spec.labels != self.spec.labels:
            raise UserError(
                f"the data have {_named(spec.labels)}, the VAE was built for {_named(self.spec.labels)}: build it with "
                "labels=dataset.spec.labels"
            )
        if spec.columns and self.spec.columns and spec.columns != self.spec.columns:
            raise UserError(
                f"the data have the columns {listed(spec.columns)}, the VAE was made for {listed(self.spec.columns)}; give it "
                "these in this order"
            )
        if self.prepared:
            if x is not None:
                self._choose_preprocess(spec).build(spec, x)  # refuses data that it cannot take
            if (spec.kind, spec.levels) != (self.spec.kind, self.spec.levels):
                raise UserError(
                    f"the data are {spec.kind} (levels: {spec.levels}), the VAE was made for {self.spec.kind} "
                    f"(levels: {self.spec.levels}); give it data of that kind"
                )
            self._check_rounding(self.transform, x)
            return
        device = next(self.parameters()).device
        transform = self._choose_preprocess(spec).build(spec, x).to(device)
        self._check_made(transform)
        self._check_rounding(transform, x)
        self.transform = transform
        self.prepared = True

    def initialise(self, x: Tensor, c: Tensor | None = None) -> None:
        """Start what starts from training data (pseudo-inputs, the labels that were seen); before training.

        Args:
            x: Training data (N, *E) as they were given.
            c: Their contexts, or None.
        """
        self.context_module.initialise(c)
        rows = torch.randperm(len(x))[:INITIAL_ROWS]
        part = x[rows].to(next(self.parameters()).device)
        with torch.no_grad():
            y = self.preprocessed(part, torch.rand(part.shape, device=part.device))
            self.prior_module.initialise(self._features(y))

    def preprocessed(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """y (*, *E), what the likelihood sees of data x as they were given, in the precision of the model.

        Args:
            x: Data (*, *E) on the model's device, of any type; what the preprocessing subtracts and scales, it does in float64.
            u: Uniform noise (*, *E) in [0, 1), where the preprocessing needs it.
        """
        return self.transform.exactly(x, u).to(next(self.parameters()).dtype)

    def _check_rounding(self, transform: Transform, x: Tensor | None) -> None:
        if x is not None:
            preprocess = self._choose_preprocess(transform.given)
            data_checks.check_rounding(self.likelihood_density, preprocess, transform, x, next(self.parameters()))

    def _check_kind(self, transform: Transform) -> None:
        likelihood = self.parts["likelihood"]
        if default_preprocess(likelihood, transform.made) != "none":
            raise UserError(
                f"--likelihood {name_of('likelihood', likelihood)} is no probability of {transform.made.kind} data "
                f"as they are; use --preprocess {default_preprocess(likelihood, transform.made)}, "
                "or --data.kind to say what the data are"
            )

    def _check_made(self, transform: Transform) -> None:
        self._check_kind(transform)
        likelihood = self.parts["likelihood"]
        if repr(likelihood.support(transform.made)) != repr(self.likelihood_density.support):
            raise UserError(
                f"the VAE was built for data that are {in_words(self.likelihood_density.support)}, these are "
                f"{in_words(likelihood.support(transform.made))}: build it with levels={transform.given.levels}"
            )

    def check_support(self, x: Tensor) -> None:
        """Refuse data that have no density under the likelihood.

        Raises:
            UserError: With the first such value, its position and the flag that would fix it.
        """
        data_checks.check_support(self.likelihood_density, self.transform, x, next(self.parameters()))

    # --- the distributions --------------------------------------------------------------------------------------

    def prior(self, c: Tensor | None = None) -> dist.Distribution:
        """p(z) or p(z|c): batch shape () or (*,), event shape (D,)."""
        return self.prior_module(self.context_module(c), self._encode)

    def _encode(self, features: Tensor, embedding: Tensor | None) -> dist.Distribution:
        return self.posterior_density(self.encoder(features, embedding))

    def _features(self, y: Tensor) -> Tensor:
        """What the encoder sees of preprocessed data."""
        return self.parts["likelihood"].features(y, self.likelihood_density.spec)

    def encode(self, x: Tensor, c: Tensor | None = None, *, u: Tensor | None = None) -> dist.Distribution:
        """q(z|x,c) of data as they were given to the training, such as bytes: batch shape (*,), event shape (D,).

        Preprocessing that draws noise (dequantisation, drawn bits) takes ``u``, or else draws afresh from torch's generator, as
        training does at every access: what it returns then differs from call to call. ``pyrovae.encode`` has noise that is
        keyed by datum and seed, and so has every reported number.

        Args:
            x: Raw data (*, *E): a tensor, an array or a list.
            c: Contexts, codes of labels; None without a context.
            u: Uniform noise in [0, 1), of the shape of x.

        Raises:
            UserError: If the VAE has not met its data, x or u have another shape, x has values that such data cannot have, or
                u is given where no noise is drawn.
        """
        if not self.prepared:
            raise UserError("encode: the VAE has not met its data, so how they are preprocessed is unknown: call fit, or prepare")
        one = next(self.parameters())
        x = as_data("x", x, self.spec.event_shape).to(one.device)
        check_values("x", x, self.spec)
        if u is not None and not self.transform.needs_noise:
            raise UserError("u: the preprocessing of this VAE draws no noise; leave it out")
        if u is not None:
            u = as_noise("u", u, x.shape).to(one.device)
        elif self.transform.needs_noise:
            u = torch.rand(x.shape, device=x.device)
        self.context_module.check(c)
        return self._posterior(self.preprocessed(x, u), c)

    def posterior(self, y: Tensor, c: Tensor | None = None) -> dist.Distribution:
        """q(z|y,c) of preprocessed data y (*, *E): batch shape (*,), event shape (D,). ``encode`` takes raw data.

        Raises:
            UserError: If y cannot be preprocessed data: whole numbers by type, or where dequantised ones are due, or values that
                have no density under the likelihood.
        """
        raw = "data as they were given are for vae.encode(x)"
        if not (isinstance(y, Tensor) and y.is_floating_point()):
            raise UserError(f"y {shown(y)}: preprocessed data are a tensor of floating-point numbers; {raw}")
        y = as_data("y", y, self.spec.event_shape).to(next(self.parameters()))
        if self.transform.number_kind == DEQUANTISED and bool((y == y.floor()).all()) and bool((y > 1).any()):
            raise UserError(f"y {shown(y)}: has whole numbers only, which dequantised data never have; {raw}")
        bad = ~self.likelihood_density.support.check(y)
        if bad.any():
            first = tuple(bad.nonzero()[0].tolist())
            raise UserError(
                f"y has {y[first].item():g} at {first}, which is {data_checks.outside(self.likelihood_density)}; {raw}"
            )
        return self._posterior(y, c)

    def _posterior(self, y: Tensor, c: Tensor | None) -> dist.Distribution:
        return self._encode(self._features(y), self.context_module(c))

    def posterior_params(self, y: Tensor, c: Tensor | None = None) -> Tensor:
        """The raw parameters (*, P, D) of q(z|y,c); ``posterior_density`` makes them a distribution."""
        return self.encoder(self._features(y), self.context_module(c))

    def example(self) -> tuple[dist.Distribution, dist.Distribution]:
        """A posterior and a prior, each for one datum with some context, without gradients."""
        device = next(self.parameters()).device
        one = self.context_module.draw(1, 0)
        c = None if one is None else one.to(device)
        with torch.no_grad():
            params = torch.zeros(1, *self.posterior_density.params_shape, device=device)
            return self.posterior_density(params), self.prior(c)

    def latents(self, z: Tensor) -> Tensor:
        """Latents (*, D), whatever numbers they are given as, on the device and in the precision of the model.

        Raises:
            UserError: If they are no numbers, or z has another size.
        """
        z = as_tensor("z", z)
        if z.shape[-1:] != (self.latent_dim,):
            raise UserError(f"z has shape {tuple(z.shape)}; needs (..., {self.latent_dim})")
        return z.to(next(self.parameters()))

    def likelihood(self, z: Tensor, c: Tensor | None = None) -> dist.Distribution:
        """p(y|z,c) of latents z (*, D): batch shape (*,), event shape E."""
        return self.likelihood_density(self.decoder(z, self.context_module(c)))

    def log_joint(self, y: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(y, z|c) = log p(z|c) + log p(y|z,c), shape (*,), in nats, in the units of y."""
        return self.prior(c).log_prob(z) + self.likelihood(z, c).log_prob(y)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """E[x|z,c] (*, *E), in the units of the data (the probability of a 1 where they were binarised)."""
        z = self.latents(z)
        return self.transform.inverse(self.parts["likelihood"].mean(self.likelihood(z, c)))

    # --- Pyro -----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The prefix of the parameters in Pyro's store, different for every instance and every copy."""
        return self._name.text

    def model(self, y: Tensor | None = None, c: Tensor | None = None) -> Tensor:
        """The Pyro model: z ~ p(z|c), x ~ p(x|z,c), with the site "x" observed where y (B, *E) is given."""
        pyro.module(self.name, self)
        batch = 1 if y is None and c is None else (c if y is None else y).shape[0]
        with pyro.plate("data", batch, dim=-1):
            prior = self.prior(c)
            z = pyro.sample("z", prior if self.parts["posterior"].has_density else prior.mask(False))
            return pyro.sample("x", self.likelihood(z, c), obs=y)

    def guide(self, y: Tensor, c: Tensor | None = None) -> Tensor:
        """The Pyro guide: z ~ q(z|y,c)."""
        pyro.module(self.name, self)
        with pyro.plate("data", y.shape[0], dim=-1):
            return pyro.sample("z", self._posterior(y, c), infer=self._baseline(y, c))

    def _baseline(self, y: Tensor, c: Tensor | None) -> dict[str, Any] | None:
        """What TraceGraph_ELBO needs of the site "z" where it has no pathwise gradient: a baseline (B,) of the cost."""
        if self.parts["posterior"].reparametrised:
            return None
        embedding = self.context_module(c)
        inputs = [self._features(y)] if embedding is None else [self._features(y), embedding]
        # squeeze() and not squeeze(-1): Pyro's cost of a single datum has no dimension either.
        return {"baseline": {"nn_baseline": lambda given: self.baseline(*given).squeeze(), "nn_baseline_input": inputs}}

    # --- its description ------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Everything that rebuilds the VAE, as plain data: ``VAE.from_config``."""
        choice = self.preprocess_choice
        return {
            **{role: describe(role, part) for role, part in self.parts.items()},
            "preprocess": choice if choice == "auto" else describe("preprocess", choice),
            "latent_dim": self.latent_dim,
            "event_shape": list(self.spec.event_shape),
            "kind": self.spec.kind,
            "levels": self.spec.levels,
            "labels": [{"name": label.name, "values": list(label.values)} for label in self.spec.labels],
            "columns": list(self.spec.columns),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> VAE:
        """A VAE with fresh weights from what ``config`` returned.

        Raises:
            UserError: As the constructor.
        """
        vae = cls(**config)
        if not vae.prepared:
            vae.prepare(vae.spec, None)
        return vae


def _named(labels: Sequence[Attribute]) -> str:
    return "the labels " + "; ".join(f"{a.name} ({listed(a.values)})" for a in labels) if labels else "no labels"
