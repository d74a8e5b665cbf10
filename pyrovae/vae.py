"""The VAE: prior, posterior and likelihood bound to a Pyro model and guide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import pyro
import torch
from torch import Tensor, nn

from pyrovae.contracts import (
    Attribute,
    ContextModule,
    DataSpec,
    Density,
    Distribution,
    Kind,
    Preprocess,
    Prior,
    PriorModule,
    Transform,
)
from pyrovae.errors import NOT_GIVEN, UserError, check_integer
from pyrovae.inputs import agreement, fitting
from pyrovae.inputs.given import as_codes, as_data, as_noise, as_preprocessed, as_tensor, check_values, data_spec
from pyrovae.likelihoods import default_preprocess, native_kind
from pyrovae.networks.feedforward import Feedforward
from pyrovae.networks.modules import Modules
from pyrovae.parts import Choice, describe, is_auto, make
from pyrovae.preprocess import units
from pyrovae.preprocess.none import Identity
from pyrovae.system.names import OwnName

BASELINE_WIDTH = 100
"""Hidden units of the baseline of the score-function gradient."""

INITIAL_ROWS = 10_000
"""Maximum number of training data shown to a prior that is initialised from data."""


@final
class VAE(nn.Module):
    """A variational autoencoder: p(z|c), p(x|z,c) and an amortised q(z|x,c).

    log p(x) >= E_q[log p(x|z) + log p(z) - log q(z|x)]. ``model`` and ``guide`` are ordinary Pyro functions of y, the
    data as the likelihood sees them (preprocessed; the data themselves where no preprocessing is needed).

    Args:
        event_shape: Shape E of one datum.
        latent_dim: Size D of z.
        likelihood: Name, ``{"name": ..., option: ...}`` or part; the same holds for the other roles.
        prior: As above.
        posterior: As above; None means the prior's natural one.
        network: As above; None means ``mlp``.
        context: As above.
        preprocess: As above; ``auto`` means what the likelihood needs for the kind of data.
        encoder: A module of your own, together with a ``decoder``, instead of a ``network``; for their shapes see ``Modules``.
        decoder: As above.
        kind: Kind of data; None until ``prepare`` is called with the data.
        levels: Number of levels of the data (``binomial`` needs it).
        labels: The labels of the data (a context needs them): ``dataset.spec.labels``, or one ``{"name", "values"}`` per label.
        columns: Names of the columns of a table, ``dataset.spec.columns``: other tables are matched to them by name.

    Raises:
        UserError: If sizes are not positive, names or options unknown, or parts do not fit each other.

    Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes; Rezende, Mohamed and Wierstra (2014),
    Stochastic Backpropagation and Approximate Inference in Deep Generative Models.

    Example:
        >>> vae = VAE(event_shape=(8, 8), latent_dim=2, likelihood="normal", network="mlp")
        >>> vae.decode(torch.zeros(5, 2)).shape
        torch.Size([5, 8, 8])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        latent_dim: int = 20,
        likelihood: Choice = "bernoulli",
        *,
        prior: Choice = "normal",
        posterior: Choice | None = None,
        network: Choice | None = None,
        context: Choice = "none",
        preprocess: Choice = "auto",
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        kind: Kind | None = None,
        levels: int | None = None,
        labels: Sequence[Attribute | Mapping[str, Any]] = (),
        columns: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._name = OwnName("vae")
        self.latent_dim = check_integer("latent_dim", latent_dim, 1)
        prior_part: Prior = make("prior", prior)
        parts: dict[str, Any] = {
            "likelihood": make("likelihood", likelihood),
            "prior": prior_part,
            "posterior": make("posterior", prior_part.natural_posterior if posterior is None else posterior),
            "network": make("network", _network(network, encoder, decoder)),
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
            agreement.check_kind(parts["likelihood"], self.transform)
        self.prepared = kind is not None and not self.transform.state_dict()

        self.context_module: ContextModule = parts["context"].build(spec)
        embedding_dim = self.context_module.embedding_dim
        self.prior_module: PriorModule = prior_part.build(latent_spec, self.transform.made, embedding_dim)
        self.posterior_density: Density = parts["posterior"].build(latent_spec)
        self.likelihood_density: Density = parts["likelihood"].build(self.transform.made)
        agreement.check_latents(parts, self.prior_module, self.posterior_density.support)
        self.encoder, self.decoder = parts["network"].pair(
            event_shape, self.posterior_density.params_shape, self.likelihood_density.params_shape, embedding_dim
        )
        if not parts["posterior"].reparametrised:
            self.baseline = Feedforward(event_shape, (1,), (BASELINE_WIDTH,), embedding_dim=embedding_dim)
        if self.prepared:
            agreement.check_made(parts["likelihood"], self.likelihood_density, self.transform)

    # --- what it is made of ---------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights and of the computations with them."""
        return next(self.parameters()).dtype

    @property
    def bits_kind(self) -> str:
        """The meaning of bits per dimension: ``exact``, a ``density``, or how they differ from the probability of the data."""
        return units.bits_kind(self.transform)

    @property
    def units(self) -> str:
        """The units of log p(x): nats per datum, and of which density or probability."""
        return units.units(self.transform)

    @property
    def units_of_draws(self) -> str:
        """The units of log p(y) for values as the likelihood sees them: simulated data, or one draw of the noise."""
        return units.units_of_draws(self.transform)

    # --- the data -----------------------------------------------------------------------------------------------

    @property
    def spec(self) -> DataSpec:
        """The specification of the data as given to the VAE, before preprocessing."""
        return self.transform.given

    def _choose_preprocess(self, spec: DataSpec) -> Preprocess:
        wanted = self.preprocess_choice
        if is_auto(wanted):
            wanted = default_preprocess(self.parts["likelihood"], spec)
        preprocess: Preprocess = make("preprocess", wanted)
        return preprocess

    def prepare(self, spec: DataSpec, x: Tensor | None, name: str = "") -> None:
        """Bind the preprocessing to the data; once, before training.

        Args:
            spec: The data as they were given.
            x: Training data (N, *E), from which the preprocessing is fitted; None if its state will be loaded. Once prepared,
                any data: they are only checked.
            name: Name of the data in errors.

        Raises:
            UserError: If the shape, the kind or the levels are not those for which the VAE was built or prepared, or the
                preprocessing does not accept the data.
        """
        fitting.check_spec(spec, self.spec, name, labelled=self.parts["context"].reads is not None)
        if self.prepared:
            if x is not None:
                self._choose_preprocess(spec).build(spec, x)  # refuses data that it does not accept
            fitting.check_same_kind(spec, self.spec, name)
            self._check_rounding(self.transform, x)
            return
        transform = self._choose_preprocess(spec).build(spec, x).to(self.device)
        agreement.check_made(self.parts["likelihood"], self.likelihood_density, transform)
        self._check_rounding(transform, x)
        self.transform = transform
        self.prepared = True

    def initialise(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialise, before training, what depends on training data (pseudo-inputs, the labels that occur).

        Args:
            x: Training data (N, *E), before preprocessing.
            c: Their contexts, or None.
        """
        self.context_module.initialise(c)
        rows = torch.randperm(len(x))[:INITIAL_ROWS]
        part = x[rows].to(self.device)
        with torch.no_grad():
            y = self.preprocessed(part, torch.rand(part.shape, device=part.device))
            self.prior_module.initialise(self._features(y))

    def preprocessed(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """Preprocess data: y (*, *E), what the likelihood sees of the original data x, in the precision of the model.

        Args:
            x: Data (*, *E) on the model's device, of any type; the preprocessing subtracts and scales in float64.
            u: Uniform noise (*, *E) in [0, 1), if the preprocessing needs it.
        """
        return self.transform.exactly(x, u).to(self.dtype)

    def _check_rounding(self, transform: Transform, x: Tensor | None) -> None:
        if x is not None:
            preprocess = self._choose_preprocess(transform.given)
            fitting.check_rounding(self.likelihood_density, preprocess, transform, x, next(self.parameters()))

    def check_support(self, x: Tensor) -> None:
        """Refuse data that have no density under the likelihood.

        Raises:
            UserError: If there are any; it names the first such value, its position and the option that would fix it.
        """
        fitting.check_support(self.likelihood_density, self.transform, x, next(self.parameters()))

    # --- the distributions --------------------------------------------------------------------------------------

    def prior(self, c: Tensor | None = None) -> Distribution:
        """p(z) or p(z|c): batch shape () or (*,), event shape (D,)."""
        return self.prior_module(self.context_module(c), self._encode)

    def _encode(self, features: Tensor, embedding: Tensor | None) -> Distribution:
        return self.posterior_density(self.encoder(features, embedding))

    def _features(self, y: Tensor) -> Tensor:
        """The input of the encoder, from preprocessed data."""
        return self.likelihood_density.family.features(y, self.likelihood_density.spec)

    def encode(self, x: Tensor, c: Tensor | None = None, *, u: Tensor | None = None) -> Distribution:
        """Encode data as they were given to the training, such as bytes: q(z|x,c), batch shape (*,), event shape (D,).

        Preprocessing that draws noise (dequantisation, random binarisation) uses ``u`` or, without it, fresh noise from torch's
        generator, as training does at every access: the result then differs from call to call. ``pyrovae.encode`` uses noise
        keyed by datum and seed, and so does every reported number.

        Args:
            x: Raw data (*, *E): a tensor, an array or a list.
            c: Contexts, codes of labels (*,) or (*, A): a tensor, an array or a list; None without a context.
            u: Uniform noise in [0, 1), of the shape of x.

        Raises:
            UserError: If the VAE has not been prepared with data, x or u have the wrong shape, x has values that such data cannot
                have, or u is given although no noise is drawn.
        """
        self._check_prepared("encode")
        x = as_data("x", x, self.spec.event_shape).to(self.device)
        check_values("x", x, self.spec)
        if u is not None and not self.transform.needs_noise:
            raise UserError("u", u, "the preprocessing of this VAE draws no noise", "leave it out")
        if u is not None:
            u = as_noise("u", u, x.shape).to(self.device)
        elif self.transform.needs_noise:
            u = torch.rand(x.shape, device=x.device)
        return self._posterior(self.preprocessed(x, u), self._checked(c))

    def _check_prepared(self, call: str) -> None:
        if not self.prepared:
            reason = "the VAE has not met its data, so how they are preprocessed is unknown"
            raise UserError(call, NOT_GIVEN, reason, "call fit, or prepare")

    def _checked(self, c: Tensor | None) -> Tensor | None:
        """The contexts, moved to the device of the model; refused if training never saw them."""
        c = None if c is None else as_codes("c", c)
        self.context_module.check(c)
        return None if c is None else c.to(self.device)

    def posterior_of_preprocessed(self, y: Tensor, c: Tensor | None = None) -> Distribution:
        """q(z|y,c) for preprocessed data y, ``preprocessed(x)``: batch shape (*,), event shape (D,).

        For the original data, use ``encode``: applied to them, this method would return a different density.

        Args:
            y: Preprocessed data (*, *E).
            c: Contexts, codes of labels; None without a context.

        Raises:
            UserError: If y cannot be preprocessed data: an integer type, whole numbers although dequantised values are
                expected, or values that have no density under the likelihood.
        """
        y = as_preprocessed(y, self.transform, self.likelihood_density, next(self.parameters()))
        return self._posterior(y, c)

    def _posterior(self, y: Tensor, c: Tensor | None) -> Distribution:
        return self._encode(self._features(y), self.context_module(c))

    def posterior_params(self, y: Tensor, c: Tensor | None = None) -> Tensor:
        """The raw parameters (*, P, D) of q(z|y,c); ``posterior_density`` makes them a distribution."""
        params: Tensor = self.encoder(self._features(y), self.context_module(c))
        return params

    def example(self) -> tuple[Distribution, Distribution]:
        """A posterior and a prior for one datum, with some context and without gradients."""
        one = self.context_module.draw(1, 0)
        c = None if one is None else one.to(self.device)
        with torch.no_grad():
            params = torch.zeros(1, *self.posterior_density.params_shape, device=self.device)
            return self.posterior_density(params), self.prior(c)

    def latents(self, z: Tensor) -> Tensor:
        """Latents (*, D), given as numbers of any type, on the device and in the precision of the model.

        Raises:
            UserError: If they are not numbers, or z has the wrong size.
        """
        z = as_tensor("z", z)
        if z.shape[-1:] != (self.latent_dim,):
            raise UserError("z", z, f"needs shape (..., {self.latent_dim})")
        return z.to(self.device, self.dtype)

    def likelihood(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """p(y|z,c) for latents z (*, D): batch shape (*,), event shape E."""
        return self.likelihood_density(self.decoder(z, self.context_module(c)))

    def log_joint(self, y: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(y, z|c) = log p(z|c) + log p(y|z,c), shape (*,), in nats, in the units of y."""
        return self.prior(c).log_prob(z) + self.likelihood(z, c).log_prob(y)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Decode latents to E[x|z,c] (*, *E), in the units of the data (for binarised data, the probability of a 1).

        Args:
            z: Latents (*, D): a tensor, an array or a list.
            c: Contexts, as for ``encode``.

        Raises:
            UserError: If z has the wrong size, or c has values that training never saw.
        """
        z = self.latents(z)
        return self._decoded(z, self._checked(c))

    def _decoded(self, z: Tensor, c: Tensor | None) -> Tensor:
        return self.transform.inverse(self.likelihood_density.family.mean(self.likelihood(z, c)))

    def forward(self, x: Tensor, c: Tensor | None = None, *, u: Tensor | None = None) -> Tensor:
        """Reconstruct x: E[x|z,c] (*, *E) at the posterior mean z = E[z|x,c], in the units of the data.

        Does what ``encode`` and ``decode`` do, from tensors to a tensor, for tools that work on modules: hooks, ``torch.func``,
        ``functional_call``. Shapes are checked but values are not, so that ``torch.vmap`` can map it over data. If the latents
        are bits, z is their probabilities.

        Args:
            x: Data (*, *E) as they were given to the training.
            c: Contexts, codes of labels (*,) or (*, A); None without a context.
            u: Uniform noise in [0, 1), of the shape of x, if the preprocessing needs noise; None draws fresh noise.

        Raises:
            UserError: If the VAE has not been prepared with data, x has the wrong shape, or a context is missing.
        """
        self._check_prepared("forward")
        x = as_data("x", x, self.spec.event_shape).to(self.device)
        if u is None and self.transform.needs_noise:
            u = torch.rand(x.shape, device=x.device)
        c = None if c is None else c.to(self.device)
        return self._decoded(self.posterior_density.family.mean(self._posterior(self.preprocessed(x, u), c)), c)

    # --- Pyro -----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The prefix of the parameters in Pyro's store, different for every instance and every copy."""
        return self._name.text

    def model(self, y: Tensor | None = None, c: Tensor | None = None, *, count: int | None = None) -> Tensor:
        """The Pyro model: z ~ p(z|c), x ~ p(x|z,c), with the site "x" observed if y (B, *E) is given.

        Args:
            y: Data as the likelihood sees them, ``preprocessed(x)``; None draws them.
            c: Contexts, codes of labels; None without a context.
            count: B, if neither y nor c determines it; the default is 1.

        Raises:
            UserError: If the number of data in y or c differs from count.
        """
        pyro.module(self.name, self)
        with pyro.plate("data", _count(y, c, count), dim=-1):
            prior = self.prior(c)
            z = _draw("z", prior if self.parts["posterior"].has_density else prior.mask(False))
            return _draw("x", self.likelihood(z, c), obs=y)

    def guide(self, y: Tensor, c: Tensor | None = None) -> Tensor:
        """The Pyro guide: z ~ q(z|y,c)."""
        pyro.module(self.name, self)
        with pyro.plate("data", y.shape[0], dim=-1):
            return _draw("z", self._posterior(y, c), infer=self._baseline(y, c))

    def _baseline(self, y: Tensor, c: Tensor | None) -> dict[str, Any] | None:
        """The settings of the site "z" for TraceGraph_ELBO if it has no pathwise gradient: a baseline (B,) of the cost."""
        if self.parts["posterior"].reparametrised:
            return None
        embedding = self.context_module(c)
        inputs = [self._features(y)] if embedding is None else [self._features(y), embedding]
        # squeeze() rather than squeeze(-1), because Pyro's cost of a single datum is a scalar too.
        return {"baseline": {"nn_baseline": lambda given: self.baseline(*given).squeeze(), "nn_baseline_input": inputs}}

    # --- its description ------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Everything needed to rebuild the VAE with ``VAE.from_config``, as plain data."""
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


def _count(y: Tensor | None, c: Tensor | None, count: int | None) -> int:
    """The number of data in y or c, with which ``count`` must agree; without both, ``count`` or 1."""
    given = next((tensor.shape[0] for tensor in (y, c) if tensor is not None), None)
    if count is None:
        return 1 if given is None else given
    count = check_integer("count", count, 1)
    if given not in (None, count):
        raise UserError("count", count, f"there are {given} data in {'c' if y is None else 'y'}", "leave count out")
    return count


def _draw(name: str, distribution: Any, *, obs: Tensor | None = None, infer: Any = None) -> Tensor:
    """A sample site; typed here because our distributions are not subclasses of Pyro's distribution class."""
    value: Tensor = pyro.sample(name, distribution, obs=obs, infer=infer)
    return value


def _network(network: Choice | None, encoder: nn.Module | None, decoder: nn.Module | None) -> Choice:
    if encoder is None and decoder is None:
        return "mlp" if network is None else network
    if network is not None:
        raise UserError("network", network, "makes an encoder and a decoder, and others are given", "leave one or the other out")
    return Modules(encoder, decoder)
