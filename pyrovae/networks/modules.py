"""An encoder and a decoder that the user made: any modules that take one batch dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from pyrovae.contracts import Network
from pyrovae.errors import UserError, check_is
from pyrovae.system.devices import own_noise
from pyrovae.system.modes import in_evaluation

TRIED = 2
"""Number of data in the trial at build: a batch of one could be mistaken for no batch dimension."""


@final
class ModulesNeededError(UserError):
    """A model that was built from the user's own modules was to be rebuilt without them."""


@final
@dataclass(frozen=True, init=False, eq=False)
class Modules(Network):
    """An encoder and a decoder of your own, given in Python: ``Modules(encoder, decoder)``.

    ``encoder(x)`` is given the features of data (B, *E), floating-point numbers, and returns the P raw parameters of the
    posterior for each of D latents: (B, P, D), or flat (B, P D). ``decoder(z)`` is given latents (B, D) and returns the P raw
    parameters of the likelihood for each element of a datum: (B, P, *E), flat (B, P prod(E)), with the parameters among the
    channels (B, P E_1, E_2, ...), or (B, *E) where P is 1. Flat outputs are in the order of the dimensions they replace.
    With a context each is given its embedding too: ``encoder(x, embedding)`` and ``decoder(z, embedding)``, (B, C).

    The sizes are ``vae.posterior_density.params_shape``, (P, D), and ``vae.likelihood_density.params_shape``, (P, *E). B may
    be any number, such as samples times data. Modules are in training mode while they are trained and in evaluation mode while
    they are evaluated; then what a module returns for a datum must not depend on the others in the batch.

    Args:
        encoder: As above.
        decoder: As above.

    Raises:
        UserError: If one is not a module, or only one is given.
    """

    def __init__(self, encoder: nn.Module | None = None, decoder: nn.Module | None = None) -> None:
        if encoder is not None or decoder is not None:
            check_is("encoder", encoder, nn.Module, "a torch.nn.Module, and so does the decoder")
            check_is("decoder", decoder, nn.Module, "a torch.nn.Module, and so does the encoder")
        object.__setattr__(self, "_given", {"encoder": encoder, "decoder": decoder})

    def encoder(self, event_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int = 0) -> BatchOnce:
        return BatchOnce("encoder", self._module("encoder"), event_shape, out_shape, embedding_dim)

    def decoder(self, latent_dim: int, out_shape: tuple[int, ...], embedding_dim: int = 0) -> BatchOnce:
        return BatchOnce("decoder", self._module("decoder"), (latent_dim,), out_shape, embedding_dim)

    def _module(self, role: str) -> nn.Module:
        given: dict[str, nn.Module | None] = vars(self)["_given"]
        module = given[role]
        if module is None:
            raise ModulesNeededError(
                "network",
                "modules",
                "needs an encoder and a decoder, which only Python can give",
                "build the model with VAE(..., encoder=MODULE, decoder=MODULE)",
            )
        return module


@final
class BatchOnce(nn.Module):
    """A module that takes one batch dimension, for inputs of any leading batch shape; tried once when it is built.

    Args:
        role: ``encoder`` or ``decoder``, for errors.
        module: (B, *in_shape), and (B, C) where there is an embedding, -> (B, *out_shape) or an equivalent shape.
        in_shape: Event shape of the input.
        out_shape: Event shape of the output, (P, ...).
        embedding_dim: C, 0 for none.

    Raises:
        UserError: If the module is not in torch's default precision, cannot take these inputs, or returns another shape.
    """

    def __init__(
        self, role: str, module: nn.Module, in_shape: tuple[int, ...], out_shape: tuple[int, ...], embedding_dim: int
    ) -> None:
        super().__init__()
        self.module = module
        self.role = role
        self.in_shape = tuple(in_shape)
        self.out_shape = tuple(out_shape)
        self.embedding_dim = embedding_dim
        self._check_precision()
        self._try()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(*, *out_shape) of inputs (*, *in_shape) and an embedding (*, C) or None."""
        batch = x.shape[: x.dim() - len(self.in_shape)]
        inputs = [x.reshape(math.prod(batch), *self.in_shape)]
        if embedding is not None:
            size = embedding.shape[-1]
            inputs.append(embedding.expand(*batch, size).reshape(math.prod(batch), size))
        out = self.module(*inputs)
        self._check_output(out, math.prod(batch))
        result: Tensor = out.reshape(*batch, *self.out_shape)
        return result

    def _spellings(self) -> list[tuple[int, ...]]:
        """Shapes that hold the same numbers as out_shape in the same order."""
        params, *event = self.out_shape
        found = [self.out_shape, (math.prod(self.out_shape),), (params * event[0], *event[1:])]
        return list(dict.fromkeys(found + ([tuple(event)] if params == 1 else [])))

    def _check_output(self, out: object, count: int) -> None:
        wanted = " or ".join(str((count, *shape)) for shape in self._spellings())
        if not isinstance(out, Tensor):
            raise UserError(self.role, type(self.module).__name__, f"returns a {type(out).__name__}", f"return a tensor {wanted}")
        if tuple(out.shape) not in [(count, *shape) for shape in self._spellings()]:
            raise UserError(
                self.role, type(self.module).__name__, f"returns the shape {tuple(out.shape)}", f"this model needs {wanted}"
            )

    def _check_precision(self) -> None:
        wanted = torch.get_default_dtype()
        for name, parameter in self.module.named_parameters():
            if parameter.is_floating_point() and parameter.dtype != wanted:
                reason = f"has {name} in {parameter.dtype}, and the model is in {wanted}"
                raise UserError(self.role, type(self.module).__name__, reason, f"give the module .to({wanted})")

    def _try(self) -> None:
        device = next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))
        x = torch.zeros(TRIED, *self.in_shape, device=device)
        embedding = torch.zeros(TRIED, self.embedding_dim, device=device) if self.embedding_dim else None
        given = " and an embedding ".join(str(tuple(one.shape)) for one in (x, embedding) if one is not None)
        try:
            with in_evaluation(self.module), own_noise():
                self(x, embedding)
        except UserError:
            raise
        except Exception as error:
            first = next(iter(str(error).splitlines()), "")
            reason = f"cannot take an input {given} ({type(error).__name__}: {first})"
            raise UserError(self.role, type(self.module).__name__, reason, "give a module for inputs of that shape") from error
